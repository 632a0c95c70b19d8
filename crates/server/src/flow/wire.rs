//! [`Wire`]: the connection below a transfer, as far as probes and levers need it.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use hfs_core::pace::{Carrier, Congestion, PathSample, Plan};
use hfs_sock::Tap;
use tracing::warn;

use super::window::WindowClaim;
use crate::clock::Stopwatch;

/// How long a change of the congestion control may wait for its judgement: twice what a trial takes.
const UNJUDGED: Duration = Duration::from_secs(16);
/// How long a look at the path serves transfers that end meanwhile.
const RECENT: Duration = Duration::from_millis(200);

/// A share of a connection's socket, for as long as the connection lasts: all its transfers have the same.
#[derive(Clone)]
pub struct Wire(Arc<Inner>);

struct Inner {
    socket: Box<dyn Tap>,
    carrier: Carrier,
    /// The congestion control that the connection began with: its listener's, which need not be the host's.
    origin: OnceLock<Option<String>>,
    /// Whether some transfer has looked at the path.
    was_sampled: AtomicBool,
    /// Whether one of these looks has shown that it is not multipath: what is not, or no longer, never is again.
    is_single_path: AtomicBool,
    /// What a transfer that ended showed, for those that end soon after it.
    seen: Mutex<Option<Box<Look>>>,
    /// When a transfer last taught something.
    taught: Mutex<Option<Stopwatch>>,
    set: Mutex<Set>,
    /// Where the connection has a window of its own that follows plans: on HTTP/2.
    window: Option<Box<WindowClaim>>,
}

/// The last look at the path, and what it showed.
struct Look {
    at: Stopwatch,
    shown: Option<PathSample>,
}

/// What plans have changed on this connection.
#[derive(Default)]
struct Set {
    congestion: Option<Congestion>,
    /// When that was changed, and bytes per second before it, until a download that saw it has found it good.
    changed: Option<(Stopwatch, u64)>,
    /// Downloads that run, and those of them that want a congestion control: on HTTP/2 there are several at once.
    running: u32,
    wanting: u32,
    unsent: Option<u32>,
    /// An option that the socket refused is not tried again.
    is_congestion_refused: bool,
    is_unsent_refused: bool,
}

impl Set {
    /// What plans have made of the connection, and the rate before that, while it may be unjudged.
    fn in_force(&self) -> (Option<Congestion>, Option<u64>) {
        let recent = self.changed.as_ref().filter(|(at, _)| at.elapsed() < UNJUDGED);
        (self.congestion, recent.map(|(_, rate)| *rate))
    }

    fn enter(&mut self, asked: Asked) {
        self.running += 1;
        self.wanting += u32::from(asked.congestion.is_some());
    }

    fn leave(&mut self, asked: Asked) {
        self.running = self.running.saturating_sub(1);
        self.wanting = self.wanting.saturating_sub(u32::from(asked.congestion.is_some()));
    }
}

/// What a running download wants of its connection, beside others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    congestion: Option<Congestion>,
    is_on_trial: bool,
}

impl Asked {
    pub(super) fn of(plan: &Plan) -> Self {
        Self { congestion: plan.congestion, is_on_trial: plan.is_on_trial }
    }

    /// Whether its trial has ended well by now.
    fn has_passed(self, now: Self) -> bool {
        self.is_on_trial && !now.is_on_trial && self.congestion == now.congestion
    }
}

impl Wire {
    /// The connection behind `socket`.
    #[must_use]
    pub fn new(socket: impl Tap + 'static, carrier: Carrier) -> Self {
        Self(Arc::new(Inner {
            socket: Box::new(socket),
            carrier,
            origin: OnceLock::new(),
            was_sampled: AtomicBool::new(false),
            is_single_path: AtomicBool::new(false),
            seen: Mutex::default(),
            taught: Mutex::default(),
            set: Mutex::default(),
            window: (carrier == Carrier::H2).then(Box::default),
        }))
    }

    /// What carries the bytes.
    #[must_use]
    pub fn carrier(&self) -> Carrier {
        self.0.carrier
    }

    /// How far the connection's receive window may grow; `None` where that is the kernel's.
    #[must_use]
    pub(crate) fn window(&self) -> Option<&WindowClaim> {
        self.0.window.as_deref()
    }

    /// The congestion control that the connection began with, where it is one that plans know. The first call asks.
    pub(super) fn inherited(&self) -> Option<Congestion> {
        self.origin().and_then(Congestion::from_name)
    }

