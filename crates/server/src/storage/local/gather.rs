//! [`Gather`]: small pieces become large writes.
//!
//! An upload gathers what its plan says, up to 1 MiB (the measured optimum of CPU per byte). The memory is the flow's: what
//! is gathered and the piece that comes next are never more than that together.

use bytes::Bytes;

/// Below it a piece is copied: one of a few bytes may keep a whole receive buffer alive.
const KEEP: usize = 16 << 10;
/// The kernel takes at most 1024 pieces per write.
const MAX_PIECES: usize = 512;

#[derive(Debug)]
pub(super) struct Gather {
    pieces: Vec<Bytes>,
    tail: Vec<u8>,
    held: usize,
    target: usize,
}

impl Gather {
    pub(super) fn new(target: usize) -> Self {
        Self { pieces: Vec::new(), tail: Vec::new(), held: 0, target }
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
        if data.len() < KEEP {
            self.make_room(data.len());
            self.tail.extend_from_slice(&data);
            return;
        }
        self.seal();
        self.pieces.push(data);
    }

    /// Makes room for `more` of the bytes that are held, as a vector does, but for no more than may be gathered.
    fn make_room(&mut self, more: usize) {
        let (length, needed) = (self.tail.len(), self.tail.len() + more);
        if needed > self.tail.capacity() {
            let most = length + more + self.target.saturating_sub(self.held);
            self.tail.reserve_exact((2 * length).clamp(needed, most) - length);
        }
    }

    /// Whether it is time to write: what comes next may be `next` bytes.
    pub(super) fn is_due(&self, next: usize) -> bool {
        self.held + next.max(1) > self.target || self.pieces.len() >= MAX_PIECES
    }

    /// Everything held, in order.
    pub(super) fn take(&mut self) -> Vec<Bytes> {
        self.seal();
        self.held = 0;
        std::mem::take(&mut self.pieces)
    }

    /// Everything held, in order, and held on.
    pub(super) fn held(&mut self) -> &[Bytes] {
        self.seal();
        &self.pieces
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.pieces.push(std::mem::take(&mut self.tail).into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: usize = 256 << 10;

    #[test]
    fn order_is_kept_across_small_and_large_pieces() {
        let mut gather = Gather::new(FIRST);
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
    fn what_is_copied_takes_no_more_memory_than_may_be_gathered() {
        for target in [4 << 10, 16 << 10, 64 << 10] {
            for piece in [1, 1000, 5000, KEEP - 1] {
                let mut gather = Gather::new(target);
                gather.push(vec![7; piece].into());
                while !gather.is_due(piece) {
                    gather.push(vec![7; piece].into());
                }
                assert!(gather.tail.capacity() <= target.max(piece), "{} of {target}", gather.tail.capacity());
            }
        }
    }

    #[test]
    fn what_comes_next_still_fits() {
        let mut gather = Gather::new(FIRST);
        gather.push(vec![0; FIRST / 2].into());
        assert!(!gather.is_due(FIRST / 2));
        assert!(gather.is_due(FIRST / 2 + 1));
        gather.push(vec![0; FIRST / 2 - 1].into());
        assert!(!gather.is_due(0));
        gather.push(vec![0; 1].into());
        assert!(gather.is_due(0), "it is full");
        gather.aim(4 * FIRST);
        assert!(!gather.is_due(FIRST), "the second target is larger");
        gather.take();
        assert!(!gather.is_due(FIRST));
    }
}
