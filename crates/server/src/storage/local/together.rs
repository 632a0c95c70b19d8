//! [`Together`]: short uploads that end at about the same time are published by one thread, and share its syncs (what
//! databases call a group commit). Whoever comes alone waits for nobody.
//!
//! Invariant: for each of them the order is that of [`super::publish`]: bytes durable, then named, then the name durable.

use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::io::Errno;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::publish::{Landed, Landing};
use super::seam::Call;
use super::syncfs::Round;
use super::{Inner, StoreError, failed, lock};
use crate::crew::{Crew, Line};

const PUBLISH: &str = "publish the upload";
/// So many at most: the first waits for the last, and each has a few descriptors meanwhile.
const MOST: usize = 32;

/// One thread publishes; another only where that one seems to be stuck: the more wait for it, the more share its syncs.
const THREADS: usize = 8;
const SOON: Duration = Duration::from_millis(50);

/// The threads for it.
pub(super) fn crew() -> Crew {
    Crew::patient(THREADS, usize::MAX, SOON)
}

/// Those who wait for a thread.
#[derive(Default)]
pub(super) struct Together(Mutex<Line<Upload>>);

/// A short upload that is whole.
pub(super) struct Upload {
    /// Makes its file, where that may block.
    begin: Box<dyn FnOnce() -> Result<Landing, StoreError> + Send>,
    caller: Caller,
}

struct Caller {
    abandoned: Arc<AtomicBool>,
    tell: oneshot::Sender<Result<Landed, StoreError>>,
}

impl Caller {
    fn tell(self, outcome: Result<Landed, StoreError>) {
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
        begin: impl FnOnce() -> Result<Landing, StoreError> + Send + 'static,
    ) -> Result<Landed, StoreError> {
        let (tell, mut told) = oneshot::channel();
        let upload = Upload { begin: Box::new(begin), caller: Caller { abandoned, tell } };
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
        let uploads: Vec<Upload> = {
            let mut waiting = lock(&self.together.0);
            std::iter::from_fn(|| waiting.pop()).take(MOST).collect()
        };
        match self.syncfs.begin(uploads.len()) {
            Some(round) => self.publish_together(uploads, &round),
            None => {
                for Upload { begin, caller } in uploads {
                    let outcome = begin().and_then(|landing| landing.land(&caller.abandoned));
                    caller.tell(outcome);
                }
            }
        }
    }

    fn publish_together(&self, uploads: Vec<Upload>, round: &Round) {
        let uploads = uploads.into_iter().map(|Upload { begin, caller }| (begin, caller)).collect();
        let written = each(uploads, |begin, _| {
            let landing = begin()?;
            landing.write()?;
            Ok(landing)
        });
        if let Err(error) = self.sync_all(round) {
            // None of them may be synced again: the kernel reports an error once, and forgets the pages.
            each(written, |_, _| Err::<(), _>(failed(PUBLISH)(error)));
            return;
        }
        let named = each(written, |landing, caller| {
            let named = landing.name_unless(&caller.abandoned)?;
            Ok((landing, named))
        });
        let synced = self.sync_all(round);
        for ((landing, named), caller) in named {
            caller.tell(match synced {
                Ok(()) => {
                    self.tree.synced(&named.way);
                    Ok(landing.landed(named))
                }
                Err(error) => Err(landing.take_back(&named, error.into())),
            });
        }
    }

    fn sync_all(&self, round: &Round) -> Result<(), Errno> {
        self.seam.pass(Call::SyncAll).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        self.syncfs.sync(round)
    }
}

/// Those for whom a step worked; the others are told.
fn each<T, U>(members: Vec<(T, Caller)>, step: impl Fn(T, &Caller) -> Result<U, StoreError>) -> Vec<(U, Caller)> {
    let stepped = members.into_iter().filter_map(|(member, caller)| match step(member, &caller) {
        Ok(member) => Some((member, caller)),
        Err(error) => {
            caller.tell(Err(error));
            None
        }
    });
    stepped.collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use hfs_core::ByteSize;
    use tokio::task::JoinSet;

    use super::super::LocalStore;
    use super::super::seam::Call::{Create, Link, MakeDirectory, SyncAll, Write};
    use super::super::testing::{Root, files_below};
    use super::*;
    use crate::storage::conformance::{read, settle, slot};
    use crate::storage::{BlobStore as _, Hints, Published};

    const CROWD: usize = 3;
    const ENOSPC: i32 = 28;

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

    #[tokio::test]
    async fn a_crowd_shares_its_syncs() {
        let root = Root::new();
        let store = root.open();
        store.0.seam.arm(None);
        let mut crowd = JoinSet::new();
        drop(waiting(&store, &mut crowd).await);
        for published in crowd.join_all().await {
            let place = settle(published.unwrap()).await;
            assert_eq!(read(&store, &place).await, place.as_str().as_bytes());
        }
        let expected =
            [&[Create, Write].repeat(CROWD)[..], &[SyncAll], &[MakeDirectory, Link].repeat(CROWD), &[SyncAll]];
        assert_eq!(store.0.seam.seen(), expected.concat());
        store.quiesce().await;
        assert_eq!(files_below(root.path()), [".hfs/claims", "0/x", "1/x", "2/x"]);
    }

    #[tokio::test]
    async fn what_fails_fails_alone_but_for_a_sync() {
        let root = Root::new();
        let store = root.open();
        for nth in 0..=4 * CROWD + 1 {
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
            assert_eq!(whole.len(), if failed == SyncAll { 0 } else { CROWD - 1 }, "{failed:?}");
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
