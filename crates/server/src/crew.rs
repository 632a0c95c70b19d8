//! [`Crew`]: a bounded number of the runtime's blocking threads, and the work that waits for them.
//!
//! A thread that has done its work takes what waits next. A semaphore around `spawn_blocking` would bound what runs at
//! once, and no more: whoever it lets in begins before the thread before has gone to rest, so that a crowd of short work
//! woke three times as many threads, each with its stack and its part of the allocator. Used by the store's lanes and the
//! readers of rows, which say how long to wait.

mod line;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

pub(crate) use self::line::Line;

/// A number of threads. Clones are the same ones.
#[derive(Clone)]
pub(crate) struct Crew(Arc<Inner>);

struct Inner {
    size: usize,
    /// So many wake as soon as there is work for each.
    prompt: usize,
    patience: usize,
    soon: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Threads at work.
    busy: usize,
    waiting: Line<Work>,
}

type Work = Box<dyn FnOnce() + Send>;

/// The work panicked, or the runtime ended before it began.
#[derive(Debug, thiserror::Error)]
#[error("the work was given up")]
pub(crate) struct GivenUp;

impl Crew {
    /// At most `size` threads, each as soon as there is work for it.
    pub(crate) fn new(size: usize) -> Self {
        Self::gradual(size, size, 0, Duration::ZERO)
    }

    /// Another thread wakes only when more than `patience` jobs wait for each that is at work, or one has waited longer
    /// than `soon`, for a thread that may be stuck: for work that takes less time than waking a thread, or has to be
    /// done by few.
    pub(crate) fn patient(size: usize, patience: usize, soon: Duration) -> Self {
        Self::gradual(size, 1, patience, soon)
    }

    /// The same beyond the first `prompt` threads: for work that waits for the disk, and so does better in parallel, until
    /// there is so much of it that a thread which ends one piece need not rest before it takes the next.
    pub(crate) fn gradual(size: usize, prompt: usize, patience: usize, soon: Duration) -> Self {
        Self(Arc::new(Inner { size, prompt, patience, soon, state: Mutex::default() }))
    }

    /// Runs `work` where it may block. Work whose caller gives up before it begins is dropped at once; from then on the
    /// thread is its own, and what it returns to nobody is dropped, too.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, GivenUp> {
        let (tell, mut told) = oneshot::channel();
        let work = move || {
            // Fails when the caller gave up meanwhile.
            let _ = tell.send(work());
        };
        let _waiter = self.put(Box::new(work));
        if self.0.patience > 0 {
            match timeout(self.0.soon, &mut told).await {
                Ok(told) => return told.map_err(|_| GivenUp),
                Err(_) => self.hurry(),
            }
        }
        told.await.map_err(|_| GivenUp)
    }

    fn put(&self, work: Work) -> line::Waiter<Work> {
        let mut state = self.0.lock();
        let waiter = state.waiting.push(work);
        if state.busy < self.0.prompt || state.waiting.len() > state.busy.saturating_mul(self.0.patience) {
            self.wake(state);
        }
        waiter
    }

    /// Those at work may be stuck.
    fn hurry(&self) {
        let state = self.0.lock();
        if state.waiting.len() > 0 {
            self.wake(state);
        }
    }

    fn wake(&self, mut state: MutexGuard<'_, State>) {
        if state.busy < self.0.size {
            state.busy += 1;
            // The thread that wakes wants it, and may run before this one goes on.
            drop(state);
            let inner = Arc::clone(&self.0);
            tokio::task::spawn_blocking(move || inner.work());
        }
    }

    /// Lets nothing begin until what it returns is dropped.
    #[cfg(test)]
    pub(crate) fn hold(&self) -> Held {
        self.0.lock().busy += self.0.size;
        Held(self.clone())
    }

    /// Threads at work.
    #[cfg(test)]
    pub(crate) fn busy(&self) -> usize {
        self.0.lock().busy
    }
}

impl Inner {
    fn work(&self) {
        while let Some(work) = self.next() {
            // Whoever waits for it learns by the loss of its sender; the panic itself is on the log by then.
            let _ = catch_unwind(AssertUnwindSafe(work));
        }
    }

