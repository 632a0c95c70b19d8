//! [`Joint`]: one sync of a directory for all whose names are in it when it begins.
//!
//! Blocking. Whoever comes while a sync runs waits for the next one, since that may have passed the new name already. So
//! the more come at once, the more share a sync; who comes alone waits for nobody.
//!
//! Invariant: a success means that a sync which began after the call, on the same directory, succeeded.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use rustix::io::{Errno, Result};

use super::durable::Identity;
use super::lock;

/// Directories that are being synced, each with those who wait for its next sync.
#[derive(Default)]
pub(super) struct Joint(Mutex<HashMap<Identity, Option<Arc<Round>>>>);

/// Who does a sync. It tells the others when it ends, be it by a panic: they would wait for ever.
struct Turn<'a> {
    joint: &'a Joint,
    directory: Identity,
    round: Option<Arc<Round>>,
    outcome: Result<()>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(round) = &self.round {
            round.enter(State::Ended(self.outcome));
        }
        self.joint.pass_on(self.directory, self.outcome);
    }
}

/// Those who wait for the same sync. One of them will do it.
#[derive(Default)]
struct Round {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Clone, Copy, Default)]
enum State {
    #[default]
    Waiting,
    /// The sync before has ended: the first who sees this does the next one.
    Due,
    Begun,
    Ended(Result<()>),
}

impl Joint {
    /// Makes the names in `directory` durable by `sync`, or by another caller's.
    ///
    /// # Errors
    /// What that sync failed with: all who waited for it are told. So are those who waited behind it, because an error is
    /// reported once, and their names may have been among what was lost.
    pub(super) fn sync(&self, directory: Identity, sync: impl FnOnce() -> Result<()>) -> Result<()> {
        let round = match lock(&self.0).entry(directory) {
            Entry::Occupied(running) => Some(Arc::clone(running.into_mut().get_or_insert_default())),
            Entry::Vacant(none_runs) => {
                none_runs.insert(None);
                None
            }
        };
        if let Some(round) = &round {
            if let Some(outcome) = round.wait() {
                return outcome;
            }
            // From here on, who comes waits for the next one.
            lock(&self.0).insert(directory, None);
        }
        let mut turn = Turn { joint: self, directory, round, outcome: Err(Errno::IO) };
        turn.outcome = sync();
        turn.outcome
    }

    fn pass_on(&self, directory: Identity, outcome: Result<()>) {
        let mut running = lock(&self.0);
        let next = running.get(&directory).and_then(Clone::clone);
        match (next, outcome) {
            (Some(next), Ok(())) => next.enter(State::Due),
            (next, _) => {
                running.remove(&directory);
                if let Some(next) = next {
                    next.enter(State::Ended(outcome));
                }
            }
        }
    }

    /// How many wait for the next sync of a directory.
    #[cfg(test)]
    pub(super) fn waiting(&self, directory: Identity) -> usize {
        // One reference is the map's.
        lock(&self.0).get(&directory).and_then(Option::as_ref).map_or(0, |round| Arc::strong_count(round) - 1)
    }
}

impl Round {
    /// The outcome; `None` for who has to do it.
    fn wait(&self) -> Option<Result<()>> {
        let mut state = lock(&self.state);
        loop {
            match *state {
                State::Ended(outcome) => return Some(outcome),
                State::Due => {
                    *state = State::Begun;
                    return None;
                }
                State::Waiting | State::Begun => {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    fn enter(&self, next: State) {
        *lock(&self.state) = next;
        match next {
            State::Due => self.changed.notify_one(),
            _ => self.changed.notify_all(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::SeqCst;
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    const CROWD: usize = 5;
    const LOST: Result<()> = Err(Errno::IO);

    /// A crowd comes while a sync runs, which then ends as `first` does; a sync of the crowd's ends as `next` does. Returns
    /// how often the crowd synced, and what all heard, the first one first: `None` is a panic.
    fn crowd_behind(first: fn() -> Result<()>, next: fn() -> Result<()>) -> (usize, Vec<Option<Result<()>>>) {
        let (joint, directory, syncs) = (Joint::default(), Identity::invented(1), AtomicUsize::new(0));
        let (release, held) = mpsc::channel::<()>();
        let sync = || {
            syncs.fetch_add(1, SeqCst);
            next()
        };
        let heard = thread::scope(|scope| {
            let runs = move || {
                let _ = held.recv();
                first()
            };
            let mut all = vec![scope.spawn(|| joint.sync(directory, runs))];
            while lock(&joint.0).is_empty() {
                thread::yield_now();
            }
            all.extend((0..CROWD).map(|_| scope.spawn(|| joint.sync(directory, sync))));
            while joint.waiting(directory) < CROWD {
                thread::yield_now();
            }
            assert_eq!(joint.sync(Identity::invented(2), || LOST), LOST, "another directory waits for nobody");
            drop(release);
            all.into_iter().map(|one| one.join().ok()).collect()
        });
        assert!(lock(&joint.0).is_empty(), "nothing is left of it");
        (syncs.into_inner(), heard)
    }

    fn panicking() -> Result<()> {
        std::panic::resume_unwind(Box::new("planned"))
    }

    #[test]
    fn who_comes_while_a_sync_runs_shares_the_next_one() {
        assert_eq!(crowd_behind(|| Ok(()), || Ok(())), (1, vec![Some(Ok(())); 1 + CROWD]));
    }

    #[test]
    fn what_a_sync_lost_may_be_the_names_of_those_who_wait() {
        assert_eq!(crowd_behind(|| LOST, || Ok(())), (0, vec![Some(LOST); 1 + CROWD]));
    }

    #[test]
    fn who_waits_behind_a_panic_does_not_wait_for_ever() {
        let (syncs, heard) = crowd_behind(panicking, || Ok(()));
        assert_eq!((syncs, heard[0], &heard[1..]), (0, None, &[Some(LOST); CROWD][..]));
        let (syncs, mut heard) = crowd_behind(|| Ok(()), panicking);
        heard.sort_by_key(Option::is_some);
        assert_eq!((syncs, heard[0]), (1, None));
        assert_eq!(heard.iter().filter(|one| **one == Some(LOST)).count(), CROWD - 1);
    }
}
