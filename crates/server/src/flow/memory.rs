//! [`Memory`]: what the buffers of all flows may hold together, `[performance] max_memory_usage`.
//!
//! Half of it is kept for the smallest steps: beyond, plans stay small; when that runs short, too, those that have grown
//! give way; and only when all are small, new flows wait for others to end. Nothing that runs is stopped.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use hfs_core::ByteSize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::queue::Queue;
use super::share::Share;

/// Permits count pages: the semaphore's own limit is beyond any memory then.
pub(super) const PAGE: usize = 4 << 10;

/// The budget.
#[derive(Clone, Debug)]
pub(super) struct Memory(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    pages: Arc<Semaphore>,
    total: watch::Sender<usize>,
    /// Pages that flows hold beyond a total that has become smaller: they go when they are given back.
    owed: AtomicUsize,
    queue: Queue,
}

impl Memory {
    pub(super) fn new(size: ByteSize) -> Self {
        let total = total(size);
        let pages = Arc::new(Semaphore::new(total));
        Self(Arc::new(Budget {
            pages,
            total: watch::Sender::new(total),
            owed: AtomicUsize::new(0),
            queue: Queue::default(),
        }))
    }

    /// From now on there is so much. Of a budget that shrinks, what flows hold is theirs until they end or give way: returns
    /// the bytes of that beyond it.
    pub(super) fn resize(&self, size: ByteSize) -> usize {
        let Budget { pages, owed, .. } = &*self.0;
        let total = total(size);
        let before = self.0.total.send_replace(total);
        let grown = total.saturating_sub(before);
        let debt = owed.swap(0, Relaxed) + before.saturating_sub(total);
        let paid = grown.min(debt);
        let debt = debt - paid;
        pages.add_permits(grown - paid);
        let beyond = debt - pages.forget_permits(debt);
        owed.fetch_add(beyond, Relaxed);
        beyond * PAGE
    }

    /// Takes `bytes` for one more flow where there is plenty; else waits, those with a lower `priority` first, until there is
    /// room for its smallest step, or for all that there is.
    pub(super) async fn share(&self, bytes: usize, least: usize, priority: u32) -> Share {
        let mut share = self.unclaimed();
        share.resize(bytes);
        if share.size() == 0 {
            // Boxed: who need not wait should hold no room for it.
            let room = Box::pin(async {
                let _turn = self.0.queue.enter(priority).await;
                self.wait(least).await
            });
            share.hold(room.await);
        }
        share
    }

    /// The same for a flow that can do with nothing, and need not wait.
    pub(super) fn share_or_none(&self, bytes: usize, least: usize) -> Share {
        let mut share = self.unclaimed();
        share.resize(bytes);
        if share.size() == 0 {
            share.claim(pages(least) as usize);
        }
        share
    }

    async fn wait(&self, least: usize) -> Option<OwnedSemaphorePermit> {
        let mut total = self.0.total.subscribe();
        loop {
            let most = u32::try_from(*total.borrow_and_update()).unwrap_or(u32::MAX);
            // Dropped after the wait, be it that somebody gave it up.
            let _collecting = Collecting(self);
            let room = Arc::clone(&self.0.pages).acquire_many_owned(pages(least).min(most));
            // The semaphore is never closed. What is waited for may be more than there is since the total changed, or less than
            // is wanted.
            tokio::select! {
                biased;
                _ = total.changed() => {}
                held = room => return held.ok(),
            }
        }
    }

    /// Takes what is owed out of what is free.
    fn collect(&self) {
        let Budget { pages, owed, .. } = &*self.0;
        // Who gives pages back meanwhile sees nothing owed.
        while owed.load(Relaxed) > 0 && pages.available_permits() > 0 {
            let debt = owed.swap(0, Relaxed);
            owed.fetch_add(debt - pages.forget_permits(debt), Relaxed);
        }
    }

    /// A part that holds nothing yet: for what grows only where there is plenty.
    pub(super) fn unclaimed(&self) -> Share {
        Share::of(self.clone())
    }

    /// Whether so little is left that those who hold much have to give way.
    pub(super) fn is_short(&self) -> bool {
        self.free_pages() < self.total() / 8
    }

    /// Pages that there are.
    pub(super) fn total(&self) -> usize {
        *self.0.total.borrow()
    }

    /// Pages that no flow holds.
    pub(super) fn free_pages(&self) -> usize {
        self.0.pages.available_permits()
    }

    /// So many pages, if they are there.
    pub(super) fn try_take(&self, pages: usize) -> Option<OwnedSemaphorePermit> {
        let pages = u32::try_from(pages).unwrap_or(u32::MAX);
        Arc::clone(&self.0.pages).try_acquire_many_owned(pages).ok()
    }

    /// Takes back what a flow no longer holds, as far as it is not owed.
    pub(super) fn take_back(&self, mut permit: OwnedSemaphorePermit) {
        let given = permit.num_permits();
        let paid = |owed: usize| Some(owed.saturating_sub(given));
        let owed = self.0.owed.fetch_update(Relaxed, Relaxed, paid).unwrap_or(0);
        if let Some(gone) = permit.split(owed.min(given)) {
            gone.forget();
        }
    }

    /// Bytes that no flow holds.
    pub(super) fn free(&self) -> usize {
        self.free_pages() * PAGE
    }
}

/// Who waits has pages already, though fewer than it waits for. They come back unseen when the wait ends without the rest,
/// and may be owed by then.
struct Collecting<'a>(&'a Memory);