    fn origin(&self) -> Option<&str> {
        self.0.origin.get_or_init(|| self.look(|fd| hfs_sock::congestion(fd).ok()).flatten()).as_deref()
    }

    /// Whether some transfer of this connection has looked at its path.
    pub(super) fn was_sampled(&self) -> bool {
        self.0.was_sampled.load(Relaxed)
    }

    /// What the kernel says of the path now; `None` where it says nothing (a Unix socket). One system call: what only
    /// plans change is not asked again, nor is what cannot change.
    #[must_use]
    pub fn sample(&self) -> Option<PathSample> {
        let (set, rate_before) = self.set().in_force();
        let congestion = set.or_else(|| self.inherited());
        let sample = self.look(|fd| {
            let multipath = self.multipath(fd);
            let sample = PathSample { rate_before, ..of_kernel(&hfs_sock::tcp_info(fd).ok()?, congestion) };
            Some(multipath.map_or(sample, |all| of_all(&all, sample)))
        });
        self.0.was_sampled.store(true, Relaxed);
        sample.flatten()
    }

    fn multipath(&self, fd: BorrowedFd<'_>) -> Option<hfs_sock::MptcpInfo> {
        if self.0.is_single_path.load(Relaxed) {
            return None;
        }
        let multipath = hfs_sock::mptcp_info(fd);
        self.0.is_single_path.store(multipath.is_none(), Relaxed);
        multipath
    }

    /// [`Wire::sample`] for a transfer that has ended, or what one showed that ended a moment ago: small transfers follow
    /// each other by the thousand on one connection, and the path is the same for all of them. Those that go on need not
    /// keep what they saw: it is old when they end.
    pub(super) fn recent_sample(&self) -> Option<PathSample> {
        let recent = self.seen().as_ref().filter(|look| look.at.elapsed() < RECENT).map(|look| look.shown);
        recent.unwrap_or_else(|| {
            let shown = self.sample();
            *self.seen() = Some(Box::new(Look { at: Stopwatch::start(), shown }));
            shown
        })
    }

    /// Whether one more small transfer teaches anything: of those that follow each other closely, one in a while does.
    /// Who is told so is the one that does.
    pub(super) fn may_teach(&self) -> bool {
        let mut taught = self.0.taught.lock().unwrap_or_else(PoisonError::into_inner);
        let may = taught.as_ref().is_none_or(|before| before.elapsed() >= RECENT);
        if may {
            *taught = Some(Stopwatch::start());
        }
        may
    }

    /// Makes the connection follow `plan` of a download that begins; returns whether the congestion control changed. What
    /// no plan wants any more goes back to what the connection had: this one may be of the other arm.
    pub(super) fn begin(&self, plan: &Plan) -> bool {
        let (mut set, asked) = (self.set(), Asked::of(plan));
        set.enter(asked);
        self.bound_unsent(&mut set, plan);
        let is_anothers = asked.congestion.is_none() && set.wanting > 0;
        !is_anothers && self.change(&mut set, asked.congestion)
    }

    /// The same for a download that asked for something else `before`. Of several the one that changes its mind last
    /// decides: it knows the path best, and the others see what became of it.
    pub(super) fn follow(&self, before: Asked, plan: &Plan) -> bool {
        let (mut set, asked) = (self.set(), Asked::of(plan));
        set.leave(before);
        set.enter(asked);
        self.bound_unsent(&mut set, plan);
        if before.has_passed(asked) {
            set.changed = None;
        }
        before.congestion != asked.congestion && self.change(&mut set, asked.congestion)
    }

