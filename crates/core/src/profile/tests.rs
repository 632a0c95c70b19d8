use super::*;
use crate::pace::tests::controller;
use crate::pace::{Arm, Carrier, Direction, PathSample, Settings, Start};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn plan(congestion: Option<Congestion>) -> Plan {
    let start = Start {
        direction: Direction::Download,
        size: None,
        carrier: Carrier::Plain,
        is_shared: false,
        inherited: None,
        expected: Expected::default(),
    };
    Plan { congestion, ..controller(Arm::Adaptive, &Settings::default(), &start).plan() }
}

fn seen(rtt: Duration, rate: u64) -> Snapshot {
    let last =
        PathSample { rtt, rtt_var: rtt / 8, min_rtt: Some(rtt), mss: 1448, subflows: 1, ..PathSample::default() };
    Snapshot {
        rate: Some(rate),
        min_rtt: Some(rtt),
        rtt: Some(rtt),
        jitter: Some(rtt / 8),
        last: Some(last),
        samples: 9,
        loss: Some(0.0),
        unqueued_loss: Some(0.0),
        hosts_loss: Some(0.0),
        received_rate: None,
        delivered_rate: None,
        bbr_share: None,
    }
}

fn lesson(snapshot: Snapshot, bytes: u64, congestion: Option<Congestion>) -> Lesson {
    Lesson {
        snapshot,
        plan: plan(congestion),
        direction: Direction::Download,
        elapsed: ms(1000),
        bytes,
        is_whole: true,
        guess: Guess::default(),
        vantage: Vantage::Client,
        has_asked: false,
    }
}

#[test]
fn a_key_is_a_network_not_an_address() {
    let key = |address: &str| ProfileKey::new(None, Some(address.parse().unwrap()));
    assert_eq!(key("192.0.2.1"), key("192.0.2.255"));
    assert_ne!(key("192.0.2.1"), key("192.0.3.1"));
    assert_eq!(key("::ffff:192.0.2.7"), key("192.0.2.1"));
    assert_eq!(key("2001:db8:1:2::3"), key("2001:db8:1:ffff::"));
    assert_ne!(key("2001:db8:1::"), key("2001:db8:2::"));
}

#[test]
fn a_lot_is_the_same_in_every_build() {
    let network = ProfileKey::new(None, Some("192.0.2.1".parse().unwrap()));
    let owner = |prefix: &str| ProfileKey::new(Some("a@example".to_owned()), Some(prefix.parse().unwrap()));
    // printf 'testing_mode\0network:192.0.2.0' | sha256sum | cut -c1-16
    let of_sha256 = |first: u64| (first >> 11) as f64 / (1u64 << 53) as f64;
    assert_eq!(network.lot("testing_mode").to_bits(), of_sha256(0x46b3_896f_f25f_303f).to_bits());
    assert_eq!(owner("192.0.2.1").lot("testing_mode").to_bits(), of_sha256(0xee80_dff2_004d_c2e3).to_bits());
    assert_eq!(owner("192.0.2.1").lot("x").to_bits(), owner("2001:db8::1").lot("x").to_bits());
    assert_ne!(owner("192.0.2.1").lot("x").to_bits(), owner("192.0.2.1").lot("y").to_bits());
}

#[test]
fn quality_needs_rate_and_latency() {
    let quality = |rate, rtt| Thresholds::default().quality(rate, rtt);
    assert_eq!(quality(Some(20 << 20), Some(ms(10))), Quality::Excellent);
    assert_eq!(quality(Some(20 << 20), Some(ms(100))), Quality::Good);
    assert_eq!(quality(Some(200 << 10), Some(ms(10))), Quality::Fair);
    assert_eq!(quality(Some(20 << 10), None), Quality::Poor);
    assert_eq!(quality(Some(1), Some(ms(10_000))), Quality::Poor);
    assert_eq!(quality(None, None), Quality::Unknown);
}

