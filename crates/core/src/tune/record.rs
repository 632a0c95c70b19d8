//! [`Record`]: mean and spread of measurements, the old ones of which count less and less.

/// Measurements that happen to be equal are not known exactly.
const LEAST_VARIANCE: f64 = 0.01;

/// Discounted sums.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Record {
    weight: f64,
    sum: f64,
    squares: f64,
}

impl Record {
    /// Weight, sum, squares.
    pub(super) fn sums(&self) -> [f64; 3] {
        [self.weight, self.sum, self.squares]
    }

    /// The reverse; nothing that measurements cannot add up to.
    pub(super) fn of_sums([weight, sum, squares]: [f64; 3]) -> Option<Self> {
        let is_sound = weight >= 0.0 && squares >= 0.0 && [weight, sum, squares].iter().all(|sum| sum.is_finite());
        is_sound.then_some(Self { weight, sum, squares })
    }

    /// Lets all that is known count for `keep` of what it did.
    pub(super) fn fade(&mut self, keep: f64) {
        self.weight *= keep;
        self.sum *= keep;
        self.squares *= keep;
    }

    pub(super) fn add(&mut self, value: f64) {
        self.weight += 1.0;
        self.sum += value;
        self.squares += value * value;
    }

    /// How many measurements that is worth.
    pub(super) fn weight(&self) -> f64 {
        self.weight
    }

    pub(super) fn mean(&self) -> f64 {
        self.sum / self.weight
    }

    /// Square of the mean's standard error.
    pub(super) fn error(&self) -> f64 {
        let variance = self.squares / self.weight - self.mean().powi(2);
        variance.max(LEAST_VARIANCE) / self.weight
    }
}
