//! [`Lane`]: a bounded number of threads that may wait for the disk, and how long a caller waits for them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::StoreError;

/// Enough that the file system's journal commits many small uploads together; few enough that a disk that hangs
/// leaves most of the runtime's blocking threads to others.
const WIDTH: usize = 128;
/// For what is short and often comes in crowds: thousands of slow uploads must not wake a hundred threads, each with its
/// memory.
const NARROW: usize = 8;

pub(super) struct Lane {
    permits: Arc<Semaphore>,
    deadline: Duration,
}

impl Lane {
    pub(super) fn new(deadline: Duration) -> Self {
        Self { permits: Arc::new(Semaphore::new(WIDTH)), deadline }
    }

    pub(super) fn narrow(deadline: Duration) -> Self {
        Self { permits: Arc::new(Semaphore::new(NARROW)), deadline }
    }

    /// How long a caller waits at most.
    pub(super) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Keeps everything else waiting.
    #[cfg(test)]
    pub(super) async fn block(&self) -> tokio::sync::OwnedSemaphorePermit {
        Arc::clone(&self.permits).acquire_many_owned(WIDTH as u32).await.unwrap()
    }

    /// Runs `work` where it may block. After the deadline the caller gets [`StoreError::Slow`]; a thread that is stuck
    /// in the kernel keeps its permit and all that `work` owns until the kernel returns, and what it then returns is
    /// dropped. Cancelling is the same as giving up early.
    pub(super) async fn run<T, F>(&self, action: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T, StoreError> + Send + 'static,
    {
        let stopped = |source| StoreError::Io { action, source };
        let done = async {
            let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(io::Error::other).map_err(stopped)?;
            let run = move || {
                let _permit = permit;
                work()
            };
            tokio::task::spawn_blocking(run).await.map_err(io::Error::other).map_err(stopped)?
        };
        timeout(self.deadline, done).await.unwrap_or(Err(StoreError::Slow { action, deadline: self.deadline }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stuck_disk_is_slow_and_keeps_what_it_holds() {
        let lane = Lane::new(Duration::from_millis(20));
        let held = Arc::new(());
        let (release, stuck) = std::sync::mpsc::channel::<()>();
        let share = Arc::clone(&held);
        let result = lane.run("wait", move || {
            let _share = share;
            let _ = stuck.recv();
            Ok(())
        });
        assert!(matches!(result.await, Err(StoreError::Slow { action: "wait", .. })));
        assert_eq!((Arc::strong_count(&held), lane.permits.available_permits()), (2, WIDTH - 1));
        drop(release);
        let _all = lane.block().await;
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[tokio::test]
    async fn a_panic_is_an_error() {
        let lane = Lane::new(Duration::from_secs(60));
        let result: Result<(), _> = lane.run("panic", || std::panic::resume_unwind(Box::new("planned"))).await;
        assert!(matches!(result, Err(StoreError::Io { action: "panic", .. })));
    }
}
