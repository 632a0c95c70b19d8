//! [`Shape`]: what a link does to packets, and the profiles that have a name.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

/// One way of a link; both ways have the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Bits per second, IP headers included; `None`: as fast as the machine.
    pub rate: Option<u64>,
    /// One way.
    pub delay: Duration,
    /// Standard deviation of the delay. Packets stay in order.
    pub jitter: Duration,
    /// Share of the packets that vanish, 0 to 1.
    pub loss: f64,
    /// What the drop-tail queue in front of the rate holds, as time.
    pub queue: Duration,
    /// Largest packet; of the devices, so it cannot change while the link lives.
    pub mtu: u32,
}

impl Default for Shape {
    /// A cable of no length.
    fn default() -> Self {
        Self {
            rate: None,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: 0.0,
            queue: Duration::from_millis(100),
            mtu: 1500,
        }
    }
}

/// Links with a name, by figures that are usual for them. What they do not have: radio schedulers, other users.
pub const PROFILES: [(&str, &str); 7] = [
    ("ethernet", "rate=300mbit delay=0.5ms"),
    ("wifi", "rate=100mbit delay=2ms jitter=0.7ms loss=0.1%"),
    ("lte", "rate=20mbit delay=30ms jitter=5ms loss=1%"),
    ("lte-deep", "rate=20mbit delay=30ms jitter=5ms queue=300ms"),
    ("3g", "rate=1mbit delay=150ms jitter=15ms loss=3% queue=500ms"),
    ("satellite", "rate=25mbit delay=300ms jitter=6ms loss=0.5% queue=300ms"),
    ("vpn", "rate=50mbit delay=12ms jitter=1ms loss=0.05% mtu=1420"),
];

impl Shape {
    /// A profile's name, or changes to a plain cable: `rate=20mbit delay=30ms jitter=5ms loss=1% queue=300ms mtu=1420`.
    ///
    /// # Errors
    /// A word is neither.
    pub fn parse(text: &str) -> Result<Self> {
        let mut shape = Self::default();
        for word in text.split_whitespace() {
            match PROFILES.iter().find(|(name, _)| *name == word) {
                Some((_, words)) => shape = Self::parse(words)?,
                None => shape.change(word)?,
            }
        }
        Ok(shape)
    }

    /// Changes one figure.
    ///
    /// # Errors
    /// The word is not `figure=value`, or the value makes no sense.
    pub fn change(&mut self, word: &str) -> Result<()> {
        let names = || PROFILES.map(|(name, _)| name).join(", ");
        let (name, value) =
            word.split_once('=').with_context(|| format!("`{word}` is no figure, and no profile of {}", names()))?;
        match name {
            "rate" => self.rate = Some((number(value, "mbit")? * 1e6) as u64).filter(|&rate| rate > 0),
            "delay" => self.delay = milliseconds(value)?,
            "jitter" => self.jitter = milliseconds(value)?,
            "loss" => self.loss = number(value, "%")? / 100.0,
            "queue" => self.queue = milliseconds(value)?,
            "mtu" => self.mtu = value.parse().with_context(|| format!("`{word}` wants a number of bytes"))?,
            _ => bail!("`{name}` is none of rate, delay, jitter, loss, queue, mtu"),
        }
        ensure!(self.loss <= 1.0, "`{word}`: not more than everything can be lost");
        Ok(())
    }
}

fn milliseconds(value: &str) -> Result<Duration> {
    Duration::try_from_secs_f64(number(value, "ms")? / 1e3).with_context(|| format!("`{value}` is too long"))
}

fn number(value: &str, unit: &str) -> Result<f64> {
    let number = value.strip_suffix(unit).with_context(|| format!("`{value}` does not end in `{unit}`"))?;
    let number: f64 = number.parse().with_context(|| format!("`{value}` is no number"))?;
    ensure!(number.is_finite() && number >= 0.0, "`{value}` is no sensible number");
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_can_be_read() {
        for (name, words) in PROFILES {
            assert_eq!(Shape::parse(name).unwrap(), Shape::parse(words).unwrap());
        }
    }

    #[test]
    fn words_change_the_profile_before_them() {
        let shape = Shape::parse("lte loss=0% mtu=1400").unwrap();
        assert_eq!((shape.rate, shape.loss, shape.mtu), (Some(20_000_000), 0.0, 1400));
        assert_eq!(shape.delay, Duration::from_millis(30));
    }

    #[test]
    fn nonsense_is_refused() {
        for word in ["lan", "rate=fast", "rate=-1mbit", "delay=5", "loss=101%", "mtu=x", "speed=1mbit"] {
            assert!(Shape::parse(word).is_err(), "{word}");
        }
    }
}
