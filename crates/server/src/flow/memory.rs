//! [`Memory`]: what the buffers of all flows may hold together, `[performance] max_memory_usage`.
//!
//! Half of it is kept for the smallest steps: beyond, plans stay small; when that runs short, too, those that have grown
//! give way; and only when all are small, new flows wait for others to end. Nothing that runs is stopped.

use std::sync::Arc;

use hfs_core::ByteSize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Permits count pages: the semaphore's own limit is beyond any memory then.
const PAGE: usize = 4 << 10;

/// The budget.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    pages: Arc<Semaphore>,
    total: usize,
}

impl Memory {
    pub(super) fn new(size: ByteSize) -> Self {
        let pages = usize::try_from(size.as_u64()).unwrap_or(usize::MAX) / PAGE;
        // Below one page nothing could ever move.
        let total = pages.clamp(1, Semaphore::MAX_PERMITS);
        Self { pages: Arc::new(Semaphore::new(total)), total }
    }

    /// Takes `bytes` for one more flow where there is plenty; else waits until there is room for its smallest step, or for
    /// all that there is.
    pub(super) async fn share(&self, bytes: usize, least: usize) -> Share {
        let mut share = self.unclaimed();
        share.resize(bytes);
        if share.held.is_none() {
            share.held = self.wait(least).await;
        }
        share
    }

    async fn wait(&self, least: usize) -> Option<OwnedSemaphorePermit> {
        let pages = pages(least).min(u32::try_from(self.total).unwrap_or(u32::MAX));
        // The semaphore is never closed.
        Arc::clone(&self.pages).acquire_many_owned(pages).await.ok()
    }

    /// A part that holds nothing yet: for what grows only where there is plenty.
    pub(super) fn unclaimed(&self) -> Share {
        Share { memory: self.clone(), held: None }
    }

    /// Whether so little is left that those who hold much have to give way.
    fn is_short(&self) -> bool {
        self.pages.available_permits() < self.total / 8
    }

    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.pages.available_permits() * PAGE
    }
}

/// One flow's part of it, given back on drop.
#[derive(Debug)]
pub(super) struct Share {
    memory: Memory,
    held: Option<OwnedSemaphorePermit>,
}

impl Share {
    /// Asks for `bytes` like [`Share::resize`], but gives way to others while memory is short: half as much each time,
    /// down to `least`.
    pub(super) fn fit(&mut self, bytes: usize, least: usize) -> usize {
        let half = self.pages() * PAGE / 2;
        self.resize(if self.memory.is_short() { bytes.min(half.max(least)) } else { bytes })
    }

    /// Asks for `bytes`; returns what there is, at least what the flow has already when it wants more.
    pub(super) fn resize(&mut self, bytes: usize) -> usize {
        let (wanted, held) = (pages(bytes) as usize, self.pages());
        if wanted > held {
            let more = wanted - held;
            let is_plenty = self.memory.pages.available_permits() >= more.saturating_add(self.memory.total / 2);
            let more = u32::try_from(more).unwrap_or(u32::MAX);
            if is_plenty && let Ok(more) = Arc::clone(&self.memory.pages).try_acquire_many_owned(more) {
                match &mut self.held {
                    Some(held) => held.merge(more),
                    None => self.held = Some(more),
                }
                return bytes;
            }
            return (held * PAGE).min(bytes).max(1);
        }
        if held > wanted
            && let Some(permit) = &mut self.held
        {
            drop(permit.split(held - wanted));
        }
        bytes
    }

    fn pages(&self) -> usize {
        self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }
}

fn pages(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(PAGE).max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_thousand_flows_never_hold_more_than_there_is() {
        let size = ByteSize::mib(16);
        let memory = Memory::new(size);
        let mut shares = Vec::new();
        for flow in 0..1000 {
            let mut share = memory.share(16 << 10, 16 << 10).await;
            let granted = share.resize(if flow % 2 == 0 { 1 << 20 } else { 64 << 10 });
            assert!(granted >= 16 << 10, "{granted}");
            shares.push((share, granted));
            let held: usize = shares.iter().map(|(share, _)| share.pages() * PAGE).sum();
            assert!(held as u64 + memory.free() as u64 == size.as_u64(), "{held} held after {flow}");
            for (share, granted) in &mut shares {
                *granted = share.fit(*granted, 16 << 10);
                assert!(*granted >= 16 << 10, "{granted} is less than the least");
            }
        }
        let late = tokio::time::timeout(Duration::from_secs(60), memory.share(16 << 20, 16 << 20));
        assert!(late.await.is_err(), "a new one waits");
        drop(shares);
        assert_eq!(memory.free() as u64, size.as_u64());
        memory.share(16 << 20, 16 << 20).await;
    }

    #[tokio::test]
    async fn a_budget_below_one_step_still_moves() {
        let size = ByteSize::kib(8);
        let mut share = Memory::new(size).share(64 << 10, 64 << 10).await;
        assert_eq!(share.resize(1 << 20), 8 << 10);
        assert_eq!(share.resize(4 << 10), 4 << 10);
    }

    #[tokio::test]
    async fn as_many_as_there_may_be_connections_move_at_once() {
        let memory = Memory::new(ByteSize::mib(512));
        let mut shares = Vec::new();
        for _ in 0..20_000 {
            let mut share = memory.share(16 << 10, 16 << 10).await;
            share.resize(64 << 10);
            shares.push(share);
        }
        assert!(memory.free() < 256 << 20);
    }
}
