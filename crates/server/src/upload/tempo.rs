//! [`Tempo`]: what the pieces of a body, and the waits for them, say of the client that sends it: whether it is faster
//! than we are, whether it is slow, and whether a larger step would be worth it.
//!
//! Pure: the receiver tells it of each piece.

use std::time::Duration;

/// A read this long that was filled, or several that were not waited for, show a client that is faster than we are.
pub(super) const PRESSING: u32 = 64 << 10;
/// A client that lets us wait this long for less than that, or for all of a step, is slow ...
const SLOW: Duration = Duration::from_millis(20);
/// ... until this much has come without such a wait: where hundreds begin together, it is we who are late, and a piece or
/// two of each waits for us.
const NO_LONGER_SLOW: u32 = 64 << 10;
/// A first piece shorter than this shows a client that sends as it can.
const PROMPT: usize = 16 << 10;

/// A piece that came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    /// Bytes.
    pub(super) length: usize,
    /// For how long it was waited for. Time in which our own task waited to run is in it, since nobody says when the bytes
    /// came: where that is much, steps stay smaller than they might be.
    pub(super) waited: Duration,
    /// Whether a longer one might have come at once.
    pub(super) is_full: bool,
    /// Whether it is the first one of an upload that is long enough to be slow.
    pub(super) is_first: bool,
}

/// What came so far, in figures: thousands of uploads wait, each with some.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tempo {
    is_pressed: bool,
    /// Bytes that came in a row faster than they were read.
    pressing: u32,
    is_slow: bool,
    /// Bytes that came since it was slow.
    hurried: u32,
    /// For how many microseconds the bytes of the step that is gathered were waited for, and how many came.
    waited: u32,
    gathered: u32,
    /// What the step before said.
    haste: Haste,
}

impl Tempo {
    /// Nothing has come.
    pub(super) const fn new() -> Self {
        Self { is_pressed: false, pressing: 0, is_slow: false, hurried: 0, waited: 0, gathered: 0, haste: Haste::More }
    }

    /// Whether the client sends faster than it was read last.
    pub(super) fn is_pressed(&self) -> bool {
        self.is_pressed
    }

    /// Whether it lets us wait.
    pub(super) fn is_slow(&self) -> bool {
        self.is_slow
    }

    /// Takes note of a piece while steps have `step` bytes; returns what it says of that size.
    pub(super) fn note(&mut self, piece: &Arrival, step: usize) -> Haste {
        let is_late = piece.waited >= SLOW;
        // A piece that was waited for fills no larger one: TLS gives a record at a time also of a trickle.
        let filled = piece.is_full && !is_late;
        let haste = self.haste(piece, step);
        let length = kept(piece.length as u128);
        self.pressing = if filled { self.pressing.saturating_add(length) } else { 0 };
        self.is_pressed = piece.is_full && self.pressing.max(length) >= PRESSING;
        // Hundreds of uploads may begin at once: what all of them had gathered would tear holes into the heap.
        let is_slow = is_late || piece.is_first && piece.length < PROMPT;
        self.hurried = if is_slow { 0 } else { self.hurried.saturating_add(length) };
        self.is_slow = !self.is_pressed && (is_slow || self.is_slow && self.hurried < NO_LONGER_SLOW);
        if filled { haste } else { Haste::Less }
    }

    /// Takes note of bytes that a thread has taken: all of them are written, with what was gathered before. `is_pressed`:
    /// the client was faster than that thread.
    pub(super) fn pumped(&mut self, is_pressed: bool) {
        (self.is_pressed, self.pressing) = (is_pressed, 0);
        (self.waited, self.gathered, self.haste) = (0, 0, Haste::More);
    }

    /// What the waits for the bytes of the last step, or of this one, are worth. Records and frames, which are all of one
    /// length, say nothing of it one by one.
    fn haste(&mut self, piece: &Arrival, step: usize) -> Haste {
        self.waited = self.waited.saturating_add(kept(piece.waited.as_micros()));
        self.gathered = self.gathered.saturating_add(kept(piece.length as u128));
        let haste = Haste::of(Duration::from_micros(self.waited.into()));
        if (self.gathered as usize) < step {
            return haste.max(self.haste);
        }
        (self.waited, self.gathered, self.haste) = (0, 0, haste);
        haste
    }
}

