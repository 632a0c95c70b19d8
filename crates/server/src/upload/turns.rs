//! [`Turns`]: how many pieces of slow uploads are in memory at once.
//!
//! Thousands of clients may send at the same moment; what waits for the disk waits in the kernel, where it is already.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::storage::StoreError;

/// Pieces that are out of the kernel and not yet in the store.
const PIECES: usize = 16;
/// A store that keeps all turns this long does not answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The turns of one store. Clones are the same ones.
#[derive(Clone, Debug)]
pub struct Turns(Arc<Semaphore>);

/// Held while the store has a piece that came slowly.
#[derive(Debug)]
pub(super) struct Turn(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(PIECES)))
    }
}

impl Turns {
    /// Waits for a turn; those who have them wait for the disk.
    pub(super) async fn take(&self) -> Result<Turn, StoreError> {
        let slow = StoreError::Slow { action: "take its turn", deadline: PATIENCE };
        let Ok(turn) = Arc::clone(&self.0).try_acquire_owned() else {
            // Boxed: each upload waits for its client most of the time, and should hold no room for this wait. The
            // semaphore is never closed.
            let turn = Box::pin(timeout(PATIENCE, Arc::clone(&self.0).acquire_owned())).await;
            return turn.ok().and_then(Result::ok).map(Turn).ok_or(slow);
        };
        Ok(Turn(turn))
    }

    /// As when the disk hangs.
    #[cfg(test)]
    pub(super) async fn take_all(&self) -> Vec<Turn> {
        let mut all = Vec::new();
        for _ in 0..PIECES {
            all.push(self.take().await.unwrap());
        }
        all
    }
}