#[test]
fn alarms_cap_a_quality_and_never_raise_it() {
    let alarms = Alarms {
        warning: Alarm { rtt: Some(ms(200)), loss: Some(0.02) },
        critical: Alarm { rtt: Some(ms(1000)), loss: Some(0.1) },
        stability: Some(0.8),
    };
    let with = |rtt, loss, jitter| Snapshot { loss: Some(loss), jitter: Some(jitter), ..seen(rtt, 0) };
    let cap = |quality, seen: Snapshot| alarms.cap(quality, &seen);
    assert_eq!(cap(Quality::Excellent, with(ms(40), 0.0, ms(1))), Quality::Excellent);
    assert_eq!(cap(Quality::Excellent, with(ms(40), 0.02, ms(1))), Quality::Fair);
    assert_eq!(cap(Quality::Poor, with(ms(200), 0.0, ms(1))), Quality::Poor);
    assert_eq!(cap(Quality::Good, with(ms(1000), 0.0, ms(1))), Quality::Poor);
    assert_eq!(cap(Quality::Good, with(ms(40), 0.0, ms(9))), Quality::Poor);
    assert_eq!(cap(Quality::Unknown, with(ms(300), 0.0, ms(1))), Quality::Fair);
    assert_eq!(Alarms::default().cap(Quality::Good, &with(ms(9000), 0.9, ms(9000))), Quality::Good);
}

#[test]
fn thresholds_that_contradict_each_other_are_refused() {
    let at = |min_rate, millis| Threshold { min_rate, max_rtt: ms(millis) };
    assert!(Thresholds::new([at(4, 1), at(3, 2), at(2, 3), at(1, 4)]).is_ok());
    let error = Thresholds::new([at(4, 1), at(5, 2), at(2, 3), at(1, 4)]).unwrap_err();
    assert_eq!(error.to_string(), "`excellent` must ask for a higher rate and a shorter latency than `good`");
    assert!(Thresholds::new([at(4, 1), at(3, 2), at(2, 1), at(1, 4)]).is_err());
}

#[test]
fn evidence_is_what_the_figures_show() {
    let mut lossy = seen(ms(40), 1 << 20);
    lossy.unqueued_loss = Some(0.02);
    assert_eq!(Evidence::of(&lossy).names().collect::<Vec<_>>(), ["lossy-not-congested"]);
    let mut queued = Snapshot { loss: Some(0.02), unqueued_loss: Some(0.0), ..lossy };
    queued.last = Some(PathSample { rtt: ms(100), ..lossy.last.unwrap() });
    assert_eq!(Evidence::of(&queued).names().collect::<Vec<_>>(), ["buffer-bloated"]);
    let mut drained = queued;
    drained.last = lossy.last;
    assert_eq!(Evidence::of(&drained), Evidence::default(), "a full queue lost it, and is empty again");
    let mut far = seen(ms(300), 1 << 20);
    let holes = PathSample { out_of_order: Some(50), segments_in: Some(1000), ..far.last.unwrap() };
    far.last = Some(PathSample { rtt: ms(400), ..holes });
    assert_eq!(Evidence::of(&far), Evidence::default(), "100 ms are a queue over 300 ms, too");
    let mut tunnelled = seen(ms(20), 1 << 20);
    tunnelled.last = Some(PathSample { mss: 1368, rtt_var: ms(10), ..tunnelled.last.unwrap() });
    assert_eq!(Evidence::of(&tunnelled).names().collect::<Vec<_>>(), ["jittery", "tunnelled"]);
    tunnelled.samples = 7;
    assert_eq!(Evidence::of(&tunnelled).names().collect::<Vec<_>>(), ["tunnelled"], "it begins with half a round trip");
    assert_eq!(Evidence::of(&Snapshot::default()), Evidence::default());
    let mut multipath = seen(ms(20), 1 << 20);
    multipath.last = Some(PathSample { subflows: 2, ..multipath.last.unwrap() });
    assert_eq!(Evidence::of(&multipath).names().collect::<Vec<_>>(), ["multipath"]);
    let mut moved = seen(ms(20), 1 << 20);
    moved.last = Some(PathSample { has_moved: true, ..moved.last.unwrap() });
    assert_eq!(Evidence::of(&moved).names().collect::<Vec<_>>(), ["migrated"]);
    let mut wired = seen(ms(1), 3_000_000);
    // Ten segments a round trip arrive behind each hole.
    let holes =
        PathSample { out_of_order: Some(100), segments_in: Some(1000), receive_mss: 1448, ..wired.last.unwrap() };
    wired.last = Some(PathSample { rtt: ms(4), receive_rtt: Some(ms(5)), ..holes });
    let names: Vec<_> = Evidence::of(&wired).names().collect();
    assert_eq!(names, ["lossy-not-congested"], "three milliseconds are no queue that bothers anybody");
    let mut near = seen(Duration::from_micros(20), 100_000_000);
    near.last =
        Some(PathSample { rtt: Duration::from_micros(20), rtt_var: Duration::ZERO, receive_rtt: None, ..holes });
    assert_eq!(Evidence::of(&near), Evidence::default(), "nothing is lost on the way to itself");
}

