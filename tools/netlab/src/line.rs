//! [`Line`]: when a packet arrives, if it does. Pure: time is an argument, chance is a seed.

use std::time::Duration;

use crate::{Dice, Shape};

/// Radio and wire keep a delay for a while: a fresh one for each packet would, in order, only add to the delay.
const JITTER_LASTS: Duration = Duration::from_millis(10);

/// So long nobody looks at a line at most: a change of its shape is seen by then.
const NAP: Duration = Duration::from_millis(20);

/// One way of a link.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) shape: Shape,
    /// Until then the packets before are on the wire.
    busy_until: Duration,
    last_due: Duration,
    jitter: Duration,
    jitter_until: Duration,
    dice: Dice,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fate {
    /// It arrives then.
    Due(Duration),
    /// It took its time on the wire and does not arrive.
    Lost,
    /// There was no room in the queue.
    Full,
}

impl Line {
    pub(crate) fn new(shape: Shape, seed: u64) -> Self {
        Self {
            shape,
            busy_until: Duration::ZERO,
            last_due: Duration::ZERO,
            jitter: Duration::ZERO,
            jitter_until: Duration::ZERO,
            dice: Dice::new(seed),
        }
    }

    /// Throws the dice of this seed from now on.
    pub(crate) fn repeat_chance(&mut self, seed: u64) {
        self.dice = Dice::new(seed);
        self.jitter_until = Duration::ZERO;
    }

    /// Offers a packet of so many bytes at `now`, which never goes back. It came after `since`, when nobody waited.
    pub(crate) fn offer(&mut self, since: Duration, now: Duration, bytes: usize) -> Fate {
        // A line that was busy then went on with what had come meanwhile: who looks late must not lose it for that.
        let begin = if self.busy_until > since { self.busy_until } else { now };
        if begin.saturating_sub(now) > self.shape.queue {
            return Fate::Full;
        }
        self.busy_until = begin + self.time_on_wire(bytes);
        if self.dice.share() < self.shape.loss {
            return Fate::Lost;
        }
        // Whoever comes just now must not find a shorter way: lateness only ever adds to a delay.
        let due = self.busy_until.max(now) + self.delay(now);
        self.last_due = self.last_due.max(due);
        Fate::Due(self.last_due)
    }

    /// How long after `now` it need not be looked at unless a packet comes: until the next one is due, or it has sent all
    /// that it had, where nobody has waited `since` before that. Who finds nobody waiting then knows it idle, and that it
    /// begins with what comes when that comes; who looks later takes it for busy until that came.
    pub(crate) fn nap(&self, since: Duration, now: Duration, next_due: Option<Duration>) -> Duration {
        let is_idle_at = Some(self.busy_until).filter(|&at| at > since);
        let looks_at = [next_due, is_idle_at].into_iter().flatten().min();
        looks_at.map_or(NAP, |at| at.saturating_sub(now).min(NAP))
    }

