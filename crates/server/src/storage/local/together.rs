//! [`Together`]: short uploads that end at about the same time are published by one thread, and share its syncs (what
//! databases call a group commit). Whoever comes alone waits for nobody.
//!
//! What fails, fails alone, but for the last sync: nobody can tell whose names that has lost.
//!
//! Invariant: for each of them the order is that of [`super::publish`]: bytes durable, then named, then the name durable.

use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::io::Errno;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::call::Call;
use super::publish::{Landed, Landing, unless};
use super::syncfs::Round;
use super::{Inner, StoreError, lock};
use crate::crew::{Crew, Line};

const PUBLISH: &str = "publish the upload";
/// So many at most: the first waits for the last, and each has a few descriptors meanwhile.
const MOST: usize = 32;

/// One thread publishes; another only where that one seems to be stuck: the more wait for it, the more share its syncs.
const THREADS: usize = 8;
const SOON: Duration = Duration::from_millis(500);

/// The threads for it.
pub(super) fn crew() -> Crew {
    Crew::patient(THREADS, usize::MAX, SOON)
}

/// Those who wait for a thread.
#[derive(Default)]
pub(super) struct Together(Mutex<Line<Upload>>);

/// A short upload that is whole: what makes its file, where that may block, and who waits for it.
type Upload = (Box<dyn FnOnce() -> Step<Landing> + Send>, Caller);

/// `None`: it is not to be published after all.
type Step<T> = Result<Option<T>, StoreError>;

struct Caller {
    abandoned: Arc<AtomicBool>,
    tell: oneshot::Sender<Step<Landed>>,
}

impl Caller {
    fn tell(self, outcome: Step<Landed>) {
        // Fails when the caller gave up meanwhile: then it stays unresolved, for the sweep.
        let _ = self.tell.send(outcome);
    }
}

impl Inner {
    /// Publishes what `begin` makes, with others that wait. After the lane's deadline the caller gets
    /// [`StoreError::Slow`]; what has not begun by then, or when the caller leaves, is dropped at once.
    pub(super) async fn land_together(
        self: &Arc<Self>,
        abandoned: Arc<AtomicBool>,
        begin: impl FnOnce() -> Step<Landing> + Send + 'static,
    ) -> Step<Landed> {
        let (tell, mut told) = oneshot::channel();
        let upload = (Box::new(begin) as _, Caller { abandoned, tell });
        let _waiter = lock(&self.together.0).push(upload);
        let inner = Arc::clone(self);
        let outcome = async {
            tokio::select! {
                biased;
                told = &mut told => return told,
                // A thread takes along all that wait. When it comes to this one's turn, another may have been quicker.
                _ = self.groups.run(move || inner.publish_waiting()) => {}
            }
            told.await
        };
        let deadline = self.writes.deadline();
        match timeout(deadline, outcome).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(lost)) => Err(StoreError::Io { action: PUBLISH, source: io::Error::other(lost) }),
            Err(_) => Err(StoreError::Slow { action: PUBLISH, deadline }),
        }
    }

    /// Blocking.
    fn publish_waiting(&self) {
        loop {
            let (round, uploads) = self.next_group();
            match round {
                _ if uploads.is_empty() => return,
                Some(round) => self.publish_together(uploads, &round),
                None => finish(uploads, |begin, caller| {
                    unless(&caller.abandoned)?;
                    begin()?.map(|landing| landing.land(&caller.abandoned)).transpose()
                }),
            }
        }
    }

    /// All that wait, where they may share a round; the first of them where not.
    fn next_group(&self) -> (Option<Round>, Vec<Upload>) {
        let mut waiting = lock(&self.together.0);
        let round = self.syncfs.begin(waiting.len().min(MOST));
        let most = if round.is_some() { MOST } else { 1 };
        (round, std::iter::from_fn(|| waiting.pop()).take(most).collect())
    }

    fn publish_together(&self, uploads: Vec<Upload>, round: &Round) {
        let written = each(uploads, |begin, caller| {
            unless(&caller.abandoned)?;
            let landing = begin()?;
            landing.as_ref().map_or(Ok(()), Landing::write)?;
            Ok(landing)
        });
        let synced = self.sync_all(round);
        // ext4 gives bytes their blocks only when it writes them. That there were none, and the bytes are lost, it does
        // not tell who syncs it as a whole.
        let is_safe = |(landing, _): &(Landing, Caller)| synced.is_ok() && landing.has_blocks();
        let (safe, unsure): (Vec<_>, Vec<_>) = written.into_iter().partition(is_safe);
        if synced.is_ok() && unsure.len() > safe.len() {
            self.syncfs.rest();
        }
        self.name_together(safe, round);
        // Written anew: of bytes that are lost, nothing is left whose sync could fail.
        finish(unsure, |landing, caller| landing.land(&caller.abandoned).map(Some));
    }

    /// From where their bytes are durable.
    fn name_together(&self, safe: Vec<(Landing, Caller)>, round: &Round) {
        let named = each(safe, |landing, caller| {
            let named = landing.name_unless(&caller.abandoned)?;
            Ok(Some((landing, named)))
        });
        if named.is_empty() {
            return;
        }
        let synced = self.sync_all(round);
        let landed = named.into_iter().map(|((landing, named), caller)| match synced {
            Ok(()) => {
                self.tree.synced(&named.way);
                (Ok(Some(landing.landed(named))), caller)
            }
            Err(error) => (Err(landing.take_back(&named, error.into())), caller),
        });
        tell_all(landed.collect());
    }

    fn sync_all(&self, round: &Round) -> Result<(), Errno> {
        self.seam.pass(Call::SyncAll).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        self.syncfs.sync(round)
    }
}

