//! [`Dice`]: chance that can be repeated.

/// xorshift64*: the same sequence for the same seed.
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// The sequence of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        // Neighbouring seeds begin far from each other; zero would stay zero.
        Self(seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// Evenly, from 0 to below 1.
    pub fn share(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Around 0 with a deviation of 1 (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let (radius, angle) = (self.share().max(f64::MIN_POSITIVE), self.share());
        (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    }
}