    /// Says that a download which asked for this has ended; returns whether the congestion control changed. What none of
    /// those that go on wants goes back to what the connection had: nobody would see what becomes of it. Where none goes
    /// on, the next one decides.
    pub(super) fn release(&self, asked: Asked) -> bool {
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

    /// Notes the rate of the connection, bytes per second, before the change that a plan has just made: others may have to
    /// judge it.
    pub(super) fn note_rate_before(&self, rate: Option<u64>) {
        self.set().changed = rate.map(|rate| (Stopwatch::start(), rate));
    }

    /// What `look` makes of the socket.
    fn look<R>(&self, look: impl FnOnce(BorrowedFd<'_>) -> R) -> Option<R> {
        let (mut look, mut seen) = (Some(look), None);
        self.0.socket.tap(&mut |fd| seen = look.take().map(|look| look(fd)));
        seen
    }

    fn seen(&self) -> MutexGuard<'_, Option<Box<Look>>> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self) -> MutexGuard<'_, Set> {
        self.0.set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tap for Wire {
    fn tap(&self, look: &mut dyn FnMut(BorrowedFd<'_>)) {
        self.0.socket.tap(look);
    }
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").field("carrier", &self.0.carrier).finish_non_exhaustive()
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

pub(super) fn of_kernel(info: &hfs_sock::TcpInfo, congestion: Option<Congestion>) -> PathSample {
    let micros = |micros: u32| Duration::from_micros(micros.into());
    let span = |micros: Option<u64>| micros.map(Duration::from_micros);
    PathSample {
        rtt: micros(info.rtt),
        rtt_var: micros(info.rttvar),
        min_rtt: info.min_rtt.map(micros),
        receive_rtt: Some(info.rcv_rtt).filter(|&rtt| rtt > 0).map(micros),
        delivery_rate: info.delivery_rate,
        is_rate_app_limited: info.delivery_rate_app_limited,
        window: info.snd_cwnd,
        mss: info.snd_mss,
        receive_mss: info.rcv_mss,
        segments_out: info.data_segs_out.map(u64::from),
        segments_in: info.data_segs_in.map(u64::from),
        retransmits: info.total_retrans.into(),
        bytes_out: info.bytes_sent,
        bytes_retransmitted: info.bytes_retrans,
        bytes_acked: info.bytes_acked,
        bytes_in: info.bytes_received,
        out_of_order: info.rcv_ooopack,
        spurious: info.dsack_dups,
        reorderings: info.reord_seen,
        busy: span(info.busy_time),
        receiver_limited: span(info.rwnd_limited),
        sender_limited: span(info.sndbuf_limited),
        unsent: info.notsent_bytes,
        congestion,
        rate_before: None,
        subflows: 1,
        has_moved: false,
    }
}

/// What the kernel says of the first path of a multipath connection, with what it knows of them all. Where the first one is
/// gone, so is the path that a rate was reached on before.
fn of_all(all: &hfs_sock::MptcpInfo, first: PathSample) -> PathSample {
    PathSample {
        subflows: all.subflows,
        has_moved: all.has_moved,
        bytes_acked: Some(all.acknowledged),
        rate_before: first.rate_before.filter(|_| !all.has_moved),
        ..first
    }
}

/// Why connections cannot have a congestion control.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Unsettable {
    /// Not in the kernel.
    #[error("the kernel does not have it: its module tcp_{0} is not loaded")]
    Absent(&'static str),
    /// Not for this process.
    #[error("this process has no CAP_NET_ADMIN, and net.ipv4.tcp_allowed_congestion_control does not name {0}")]
    Forbidden(&'static str),
    /// Anything else.
    #[error("the system refuses {0}: {1}")]
    Refused(&'static str, io::ErrorKind),
}

impl Unsettable {
    fn of(congestion: Congestion, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Absent(congestion.as_str()),
            io::ErrorKind::PermissionDenied => Self::Forbidden(congestion.as_str()),
            kind => Self::Refused(congestion.as_str(), kind),
        }
    }
}

/// Whether this process may give its connections that congestion control.
pub(super) fn may_set(congestion: Congestion) -> Result<(), Unsettable> {
    let scratch = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let outcome = scratch.and_then(|scratch| hfs_sock::set_congestion(scratch.as_fd(), congestion.as_str()));
    outcome.map_err(|error| Unsettable::of(congestion, &error))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;
    use std::os::fd::OwnedFd;

    use hfs_core::pace::{Arm, Direction, Expected, Settings, Start, controller};
    use socket2::{Domain, Protocol, Socket, Type};

    use super::*;
    use crate::flow::testing::{pair_on_reno, settable};

    fn plan() -> Plan {
        let start = Start {
            direction: Direction::Download,
            size: None,
            carrier: Carrier::Plain,
            is_shared: false,
            inherited: None,
            expected: Expected::default(),
        };
        controller(Arm::Standard, &Settings::default().into(), &start).plan()
    }

    /// Our end first.
    fn multipath_pair() -> (TcpStream, TcpStream) {
        let open = || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP));
            socket.expect("multipath TCP, which this kernel lacks or `sysctl net.mptcp.enabled` has switched off")
        };
        let (listener, theirs) = (open(), open());
        listener.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(1).unwrap();
        theirs.connect(&listener.local_addr().unwrap()).unwrap();
        (listener.accept().unwrap().0.into(), theirs.into())
    }

    #[test]
    fn a_plan_is_followed_and_the_next_one_finds_the_connection_as_it_was() {
        let ((mut ours, mut theirs), other) = (pair_on_reno(), settable());
        let wire = Wire::new(OwnedFd::from(ours.try_clone().unwrap()), Carrier::Plain);
        let untouched = hfs_sock::notsent_lowat(ours.as_fd()).unwrap();
        assert!(!wire.begin(&plan()), "a standard plan changes nothing");
        wire.release(Asked::of(&plan()));
        let wanted = Plan { congestion: Some(other), unsent: Some(1 << 18), ..plan() };
        assert!(wire.begin(&wanted));
        assert_eq!(hfs_sock::congestion(ours.as_fd()).unwrap(), other.as_str());
        assert_eq!(hfs_sock::notsent_lowat(ours.as_fd()).unwrap(), 1 << 18);
        assert_eq!(wire.sample().unwrap().congestion, Some(other));
        assert!(!wire.begin(&plan()), "another stream does not take it away");
        assert_eq!(hfs_sock::congestion(ours.as_fd()).unwrap(), other.as_str());
        assert!(!wire.release(Asked::of(&plan())), "nor by its end");
        assert!(!wire.release(Asked::of(&wanted)), "the next one decides");
        assert!(wire.begin(&plan()));
        assert_eq!(wire.sample().unwrap().congestion, None, "no plan knows reno");
        assert_eq!(hfs_sock::congestion(ours.as_fd()).unwrap(), "reno");
        assert_eq!(hfs_sock::notsent_lowat(ours.as_fd()).unwrap(), untouched);
        ours.write_all(&[1; 10_000]).unwrap();
        theirs.read_exact(&mut [0; 10_000]).unwrap();
        let sample = wire.recent_sample().unwrap();
        assert!(sample.bytes_out.is_none_or(|bytes| bytes >= 10_000) && sample.mss > 500, "{sample:?}");
        ours.write_all(&[1; 10_000]).unwrap();
        assert_eq!(wire.recent_sample(), Some(sample), "looked at a moment ago");
        assert!(wire.sample() != Some(sample) || sample.bytes_out.is_none());
    }

    #[test]
    fn of_several_transfers_the_one_that_changes_its_mind_last_decides() {
        let ((ours, _theirs), other) = (pair_on_reno(), settable());
        let wire = Wire::new(OwnedFd::from(ours.try_clone().unwrap()), Carrier::Plain);
        let wanted = Plan { congestion: Some(other), ..plan() };
        let (asked, nothing) = (Asked::of(&wanted), Asked::of(&plan()));
        assert!(wire.begin(&wanted));
        assert!(!wire.begin(&wanted), "two of them want it");
        assert!(wire.follow(asked, &plan()), "one has found that it is no good");
        assert_eq!(hfs_sock::congestion(ours.as_fd()).unwrap(), "reno");
        assert!(!wire.follow(asked, &Plan { unsent: Some(1 << 18), ..wanted }), "the other has not heard of it yet");
        assert_eq!(hfs_sock::congestion(ours.as_fd()).unwrap(), "reno");
        assert!(!wire.follow(asked, &plan()), "and does as well");
        assert!(wire.follow(nothing, &wanted));
        assert!(!wire.follow(nothing, &Plan { unsent: Some(1 << 19), ..plan() }), "who never wanted it keeps it");
        assert_eq!(wire.sample().unwrap().congestion, Some(other));
    }

    #[test]
    fn what_one_wanted_alone_goes_with_it_where_others_go_on() {
        let ((ours, _theirs), other) = (pair_on_reno(), settable());
        let wire = Wire::new(OwnedFd::from(ours.try_clone().unwrap()), Carrier::H2);
        let wanted = Plan { congestion: Some(other), ..plan() };
        let (asked, nothing) = (Asked::of(&wanted), Asked::of(&plan()));
        assert!(wire.begin(&wanted));
        assert!(!wire.begin(&plan()) && !wire.begin(&wanted));
        assert!(!wire.release(asked), "one wants it still");
        assert_eq!(hfs_sock::congestion(ours.as_fd()).unwrap(), other.as_str());
        assert!(wire.release(asked));
        assert_eq!(hfs_sock::congestion(ours.as_fd()).unwrap(), "reno");
        assert!(!wire.release(nothing));
    }

    #[test]
    fn what_was_found_good_is_not_judged_by_those_who_come() {
        let ((ours, _theirs), other) = (pair_on_reno(), settable());
        let wire = Wire::new(OwnedFd::from(ours.try_clone().unwrap()), Carrier::H2);
        let trial = Plan { congestion: Some(other), is_on_trial: true, ..plan() };
        wire.begin(&plan());
        assert!(wire.follow(Asked::of(&plan()), &trial));
        wire.note_rate_before(Some(9));
        let rate_before = || wire.sample().unwrap().rate_before;
        assert!(!wire.follow(Asked::of(&trial), &Plan { unsent: Some(1 << 18), ..trial }));
        assert_eq!(rate_before(), Some(9));
        assert!(!wire.follow(Asked::of(&trial), &Plan { is_on_trial: false, ..trial }));
        assert_eq!(rate_before(), None);
    }

    #[test]
    fn a_connection_says_what_its_listener_gave_it() {
        let ((ours, _theirs), other) = (pair_on_reno(), settable());
        let wire = Wire::new(OwnedFd::from(ours.try_clone().unwrap()), Carrier::Plain);
        assert_eq!((wire.inherited(), wire.origin()), (None, Some("reno")));
        let wanted = Plan { congestion: Some(other), ..plan() };
        wire.begin(&wanted);
        assert_eq!((wire.inherited(), wire.origin()), (None, Some("reno")), "what it is on now is another thing");
        wire.release(Asked::of(&wanted));
        wire.begin(&plan());
        assert_eq!(hfs_sock::congestion(ours.as_fd()).unwrap(), "reno");
    }

    #[test]
    fn what_a_multipath_connection_delivers_is_counted_over_all_of_its_paths() {
        let (mut ours, mut theirs) = multipath_pair();
        let wire = Wire::new(OwnedFd::from(ours.try_clone().unwrap()), Carrier::H2);
        let acked = || wire.sample().unwrap().bytes_acked.unwrap();
        let (before, first) = (acked(), || hfs_sock::tcp_info(ours.as_fd()).unwrap().bytes_acked);
        assert_ne!(Some(before), first(), "this is of the first path");
        ours.write_all(&[1; 10_000]).unwrap();
        theirs.read_exact(&mut [0; 10_000]).unwrap();
        // What answers has acknowledged.
        theirs.write_all(&[1]).unwrap();
        ours.read_exact(&mut [0]).unwrap();
        assert_eq!(acked().wrapping_sub(before), 10_000);
    }

    #[test]
    fn a_rate_that_was_reached_on_a_path_that_is_gone_compares_nothing() {
        let first = PathSample { bytes_acked: Some(1), rate_before: Some(9), ..PathSample::default() };
        let seen = |has_moved| of_all(&hfs_sock::MptcpInfo { subflows: 2, has_moved, acknowledged: 7 }, first);
        assert_eq!((seen(false).rate_before, seen(false).bytes_acked), (Some(9), Some(7)));
        assert_eq!(seen(true).rate_before, None);
    }

    #[test]
    fn why_a_congestion_control_cannot_be_had_is_told() {
        let (ours, _theirs) = pair_on_reno();
        let unknown = hfs_sock::set_congestion(ours.as_fd(), "nonesuch").unwrap_err();
        assert_eq!(Unsettable::of(Congestion::Bbr, &unknown), Unsettable::Absent("bbr"));
        let forbidden = io::Error::from_raw_os_error(rustix::io::Errno::PERM.raw_os_error());
        let told = Unsettable::of(Congestion::Bbr, &forbidden).to_string();
        assert!(told.contains("tcp_allowed_congestion_control does not name bbr"), "{told}");
        let other = io::Error::from(io::ErrorKind::ResourceBusy);
        assert_eq!(Unsettable::of(Congestion::Bbr, &other).to_string(), "the system refuses bbr: resource busy");
    }

    #[test]
    fn a_socket_without_options_is_left_alone() {
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let wire = Wire::new(OwnedFd::from(ours), Carrier::Plain);
        assert_eq!(wire.sample(), None);
        assert!(!wire.begin(&Plan { congestion: Some(Congestion::Bbr), unsent: Some(1 << 18), ..plan() }));
    }
}
