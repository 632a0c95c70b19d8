//! [`Queue`]: pieces of one response that its connection has not sent yet, and the memory that comes back from those it
//! has.
//!
//! The `h2` crate bounds what a stream may queue by one figure for all; here it follows the plan of the transfer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use super::send::FRAME;
use crate::storage::Scratch;

/// A piece is a quarter of what may be queued, in whole frames: the next one is read while others are sent.
const PARTS: usize = 4;
const FEWEST_FRAMES: usize = 2;
const MOST_FRAMES: usize = 4;

/// The size of a piece where `write` bytes may be queued.
pub(super) fn piece_of(write: usize) -> usize {
    (write / PARTS / FRAME).clamp(FEWEST_FRAMES, MOST_FRAMES) * FRAME
}

/// The queue of one response.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    left: Notify,
}

#[derive(Debug, Default)]
struct State {
    queued: usize,
    spare: Vec<Scratch>,
}

impl Queue {
    /// Memory for a piece of `length`, once it fits into a queue of `most` bytes; an empty queue takes any.
    pub(super) async fn spare(&self, length: usize, most: usize) -> Scratch {
        loop {
            {
                let mut state = self.state();
                if state.queued == 0 || state.queued + length <= most {
                    return state.spare.pop().unwrap_or_default();
                }
            }
            self.left.notified().await;
        }
    }

    /// Puts a piece into the queue, for as long as the connection has it.
    pub(super) fn lend(self: &Arc<Self>, piece: Scratch) -> Bytes {
        self.state().queued += piece.filled().len();
        Bytes::from_owner(Lent { piece, queue: Arc::clone(self) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A piece in the queue. It comes back when it was sent, or when its stream ended.
struct Lent {
    piece: Scratch,
    queue: Arc<Queue>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        self.piece.filled()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let piece = std::mem::take(&mut self.piece);
        let mut state = self.queue.state();
        state.queued -= piece.filled().len();
        state.spare.push(piece);
        drop(state);
        self.queue.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    async fn piece(queue: &Arc<Queue>, length: usize, most: usize) -> Option<Bytes> {
        let mut scratch = timeout(Duration::from_secs(60), queue.spare(length, most)).await.ok()?;
        scratch.refill(length, |room| Ok::<_, Infallible>(room.len())).unwrap();
        Some(queue.lend(scratch))
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_is_queued_than_the_plan_allows_and_memory_comes_back() {
        let queue = Arc::new(Queue::default());
        let mut first = piece(&queue, 400, 1000).await.unwrap();
        let second = piece(&queue, 400, 1000).await.unwrap();
        assert!(piece(&queue, 400, 1000).await.is_none(), "three do not fit");
        assert!(piece(&queue, 400, 1200).await.is_some(), "unless the plan has grown");
        let (memory, half) = (first.as_ptr(), first.split_to(200));
        drop(half);
        assert!(piece(&queue, 400, 1000).await.is_none(), "half of it is still to be sent");
        drop(first);
        assert_eq!(piece(&queue, 400, 1000).await.unwrap().as_ptr(), memory);
        drop(second);
        assert!(piece(&queue, 4000, 1000).await.is_some(), "an empty queue takes any");
    }

    #[test]
    fn pieces_are_whole_frames_and_several_fit() {
        for write in [0, 32 << 10, 64 << 10, 256 << 10, 1 << 20, 16 << 20] {
            let piece = piece_of(write);
            assert!(piece.is_multiple_of(FRAME) && piece <= 64 << 10 && 2 * piece <= write.max(64 << 10), "{write}");
        }
    }
}
