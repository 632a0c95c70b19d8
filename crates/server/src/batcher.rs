//! [`Batcher`]: blocking work that comes in crowds, done by few threads that each take all that waits.
//!
//! Waking a thread costs more than reading a row, and a sync costs about the same for one file as for thirty. So a job
//! that comes while a thread is at work waits for that thread instead of waking another.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How a [`Batcher`] spreads its jobs.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// Threads at once, at most.
    pub threads: usize,
    /// Jobs that may wait for each running thread before one more starts.
    pub patience: usize,
    /// Jobs that a thread takes at once, at most.
    pub batch: usize,
}

/// Jobs on their way to a few of the runtime's blocking threads.
pub struct Batcher<J> {
    state: Mutex<State<J>>,
    spread: Spread,
    work: Box<dyn Fn(Vec<J>) + Send + Sync>,
}

struct State<J> {
    waiting: VecDeque<J>,
    running: usize,
}

impl<J: Send + 'static> Batcher<J> {
    /// `work` may block. A batch in which it panics is lost: a job that somebody waits for must say so when it is
    /// dropped, as a channel does.
    pub fn new(spread: Spread, work: impl Fn(Vec<J>) + Send + Sync + 'static) -> Arc<Self> {
        let state = Mutex::new(State { waiting: VecDeque::new(), running: 0 });
        Arc::new(Self { state, spread, work: Box::new(work) })
    }

    /// Adds a job to the next batch. Call it on the runtime.
    pub fn add(self: &Arc<Self>, job: J) {
        let mut state = self.state();
        state.waiting.push_back(job);
        let Spread { threads, patience, .. } = self.spread;
        if state.running < threads && state.waiting.len() > state.running * patience {
            state.running += 1;
            drop(state);
            let batcher = Arc::clone(self);
            tokio::task::spawn_blocking(move || batcher.run());
        }
    }

    fn run(&self) {
        while let Some(batch) = self.next() {
            // The hook has reported it; the thread has other jobs to do.
            let _ = catch_unwind(AssertUnwindSafe(|| (self.work)(batch)));
        }
    }

    /// What waits; `None` when nothing does, and the caller counts as running no more.
    fn next(&self) -> Option<Vec<J>> {
        let mut state = self.state();
        if state.waiting.is_empty() {
            state.running -= 1;
            return None;
        }
        let taken = state.waiting.len().min(self.spread.batch);
        Some(state.waiting.drain(..taken).collect())
    }

    fn state(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<J> fmt::Debug for Batcher<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batcher").field("spread", &self.spread).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::sync::oneshot;

    use super::*;

    const ONE: Spread = Spread { threads: 1, patience: 0, batch: 3 };

    /// Jobs that tell the size of their batch, on threads that wait for a word before each.
    fn gated(spread: Spread) -> (Arc<Batcher<oneshot::Sender<usize>>>, mpsc::Receiver<()>, mpsc::Sender<()>) {
        let ((begun, begins), (go, goes)) = (mpsc::channel(), mpsc::channel());
        let goes = Mutex::new(goes);
        let batcher = Batcher::new(spread, move |batch: Vec<oneshot::Sender<usize>>| {
            begun.send(()).unwrap();
            goes.lock().unwrap().recv().unwrap();
            let size = batch.len();
            batch.into_iter().for_each(|job| job.send(size).unwrap());
        });
        (batcher, begins, go)
    }

    fn add(batcher: &Arc<Batcher<oneshot::Sender<usize>>>) -> oneshot::Receiver<usize> {
        let (job, answer) = oneshot::channel();
        batcher.add(job);
        answer
    }

    #[tokio::test]
    async fn what_comes_while_a_thread_works_is_its_next_batch() {
        let (batcher, begins, go) = gated(ONE);
        let first = add(&batcher);
        begins.recv().unwrap();
        let rest: Vec<_> = (0..4).map(|_| add(&batcher)).collect();
        (0..3).for_each(|_| go.send(()).unwrap());
        assert_eq!(first.await, Ok(1));
        let mut sizes = Vec::new();
        for answer in rest {
            sizes.push(answer.await.unwrap());
        }
        assert_eq!(sizes, [3, 3, 3, 1]);
    }

    #[tokio::test]
    async fn another_thread_starts_when_those_that_run_have_enough_to_do() {
        let (batcher, begins, go) = gated(Spread { threads: 2, patience: 2, batch: 9 });
        let first = add(&batcher);
        begins.recv().unwrap();
        let mut rest = vec![add(&batcher), add(&batcher)];
        assert_eq!(batcher.state().running, 1);
        rest.push(add(&batcher));
        begins.recv().unwrap();
        assert_eq!(batcher.state().running, 2);
        (0..2).for_each(|_| go.send(()).unwrap());
        assert_eq!(first.await, Ok(1));
        for answer in rest {
            assert_eq!(answer.await, Ok(3));
        }
    }

    #[tokio::test]
    async fn a_panic_loses_its_batch_and_nothing_else() {
        let batcher = Batcher::new(ONE, |batch: Vec<(bool, oneshot::Sender<()>)>| {
            for (panics, job) in batch {
                assert!(!panics, "planned");
                job.send(()).unwrap();
            }
        });
        let add = |panics| {
            let (job, answer) = oneshot::channel();
            batcher.add((panics, job));
            answer
        };
        assert!(add(true).await.is_err());
        assert!(add(false).await.is_ok());
    }
}
