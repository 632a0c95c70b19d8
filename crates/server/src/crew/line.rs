//! [`Line`]: what waits until somebody takes it, or until whoever gave it has given up.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// First come, first served.
pub(crate) struct Line<T>(VecDeque<Arc<Place<T>>>);

struct Place<T>(Mutex<Option<T>>);

/// Whoever waits. Dropped, it takes back what nobody has taken: what that owns must not wait for a disk that hangs.
pub(crate) struct Waiter<T>(Arc<Place<T>>);

impl<T> Place<T> {
    fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn is_left(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }
}

impl<T> Drop for Waiter<T> {
    fn drop(&mut self) {
        drop(self.0.take());
    }
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Line<T> {
    /// Waits at the end.
    #[must_use = "dropped, it takes back what it gave"]
    pub(crate) fn push(&mut self, given: T) -> Waiter<T> {
        // What was given up leaves nothing but its place, and those who wait longest give up first.
        while self.0.front().is_some_and(|first| first.is_left()) {
            self.0.pop_front();
        }
        let place = Arc::new(Place(Mutex::new(Some(given))));
        self.0.push_back(Arc::clone(&place));
        Waiter(place)
    }

    /// The first that has not given up.
    pub(crate) fn pop(&mut self) -> Option<T> {
        std::iter::from_fn(|| self.0.pop_front()).find_map(|place| place.take())
    }

    /// How many wait, at most.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gives_up_is_passed_over_and_forgotten() {
        let mut line = Line::default();
        let mut waiters: Vec<_> = (0..4).map(|number| line.push(number)).collect();
        drop(waiters.remove(2));
        assert_eq!([line.pop(), line.pop(), line.pop(), line.pop()], [Some(0), Some(1), Some(3), None]);
        drop((line.push(4), line.push(5)));
        let last = line.push(6);
        assert_eq!((line.len(), line.pop()), (1, Some(6)));
        drop(last);
        assert_eq!(line.pop(), None);
    }
}
