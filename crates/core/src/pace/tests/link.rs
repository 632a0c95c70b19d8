//! A link in a few lines: a rate, a round trip, loss, a queue; no packets.

use std::time::Duration;

use crate::pace::{Congestion, Controller, Observation, PathSample, Plan};

/// The path from the server to a client, as the formulas have it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    /// Bytes per second.
    pub(crate) rate: u64,
    pub(crate) rtt: Duration,
    /// Share of the segments that are lost.
    pub(crate) loss: f64,
    /// How often what is lost is lost, all at once; zero: evenly.
    pub(crate) every: Duration,
    /// Share of the segments that BBR loses besides, because it overruns the queue.
    pub(crate) overrun: f64,
    /// Share of the segments that cubic loses besides, since it fills the path until it loses one.
    pub(crate) sawtooth: f64,
    /// What stands in the bottleneck's queue.
    pub(crate) queue: Duration,
    /// What cubic lets stand in it besides.
    pub(crate) filled: Duration,
    /// Whether that loss is the queue's: then no congestion control gets more out of it.
    pub(crate) is_full: bool,
    /// Segments that slow start loses when it finds the path's rate, after a second.
    pub(crate) overshoot: u64,
    /// Bytes per second that the reader takes, if fewer.
    pub(crate) reader: u64,
    /// Whether it reads nothing, as a client of HTTP/2 does that gives no window.
    pub(crate) is_paused: bool,
    /// Bytes that the socket takes at once: it wants none before as many have left, and nobody looks meanwhile.
    pub(crate) gulp: u64,
    /// Whether it is another one than the connection began with.
    pub(crate) has_moved: bool,
    /// Whether the kernel tells nothing of that.
    pub(crate) is_silent: bool,
    /// Of a silent one, how many connections carry it: the one that is left, or none.
    pub(crate) subflows: u8,
    /// What a connection is on while no plan asks for another.
    pub(crate) host: Congestion,
}

impl Default for Link {
    /// 100 Mbit/s and 40 ms, clean.
    fn default() -> Self {
        Self {
            rate: 12_500_000,
            rtt: ms(40),
            loss: 0.0,
            every: Duration::ZERO,
            overrun: 0.0,
            sawtooth: 0.0,
            queue: Duration::ZERO,
            filled: Duration::ZERO,
            is_full: false,
            overshoot: 0,
            reader: u64::MAX,
            is_paused: false,
            gulp: 0,
            has_moved: false,
            is_silent: false,
            subflows: 1,
            host: Congestion::Cubic,
        }
    }
}

/// One connection on its way through one or several links.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Course {
    pub(crate) at: Duration,
    segments: f64,
    acked: u64,
    /// Time in which the reader was what limits, and in which there was something to send.
    held: Duration,
    busy: Duration,
    lost: f64,
    /// Segments that the next burst takes.
    doomed: f64,
    /// Bytes that left the socket since it took some.
    left: u64,
    sampled: Duration,
    /// What the kernel takes for the shortest round trip: it forgets after five minutes.
    shortest: Option<(Duration, Duration)>,
}

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const MSS: f64 = 1448.0;
const TICK: Duration = Duration::from_millis(50);
const KERNEL_FORGETS: Duration = Duration::from_secs(300);

impl Link {
    /// What a congestion control gets out of it: cubic by the square-root law (Mathis 1997), BBR nearly all.
    fn goodput(&self, congestion: Congestion) -> f64 {
        let full = self.rate as f64 * (1.0 - self.loss);
        let reached = match congestion {
            Congestion::Bbr => full * 0.98,
            Congestion::Cubic if self.loss == 0.0 || self.is_full => full,
            Congestion::Cubic => full.min(MSS / self.rtt.as_secs_f64() * 1.22 / self.loss.sqrt()),
        };
        reached.min(self.reader as f64)
    }

    /// Drives `controller` for `span`; returns the bytes that moved.
    pub(crate) fn run(&self, controller: &mut dyn Controller, span: Duration) -> u64 {
        self.run_on(controller, &mut Course::default(), span)
    }

    /// The same on a connection that goes on.
    pub(crate) fn run_on(&self, controller: &mut dyn Controller, course: &mut Course, span: Duration) -> u64 {
        let end = course.at + span;
        let mut total = 0;
        while course.at < end {
            let plan = controller.plan();
            let congestion = plan.congestion.unwrap_or(self.host);
            let moved = self.carry(course, congestion);
            total += moved;
            course.left += moved;
            if course.left < self.gulp {
                continue;
            }
            let moved = std::mem::take(&mut course.left);
            let path = plan
                .sample_after
                .is_some_and(|after| course.at >= course.sampled + after)
                .then(|| self.sample(course, congestion));
            let filled = Some(self.reader == u64::MAX);
            controller.observe(&Observation { now: course.at, moved, filled, is_app_limited: false, path });
        }
        total
    }