/// Those for whom a step worked; the others are told.
fn each<T, U>(members: Vec<(T, Caller)>, step: impl Fn(T, &Caller) -> Step<U>) -> Vec<(U, Caller)> {
    let stepped = members.into_iter().filter_map(|(member, caller)| {
        let ended = match step(member, &caller) {
            Ok(Some(member)) => return Some((member, caller)),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        caller.tell(ended);
        None
    });
    stepped.collect()
}

/// The last step of those that sync for themselves: each is told before the next one's disk is waited for.
fn finish<T>(members: Vec<(T, Caller)>, step: impl Fn(T, &Caller) -> Step<Landed>) {
    for (member, caller) in members {
        let outcome = step(member, &caller);
        caller.tell(outcome);
    }
}

/// Tells those that end together, from within the runtime. From here each would wake one of its threads and be carried on
/// with at once, before the next is told: two changes of threads for each upload, and a commit for each row.
fn tell_all(outcomes: Vec<(Step<Landed>, Caller)>) {
    Handle::current().spawn(async move { outcomes.into_iter().for_each(|(outcome, caller)| caller.tell(outcome)) });
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write as _;

    use bytes::Bytes;
    use hfs_core::ByteSize;
    use tokio::task::JoinSet;

    use super::super::LocalStore;
    use super::super::call::Call::{Create, Extents, Link, MakeDirectory, Sync, SyncAll, SyncDirectory, Write};
    use super::super::testing::{Root, files_below};
    use super::*;
    use crate::storage::conformance::{read, settle, slot};
    use crate::storage::{Attempt, BlobStore as _, Hints, Published};

    const CROWD: usize = 3;
    const ENOSPC: i32 = 28;
    /// EXT4_SUPER_MAGIC, statfs(2).
    const EXT4: rustix::fs::FsWord = 0xEF53;
    /// From where nobody knows whether an upload is on the disk, in a directory of its own.
    const ALONE: [Call; 6] = [Write, Sync, MakeDirectory, Link, SyncDirectory, SyncDirectory];

    /// Whether the file system tells what it has written.
    fn tells(root: &Root) -> bool {
        let path = root.path().join("told");
        let mut file = File::create(&path).unwrap();
        file.write_all(b"told").unwrap();
        file.sync_all().unwrap();
        std::fs::remove_file(path).unwrap();
        let tells = hfs_sock::has_blocks(&file, 4).unwrap();
        assert!(tells || rustix::fs::fstatfs(&file).unwrap().f_type != EXT4, "ext4 tells");
        tells
    }

    async fn upload(store: LocalStore, name: String) -> Result<Published, StoreError> {
        let bytes = Bytes::from(name.clone());
        let mut writer = store.create(Some(ByteSize::bytes(bytes.len() as u64)), Hints::default()).await?;
        writer.write(bytes).await?;
        let claim = store.claim(&slot(&name), Duration::ZERO).await?;
        writer.publish(&claim).await
    }

    /// Uploads to slots `0/x`, `1/x` ... that all wait for a thread. They get it when what it returns is dropped.
    async fn waiting(store: &LocalStore, crowd: &mut JoinSet<Result<Published, StoreError>>) -> crate::crew::Held {
        store.0.syncfs.always();
        let held = store.0.groups.hold();
        for number in 0..CROWD {
            crowd.spawn(upload(store.clone(), format!("{number}/x")));
        }
        while lock(&store.0.together.0).len() < CROWD {
            tokio::task::yield_now().await;
        }
        held
    }

    /// Uploads to slots `0/x`, `1/x` ... that end together. Returns what that took.
    async fn calls_of_a_crowd(store: &LocalStore) -> Vec<Call> {
        store.0.seam.arm(None);
        let mut crowd = JoinSet::new();
        drop(waiting(store, &mut crowd).await);
        for published in crowd.join_all().await {
            let place = settle(published.unwrap()).await;
            assert_eq!(read(store, &place).await, place.as_str().as_bytes());
        }
        store.0.seam.seen()
    }

    #[tokio::test]
    async fn a_crowd_shares_its_syncs() {
        let root = Root::new();
        let store = root.open();
        let calls = calls_of_a_crowd(&store).await;
        let bytes = [&[Create, Write].repeat(CROWD)[..], &[SyncAll], &[Extents; CROWD]].concat();
        let names = if tells(&root) {
            [&[MakeDirectory, Link].repeat(CROWD)[..], &[SyncAll]].concat()
        } else {
            ALONE.repeat(CROWD)
        };
        assert_eq!(calls, [bytes, names].concat());
        store.quiesce().await;
        assert_eq!(files_below(root.path()), [".hfs/claims", "0/x", "1/x", "2/x"]);
    }

    #[tokio::test]
    async fn who_ended_together_is_told_by_one_task_of_the_runtime() {
        let root = Root::new();
        let store = root.open();
        let mut crowd = JoinSet::new();
        let held = waiting(&store, &mut crowd).await;
        let tasks = || Handle::current().metrics().num_alive_tasks();
        let before = tasks();
        // By the runtime's only thread: no task goes on before they are counted.
        store.0.publish_waiting();
        let new = usize::from(tells(&root));
        assert_eq!(tasks(), before + new, "none where each has to sync for itself");
        drop(held);
        assert!(crowd.join_all().await.iter().all(Result::is_ok));
    }

    #[tokio::test]
    async fn what_is_not_surely_written_is_written_and_synced_by_itself() {
        let root = Root::in_memory();
        assert!(!tells(&root), "tmpfs tells of no blocks");
        let calls = calls_of_a_crowd(&root.open()).await;
        assert_eq!(calls[calls.len() - CROWD * ALONE.len()..], ALONE.repeat(CROWD));
    }

    #[tokio::test]
    async fn what_fails_fails_alone_but_for_the_last_sync() {
        let root = Root::new();
        let store = root.open();
        for nth in 0..=5 * CROWD + 1 {
            store.0.seam.arm(Some((nth, ENOSPC)));
            let mut crowd = JoinSet::new();
            drop(waiting(&store, &mut crowd).await);
            let mut whole = Vec::new();
            for outcome in crowd.join_all().await {
                match outcome {
                    Ok(published) => whole.push(settle(published).await),
                    Err(error) => assert!(matches!(error, StoreError::Full { .. }), "{error:?}"),
                }
            }
            let failed = store.0.seam.seen()[nth];
            let is_first_sync = nth == 2 * CROWD;
            // Whose bytes it was that could not be synced, and whether all has its blocks, each file's own sync tells.
            let expected = if is_first_sync || failed == Extents {
                CROWD
            } else if failed == SyncAll {
                0
            } else {
                CROWD - 1
            };
            assert_eq!(whole.len(), expected, "{nth}: {failed:?}");
            store.quiesce().await;
            assert_eq!(files_below(root.path()).len(), 1 + whole.len(), "{failed:?}");
            for place in whole {
                assert_eq!(read(&store, &place).await, place.as_str().as_bytes());
                store.remove(&place).await.unwrap();
            }
        }
    }

    #[tokio::test]
    async fn who_leaves_before_it_began_leaves_nothing() {
        let root = Root::new();
        let store = root.open();
        let mut crowd = JoinSet::new();
        let held = waiting(&store, &mut crowd).await;
        let leaves = tokio::spawn(upload(store.clone(), "leaves/x".to_owned()));
        while lock(&store.0.together.0).len() == CROWD {
            tokio::task::yield_now().await;
        }
        leaves.abort();
        assert!(leaves.await.unwrap_err().is_cancelled());
        drop(held);
        assert!(crowd.join_all().await.iter().all(Result::is_ok));
        assert!(!files_below(root.path()).iter().any(|path| path.contains("leaves")));
        assert!(store.claim(&slot("leaves/x"), Duration::ZERO).await.is_ok(), "its claim has ended, too");
    }

    #[tokio::test]
    async fn who_may_not_publish_is_told_so_and_holds_up_nobody() {
        let root = Root::new();
        let store = root.open();
        let mut crowd = JoinSet::new();
        let held = waiting(&store, &mut crowd).await;
        let mut writer = store.create(Some(ByteSize::bytes(1)), Hints::default()).await.unwrap();
        writer.write(Bytes::from_static(b"x")).await.unwrap();
        let claim = store.claim(&slot("taken/x"), Duration::ZERO).await.unwrap();
        let (attempt, ()) = tokio::join!(writer.publish_if_vacant(&claim, Box::new(|| false)), async { drop(held) });
        assert!(matches!(attempt.unwrap(), Attempt::Kept(_)));
        assert!(crowd.join_all().await.iter().all(Result::is_ok));
        assert!(!files_below(root.path()).iter().any(|path| path.contains("taken")));
    }

    #[tokio::test]
    async fn where_nothing_is_shared_each_syncs_for_itself() {
        let root = Root::new();
        let store = root.open();
        let mut crowd = JoinSet::new();
        let held = waiting(&store, &mut crowd).await;
        store.0.syncfs.never();
        store.0.seam.arm(None);
        drop(held);
        assert!(crowd.join_all().await.iter().all(Result::is_ok));
        assert!(!store.0.seam.seen().contains(&SyncAll));
    }
}
