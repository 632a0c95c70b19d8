//! [`WindowClaim`]: how far the receive windows of one connection may grow, by its flows' plans and by the memory.
//!
//! A window is a promise to take that many bytes, so what a client may have under way beyond what every connection has is
//! claimed from the budget of all flows, until the client has used it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use hfs_core::pace::Window;
use tokio::sync::{Notify, watch};

use super::explain::Explainer;
use super::share::{Share, Spare};

/// What the flows of a connection let its windows be, and the memory behind them.
#[derive(Debug, Default)]
pub(crate) struct WindowClaim {
    /// Of the window of one stream; none, before the first flow.
    most: watch::Sender<u32>,
    allowed: Notify,
    share: Mutex<Option<Share>>,
    explainer: Mutex<Option<Explainer>>,
}

impl WindowClaim {
    /// A flow's plan lets the window of a stream grow to `most`, on memory of `share`. All flows of a connection are one
    /// client's, so the last of them explains what becomes of it, or does not.
    pub(super) fn allow(&self, most: u32, explainer: Option<Explainer>, share: impl FnOnce() -> Share) {
        if most > Window::FIRST {
            *self.explainer() = explainer;
        }
        if most > *self.most.borrow() {
            self.share().get_or_insert_with(share);
            self.most.send_replace(most);
            self.allowed.notify_one();
        }
    }

    /// Waits until a flow has let it grow further than the ones before. Cancel-safe, for one who waits.
    pub(crate) async fn allowed(&self) {
        self.allowed.notified().await;
    }

    /// Waits until the window of a stream may be larger than `size`; returns by how much.
    pub(crate) async fn above(&self, size: u32) -> u32 {
        let mut most = self.most.subscribe();
        // The sender lives as long as this does.
        let allowed = most.wait_for(|&most| most > size).await;
        allowed.map_or(size, |most| *most)
    }

    /// Claims memory for a connection that may have `size` under way; returns how much it may. What makes the first window
    /// leaves five eighths of all memory free, what is beyond three quarters: a few large windows leave room for many first
    /// ones, and all of them leave some for steps to grow, which leave half.
    pub(crate) fn claim(&self, size: u32) -> u32 {
        const FIRST: u32 = Window::of_connection(Window::FIRST);
        let mut share = self.share();
        let Some(share) = share.as_mut() else { return Window::IDLE };
        let granted = share.stretch(beyond(size.min(FIRST)), Spare::FiveEighths);
        let granted = if size > FIRST { share.stretch(beyond(size), Spare::AllButQuarter) } else { granted };
        // No more than a window can be.
        Window::IDLE.saturating_add(granted as u32).min(size)
    }

    /// Gives back what is claimed for more than `size` under way.
    pub(crate) fn keep(&self, size: u32) {
        if let Some(share) = self.share().as_mut() {
            share.trim(beyond(size));
        }
    }

    /// Whether so little memory is left that windows have to give way.
    pub(crate) fn is_short(&self) -> bool {
        self.share().as_ref().is_some_and(Share::is_short)
    }

    /// Whether so little is left that connections which rest may be in the way of windows that grow.
    pub(crate) fn is_scarce(&self) -> bool {
        self.share().as_ref().is_some_and(|share| !share.leaves(Spare::AllButEighth))
    }

    /// Says that a window has another size, where that is to be said.
    pub(crate) fn explain(&self, window: &'static str, from: u32, to: u32, because: std::fmt::Arguments<'_>) {
        let explainer = *self.explainer();
        if let Some(explainer) = explainer {
            explainer.plan_changed(window, from, to, because);
        }
    }

    fn share(&self) -> MutexGuard<'_, Option<Share>> {
        self.share.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn explainer(&self) -> MutexGuard<'_, Option<Explainer>> {
        self.explainer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a flow has let the window of a stream grow, be it that it has not.
    pub(crate) fn is_allowed(&self) -> bool {
        *self.most.borrow() > Window::FIRST
    }

    /// Forgets how far it may grow, and nothing of what is claimed: the next flow lets it again.
    pub(crate) fn forget(&self) {
        self.most.send_replace(0);
    }
}