#[test]
fn an_upload_shows_neither_jitter_nor_radio_loss_by_figures_that_stand_still() {
    // What the kernel says while it only receives: the first round trip, half of it, and holes from a full queue.
    let mut upload = seen(ms(10), 1 << 20);
    let last = upload.last.unwrap();
    let standing =
        PathSample { rtt_var: ms(5), segments_out: Some(0), receive_rtt: Some(ms(18)), receive_mss: 1448, ..last };
    let holes = |out_of_order| PathSample { out_of_order: Some(out_of_order), segments_in: Some(1000), ..standing };
    upload.last = Some(holes(50));
    assert_eq!(Evidence::of(&upload), Evidence::default());
    upload.last = Some(PathSample { receive_rtt: Some(ms(11)), ..holes(50) });
    assert_eq!(Evidence::of(&upload).names().collect::<Vec<_>>(), ["lossy-not-congested"], "without a queue it does");
    upload.last = Some(PathSample { receive_rtt: Some(ms(11)), ..holes(30) });
    assert_eq!(Evidence::of(&upload), Evidence::default(), "four losses, with all that came before they were mended");
}

#[test]
fn uploads_that_share_a_connection_share_its_losses() {
    // Eight of them; 50 segments arrive behind each hole, and one in a thousand is lost.
    let mut upload = seen(ms(100), 1 << 20);
    let last = upload.last.unwrap();
    let segments = 50_000;
    let holes = PathSample { out_of_order: Some(50 * 50), segments_in: Some(segments), receive_mss: 1448, ..last };
    upload.last = Some(holes);
    upload.received_rate = Some(50 * 1448 * 10);
    upload.rate = upload.received_rate.map(|rate| rate / 8);
    assert_eq!(Evidence::of(&upload), Evidence::default());
    let all = PathSample { out_of_order: Some(10 * 50 * 50), ..holes };
    upload.last = Some(all);
    assert_eq!(Evidence::of(&upload).names().collect::<Vec<_>>(), ["lossy-not-congested"], "one in a hundred");
}

#[test]
fn a_guess_needs_figures_and_says_how_sure_it_is() {
    let hints = Hints { agent: None, fingerprints: true };
    assert_eq!(guess(&Snapshot::default(), &hints), Guess::default());
    let satellite = guess(&seen(ms(600), 1_000_000), &hints);
    assert_eq!(satellite.link, Link::Satellite, "{satellite:?}");
    let wired = guess(&seen(ms(1), 30_000_000), &hints);
    assert_eq!(wired.link, Link::Ethernet, "{wired:?}");
    assert!((0.0..=1.0).contains(&wired.confidence));
    let mut tunnel = seen(ms(20), 4_000_000);
    tunnel.last = Some(PathSample { mss: 1368, ..tunnel.last.unwrap() });
    assert_eq!(guess(&tunnel, &hints).link, Link::Vpn);
    assert_ne!(guess(&tunnel, &Hints::default()).link, Link::Vpn, "segment sizes were not to be used");
}

