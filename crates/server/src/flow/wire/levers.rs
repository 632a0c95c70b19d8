//! What plans make of a connection that several downloads may share, and what of it goes when they end.

use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use hfs_core::pace::{Congestion, Plan};
use tracing::{info, warn};

use super::Wire;
use crate::clock::Stopwatch;

/// How long the rate before a change of the congestion control still tells something once nobody is left who tries it: paths
/// change. A trial itself may take any time, since only that counts in which nothing but the path held its bytes up.
const UNJUDGED: Duration = Duration::from_secs(16);

/// What plans have changed on this connection.
#[derive(Default)]
pub(super) struct Set {
    congestion: Option<Congestion>,
    /// Since when nobody tries what that was changed to, or since the change; and what was before it, until a download that
    /// saw it has found it good.
    changed: Option<(Stopwatch, Before)>,
    /// Downloads that run, those of them that want a congestion control, and those that are on trial: on HTTP/2 there are
    /// several at once.
    running: u32,
    wanting: u32,
    trying: u32,
    unsent: Option<u32>,
    /// There is no way back: a standard flow after an adaptive one is paced, too.
    is_paced: bool,
    /// An option that the socket refused is not tried again.
    is_congestion_refused: bool,
    is_unsent_refused: bool,
}

/// What a change of the congestion control is judged by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    /// Bytes per second of the connection.
    pub(super) rate: u64,
    /// Whether it had left the path that it began on.
    pub(super) had_moved: bool,
}

impl Before {
    /// The rate, where the path is the same one: that of another path compares nothing.
    pub(super) fn rate_on(self, has_moved: bool) -> Option<u64> {
        (self.had_moved == has_moved).then_some(self.rate)
    }
}

impl Set {
    /// What plans have made of the connection, and what was before that, while it is to be judged; and whether it was to be
    /// paced.
    pub(super) fn in_force(&self) -> (Option<Congestion>, Option<Before>, bool) {
        let open = self.changed.as_ref().filter(|(since, _)| self.trying > 0 || since.elapsed() < UNJUDGED);
        (self.congestion, open.map(|(_, before)| *before), self.is_paced)
    }

    fn enter(&mut self, asked: Asked) {
        self.running += 1;
        self.wanting += u32::from(asked.congestion.is_some());
        self.trying += u32::from(asked.is_on_trial);
    }

    fn leave(&mut self, asked: Asked) {
        self.running = self.running.saturating_sub(1);
        self.wanting = self.wanting.saturating_sub(u32::from(asked.congestion.is_some()));
        self.trying = self.trying.saturating_sub(u32::from(asked.is_on_trial));
        if let Some((since, _)) = self.changed.as_mut().filter(|_| asked.is_on_trial) {
            *since = Stopwatch::start();
        }
    }
}

/// What a running download wants of its connection, beside others.
#[derive(Clone, Copy, Debug)]
pub(in crate::flow) struct Asked {
    congestion: Option<Congestion>,
    is_on_trial: bool,
}

impl Asked {
    pub(in crate::flow) fn of(plan: &Plan) -> Self {
        Self { congestion: plan.congestion, is_on_trial: plan.is_on_trial }
    }

    /// Whether its trial has ended well by now.
    fn has_passed(self, now: Self) -> bool {
        self.is_on_trial && !now.is_on_trial && self.congestion == now.congestion
    }
}

impl Wire {
    /// Makes the connection follow `plan` of a download that begins; returns whether the congestion control changed. What
    /// no plan wants any more goes back to what the connection had: this one may be of the other arm.
    pub(in crate::flow) fn begin(&self, plan: &Plan) -> bool {
        let (mut set, asked) = (self.set(), Asked::of(plan));
        set.enter(asked);
        self.bound_unsent(&mut set, plan);
        self.pace(&mut set, plan);
        let is_anothers = asked.congestion.is_none() && set.wanting > 0;
        !is_anothers && self.change(&mut set, asked.congestion)
    }

