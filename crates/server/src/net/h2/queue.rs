//! [`Queue`]: what one response has given its connection, and the memory that comes back once it was sent.
//!
//! The `h2` crate bounds what a stream may queue by one figure for all, and says nothing of what leaves. Here the queue
//! follows the plan of the transfer, and each byte is counted as the connection takes it.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, Bytes};
use tokio::sync::Notify;

use super::send::FRAME;
use crate::storage::Scratch;

/// A piece is a quarter of what may be queued, in whole frames: the next one is read while others are sent.
const PARTS: usize = 4;
const FEWEST_FRAMES: usize = 2;
const MOST_FRAMES: usize = 4;

/// The largest piece.
pub(super) const PIECE: usize = MOST_FRAMES * FRAME;

/// The size of a piece where `write` bytes may be queued: never more than that, and half of it where that is a frame.
pub(super) fn piece_of(write: usize) -> usize {
    let frames = (write / PARTS / FRAME).clamp(FEWEST_FRAMES, MOST_FRAMES).min(write / 2 / FRAME).max(1);
    (frames * FRAME).min(write)
}

/// The stream ended, and dropped what it had queued.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Lost;

/// The queue of one response.
#[derive(Debug, Default)]
pub(super) struct Queue {
    memory: Mutex<Memory>,
    /// Bytes that were put in, and those that the connection has taken.
    put: AtomicU64,
    taken: AtomicU64,
    is_lost: AtomicBool,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Memory {
    /// Held by pieces until they were sent whole.
    lent: usize,
    spare: Vec<Scratch>,
}

impl Memory {
    /// Gives spare memory beyond `room` bytes back.
    fn keep(&mut self, mut room: usize) {
        self.spare.retain(|scratch| {
            let fits = scratch.size() <= room;
            room -= if fits { scratch.size() } else { 0 };
            fits
        });
    }
}

impl Queue {
    /// Memory for a piece of `length`, once it fits into a queue of `most` bytes; an empty queue takes any.
    pub(super) async fn spare(&self, length: usize, most: usize) -> Scratch {
        loop {
            {
                let mut memory = self.memory();
                if memory.lent == 0 || memory.lent + length <= most {
                    let spare = memory.spare.pop().unwrap_or_default();
                    let room = most.saturating_sub(memory.lent + length);
                    memory.keep(room);
                    return spare;
                }
            }
            self.changed.notified().await;
        }
    }

    /// A piece whose memory comes back when the connection is through with it.
    pub(super) fn lend(self: &Arc<Self>, scratch: Scratch) -> Bytes {
        self.memory().lent += scratch.filled().len();
        Bytes::from_owner(Lent { scratch, queue: Arc::clone(self) })
    }

    /// Puts a frame's bytes into the queue.
    pub(super) fn put(self: &Arc<Self>, bytes: Bytes) -> Queued {
        self.put.fetch_add(bytes.len() as u64, Relaxed);
        Queued { bytes, queue: Arc::clone(self) }
    }

    /// Bytes that were put in so far.
    pub(super) fn given(&self) -> u64 {
        self.put.load(Relaxed)
    }

    /// Bytes that the connection has taken so far, or `h2`'s own buffer: it copies frames below 1 KiB.
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Relaxed)
    }

    /// Bytes that it has not taken, or that were lost.
    pub(super) fn left(&self) -> u64 {
        self.given().saturating_sub(self.taken())
    }

    /// Waits until the connection has taken everything.
    ///
    /// # Errors
    /// The stream ended before.
    pub(super) async fn drained(&self) -> Result<(), Lost> {
        while self.left() > 0 {
            if self.is_lost.load(Relaxed) {
                return Err(Lost);
            }
            self.changed.notified().await;
        }
        Ok(())
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes in the queue. They are counted as the connection takes them.
#[derive(Debug)]
pub(super) struct Queued {
    bytes: Bytes,
    queue: Arc<Queue>,
}

impl Buf for Queued {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        self.queue.taken.fetch_add(count as u64, Relaxed);
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        if !self.bytes.is_empty() {
            self.queue.is_lost.store(true, Relaxed);
        } else if self.queue.left() > 0 {
            return;
        }
        self.queue.changed.notify_one();
    }
}

/// The memory of a piece. It comes back when it was sent, or when its stream ended.
struct Lent {
    scratch: Scratch,
    queue: Arc<Queue>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        self.scratch.filled()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let scratch = std::mem::take(&mut self.scratch);
        let mut memory = self.queue.memory();
        memory.lent -= scratch.filled().len();
        memory.spare.push(scratch);
        drop(memory);
        self.queue.changed.notify_one();
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

    #[tokio::test(start_paused = true)]
    async fn a_queue_is_drained_when_each_byte_was_taken_and_not_when_some_were_dropped() {
        for is_whole in [true, false] {
            let queue = Arc::new(Queue::default());
            let [mut first, mut last] =
                [queue.put(Bytes::from_static(b"first")), queue.put(Bytes::from_static(b"last"))];
            first.advance(5);
            drop(first);
            last.advance(3);
            assert_eq!((queue.taken(), queue.left()), (8, 1));
            let waiting = tokio::spawn({
                let queue = Arc::clone(&queue);
                async move { queue.drained().await }
            });
            tokio::task::yield_now().await;
            assert!(!waiting.is_finished());
            if is_whole {
                last.advance(1);
            }
            drop(last);
            assert_eq!(waiting.await.unwrap(), if is_whole { Ok(()) } else { Err(Lost) });
        }
    }

    #[tokio::test]
    async fn what_a_plan_has_given_up_does_not_stay_as_spare_memory() {
        let queue = Arc::new(Queue::default());
        let mut pieces = Vec::new();
        for _ in 0..4 {
            pieces.push(piece(&queue, 400, 1600).await.unwrap());
        }
        drop(pieces);
        let spare = |queue: &Queue| queue.memory().spare.iter().map(Scratch::size).sum::<usize>();
        assert_eq!(spare(&queue), 1600);
        let _piece = piece(&queue, 400, 800).await.unwrap();
        assert_eq!(spare(&queue), 400, "and the piece");
    }

    #[test]
    fn pieces_are_whole_frames_and_several_fit() {
        for write in [32 << 10, 64 << 10, 256 << 10, 1 << 20, 16 << 20] {
            let piece = piece_of(write);
            assert!(piece.is_multiple_of(FRAME) && piece <= PIECE && 2 * piece <= write, "{write}");
        }
        assert_eq!((piece_of(16 << 10), piece_of(4 << 10)), (FRAME, 4 << 10), "as much as there may be");
    }
}