#[test]
fn a_path_that_is_like_no_medium_is_not_named() {
    let hints = Hints { agent: None, fingerprints: true };
    let near = Snapshot { jitter: None, loss: None, ..seen(Duration::from_micros(14), 55_000) };
    let none = guess(&near, &hints);
    assert!(none.link == Link::Unknown && none.confidence > 0.9, "this machine is no radio: {none:?}");
    for rtt in [1, 14, 60, 300, 600] {
        let alone = Snapshot { jitter: None, loss: None, rate: None, ..seen(ms(rtt), 0) };
        assert_eq!(guess(&alone, &hints), Guess::default(), "{rtt} ms alone name no medium");
    }
    let fast = guess(&seen(Duration::from_micros(100), 1_250_000_000), &hints);
    assert_eq!(fast.link, Link::Ethernet, "10 Gbit/s next door: {fast:?}");
    let far = Snapshot { jitter: None, loss: None, ..seen(ms(600), 1_000_000) };
    assert_eq!(guess(&far, &hints).link, Link::Satellite);
}

#[test]
fn a_user_agent_tips_the_balance_and_outweighs_no_figure() {
    let guess = |seen: &Snapshot, agent| guess(seen, &Hints { agent, fingerprints: true });
    let [phone, desktop] = [Some("Conversations/2.17"), Some("gajim/1.9")];
    // As likely a wire as a radio.
    let open = Snapshot { loss: Some(0.001), ..seen(ms(5), 6_250_000) };
    assert_eq!(guess(&open, None).link, Link::Unknown);
    assert_eq!(guess(&open, phone).link, Link::Wifi, "{:?}", guess(&open, phone));
    assert_eq!(guess(&open, desktop), guess(&open, None), "anybody may have a desktop");
    let wired = seen(ms(1), 30_000_000);
    assert_eq!(guess(&wired, phone).link, Link::Ethernet, "{:?}", guess(&wired, phone));
    assert!(guess(&wired, phone).confidence < guess(&wired, None).confidence);
}

#[test]
fn a_profile_expects_what_it_has_seen() {
    let mut profile = Profile::default();
    assert_eq!(profile.expected(Direction::Download), Expected::default());
    let now = Timestamp::from_unix(1);
    for _ in 0..20 {
        profile.learn(&lesson(seen(ms(40), 0), 1_000_000, None), 0.3, now);
    }
    let expected = profile.expected(Direction::Download);
    assert!((900_000..1_100_000).contains(&expected.rate.unwrap()), "{expected:?}");
    assert_eq!((expected.min_rtt, expected.is_bbr_better), (Some(ms(40)), None));
    for _ in 0..20 {
        profile.learn(&lesson(seen(ms(40), 0), 1_100_000, Some(Congestion::Bbr)), 0.3, now);
    }
    assert_eq!(profile.expected(Direction::Download).is_bbr_better, None, "a tenth more is chance");
    for _ in 0..20 {
        profile.learn(&lesson(seen(ms(40), 0), 5_000_000, Some(Congestion::Bbr)), 0.3, now);
    }
    assert_eq!(profile.expected(Direction::Download).is_bbr_better, Some(true));
    for _ in 0..20 {
        profile.learn(&lesson(seen(ms(40), 0), 1_000_000, Some(Congestion::Bbr)), 0.3, now);
    }
    assert_eq!(profile.expected(Direction::Download).is_bbr_better, Some(false), "no faster is no better");
    assert_eq!((profile.transfers, profile.at), (80, now));
}

#[test]
fn a_rate_is_that_of_the_congestion_control_that_moved_the_bytes() {
    let learnt = |bbr_share, asked_for| {
        let mut profile = Profile::default();
        let seen = Snapshot { bbr_share, ..seen(ms(40), 0) };
        profile.learn(&lesson(seen, 1_000_000, asked_for), 0.3, Timestamp::from_unix(1));
        [profile.rate_default, profile.rate_bbr].map(|rate| rate.is_some())
    };
    let bbr = Some(Congestion::Bbr);
    assert_eq!(learnt(Some(1.0), None), [false, true], "another download, or the host, had put the connection on BBR");
    assert_eq!(learnt(Some(0.0), bbr), [true, false], "the plan came with the last bytes");
    assert_eq!(learnt(Some(0.1), Some(Congestion::Cubic)), [true, false]);
    assert_eq!((learnt(Some(0.5), bbr), learnt(Some(0.5), None)), ([false; 2], [true, false]));
    assert_eq!((learnt(None, bbr), learnt(None, None)), ([false, true], [true, false]), "nobody has looked");
}

