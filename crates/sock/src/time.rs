//! [`process_time`]: what a process has cost so far. For measurements; the server does not ask.

use std::io;
use std::time::Duration;

/// Linux numbers processes below this (`PID_MAX_LIMIT`). A larger number shifts into the id of another clock.
const MOST_PIDS: u32 = 1 << 22;

/// CPU time of a process, of all its threads, also those that have ended, to the nanosecond. `/proc/PID/stat` knows
/// only ticks of 10 ms.
///
/// # Errors
/// There is no such process.
pub fn process_time(pid: u32) -> io::Result<Duration> {
    let pid = libc::pid_t::try_from(pid).ok().filter(|_| pid <= MOST_PIDS).ok_or(io::ErrorKind::InvalidInput)?;
    let mut clock = 0;
    // SAFETY: clock_getcpuclockid(3) writes one clock id to `clock`.
    let error = unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: clock_gettime(2) writes one timespec to `time`.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_of_a_thread_that_has_ended_is_counted() {
        let before = process_time(std::process::id()).unwrap();
        std::thread::spawn(|| (0..2_000_000_u64).fold(0, |sum, n| std::hint::black_box(sum ^ n))).join().unwrap();
        let after = process_time(std::process::id()).unwrap();
        assert!(after > before + Duration::from_micros(100), "{before:?} to {after:?}");
    }

    #[test]
    fn a_process_that_is_not_there_has_no_time() {
        for pid in [u32::MAX >> 1, u32::MAX, MOST_PIDS] {
            assert!(process_time(pid).is_err(), "{pid}");
        }
    }
}