    /// The same for a download that asked for something else `before`. Of several the one that changes its mind last
    /// decides: it knows the path best, and the others see what became of it. They may have to judge it, by the `rate`
    /// that the connection has now, bytes per second.
    pub(in crate::flow) fn follow(&self, before: Asked, plan: &Plan, rate: Option<u64>) -> bool {
        let (mut set, asked) = (self.set(), Asked::of(plan));
        set.leave(before);
        set.enter(asked);
        self.bound_unsent(&mut set, plan);
        self.pace(&mut set, plan);
        if before.has_passed(asked) {
            set.changed = None;
        }
        let has_changed = before.congestion != asked.congestion && self.change(&mut set, asked.congestion);
        if has_changed && asked.congestion.is_some() {
            let had_moved = self.look(|fd| self.has_moved(fd)).unwrap_or(false);
            set.changed = rate.map(|rate| (Stopwatch::start(), Before { rate, had_moved }));
        }
        has_changed
    }

    /// Says that a download which asked for this has ended; returns whether the congestion control changed. What none of
    /// those that go on wants goes back to what the connection had: nobody would see what becomes of it. Where none goes
    /// on, the next one decides.
    pub(in crate::flow) fn release(&self, asked: Asked) -> bool {
        let mut set = self.set();
        set.leave(asked);
        set.running > 0 && set.wanting == 0 && self.change(&mut set, None)
    }

    fn bound_unsent(&self, set: &mut Set, plan: &Plan) {
        if set.unsent == plan.unsent || set.is_unsent_refused {
            return;
        }
        let wanted = plan.unsent.unwrap_or(0);
        let done = self.look(|fd| hfs_sock::set_notsent_lowat(fd, wanted));
        if let Some(Err(error)) = &done {
            complain_of_unsent(error);
        }
        set.is_unsent_refused = !matches!(done, Some(Ok(())));
        set.unsent = plan.unsent;
    }

    fn pace(&self, set: &mut Set, plan: &Plan) {
        if plan.is_paced && !set.is_paced {
            if let Some(Err(error)) = self.look(hfs_sock::set_paced) {
                complain_of_pacing(&error);
            }
            // Where it was refused, it is not tried again.
            set.is_paced = true;
        }
    }

    /// Puts the connection on this, or on what it began with; returns whether that is another one.
    fn change(&self, set: &mut Set, congestion: Option<Congestion>) -> bool {
        if set.congestion == congestion || set.is_congestion_refused {
            return false;
        }
        // Asked before the first change, so that there is a way back.
        let origin = self.origin().unwrap_or_default();
        let wanted = match congestion {
            Some(congestion) => congestion.as_str(),
            None => origin,
        };
        match self.look(|fd| hfs_sock::set_congestion(fd, wanted)) {
            Some(Ok(())) => {
                (set.congestion, set.changed) = (congestion, None);
                return true;
            }
            Some(Err(error)) => complain(wanted, &error),
            None => {}
        }
        set.is_congestion_refused = true;
        false
    }
}

/// Once: it would be the same for each connection.
fn complain(wanted: &str, error: &io::Error) {
    static SAID: AtomicBool = AtomicBool::new(false);
    if !SAID.swap(true, Relaxed) {
        warn!(congestion = wanted, %error, "The system does not let connections have this congestion control");
    }
}

/// Likewise. A Unix socket has no such option, and needs none.
fn complain_of_unsent(error: &io::Error) {
    static SAID: AtomicBool = AtomicBool::new(false);
    if !SAID.swap(true, Relaxed) {
        warn!(%error, "A connection refused TCP_NOTSENT_LOWAT: what slow readers hold in the kernel is not bounded");
    }
}

/// A multipath connection has no such option (Linux 6.18), so this is no fault.
fn complain_of_pacing(error: &io::Error) {
    static SAID: AtomicBool = AtomicBool::new(false);
    if !SAID.swap(true, Relaxed) {
        info!(%error, "A connection refused SO_MAX_PACING_RATE, as multipath ones do: long windows leave in bursts");
    }
}