#[test]
fn a_rate_that_cubic_and_a_hosts_bbr_have_made_together_is_neithers() {
    let learnt = |congestion| {
        let mut profile = Profile::default();
        let mut seen = Snapshot { bbr_share: Some(0.5), ..seen(ms(40), 0) };
        seen.last.as_mut().unwrap().congestion = congestion;
        profile.learn(&lesson(seen, 1_000_000, None), 0.3, Timestamp::from_unix(1));
        [profile.rate_default, profile.rate_bbr].map(|rate| rate.is_some())
    };
    assert_eq!(learnt(Some(Congestion::Bbr)), [false; 2], "cubic was given up");
    assert_eq!((learnt(Some(Congestion::Cubic)), learnt(None)), ([true, false], [true, false]), "BBR was");
}

#[test]
fn a_rate_that_no_download_teaches_any_more_is_not_expected() {
    let rates = (Some(1e6), Some(9e6));
    let known = Profile { rate_default: rates.0, rate_bbr: rates.1, transfers: 1, ..Profile::default() };
    let expected = |profile: &Profile| profile.expected(Direction::Download).rate.unwrap();
    assert_eq!(expected(&known), 9_000_000, "what an earlier process learnt");
    let bbr = Some(Congestion::Bbr);
    // The host may no longer have BBR, or is on it now and no path is for cubic.
    for (was_on, lost) in [(None, rates), (bbr, (rates.1, rates.0))] {
        let mut profile = Profile { rate_default: lost.0, rate_bbr: lost.1, ..known };
        profile.learn(&lesson(seen(ms(40), 0), 1_000_000, was_on), 0.2, Timestamp::from_unix(1));
        assert_eq!(expected(&profile), 1_000_000, "{was_on:?}");
        profile.learn(&lesson(seen(ms(40), 0), 10_000, was_on.xor(bbr)), 0.2, Timestamp::from_unix(1));
        assert_eq!(expected(&profile), 1_000_000, "a short one teaches no rate");
    }
}

#[test]
fn who_would_begin_with_bbr_is_asked_now_and_then_whether_that_is_still_so() {
    let asked = |rate_default, rate_bbr, loss| {
        let known = Profile { rate_default, rate_bbr, loss, ..Profile::default() };
        let asked = (1..=100).filter_map(|transfers| Profile { transfers, ..known }.asked());
        asked.inspect(|expected| assert_eq!(expected.is_bbr_better, Some(false))).count()
    };
    let (slow, fast) = (Some(1e6), Some(9e6));
    assert_eq!(asked(slow, fast, None), 4);
    assert_eq!(asked(None, slow, Some(0.01)), 4);
    assert_eq!(asked(None, slow, Some(0.0001)), 0, "it begins with the host's anyway");
    assert_eq!(asked(fast, slow, None), 0, "the host's teaches all the time");
}

#[test]
fn who_asks_expects_what_was_reached_without_bbr() {
    let is_bbr_latest = Some(true);
    let known = Profile { rate_bbr: Some(9e6), loss: Some(0.02), is_bbr_latest, ..Profile::default() };
    let known = Profile { transfers: ASKS_AGAIN, ..known };
    let expected = |rate_default| Profile { rate_default, ..known }.asked().unwrap().rate;
    assert_eq!(expected(Some(1e6)), Some(1_000_000));
    assert_eq!(expected(None), Some(9_000_000), "better than nothing");
}

