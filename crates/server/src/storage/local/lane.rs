//! [`Lane`]: a bounded number of threads that may wait for the disk, and how long a caller waits for them.

use std::io;
use std::time::Duration;

use tokio::time::timeout;

use super::StoreError;
use crate::crew::Crew;

/// Enough that the file system's journal commits many small uploads together; few enough that a disk that hangs
/// leaves most of the runtime's blocking threads to others.
const WIDTH: usize = 128;
/// For what is short and often comes in crowds: thousands of slow uploads must not wake a hundred threads, each with its
/// memory.
const NARROW: usize = 8;

/// Short uploads wake so many threads at once: a disk does better with a few syncs at a time. Of a crowd, up to this many
/// wait for each thread: it does the next without a change of threads. After a while they do not, since a slow disk, or the
/// journal of its file system, wants more at a time.
const PROMPT: usize = 8;
const PATIENCE: usize = 4;
const SOON: Duration = Duration::from_millis(10);

pub(super) struct Lane {
    crew: Crew,
    deadline: Duration,
}

impl Lane {
    pub(super) fn new(deadline: Duration) -> Self {
        Self { crew: Crew::new(WIDTH), deadline }
    }

    pub(super) fn narrow(deadline: Duration) -> Self {
        Self { crew: Crew::new(NARROW), deadline }
    }

    /// For short uploads that are whole.
    pub(super) fn gradual(deadline: Duration) -> Self {
        Self { crew: Crew::gradual(WIDTH, PROMPT, PATIENCE, SOON), deadline }
    }

    /// How long a caller waits at most.
    pub(super) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Lets nothing begin until what it returns is dropped.
    #[cfg(test)]
    pub(super) fn hold(&self) -> crate::crew::Held {
        self.crew.hold()
    }

    /// Runs `work` where it may block. After the deadline the caller gets [`StoreError::Slow`]; a thread that is stuck
    /// in the kernel keeps its place and all that `work` owns until the kernel returns, and what it then returns is
    /// dropped. Cancelling is the same as giving up early.
    pub(super) async fn run<T, F>(&self, action: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T, StoreError> + Send + 'static,
    {
        match timeout(self.deadline, self.crew.run(work)).await {
            Ok(Ok(done)) => done,
            Ok(Err(given_up)) => Err(StoreError::Io { action, source: io::Error::other(given_up) }),
            Err(_) => Err(StoreError::Slow { action, deadline: self.deadline }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::SeqCst;
    use std::sync::{Arc, Mutex, mpsc};

    use tokio::task::{JoinSet, yield_now};

    use super::super::testing::Root;
    use super::*;

    /// The clock stands while a thread is at work: none wakes because time has passed.
    #[tokio::test(start_paused = true)]
    async fn of_short_uploads_eight_begin_at_once_and_four_more_wait_for_each() {
        let root = Root::new();
        let store = root.open();
        let (release, stuck) = mpsc::channel::<()>();
        let (stuck, begun) = (Arc::new(Mutex::new(stuck)), Arc::new(AtomicUsize::new(0)));
        let mut crowd = JoinSet::new();
        for (uploads, busy) in [(8, 8), (8 + 8 * 4, 8), (8 + 8 * 4 + 1, 9)] {
            while crowd.len() < uploads {
                let (store, stuck, begun) = (store.clone(), Arc::clone(&stuck), Arc::clone(&begun));
                crowd.spawn(async move {
                    let work = move || {
                        begun.fetch_add(1, SeqCst);
                        let _ = stuck.lock().unwrap().recv();
                        Ok(())
                    };
                    store.0.shorts.run("publish", work).await
                });
            }
            // Those that were spawned come before this one.
            yield_now().await;
            while begun.load(SeqCst) < store.0.shorts.crew.busy() {
                yield_now().await;
            }
            assert_eq!(store.0.shorts.crew.busy(), busy, "{uploads} uploads");
        }
        drop(release);
        assert!(crowd.join_all().await.iter().all(Result::is_ok));
    }

    #[tokio::test]
    async fn a_stuck_disk_is_slow_and_keeps_what_it_holds() {
        let lane = Lane::new(Duration::from_millis(20));
        let held = Arc::new(());
        let (release, stuck) = mpsc::channel::<()>();
        let share = Arc::clone(&held);
        let result = lane.run("wait", move || {
            let _share = share;
            let _ = stuck.recv();
            Ok(())
        });
        assert!(matches!(result.await, Err(StoreError::Slow { action: "wait", .. })));
        assert_eq!((Arc::strong_count(&held), lane.crew.busy()), (2, 1));
        drop(release);
        while lane.crew.busy() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[tokio::test]
    async fn a_panic_is_an_error() {
        let lane = Lane::new(Duration::from_secs(60));
        let result: Result<(), _> = lane.run("panic", || std::panic::resume_unwind(Box::new("planned"))).await;
        assert!(matches!(result, Err(StoreError::Io { action: "panic", .. })));
    }
}