/// Bytes that a connection may have under way beyond what every one may.
fn beyond(size: u32) -> usize {
    size.saturating_sub(Window::IDLE) as usize
}

#[cfg(test)]
mod tests {
    use hfs_core::ByteSize;

    use super::super::memory::Memory;
    use super::*;
    use crate::telemetry::RequestId;

    const FIRST: u32 = Window::of_connection(Window::FIRST);

    /// Pages are claimed, and no more than one beyond what is granted.
    fn is_claimed(memory: &Memory, all: u64, granted: u64) -> bool {
        (granted..granted + 4096).contains(&(all - memory.free() as u64))
    }

    #[test]
    fn nothing_is_claimed_before_a_flow_allows_it() {
        let (claim, memory) = (WindowClaim::default(), Memory::new(ByteSize::mib(64)));
        assert_eq!(claim.claim(FIRST), Window::IDLE);
        claim.allow(Window::FIRST, None, || memory.unclaimed());
        assert_eq!(claim.claim(FIRST), FIRST);
        assert!(is_claimed(&memory, 64 << 20, beyond(FIRST) as u64));
        claim.forget();
        assert!(is_claimed(&memory, 64 << 20, beyond(FIRST) as u64), "what a client was told stays claimed");
        claim.keep(FIRST / 2);
        assert!(is_claimed(&memory, 64 << 20, beyond(FIRST / 2) as u64));
        claim.keep(Window::IDLE);
        assert_eq!(memory.free(), 64 << 20);
    }

    #[test]
    fn a_few_large_windows_leave_first_ones_to_many() {
        let memory = Memory::new(ByteSize::mib(512));
        let claims: Vec<WindowClaim> = (0..1000).map(|_| WindowClaim::default()).collect();
        for claim in &claims {
            claim.allow(Window::MOST, None, || memory.unclaimed());
        }
        let most = Window::of_connection(Window::MOST);
        for claim in &claims[..20] {
            while claim.claim(most) < most && memory.free() > 385 << 20 {}
        }
        assert!(memory.free() > 355 << 20, "{} are free", memory.free());
        let first: Vec<u32> = claims[20..].iter().map(|claim| claim.claim(FIRST)).collect();
        assert!(first[..15].iter().all(|&size| size == FIRST), "{first:?}");
        assert!(first.is_sorted_by(|a, b| a >= b) && memory.free() >= 320 << 20, "later ones are smaller: {first:?}");
        drop(claims);
        assert_eq!(memory.free(), 512 << 20);
    }

    #[tokio::test(start_paused = true)]
    async fn a_window_waits_for_a_flow_that_lets_it_grow() {
        let (claim, memory) = (WindowClaim::default(), Memory::new(ByteSize::mib(64)));
        claim.allow(Window::FIRST, None, || memory.unclaimed());
        claim.allowed().await;
        let further = claim.above(Window::FIRST);
        tokio::pin!(further);
        let waited = tokio::time::timeout(std::time::Duration::from_secs(60), &mut further).await;
        assert!(waited.is_err(), "a standard flow asks for no more");
        claim.allow(3 * Window::FIRST, None, || memory.unclaimed());
        assert_eq!(further.await, 3 * Window::FIRST);
        claim.allow(Window::FIRST, None, || memory.unclaimed());
        assert_eq!(claim.above(2 * Window::FIRST).await, 3 * Window::FIRST, "the next flow does not take it back");
    }

    #[test]
    fn the_last_flow_that_lets_it_grow_says_whether_it_is_explained() {
        let (claim, memory) = (WindowClaim::default(), Memory::new(ByteSize::mib(64)));
        let explainer = Some(Explainer { request: RequestId::new(), client: None, is_detailed: false });
        for (most, explainer, is_explained) in
            [(Window::MOST, explainer, true), (Window::FIRST, None, true), (Window::MOST, None, false)]
        {
            claim.allow(most, explainer, || memory.unclaimed());
            assert_eq!(claim.explainer().is_some(), is_explained, "{most}");
        }
    }
}