/// What the bytes of one step say of its size. A larger one spares writes, which matters where there are many of them.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Haste {
    /// They come so fast that a larger step is worth it.
    More,
    /// They do not, but did before the step grew to this.
    Enough,
    /// A smaller one would do.
    Less,
}

impl Haste {
    /// Of so long a wait for all of them.
    fn of(waited: Duration) -> Self {
        match () {
            () if waited < SLOW => Self::More,
            // A step grows fourfold.
            () if waited < 4 * SLOW => Self::Enough,
            () => Self::Less,
        }
    }
}

/// A figure as it is kept.
fn kept(figure: u128) -> u32 {
    u32::try_from(figure).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: usize = 64 << 10;

    /// A full piece of so many bytes, waited for so many milliseconds.
    fn piece(length: usize, millis: u64) -> Arrival {
        Arrival { length, waited: Duration::from_millis(millis), is_full: true, is_first: false }
    }

    #[test]
    fn a_step_is_judged_by_all_the_waits_for_its_bytes() {
        let judged = |millis| {
            let mut tempo = Tempo::new();
            (0..4).map(|_| tempo.note(&piece(STEP / 4, millis), STEP)).last()
        };
        assert_eq!((judged(4), judged(5), judged(19)), (Some(Haste::More), Some(Haste::Enough), Some(Haste::Enough)));
        assert_eq!(judged(20), Some(Haste::Less));
        assert_eq!(Tempo::new().note(&piece(STEP, 20), STEP), Haste::Less, "though all of them came in 20 ms");
        let mut tempo = Tempo::new();
        assert_eq!(tempo.note(&Arrival { is_full: false, ..piece(STEP, 0) }, STEP), Haste::Less);
    }

    #[test]
    fn what_a_step_has_said_counts_until_the_next_one_is_whole() {
        let mut tempo = Tempo::new();
        assert_eq!(tempo.note(&piece(STEP, 19), STEP), Haste::More);
        for n in 0..7 {
            tempo.note(&piece(STEP / 8, if n == 0 { 19 } else { 1 }), STEP);
        }
        assert_eq!(tempo.note(&piece(STEP / 8, 1), STEP), Haste::Enough);
        assert_eq!(tempo.note(&piece(STEP / 2, 0), STEP), Haste::Enough, "as the one before");
        assert_eq!(tempo.note(&piece(STEP / 2, 0), STEP), Haste::More);
    }

    #[test]
    fn what_was_waited_for_before_a_thread_took_over_is_not_of_the_step_after_it() {
        let mut tempo = Tempo::new();
        for _ in 0..5 {
            tempo.note(&piece(STEP / 8, 19), STEP);
        }
        assert_eq!(tempo.note(&piece(STEP / 8, 0), STEP), Haste::Less);
        tempo.pumped(false);
        assert_eq!(tempo.note(&piece(STEP / 8, 0), STEP), Haste::More);
        assert!((0..7).all(|_| tempo.note(&piece(STEP / 8, 0), STEP) == Haste::More));
    }

    #[test]
    fn a_slow_client_is_that_until_much_has_come_without_a_wait() {
        let mut tempo = Tempo::new();
        tempo.note(&Arrival { is_first: true, ..piece(PROMPT - 1, 0) }, STEP);
        assert!(tempo.is_slow());
        let pieces = NO_LONGER_SLOW as usize / 1000;
        assert!((0..pieces).all(|_| {
            tempo.note(&Arrival { is_full: false, ..piece(1000, 0) }, STEP);
            tempo.is_slow()
        }));
        tempo.note(&Arrival { is_full: false, ..piece(1000, 0) }, STEP);
        assert!(!tempo.is_slow());
        tempo.note(&piece(1000, 20), STEP);
        assert!(tempo.is_slow());
        tempo.note(&piece(PRESSING as usize, 20), STEP);
        assert!(tempo.is_pressed() && !tempo.is_slow(), "one long read is enough");
    }
}