    fn next(&self) -> Option<Work> {
        let mut state = self.lock();
        let work = state.waiting.pop();
        state.busy -= usize::from(work.is_none());
        work
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Changed by single assignments: no panic leaves it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Crew {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Crew").field("size", &self.0.size).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) struct Held(Crew);

#[cfg(test)]
impl Drop for Held {
    fn drop(&mut self) {
        self.0.0.lock().busy -= self.0.0.size;
        self.0.hurry();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::SeqCst;
    use std::sync::mpsc;
    use std::thread;

    use tokio::task::{JoinHandle, JoinSet};

    use super::*;

    /// Keeps one thread at work until the sender is dropped; its job then says that this was so.
    async fn stuck(crew: &Crew) -> (mpsc::Sender<()>, JoinHandle<Result<bool, GivenUp>>) {
        let (release, stuck) = mpsc::channel();
        let theirs = crew.clone();
        let first = tokio::spawn(async move { theirs.run(move || stuck.recv().is_err()).await });
        while crew.busy() == 0 {
            tokio::task::yield_now().await;
        }
        (release, first)
    }

    #[tokio::test]
    async fn a_crowd_is_served_by_few_threads() {
        let crew = Crew::new(3);
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut crowd = JoinSet::new();
        for _ in 0..300 {
            let (crew, running, most) = (crew.clone(), Arc::clone(&running), Arc::clone(&most));
            crowd.spawn(async move {
                let work = move || {
                    most.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
                    thread::yield_now();
                    running.fetch_sub(1, SeqCst);
                    thread::current().id()
                };
                crew.run(work).await.unwrap()
            });
        }
        let threads: HashSet<_> = crowd.join_all().await.into_iter().collect();
        assert!((1..=3).contains(&most.load(SeqCst)), "{}", most.load(SeqCst));
        // One that has found nothing more to do may still be on its way to rest when the next begins.
        assert!(threads.len() < 60, "{}", threads.len());
    }

    #[tokio::test]
    async fn what_gives_up_before_it_began_leaves_nothing_behind() {
        let crew = Crew::new(1);
        let held = crew.hold();
        let owned = Arc::new(());
        for _ in 0..9 {
            let share = Arc::clone(&owned);
            assert!(timeout(Duration::ZERO, crew.run(move || drop(share))).await.is_err());
        }
        assert_eq!(Arc::strong_count(&owned), 1);
        assert_eq!(crew.0.lock().waiting.len(), 1, "each removes the places of those before");
        drop(held);
        assert_eq!(crew.run(|| 1).await.unwrap(), 1);
    }

    /// A job that is stuck once it has begun. Its first poll has handed it over.
    async fn handed_over(
        crew: &Crew,
        stuck: &Arc<Mutex<mpsc::Receiver<()>>>,
    ) -> std::pin::Pin<Box<impl Future<Output = Result<bool, GivenUp>> + Send + 'static + use<>>> {
        let (theirs, stuck) = (crew.clone(), Arc::clone(stuck));
        let mut job = Box::pin(async move { theirs.run(move || stuck.lock().unwrap().recv().is_err()).await });
        let handed = std::future::poll_fn(|context| std::task::Poll::Ready(job.as_mut().poll(context).is_pending()));
        assert!(handed.await);
        job
    }

    #[tokio::test]
    async fn patience_ends_where_a_thread_is_stuck() {
        let crew = Crew::patient(2, 8, Duration::from_millis(5));
        let (release, first) = stuck(&crew).await;
        assert_eq!(crew.run(|| 1).await.unwrap(), 1);
        drop(release);
        assert!(first.await.unwrap().unwrap());
    }

    #[tokio::test]
    async fn another_thread_wakes_when_those_at_work_have_enough_to_do() {
        let crew = Crew::patient(2, 2, Duration::from_secs(60));
        let (release, stuck) = mpsc::channel::<()>();
        let stuck = Arc::new(Mutex::new(stuck));
        let mut waiting = JoinSet::new();
        for (jobs, busy) in [(1, 1), (2, 1), (3, 1), (4, 2), (5, 2)] {
            let job = handed_over(&crew, &stuck).await;
            if jobs == 1 {
                while crew.0.lock().waiting.len() > 0 {
                    tokio::task::yield_now().await;
                }
            }
            assert_eq!(crew.busy(), busy, "{jobs} jobs");
            waiting.spawn(job);
        }
        drop(release);
        assert!(waiting.join_all().await.into_iter().all(|outcome| outcome.unwrap()));
    }

    #[tokio::test]
    async fn the_first_wake_at_once_and_a_crowd_waits_for_them() {
        let crew = Crew::gradual(9, 3, 2, Duration::from_secs(60));
        let (release, stuck) = mpsc::channel::<()>();
        let stuck = Arc::new(Mutex::new(stuck));
        let mut waiting = JoinSet::new();
        for (jobs, busy) in [(1, 1), (2, 2), (3, 3), (4, 3), (9, 3), (10, 4)] {
            while waiting.len() < jobs {
                waiting.spawn(handed_over(&crew, &stuck).await);
            }
            let at_work = crew.busy();
            while crew.0.lock().waiting.len() > jobs - busy {
                tokio::task::yield_now().await;
            }
            assert_eq!(at_work, busy, "{jobs} jobs");
        }
        drop(release);
        assert!(waiting.join_all().await.into_iter().all(|outcome| outcome.unwrap()));
    }

    #[tokio::test]
    async fn work_whose_caller_left_before_it_began_is_not_done() {
        let crew = Crew::new(1);
        let (release, first) = stuck(&crew).await;
        let (done, was_done) = mpsc::channel();
        let left = timeout(Duration::ZERO, crew.run(move || done.send(()))).await;
        assert!(left.is_err());
        drop(release);
        assert!(first.await.unwrap().unwrap());
        assert_eq!(crew.run(|| 1).await.unwrap(), 1, "what was given later comes after it");
        assert!(was_done.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_panic_costs_no_thread() {
        let crew = Crew::new(1);
        assert!(crew.run(|| std::panic::resume_unwind(Box::new("planned"))).await.is_err());
        assert_eq!(crew.run(|| 1).await.unwrap(), 1);
    }
}
