//! [`Gather`]: small pieces become large writes, within a budget that all uploads share.
//!
//! One upload gathers what its plan says, up to 1 MiB (the measured optimum of CPU per byte). Thousands of slow ones would
//! hold gigabytes that way, so above the budget each writes what it has from 16 KiB on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};

/// Bytes that all uploads of a store hold.
#[derive(Debug, Default)]
pub(super) struct Gathered(AtomicUsize);

const BUDGET: usize = 64 << 20;
const SHORT: usize = 16 << 10;
/// Below it a piece is copied: one of a few bytes may keep a whole receive buffer alive.
const KEEP: usize = 16 << 10;
/// The kernel takes at most 1024 pieces per write.
const MAX_PIECES: usize = 512;

#[derive(Debug)]
pub(super) struct Gather {
    pieces: Vec<Bytes>,
    tail: BytesMut,
    held: usize,
    target: usize,
    all: Arc<Gathered>,
}

impl Gather {
    pub(super) fn new(all: Arc<Gathered>, target: usize) -> Self {
        Self { pieces: Vec::new(), tail: BytesMut::new(), held: 0, target, all }
    }

    /// Gathers this many bytes from now on.
    pub(super) fn aim(&mut self, target: usize) {
        self.target = target;
    }

    /// Bytes held.
    pub(super) fn len(&self) -> usize {
        self.held
    }

    pub(super) fn push(&mut self, data: Bytes) {
        self.held += data.len();
        self.all.0.fetch_add(data.len(), Ordering::Relaxed);
        if data.len() < KEEP {
            self.tail.extend_from_slice(&data);
            return;
        }
        self.seal();
        self.pieces.push(data);
    }

    /// Whether it is time to write.
    pub(super) fn is_due(&self) -> bool {
        let target = if self.all.0.load(Ordering::Relaxed) > BUDGET { SHORT } else { self.target };
        self.held >= target || self.pieces.len() >= MAX_PIECES
    }

    /// Everything held, in order.
    pub(super) fn take(&mut self) -> Vec<Bytes> {
        self.seal();
        self.release();
        std::mem::take(&mut self.pieces)
    }

    /// Everything held, in order, and held on.
    pub(super) fn held(&mut self) -> &[Bytes] {
        self.seal();
        &self.pieces
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.pieces.push(std::mem::take(&mut self.tail).freeze());
        }
    }

    fn release(&mut self) {
        self.all.0.fetch_sub(self.held, Ordering::Relaxed);
        self.held = 0;
    }
}

impl Drop for Gather {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: usize = 256 << 10;

    #[test]
    fn order_is_kept_across_small_and_large_pieces() {
        let mut gather = Gather::new(Arc::default(), FIRST);
        let large = vec![b'x'; KEEP];
        for piece in [&b"ab"[..], b"c", &large, b"d"] {
            gather.push(Bytes::copy_from_slice(piece));
        }
        assert_eq!(gather.len(), KEEP + 4);
        let pieces = gather.take();
        assert_eq!(pieces.len(), 3);
        assert_eq!(pieces.concat(), [&b"abc"[..], &large, b"d"].concat());
        assert_eq!(gather.len(), 0);
    }

    #[test]
    fn targets_grow_and_shrink_with_the_budget() {
        let all = Arc::<Gathered>::default();
        let mut fast = Gather::new(Arc::clone(&all), FIRST);
        fast.push(vec![0; FIRST - 1].into());
        assert!(!fast.is_due());
        fast.push(vec![0; 1].into());
        assert!(fast.is_due());
        fast.take();
        fast.aim(1 << 20);
        fast.push(vec![0; FIRST].into());
        assert!(!fast.is_due(), "the second target is larger");

        let mut crowd = Gather::new(Arc::clone(&all), FIRST);
        crowd.push(vec![0; BUDGET].into());
        assert!(fast.is_due(), "over the budget 16 KiB suffice");
        drop((fast, crowd));
        assert_eq!(all.0.load(Ordering::Relaxed), 0);
    }
}