#[test]
fn what_a_download_that_asked_shows_counts_half_and_is_not_what_the_next_one_expects() {
    let mut profile =
        Profile { rate_default: Some(1e6), rate_bbr: Some(9e6), is_bbr_latest: Some(true), ..Profile::default() };
    profile.loss = Some(0.01);
    let learn = |profile: &mut Profile, has_asked, congestion| {
        let lesson = Lesson { has_asked, ..lesson(seen(ms(40), 0), 5_000_000, congestion) };
        profile.learn(&lesson, 0.2, Timestamp::from_unix(1));
        (profile.rate_default.unwrap(), profile.expected(Direction::Download).rate.unwrap())
    };
    assert_eq!(learn(&mut profile, true, None), (3e6, 9_000_000));
    assert_eq!((profile.loss, profile.expected(Direction::Download).is_bbr_better), (Some(0.005), Some(true)));
    let (default, bbr) = learn(&mut profile, true, Some(Congestion::Bbr));
    assert!(default == 3e6 && bbr > 8_000_000, "{bbr}: it was put on BBR");
    assert_eq!(learn(&mut profile, false, None), (3.4e6, 3_400_000), "it began without: there is no BBR any more");
}

#[test]
fn what_bbr_loses_can_only_show_that_less_is_lost() {
    let after = |hosts_loss, unqueued_loss| {
        let seen = Snapshot { hosts_loss, unqueued_loss: Some(unqueued_loss), ..seen(ms(40), 0) };
        let mut profile = Profile { loss: Some(0.01), ..Profile::default() };
        profile.learn(&lesson(seen, 1_000_000, Some(Congestion::Bbr)), 0.5, Timestamp::from_unix(1));
        profile.loss.unwrap()
    };
    assert_eq!(after(None, 0.05), 0.01);
    assert!((after(None, 0.002) - 0.006).abs() < 1e-9);
    assert!((after(Some(0.05), 0.0) - 0.03).abs() < 1e-9, "what the host's loses counts");
}

#[test]
fn a_shorter_round_trip_is_believed_at_once_and_a_longer_one_slowly() {
    let mut profile = Profile::default();
    for (rtt, expected) in [(40, 40), (80, 48), (30, 30)] {
        profile.learn(&lesson(seen(ms(rtt), 0), 1_000_000, None), 0.2, Timestamp::from_unix(1));
        assert_eq!(profile.expected(Direction::Download).min_rtt, Some(ms(expected)), "{rtt} ms");
    }
}

#[test]
fn what_goes_up_says_nothing_of_what_comes_down() {
    let mut profile = Profile::default();
    let up = Lesson { direction: Direction::Upload, ..lesson(seen(ms(40), 0), 100_000, None) };
    profile.learn(&up, 0.3, Timestamp::from_unix(1));
    assert_eq!(profile.expected(Direction::Download).rate, None);
    profile.learn(&lesson(seen(ms(40), 0), 5_000_000, None), 0.3, Timestamp::from_unix(2));
    assert_eq!(profile.expected(Direction::Upload).rate, Some(100_000));
    assert_eq!(profile.expected(Direction::Download).rate, Some(5_000_000));
}

#[test]
fn a_short_transfer_teaches_a_round_trip_and_no_rate() {
    let mut profile = Profile::default();
    profile.learn(&lesson(seen(ms(40), 0), 10_000, None), 0.3, Timestamp::from_unix(1));
    let expected = profile.expected(Direction::Download);
    assert_eq!((expected.rate, expected.step, expected.min_rtt), (None, None, Some(ms(40))));
    for (bytes, is_known) in [(10_000, false), (100_000, true)] {
        let upload = Lesson { direction: Direction::Upload, ..lesson(seen(ms(40), 0), bytes, None) };
        profile.learn(&upload, 0.3, Timestamp::from_unix(1));
        assert_eq!(profile.expected(Direction::Upload).step.is_some(), is_known, "{bytes}: what it ended with");
    }
}

