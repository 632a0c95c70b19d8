//! [`ignore_syncs`]: what durability costs, measured by leaving it out. For experiments; the server never calls it.
//!
//! `libeatmydata` does not reach programs that make raw system calls; a filter in the kernel reaches them all.

use std::io;

/// From now on every fsync(2) and fdatasync(2) of this thread, and of every program that it becomes or starts, succeeds
/// without doing anything, and every syncfs(2) is refused as something that this file system cannot do: whoever asks
/// afterwards what it has written would notice that it did nothing. It cannot be taken back.
///
/// # Errors
/// The kernel has no seccomp filters.
pub fn ignore_syncs() -> io::Result<()> {
    let statement = |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter { code: code as u16, jt, jf, k };
    let is =
        |number: libc::c_long, jt: u8| statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, number as u32, jt, 0);
    let ends = |how: u32| statement(libc::BPF_RET | libc::BPF_K, how, 0, 0);
    // `seccomp_data` begins with the number of the call.
    let mut filter = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        is(libc::SYS_fsync, 3),
        is(libc::SYS_fdatasync, 2),
        is(libc::SYS_syncfs, 2),
        ends(libc::SECCOMP_RET_ALLOW),
        // An error of number 0 is a success.
        ends(libc::SECCOMP_RET_ERRNO),
        ends(libc::SECCOMP_RET_ERRNO | libc::EOPNOTSUPP as u32),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    rustix::thread::set_no_new_privs(true)?;
    let mode = libc::c_ulong::from(libc::SECCOMP_MODE_FILTER);
    // SAFETY: PR_SET_SECCOMP (prctl(2), seccomp(2)) reads `program` and the `len` statements behind its pointer; both
    // live until it returns.
    let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn a_thread_that_ignores_syncs_gets_along_with_files_that_cannot_be_synced() {
        // A pipe's end cannot be synced: EINVAL, unless the call does nothing.
        let (end, _other) = rustix::pipe::pipe().unwrap();
        let end = File::from(end);
        assert!(end.sync_all().is_err());
        std::thread::scope(|scope| {
            let ignoring = scope.spawn(|| {
                ignore_syncs().unwrap();
                end.sync_all().unwrap();
                end.sync_data().unwrap();
                assert_eq!(rustix::fs::syncfs(&end).unwrap_err(), rustix::io::Errno::OPNOTSUPP);
            });
            ignoring.join().unwrap();
        });
        assert!(end.sync_all().is_err(), "other threads sync as before");
    }
}
