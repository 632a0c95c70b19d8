//! [`WindowClaim`]: how far the receive window of one connection may grow, by its flows' plans and by the memory.
//!
//! A window is a promise to take that many bytes, so what it has grown by is claimed from the budget of all flows. A
//! client may use what it was promised at any time, so the claim lasts until the window is small again: it shrinks when
//! the connection rests.

use std::sync::{Mutex, MutexGuard, PoisonError};

use hfs_core::pace::Window;
use tokio::sync::watch;

use super::explain::Explainer;
use super::memory::Share;

/// What the flows of a connection let its window be, and the memory behind it.
#[derive(Debug)]
pub(crate) struct WindowClaim {
    most: watch::Sender<u32>,
    share: Mutex<Option<Share>>,
    explainer: Mutex<Option<Explainer>>,
}

impl Default for WindowClaim {
    fn default() -> Self {
        Self { most: watch::Sender::new(Window::FIRST), share: Mutex::default(), explainer: Mutex::default() }
    }
}

impl WindowClaim {
    /// A flow's plan lets the window grow to `most`, on memory of `share`. All flows of a connection are one client's, so
    /// the last of them explains what becomes of it, or does not.
    pub(super) fn allow(&self, most: u32, explainer: Option<Explainer>, share: impl FnOnce() -> Share) {
        if most > Window::FIRST {
            *self.explainer() = explainer;
        }
        if most <= *self.most.borrow() {
            return;
        }
        self.share.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(share);
        self.most.send_replace(most);
    }

    /// Waits until the window may be larger than `size`; returns by how much.
    pub(crate) async fn above(&self, size: u32) -> u32 {
        let mut most = self.most.subscribe();
        // The sender lives as long as this does.
        let allowed = most.wait_for(|&most| most > size).await;
        allowed.map_or(size, |most| *most)
    }

    /// Claims the memory of a window of `size`; false when there is not enough.
    pub(crate) fn claim(&self, size: u32) -> bool {
        let grown = size.saturating_sub(Window::FIRST) as usize;
        let mut share = self.share.lock().unwrap_or_else(PoisonError::into_inner);
        share.as_mut().is_some_and(|share| share.resize(grown) == grown)
    }

    /// Says that the window has another size, where that is to be said.
    pub(crate) fn explain(&self, from: u32, to: u32, because: std::fmt::Arguments<'_>) {
        let explainer = *self.explainer();
        if let Some(explainer) = explainer {
            explainer.plan_changed("window", from, to, because);
        }
    }

    fn explainer(&self) -> MutexGuard<'_, Option<Explainer>> {
        self.explainer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a flow has let it grow, be it that it has not.
    pub(crate) fn is_allowed(&self) -> bool {
        *self.most.borrow() > Window::FIRST
    }

    /// Gives the memory back, since the window is what it was at first. The next flow may let it grow again.
    pub(crate) fn release(&self) {
        self.most.send_replace(Window::FIRST);
        self.share.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

#[cfg(test)]
mod tests {
    use hfs_core::ByteSize;

    use super::super::memory::Memory;
    use super::*;
    use crate::telemetry::RequestId;

    #[tokio::test]
    async fn the_windows_of_many_connections_stay_within_the_memory() {
        let memory = Memory::new(ByteSize::mib(64));
        let claims: Vec<WindowClaim> = (0..100).map(|_| WindowClaim::default()).collect();
        let mut grown = 0;
        for claim in &claims {
            assert!(!claim.claim(2 * Window::FIRST), "no flow has asked for it");
            claim.allow(Window::MOST, None, || memory.unclaimed());
            let mut size = Window::FIRST;
            while size < claim.above(0).await && claim.claim(2 * size) {
                size *= 2;
            }
            grown += u64::from(size - Window::FIRST);
        }
        assert!((16 << 20..=32 << 20).contains(&grown), "{grown} of the half that there is");
        assert_eq!(memory.free() as u64 + grown, 64 << 20);
        drop(claims);
        assert_eq!(memory.free(), 64 << 20);
    }

    #[tokio::test(start_paused = true)]
    async fn a_window_waits_for_a_flow_that_lets_it_grow() {
        let claim = WindowClaim::default();
        let memory = Memory::new(ByteSize::mib(64));
        claim.allow(Window::FIRST, None, || memory.unclaimed());
        let grown = claim.above(Window::FIRST);
        tokio::pin!(grown);
        let waited = tokio::time::timeout(std::time::Duration::from_secs(60), &mut grown).await;
        assert!(waited.is_err(), "a standard flow changes nothing");
        claim.allow(3 * Window::FIRST, None, || memory.unclaimed());
        assert_eq!(grown.await, 3 * Window::FIRST);
        claim.allow(Window::FIRST, None, || memory.unclaimed());
        assert_eq!(claim.above(2 * Window::FIRST).await, 3 * Window::FIRST, "the next flow does not take it back");
        assert!(claim.claim(3 * Window::FIRST) && memory.free() < 64 << 20);
        claim.release();
        assert_eq!(memory.free(), 64 << 20);
        assert!(!claim.claim(2 * Window::FIRST), "a flow has to ask for it again");
        claim.allow(3 * Window::FIRST, None, || memory.unclaimed());
        assert!(claim.claim(2 * Window::FIRST));
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