#[test]
fn a_download_that_fits_into_the_socket_teaches_no_rate() {
    let taken = |elapsed, rtt| Lesson { elapsed, ..lesson(seen(rtt, 0), 1 << 20, None) };
    assert_eq!(taken(ms(1), ms(40)).rate(), None, "a gigabyte per second over 40 ms");
    assert_eq!(taken(ms(319), ms(40)).rate(), None);
    assert!(taken(ms(320), ms(40)).rate().is_some());
    assert!(taken(ms(1), Duration::from_micros(50)).rate().is_some(), "a short path empties the socket meanwhile");
    let uploaded = Lesson { direction: Direction::Upload, ..taken(ms(100), ms(40)) };
    assert!(uploaded.rate().is_some(), "what was received has come over the path");
    let mut profile = Profile::default();
    profile.learn(&taken(ms(1), ms(300)), 0.3, Timestamp::from_unix(1));
    let expected = profile.expected(Direction::Download);
    assert_eq!((expected.rate, expected.is_bbr_better, expected.min_rtt), (None, None, Some(ms(300))));
}

#[test]
fn what_a_proxy_takes_at_once_teaches_no_rate() {
    let blind = Snapshot { rate: Some(90_000), ..Snapshot::default() };
    let through = |vantage, direction, elapsed| Lesson { vantage, direction, elapsed, ..lesson(blind, 64 << 20, None) };
    for direction in [Direction::Upload, Direction::Download] {
        assert_eq!(through(Vantage::Proxy, direction, ms(1900)).rate(), None, "{direction:?}: 35 MB/s on loopback");
        let long = through(Vantage::Proxy, direction, ms(60_000));
        assert_eq!(long.rate(), Some(90_000.0), "{direction:?}: what it took at first is not the client's");
    }
    assert_eq!(through(Vantage::Client, Direction::Download, ms(1900)).rate(), None, "nobody knows the round trip");
    assert!(through(Vantage::Client, Direction::Download, ms(2000)).rate().is_some());
    assert!(through(Vantage::Client, Direction::Upload, ms(100)).rate().is_some(), "it came over the path");
}

#[test]
fn one_guess_that_differs_does_not_change_a_class() {
    let mut profile = Profile::default();
    let mut learn = |link, confidence| {
        let guess = Guess { link, confidence };
        let lesson = Lesson { guess, ..lesson(seen(ms(40), 0), 1_000_000, None) };
        profile.learn(&lesson, 0.2, Timestamp::from_unix(1));
        profile.class.link
    };
    for _ in 0..10 {
        assert_eq!(learn(Link::Lte, 0.9), Link::Lte);
    }
    assert_eq!(learn(Link::Unknown, 0.0), Link::Lte);
    assert_eq!(learn(Link::Wifi, 0.7), Link::Lte);
    assert_eq!((0..5).map(|_| learn(Link::Wifi, 0.7)).last(), Some(Link::Wifi), "it has moved");
}

#[test]
fn a_class_is_forgotten_where_the_path_has_become_like_no_medium() {
    let after = |guess: Guess, gain: f64, transfers: usize| {
        let class = Guess { link: Link::Wifi, confidence: 0.99999 };
        let mut profile = Profile { class, ..Profile::default() };
        for _ in 0..transfers {
            let lesson = Lesson { guess, ..lesson(seen(ms(40), 0), 1_000_000, None) };
            profile.learn(&lesson, gain, Timestamp::from_unix(1));
        }
        profile.class
    };
    let unlike = Guess { link: Link::Unknown, confidence: 0.999 };
    for gain in [0.05, 0.2, 0.5] {
        assert_eq!(after(unlike, gain, 1).sure(), Link::Wifi, "one, at {gain}");
        assert_eq!((after(unlike, gain, 9).link, after(unlike, gain, 10).link), (Link::Wifi, Link::Unknown));
    }
    assert_eq!(after(Guess::default(), 0.2, 1000).link, Link::Wifi, "who shows nothing contradicts nothing");
}

#[test]
fn broken_transfers_are_remembered_and_forgotten() {
    let mut profile = Profile::default();
    let broken = Lesson { is_whole: false, ..lesson(seen(ms(40), 0), 1000, None) };
    for _ in 0..10 {
        profile.learn(&broken, 0.3, Timestamp::from_unix(1));
    }
    assert!(profile.breaks > 0.9);
    for _ in 0..10 {
        profile.learn(&lesson(seen(ms(40), 0), 1000, None), 0.3, Timestamp::from_unix(1));
    }
    assert!(profile.breaks < 0.1);
}
