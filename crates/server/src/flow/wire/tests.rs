//! What transfers ask of a connection, one after the other and side by side, and what it says of its path.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::{AsFd as _, OwnedFd};

use hfs_core::pace::{Arm, Plan, Settings, controller};
use socket2::{Domain, Protocol, Socket, Type};

use super::levers::Before;
use super::*;
use crate::flow::testing::{pair_on_reno, settable, stranger};

fn plan() -> Plan {
    controller(Arm::Standard, &Settings::default().into(), &stranger()).plan()
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
    assert!(wire.follow(asked, &plan(), None), "one has found that it is no good");
    assert_eq!(hfs_sock::congestion(ours.as_fd()).unwrap(), "reno");
    assert!(!wire.follow(asked, &Plan { unsent: Some(1 << 18), ..wanted }, None), "the other has not heard of it yet");
    assert_eq!(hfs_sock::congestion(ours.as_fd()).unwrap(), "reno");
    assert!(!wire.follow(asked, &plan(), None), "and does as well");
    assert!(wire.follow(nothing, &wanted, None));
    assert!(!wire.follow(nothing, &Plan { unsent: Some(1 << 19), ..plan() }, None), "who never wanted it keeps it");
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
fn a_connection_is_paced_from_when_a_plan_asks_for_it() {
    let (ours, _theirs) = pair_on_reno();
    let wire = Wire::new(OwnedFd::from(ours.try_clone().unwrap()), Carrier::H2);
    let (is_paced, paced) = (|| hfs_sock::is_paced(ours.as_fd()).unwrap(), Plan { is_paced: true, ..plan() });
    wire.begin(&plan());
    assert!(!is_paced());
    wire.follow(Asked::of(&plan()), &paced, None);
    assert!(is_paced());
    assert!(wire.sample().unwrap().is_paced);
    wire.release(Asked::of(&paced));
    wire.begin(&plan());
    assert!(is_paced(), "there is no way back");
    let (new, _theirs) = pair_on_reno();
    let wire = Wire::new(OwnedFd::from(new.try_clone().unwrap()), Carrier::Plain);
    wire.begin(&paced);
    assert!(hfs_sock::is_paced(new.as_fd()).unwrap());
}

#[test]
fn what_was_found_good_is_not_judged_by_those_who_come() {
    let ((ours, _theirs), other) = (pair_on_reno(), settable());
    let wire = Wire::new(OwnedFd::from(ours.try_clone().unwrap()), Carrier::H2);
    let trial = Plan { congestion: Some(other), is_on_trial: true, ..plan() };
    wire.begin(&plan());
    assert!(wire.follow(Asked::of(&plan()), &trial, Some(9)));
    let rate_before = || wire.sample().unwrap().rate_before;
    assert!(!wire.follow(Asked::of(&trial), &Plan { unsent: Some(1 << 18), ..trial }, None));
    assert_eq!(rate_before(), Some(9));
    assert!(!wire.follow(Asked::of(&trial), &Plan { is_on_trial: false, ..trial }, None));
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
    let before = |had_moved| Before { rate: 9, had_moved };
    assert_eq!((before(false).rate_on(false), before(true).rate_on(true)), (Some(9), Some(9)));
    assert_eq!((before(false).rate_on(true), before(true).rate_on(false)), (None, None));
    let first = PathSample { bytes_acked: Some(1), ..PathSample::default() };
    let all = hfs_sock::MptcpInfo { subflows: 2, has_moved: false, acknowledged: 7, busy: None };
    assert_eq!(of_all(&all, first).bytes_acked, Some(7));
}

#[test]
fn whether_several_paths_had_something_to_send_is_told_of_all_of_them_or_not_at_all() {
    let busy = |subflows, has_moved, busy| {
        let first = PathSample { busy: Some(Duration::from_micros(5)), ..PathSample::default() };
        let all = hfs_sock::MptcpInfo { subflows, has_moved, acknowledged: 7, busy };
        of_all(&all, first).busy.map(|busy| busy.as_micros())
    };
    assert_eq!(busy(1, false, None), Some(5));
    assert_eq!((busy(2, false, Some(9)), busy(1, true, Some(9))), (Some(9), Some(9)));
    assert_eq!((busy(2, false, None), busy(1, true, None)), (None, None), "the kernel is too old");
}

#[test]
fn a_socket_without_options_is_left_alone() {
    let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let wire = Wire::new(OwnedFd::from(ours), Carrier::Plain);
    assert_eq!(wire.sample(), None);
    assert!(!wire.begin(&Plan { congestion: Some(Congestion::Bbr), unsent: Some(1 << 18), ..plan() }));
}