impl Drop for Collecting<'_> {
    fn drop(&mut self) {
        self.0.collect();
    }
}

/// Pages of a budget of `size`.
fn total(size: ByteSize) -> usize {
    let pages = usize::try_from(size.as_u64()).unwrap_or(usize::MAX) / PAGE;
    // Below one page nothing could ever move.
    pages.clamp(1, Semaphore::MAX_PERMITS)
}

/// Pages for `bytes`: one at least.
pub(super) fn pages(bytes: usize) -> u32 {
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
            let mut share = memory.share(16 << 10, 16 << 10, 0).await;
            let granted = share.resize(if flow % 2 == 0 { 1 << 20 } else { 64 << 10 });
            assert!(granted >= 16 << 10, "{granted}");
            shares.push((share, granted));
            let held: usize = shares.iter().map(|(share, _)| share.size()).sum();
            assert!(held as u64 + memory.free() as u64 == size.as_u64(), "{held} held after {flow}");
            for (share, granted) in &mut shares {
                *granted = share.fit(*granted, 16 << 10);
                share.settle();
                assert!(*granted >= 16 << 10, "{granted} is less than the least");
            }
        }
        let late = tokio::time::timeout(Duration::from_secs(60), memory.share(16 << 20, 16 << 20, 0));
        assert!(late.await.is_err(), "a new one waits");
        drop(shares);
        assert_eq!(memory.free() as u64, size.as_u64());
        memory.share(16 << 20, 16 << 20, 0).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_budget_that_changes_is_what_there_is_from_then_on() {
        let memory = Memory::new(ByteSize::mib(16));
        let mut share = memory.share(16 << 10, 16 << 10, 0).await;
        assert_eq!(share.resize(4 << 20), 4 << 20);
        assert_eq!(memory.resize(ByteSize::mib(32)), 0);
        assert_eq!(memory.free(), 28 << 20);
        assert_eq!(memory.resize(ByteSize::mib(2)), 2 << 20);
        assert_eq!(memory.free(), 0, "one flow holds all of it, and more");
        let late = tokio::time::timeout(Duration::from_secs(60), memory.share(16 << 10, 16 << 10, 0));
        assert!(late.await.is_err(), "a new one waits");
        assert_eq!(share.resize(3 << 20), 3 << 20);
        share.settle();
        share.settle();
        assert_eq!((share.size(), memory.free()), (3 << 20, 0), "what it gives back is not there any more");
        memory.resize(ByteSize::mib(4));
        assert_eq!(memory.free(), 1 << 20);
        memory.resize(ByteSize::mib(1));
        drop(share);
        assert_eq!(memory.free(), 1 << 20);
        memory.resize(ByteSize::mib(16));
        assert_eq!(memory.free(), 16 << 20);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_more_than_is_left_gets_all_that_there_is() {
        let memory = Memory::new(ByteSize::mib(16));
        let all = memory.share(16 << 20, 16 << 20, 0).await;
        let waiting = memory.share(12 << 20, 12 << 20, 0);
        tokio::pin!(waiting);
        assert!(tokio::time::timeout(Duration::from_secs(60), &mut waiting).await.is_err());
        memory.resize(ByteSize::mib(1));
        drop(all);
        assert_eq!(waiting.await.size(), 1 << 20);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_let_in_by_a_budget_that_grows_and_by_none_that_shrinks() {
        let memory = Memory::new(ByteSize::mib(16));
        let held = memory.share(10 << 20, 10 << 20, 0).await;
        let waiting = memory.share(12 << 20, 12 << 20, 0);
        tokio::pin!(waiting);
        let mut waits = async || tokio::time::timeout(Duration::from_secs(60), &mut waiting).await.is_err();
        assert!(waits().await);
        // What it has of what it waits for is not its own yet.
        memory.resize(ByteSize::mib(1));
        assert!(waits().await, "there is less than others hold");
        memory.resize(ByteSize::mib(8));
        assert!(waits().await);
        memory.resize(ByteSize::mib(22));
        let share = waiting.await;
        assert_eq!((share.size(), memory.free()), (12 << 20, 0));
        drop((held, share));
        assert_eq!(memory.free(), 22 << 20);
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_waiting_leaves_no_more_than_there_is() {
        let memory = Memory::new(ByteSize::mib(16));
        let held = memory.share(10 << 20, 10 << 20, 0).await;
        let mut waiting = Box::pin(memory.share(12 << 20, 12 << 20, 0));
        assert!(tokio::time::timeout(Duration::from_secs(60), &mut waiting).await.is_err());
        memory.resize(ByteSize::mib(12));
        drop(waiting);
        assert_eq!(memory.free(), 2 << 20);
        let last = memory.share(16 << 10, 16 << 10, 0).await;
        drop(held);
        memory.resize(ByteSize::kib(8));
        assert_eq!(memory.free(), 0);
        drop(last);
        assert_eq!(memory.free(), 8 << 10, "whoever waits next finds it, though nothing runs");
        assert_eq!(memory.share(16 << 10, 16 << 10, 0).await.size(), 8 << 10);
    }

    #[tokio::test]
    async fn as_many_as_there_may_be_connections_move_at_once() {
        let memory = Memory::new(ByteSize::mib(512));
        let mut shares = Vec::new();
        for _ in 0..20_000 {
            let mut share = memory.share(16 << 10, 16 << 10, 0).await;
            share.resize(64 << 10);
            shares.push(share);
        }
        assert!(memory.free() < 256 << 20);
    }
}
