//! [`Share`]: what one flow holds of the memory of all, and how it grows and gives way.

use tokio::sync::OwnedSemaphorePermit;

use super::memory::{Memory, PAGE, pages};

/// One flow's part, given back on drop: whoever still has bytes of the flow keeps it until they are gone.
#[derive(Debug)]
pub(crate) struct Share {
    memory: Memory,
    held: Option<OwnedSemaphorePermit>,
    /// Pages that were asked for last, and that were when the last piece began.
    wanted: usize,
    before: usize,
}

impl Share {
    /// A part of `memory` that holds nothing yet.
    pub(super) fn of(memory: Memory) -> Self {
        Self { memory, held: None, wanted: 0, before: 0 }
    }

    /// Begins with what was waited for.
    pub(super) fn hold(&mut self, waited_for: Option<OwnedSemaphorePermit>) {
        self.held = waited_for;
        self.wanted = self.pages();
    }

    /// Takes so many pages more, if they are there, whether or not there is plenty.
    pub(super) fn claim(&mut self, more: usize) {
        if self.take(more) {
            self.wanted = self.pages();
        }
    }

    /// Asks for `bytes` like [`Share::resize`], but gives way to others while memory is short: half as much each time,
    /// down to `least`.
    pub(super) fn fit(&mut self, bytes: usize, least: usize) -> usize {
        let half = self.wanted * PAGE / 2;
        // Who began with nothing, since it need not wait, gets what others wait for as soon as that is there.
        let lacking = (pages(bytes.min(least)) as usize).saturating_sub(self.pages());
        if lacking > 0 {
            self.claim(lacking);
        }
        self.resize(if self.memory.is_short() { bytes.min(half.max(least)) } else { bytes })
    }

    /// Asks for `bytes`; returns what there is, at least what the flow has already when it wants more. What it gives up is
    /// others' as soon as [`Share::settle`] says so.
    pub(super) fn resize(&mut self, bytes: usize) -> usize {
        let (wanted, held) = (pages(bytes) as usize, self.pages());
        if wanted > held {
            let more = wanted - held;
            let to_stay = Spare::Half.of(self.memory.total());
            let is_plenty = self.memory.free_pages() >= more.saturating_add(to_stay);
            if is_plenty && self.take(more) {
                self.wanted = wanted;
                return bytes;
            }
            self.wanted = held;
            return (held * PAGE).min(bytes).max(1);
        }
        self.wanted = wanted;
        bytes
    }

    /// Takes towards `bytes`, beyond what is to stay free a quarter at most, so that others find some too; returns how much
    /// of them there is.
    pub(super) fn stretch(&mut self, bytes: usize, spare: Spare) -> usize {
        let to_spare = self.memory.free_pages().saturating_sub(spare.of(self.memory.total())) / 4;
        let more = bytes.div_ceil(PAGE).saturating_sub(self.pages()).min(to_spare);
        if more > 0 {
            self.take(more);
        }
        (self.wanted, self.before) = (self.pages(), self.pages());
        bytes.min(self.size())
    }

    /// Gives back what is held beyond `bytes`, at once.
    pub(crate) fn trim(&mut self, bytes: usize) {
        (self.wanted, self.before) = (bytes.div_ceil(PAGE), 0);
        self.settle();
    }

    /// Whether so little is left that those who hold much have to give way.
    pub(super) fn is_short(&self) -> bool {
        self.memory.is_short()
    }

    /// Whether so much is left for others.
    pub(super) fn leaves(&self, spare: Spare) -> bool {
        self.memory.free_pages() >= spare.of(self.memory.total())
    }

    /// Takes so many pages more, if they are there.
    fn take(&mut self, more: usize) -> bool {
        let Some(more) = self.memory.try_take(more) else { return false };
        match &mut self.held {
            Some(held) => held.merge(more),
            None => self.held = Some(more),
        }
        true
    }

    /// Says that another piece begins, with no more in memory than was asked for by now, besides what is left of the piece
    /// before: what is beyond both is given back.
    pub(super) fn settle(&mut self) {
        let beyond = self.pages().saturating_sub(self.wanted.max(self.before));
        self.before = self.wanted;
        if beyond > 0
            && let Some(rest) = self.held.as_mut().and_then(|permit| permit.split(beyond))
        {
            self.memory.take_back(rest);
        }
    }

    /// Bytes that it holds.
    pub(crate) fn size(&self) -> usize {
        self.pages() * PAGE
    }

    fn pages(&self) -> usize {
        self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            self.memory.take_back(held);
        }
    }
}

/// What is left free for others when something grows.
#[derive(Clone, Copy, Debug)]
pub(super) enum Spare {
    /// Half of all: for the smallest steps.
    Half,
    /// Five eighths: for them, and for steps to grow a little.
    FiveEighths,
    /// All but a quarter: for them, and for what others begin with.
    AllButQuarter,
    /// All but an eighth: for that, and for what grows further.
    AllButEighth,
}

impl Spare {
    /// Of `total`.
    fn of(self, total: usize) -> usize {
        match self {
            Self::Half => total / 2,
            Self::FiveEighths => total - total / 8 * 3,
            Self::AllButQuarter => total - total / 4,
            Self::AllButEighth => total - total / 8,
        }
    }
}

#[cfg(test)]
mod tests {
    use hfs_core::ByteSize;

    use super::*;

    #[tokio::test]
    async fn what_a_piece_still_holds_is_given_back_after_the_next_one() {
        let memory = Memory::new(ByteSize::mib(1));
        let mut share = memory.share(64 << 10, 64 << 10, 0).await;
        share.resize(256 << 10);
        share.settle();
        assert_eq!(share.resize(16 << 10), 16 << 10);
        assert_eq!(memory.free(), 768 << 10, "the piece has not gone yet");
        share.settle();
        assert_eq!(memory.free(), 768 << 10, "nor what is left of it behind the next one");
        share.settle();
        assert_eq!(memory.free(), 1008 << 10);
        drop(share);
        assert_eq!(memory.free(), 1 << 20);
    }

    #[tokio::test]
    async fn who_began_with_nothing_gets_its_least_when_it_is_there() {
        let memory = Memory::new(ByteSize::kib(64));
        let all = memory.share(64 << 10, 64 << 10, 0).await;
        let mut share = memory.share_or_none(64 << 10, 16 << 10);
        assert_eq!((share.size(), share.fit(64 << 10, 16 << 10)), (0, 1));
        drop(all);
        let _others = memory.share(40 << 10, 40 << 10, 0).await;
        assert_eq!(share.fit(64 << 10, 16 << 10), 16 << 10, "although there is not plenty");
    }

    #[tokio::test]
    async fn a_budget_below_one_step_still_moves() {
        let size = ByteSize::kib(8);
        let mut share = Memory::new(size).share(64 << 10, 64 << 10, 0).await;
        assert_eq!(share.resize(1 << 20), 8 << 10);
        assert_eq!(share.resize(4 << 10), 4 << 10);
    }
}
