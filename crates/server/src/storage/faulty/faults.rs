//! [`Faults`]: which operations fail, and how.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::storage::StoreError;
#[cfg(doc)]
use crate::storage::{Blob, BlobStore, BlobWriter};

/// A kind of operation that can fail.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Operation {
    /// [`BlobStore::create`].
    Create,
    /// [`BlobStore::claim`].
    Claim,
    /// [`BlobStore::open`].
    Open,
    /// [`BlobStore::condemn`].
    Condemn,
    /// [`BlobStore::remove`].
    Remove,
    /// [`BlobStore::free`], which then cannot tell.
    Free,
    /// [`BlobWriter::write`].
    Write,
    /// [`BlobWriter::equals`].
    Compare,
    /// [`BlobWriter::publish`], before it gives the name.
    Publish,
    /// [`BlobWriter::publish`], after it gave the name: as when the sync of a directory fails.
    PublishLate,
    /// [`Blob::refill`].
    Read,
}

/// How an operation fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// [`StoreError::Full`].
    Full,
    /// [`StoreError::Io`].
    Io,
    /// [`StoreError::Slow`].
    Slow,
}

/// What fails when. Shared by the store, its writers and its blobs; clones are one plan.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    seen: HashMap<Operation, usize>,
    planned: Vec<(Operation, usize, Fault)>,
    chance: Option<Chance>,
    struck: Vec<Operation>,
}

#[derive(Debug)]
struct Chance {
    random: u64,
    one_in: u64,
}

impl Faults {
    /// Nothing fails.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Each operation fails with a chance of one in `one_in`, the same way for the same seed.
    #[must_use]
    pub fn random(seed: u64, one_in: u64) -> Self {
        // A generator that is stuck at zero would never fail anything.
        let chance = Chance { random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, one_in: one_in.max(1) };
        Self(Arc::new(Mutex::new(State { chance: Some(chance), ..State::default() })))
    }

    /// The `nth` operation of this kind from now on fails (the first is 1).
    pub fn fail(&self, operation: Operation, nth: usize, fault: Fault) {
        let mut state = self.state();
        let seen = state.seen.get(&operation).copied().unwrap_or(0);
        state.planned.push((operation, seen + nth, fault));
    }

    /// How many operations of this kind were tried.
    #[must_use]
    pub fn seen(&self, operation: Operation) -> usize {
        self.state().seen.get(&operation).copied().unwrap_or(0)
    }

    /// What has failed since this was asked last, in order.
    pub fn take_struck(&self) -> Vec<Operation> {
        std::mem::take(&mut self.state().struck)
    }

    pub(super) fn pass(&self, operation: Operation) -> Result<(), StoreError> {
        let mut state = self.state();
        let seen = state.seen.entry(operation).or_default();
        *seen += 1;
        let nth = *seen;
        let planned =
            state.planned.iter().find(|(of, at, _)| (*of, *at) == (operation, nth)).map(|(_, _, fault)| *fault);
        match planned.or_else(|| state.chance.as_mut().and_then(Chance::draw)) {
            Some(fault) => {
                state.struck.push(operation);
                Err(fault.error())
            }
            None => Ok(()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Chance {
    /// Xorshift: repeatable, and good enough to choose faults.
    fn draw(&mut self) -> Option<Fault> {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let drawn = self.random >> 16;
        let fault = [Fault::Full, Fault::Io, Fault::Slow][(drawn / self.one_in % 3) as usize];
        drawn.is_multiple_of(self.one_in).then_some(fault)
    }
}

impl Fault {
    fn error(self) -> StoreError {
        const ACTION: &str = "do what was planned to fail";
        match self {
            Self::Full => StoreError::Full { source: io::ErrorKind::StorageFull.into() },
            Self::Io => StoreError::Io { action: ACTION, source: io::Error::other("planned") },
            Self::Slow => StoreError::Slow { action: ACTION, deadline: Duration::ZERO },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_repeats_by_seed_and_is_near_its_odds() {
        let run = |seed| {
            let faults = Faults::random(seed, 10);
            (0..10_000).map(|_| faults.pass(Operation::Write).is_err()).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        let failures = run(0).into_iter().filter(|failed| *failed).count();
        assert!((800..1200).contains(&failures), "{failures}");
    }
}