    fn time_on_wire(&self, bytes: usize) -> Duration {
        self.shape.rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(bytes as f64 * 8.0 / rate as f64))
    }

    fn delay(&mut self, now: Duration) -> Duration {
        if self.shape.jitter.is_zero() {
            return self.shape.delay;
        }
        if now >= self.jitter_until {
            self.jitter_until = now + JITTER_LASTS;
            let delay = self.shape.delay.as_secs_f64() + self.dice.normal() * self.shape.jitter.as_secs_f64();
            // Nothing is faster than half of the way's own time.
            self.jitter = Duration::from_secs_f64(delay.max(self.shape.delay.as_secs_f64() / 2.0));
        }
        self.jitter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(words: &str) -> Line {
        Line::new(Shape::parse(words).unwrap(), 7)
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// To a line that is never looked at late.
    fn offer(line: &mut Line, now: Duration, bytes: usize) -> Fate {
        line.offer(now, now, bytes)
    }

    #[test]
    fn packets_leave_one_after_the_other() {
        // 1,250 bytes are 10 ms at 1 Mbit/s.
        let mut line = line("rate=1mbit delay=50ms");
        assert_eq!(offer(&mut line, ms(0), 1250), Fate::Due(ms(60)));
        assert_eq!(offer(&mut line, ms(0), 1250), Fate::Due(ms(70)));
        assert_eq!(offer(&mut line, ms(500), 1250), Fate::Due(ms(560)), "an idle line keeps no credit and no debt");
    }

    #[test]
    fn a_full_queue_drops_what_comes_last() {
        let mut line = line("rate=1mbit queue=100ms");
        let fates: Vec<_> = (0..20).map(|_| offer(&mut line, ms(0), 1250)).collect();
        assert_eq!(fates.iter().filter(|fate| **fate == Fate::Full).count(), 9, "11 of 10 ms each begin within 100 ms");
        assert_eq!(offer(&mut line, ms(60), 1250), Fate::Due(ms(120)), "and has room again once it has run down");
    }

    #[test]
    fn a_late_look_loses_nothing_that_a_busy_line_would_have_sent() {
        let mut line = line("rate=1mbit queue=100ms");
        assert_eq!(line.offer(ms(0), ms(0), 1250), Fate::Due(ms(10)));
        // They came one by one while nobody looked, as fast as they leave.
        let late: Vec<_> = (0..30).map(|_| line.offer(ms(5), ms(300), 1250)).collect();
        assert_eq!((late[0], late[28], late[29]), (Fate::Due(ms(300)), Fate::Due(ms(300)), Fate::Due(ms(310))));
        assert_eq!(line.offer(ms(400), ms(410), 1250), Fate::Due(ms(420)), "an idle line sends what has come");
    }

    #[test]
    fn a_line_that_was_idle_begins_with_what_comes_when_it_comes() {
        // Of 10 ms each; the second one comes when the first one is on its way, and the wire is free.
        for (slept, comes) in [(ms(0), ms(11)), (ms(0), ms(15)), (ms(12), ms(19)), (ms(0), ms(45))] {
            let mut line = line("rate=1mbit delay=50ms");
            let Fate::Due(first) = line.offer(ms(0), ms(0), 1250) else { panic!("nothing is lost here") };
            let (mut looked, mut wakes) = (ms(0), slept + line.nap(ms(0), slept, Some(first)));
            while wakes < comes {
                looked = wakes;
                wakes += line.nap(looked, looked, Some(first));
            }
            assert_eq!(line.offer(looked, comes, 1250), Fate::Due(comes + ms(60)), "looked at {looked:?}");
        }
    }

    #[test]
    fn the_share_that_is_lost_is_the_one_that_was_asked_for() {
        let mut line = line("loss=2%");
        let lost = (0..100_000).filter(|_| offer(&mut line, ms(0), 100) == Fate::Lost).count();
        assert!((1_850..2_150).contains(&lost), "{lost} of 100,000");
    }

    #[test]
    fn jitter_varies_the_delay_and_keeps_the_order() {
        let mut line = line("delay=30ms jitter=5ms");
        let mut last = Duration::ZERO;
        let mut delays = Vec::new();
        for n in 0..10_000 {
            let now = ms(20 * n);
            let Fate::Due(due) = offer(&mut line, now, 100) else { panic!("nothing is lost here") };
            assert!(due >= last);
            last = due;
            delays.push((due - now).as_secs_f64() * 1e3);
        }
        let mean = delays.iter().sum::<f64>() / delays.len() as f64;
        let deviation = (delays.iter().map(|delay| (delay - mean).powi(2)).sum::<f64>() / delays.len() as f64).sqrt();
        assert!((29.5..30.5).contains(&mean) && (4.5..5.5).contains(&deviation), "{mean} {deviation}");
    }

    #[test]
    fn the_same_seed_loses_the_same_packets() {
        let fates = |seed| {
            let mut line = Line::new(Shape::parse("loss=50%").unwrap(), seed);
            (0..64).map(|_| offer(&mut line, ms(0), 100)).collect::<Vec<_>>()
        };
        assert_eq!(fates(1), fates(1));
        assert_ne!(fates(1), fates(2));
    }

    #[test]
    fn a_used_line_can_repeat_what_a_new_one_loses() {
        let fates = |line: &mut Line| (0..64).map(|_| offer(line, ms(0), 100)).collect::<Vec<_>>();
        let [mut new, mut used] = [3, 7].map(|seed| Line::new(Shape::parse("loss=50%").unwrap(), seed));
        let begun = fates(&mut used);
        used.repeat_chance(3);
        let expected = fates(&mut new);
        assert_ne!(begun, expected);
        assert_eq!(fates(&mut used), expected);
    }
}
