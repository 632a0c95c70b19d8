//! [`Crew`]: a bounded number of the runtime's blocking threads, and the work that waits for them.
//!
//! A thread that has done its work takes what waits next. A semaphore around `spawn_blocking` would bound what runs at
//! once, and no more: whoever it lets in begins before the thread before has gone to rest, so that a crowd of short work
//! woke three times as many threads, each with its stack and its part of the allocator. Used by the store's lanes and the
//! readers of rows, which say how long to wait.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// A number of threads. Clones are the same ones.
#[derive(Clone)]
pub(crate) struct Crew(Arc<Inner>);

struct Inner {
    size: usize,
    patience: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Threads at work.
    busy: usize,
    waiting: VecDeque<Job>,
}

type Job = Box<dyn FnOnce() + Send>;

/// The work panicked, or the runtime ended before it began.
#[derive(Debug, thiserror::Error)]
#[error("the work was given up")]
pub(crate) struct GivenUp;

impl Crew {
    /// At most `size` threads, each as soon as there is work for it.
    pub(crate) fn new(size: usize) -> Self {
        Self::patient(size, 0)
    }

    /// Another thread wakes only when more than `patience` jobs wait for each that is at work: for work that takes less
    /// time than waking one.
    pub(crate) fn patient(size: usize, patience: usize) -> Self {
        Self(Arc::new(Inner { size, patience, state: Mutex::default() }))
    }

    /// Runs `work` where it may block. Work whose caller has given up before it began is dropped; from then on the thread
    /// is its own, and what it returns to nobody is dropped, too.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, GivenUp> {
        let (tell, told) = oneshot::channel();
        self.put(Box::new(move || {
            if !tell.is_closed() {
                // Fails when the caller gave up meanwhile.
                let _ = tell.send(work());
            }
        }));
        told.await.map_err(|_| GivenUp)
    }

    fn put(&self, job: Job) {
        let mut state = self.0.lock();
        state.waiting.push_back(job);
        if state.busy < self.0.size && state.waiting.len() > state.busy * self.0.patience {
            state.busy += 1;
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
        while let Some(job) = self.next() {
            // Whoever waits for it learns by the loss of its sender; the panic itself is on the log by then.
            let _ = catch_unwind(AssertUnwindSafe(job));
        }
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        let job = state.waiting.pop_front();
        state.busy -= usize::from(job.is_none());
        job
    }

    fn lock(&self) -> MutexGuard<'_, State> {
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
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::mpsc;
    use std::thread;

    use tokio::task::JoinSet;

    use super::*;

    #[tokio::test]
    async fn a_crowd_is_served_by_few_threads() {
        let crew = Crew::new(3);
        let mut crowd = JoinSet::new();
        for _ in 0..300 {
            let crew = crew.clone();
            crowd.spawn(async move { crew.run(|| thread::current().id()).await.unwrap() });
        }
        let threads: HashSet<_> = crowd.join_all().await.into_iter().collect();
        // One that has found nothing more to do may still be on its way to rest when the next begins.
        assert!((1..=6).contains(&threads.len()), "{}", threads.len());
    }

    #[tokio::test]
    async fn another_thread_wakes_when_those_at_work_have_enough_to_do() {
        let crew = Crew::patient(2, 2);
        let (release, stuck) = mpsc::channel::<()>();
        let stuck = Arc::new(Mutex::new(stuck));
        let mut waiting = JoinSet::new();
        for (jobs, busy) in [(1, 1), (2, 1), (3, 1), (4, 2), (5, 2)] {
            let (theirs, stuck) = (crew.clone(), Arc::clone(&stuck));
            let mut job = Box::pin(async move { theirs.run(move || stuck.lock().unwrap().recv().is_err()).await });
            // Its first poll hands it over.
            let handed =
                std::future::poll_fn(|context| std::task::Poll::Ready(job.as_mut().poll(context).is_pending()));
            assert!(handed.await);
            if jobs == 1 {
                while !crew.0.lock().waiting.is_empty() {
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
    async fn work_whose_caller_left_before_it_began_is_not_done() {
        let crew = Crew::new(1);
        let (release, stuck) = mpsc::channel::<()>();
        let first = tokio::spawn({
            let crew = crew.clone();
            async move { crew.run(move || stuck.recv().is_err()).await }
        });
        while crew.busy() == 0 {
            tokio::task::yield_now().await;
        }
        let (done, was_done) = mpsc::channel();
        let left = tokio::time::timeout(std::time::Duration::ZERO, crew.run(move || done.send(()))).await;
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