    /// One tick; returns the bytes that moved.
    fn carry(&self, course: &mut Course, congestion: Congestion) -> u64 {
        let before = course.at;
        course.at += TICK;
        if self.is_paused {
            return 0;
        }
        course.busy += TICK;
        let moved = (self.goodput(congestion) * TICK.as_secs_f64()) as u64;
        course.acked += moved;
        course.held += if self.reader < self.rate { TICK } else { Duration::ZERO };
        let segments = moved as f64 / MSS;
        course.segments += segments;
        let own = if congestion == Congestion::Bbr { self.overrun } else { self.sawtooth };
        course.doomed += segments * (self.loss + own);
        if self.every.is_zero() || course.at.as_millis().is_multiple_of(self.every.as_millis()) {
            course.lost += std::mem::take(&mut course.doomed);
        }
        if before < ms(1000) && course.at >= ms(1000) {
            course.segments += self.overshoot as f64;
            course.lost += self.overshoot as f64;
        }
        moved
    }

    fn sample(&self, course: &mut Course, congestion: Congestion) -> PathSample {
        course.sampled = course.at;
        if self.is_silent {
            let congestion = Some(congestion);
            let (subflows, has_moved) = (self.subflows, self.subflows > 0);
            return PathSample { congestion, subflows, has_moved, ..PathSample::default() };
        }
        let shortest = match course.shortest {
            Some((rtt, since)) if rtt < self.rtt && course.at < since + KERNEL_FORGETS => (rtt, since),
            _ => (self.rtt, course.at),
        };
        course.shortest = Some(shortest);
        let filled = if congestion == Congestion::Cubic { self.filled } else { Duration::ZERO };
        PathSample {
            rtt: self.rtt + self.queue + filled,
            rtt_var: self.rtt / 8,
            min_rtt: Some(shortest.0),
            delivery_rate: Some(self.goodput(congestion) as u64),
            window: 10,
            mss: MSS as u32,
            segments_out: Some(course.segments as u64),
            retransmits: course.lost as u64,
            bytes_acked: Some(course.acked),
            receiver_limited: Some(course.held),
            busy: Some(course.busy),
            congestion: Some(congestion),
            subflows: 1,
            has_moved: self.has_moved,
            ..PathSample::default()
        }
    }
}

/// A connection that several downloads share in equal parts.
pub(crate) struct Shared {
    pub(crate) course: Course,
    host: Congestion,
    downloads: Vec<Download>,
    /// What one of them has set, and the rate before.
    set: Option<Congestion>,
    before: Option<u64>,
    /// Whether the first one waits for the store: what it sees of the path is not the path's doing.
    pub(crate) is_first_held_up: bool,
    /// Whether the host's is none that plans know.
    pub(crate) is_unknown: bool,
}

struct Download {
    controller: Box<dyn Controller>,
    began: Duration,
    sampled: Duration,
    wanted: Option<Congestion>,
    is_on_trial: bool,
}

impl Shared {
    pub(crate) fn on(host: Congestion) -> Self {
        let (course, downloads) = (Course::default(), Vec::new());
        Self { course, host, downloads, set: None, before: None, is_first_held_up: false, is_unknown: false }
    }

    /// One more.
    pub(crate) fn begin(&mut self, controller: Box<dyn Controller>) {
        if self.downloads.iter().all(|download| download.wanted.is_none()) {
            self.set = None;
        }
        let (began, sampled) = (self.course.at, self.course.at);
        self.downloads.push(Download { controller, began, sampled, wanted: None, is_on_trial: false });
        self.follow();
    }

    /// The one that began first ends. What none of those that go on wants goes with it.
    pub(crate) fn end_first(&mut self) -> Box<dyn Controller> {
        let ended = self.downloads.remove(0).controller;
        if !self.downloads.is_empty() && self.downloads.iter().all(|download| download.wanted.is_none()) {
            (self.set, self.before) = (None, None);
        }
        ended
    }

    pub(crate) fn congestion(&self) -> Congestion {
        self.set.unwrap_or(self.host)
    }

    pub(crate) fn run(&mut self, link: &Link, span: Duration) {
        let (end, count) = (self.course.at + span, self.downloads.len() as u64);
        while self.course.at < end {
            let congestion = self.congestion();
            let moved = link.carry(&mut self.course, congestion) / count;
            for (n, download) in self.downloads.iter_mut().enumerate() {
                let at = self.course.at;
                let is_due =
                    download.controller.plan().sample_after.is_some_and(|after| at >= download.sampled + after);
                let (rate_before, told) = (self.before, self.set.or((!self.is_unknown).then_some(self.host)));
                let sample = |course| PathSample { rate_before, congestion: told, ..link.sample(course, congestion) };
                let path = is_due.then(|| sample(&mut self.course));
                download.sampled = if is_due { at } else { download.sampled };
                let (now, filled, is_app_limited) = (at - download.began, Some(true), self.is_first_held_up && n == 0);
                download.controller.observe(&Observation { now, moved, filled, is_app_limited, path });
            }
            self.follow();
        }
    }

    /// As the server's wire does it: the last that changes its mind decides.
    fn follow(&mut self) {
        for download in &mut self.downloads {
            let Plan { congestion: wanted, is_on_trial, .. } = download.controller.plan();
            let was_on_trial = std::mem::replace(&mut download.is_on_trial, is_on_trial);
            if was_on_trial && !is_on_trial && wanted == download.wanted {
                self.before = None;
            }
            if std::mem::replace(&mut download.wanted, wanted) != wanted && self.set != wanted {
                self.before = wanted.and(download.controller.snapshot().delivered_rate);
                self.set = wanted;
            }
        }
    }
}
