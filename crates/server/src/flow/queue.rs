//! [`Queue`]: in which order flows wait for memory, `[network_interfaces.*] priority`.
//!
//! Those with lower numbers go first, but a place further back counts as one more: of those who come later, at most as many
//! go first as their numbers differ. So nobody waits for ever, whoever else comes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// One queue. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    came: u64,
    waiting: BTreeMap<Place, Arc<Notify>>,
    /// Whose turn it is: who has it keeps it, whoever comes meanwhile.
    turn: Option<Place>,
}

/// Number and place together, then the place.
type Place = (u64, u64);

/// Somebody's turn, or the wait for it. Cancel-safe: dropped, it is the next one's.
#[derive(Debug)]
pub(super) struct Turn {
    queue: Queue,
    place: Place,
}

impl Queue {
    /// Waits for the turn of a flow with this number.
    pub(super) async fn enter(&self, priority: u32) -> Turn {
        let (turn, called) = self.join(priority);
        while !self.lock().may_begin(turn.place) {
            called.notified().await;
        }
        turn
    }

    fn join(&self, priority: u32) -> (Turn, Arc<Notify>) {
        let mut state = self.lock();
        state.came += 1;
        let place = (state.came.saturating_add(priority.into()), state.came);
        let called = Arc::default();
        state.waiting.insert(place, Arc::clone(&called));
        drop(state);
        (Turn { queue: self.clone(), place }, called)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn may_begin(&mut self, place: Place) -> bool {
        let is_first = self.waiting.first_key_value().is_some_and(|(first, _)| *first == place);
        if self.turn.is_none() && is_first {
            self.turn = Some(place);
        }
        self.turn == Some(place)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.waiting.remove(&self.place);
        if state.turn == Some(self.place) {
            state.turn = None;
        }
        if let (None, Some((_, next))) = (state.turn, state.waiting.first_key_value()) {
            next.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::task::JoinSet;

    use super::*;

    /// Who gets its turn in which order, of those that come one after the other with these numbers while another has it.
    async fn order(numbers: &[u32]) -> Vec<usize> {
        let queue = Queue::default();
        let first = queue.enter(u32::MAX).await;
        let (order, mut all) = (Arc::new(Mutex::new(Vec::new())), JoinSet::new());
        for (n, number) in numbers.iter().copied().enumerate() {
            let (queue, order) = (queue.clone(), Arc::clone(&order));
            all.spawn(async move {
                let _turn = queue.enter(number).await;
                order.lock().unwrap().push(n);
            });
            tokio::task::yield_now().await;
        }
        assert!(order.lock().unwrap().is_empty(), "whoever has a turn keeps it");
        drop(first);
        all.join_all().await;
        let order = order.lock().unwrap();
        order.clone()
    }

    #[tokio::test(start_paused = true)]
    async fn lower_numbers_go_first_and_equal_ones_as_they_came() {
        assert_eq!(order(&[50, 10, 30, 10, 50]).await, [1, 3, 2, 0, 4]);
        assert_eq!(order(&[0, 0, 0]).await, [0, 1, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_overtaken_by_more_than_the_numbers_differ() {
        let mut numbers = vec![50];
        numbers.extend([10; 200]);
        let order = order(&numbers).await;
        assert_eq!(order.iter().position(|&n| n == 0), Some(39), "{order:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_lets_the_next_one_pass() {
        let queue = Queue::default();
        let first = queue.enter(10).await;
        assert!(tokio::time::timeout(Duration::from_secs(9), queue.enter(10)).await.is_err());
        let mut last = tokio::spawn({
            let queue = queue.clone();
            async move { drop(queue.enter(20).await) }
        });
        assert!(tokio::time::timeout(Duration::from_secs(9), &mut last).await.is_err(), "the turn is another's");
        drop(first);
        last.await.unwrap();
        assert!(queue.lock().waiting.is_empty());
    }
}
