//! What is known of a client, what is best on paths like its, what the configuration grants it: all of it in a plan.

use hfs_core::pace::Congestion;
use hfs_core::profile::{Bounds, Guess, Lesson, Link, Profile, Strategies};

use super::*;
use crate::clock;
use crate::flow::testing::lesson;
use crate::flow::wire::Unsettable;

/// Too little for the contest, so that chance has no part in it.
const SMALL: Option<u64> = Some(512 << 10);
/// A contest in which the smallest ceiling is in force; one transfer in 25 tries the one in the middle.
const SMALLEST: &str = "upload good unknown ceiling 2 0 0 0 0 0 0 0 0 0 0\n";

/// A transfer of one client.
fn of_client(direction: Direction, size: Option<u64>) -> Begin {
    let whose = Whose { address: Some("192.0.2.7".parse().unwrap()), ..Whose::default() };
    Begin { direction, size, whose, ..anonymous() }
}

/// Teaches `engine` that this client reaches 10 MB/s either way over 100 ms, and ended an upload with steps of 256 KiB.
fn teach(engine: &Engine, guess: Guess) {
    let Begin { whose, .. } = of_client(Direction::Upload, None);
    let key = ProfileKey::new(None, whose.address);
    for direction in [Direction::Download, Direction::Upload] {
        let mut lesson = Lesson { direction, guess, ..lesson(10_000_000) };
        lesson.snapshot.min_rtt = Some(Duration::from_millis(100));
        lesson.plan.step = 256 << 10;
        engine.profiles().learn(&key, &lesson, 1.0, clock::now());
    }
}

async fn first(engine: &Arc<Engine>, direction: Direction) -> Plan {
    *engine.begin(of_client(direction, SMALL)).await.plan()
}

/// How large steps of an upload grow.
async fn grown(engine: &Arc<Engine>, size: Option<u64>) -> usize {
    let mut flow = engine.begin(of_client(Direction::Upload, size)).await;
    for _ in 0..8 {
        tokio::time::advance(SOONEST).await;
        flow.moved(STEPS * flow.plan().step as u64, true);
    }
    flow.plan().step
}

#[tokio::test]
async fn a_known_clients_transfer_starts_from_its_profile() {
    let engine = engine(|_| {});
    let parts =
        async || (first(&engine, Direction::Upload).await.step, first(&engine, Direction::Download).await.unsent);
    let stranger = parts().await;
    teach(&engine, Guess::default());
    let twice_under_way = 2 * 10_000_000 / 10;
    let known = parts().await;
    assert_eq!(known, (256 << 10, Some(twice_under_way)));
    assert!(known.0 != stranger.0 && known.1 != stranger.1, "{stranger:?}");
    engine.configure(PaceConfig { profiling: false, ..PaceConfig::default() });
    assert_eq!(parts().await, stranger, "what is known is not used");
}

#[tokio::test(start_paused = true)]
async fn a_known_client_takes_part_in_the_contest_of_its_paths() {
    let desktop = Bounds { ceiling: Some(512 << 10), ..Bounds::default() };
    let engine = engine(|config| config.strategies = Strategies { desktop, by_quality: true, ..Strategies::default() });
    engine.recall_tuning(SMALLEST);
    let max = Settings::default().max_step;
    assert_eq!(grown(&engine, None).await, max, "a stranger's rate cannot be compared with anything");
    teach(&engine, Guess::default());
    let before = engine.tuning();
    let step = grown(&engine, None).await;
    assert!(step <= max / 4, "{step}: what is best counts, although its strategy allows more");
    assert_ne!(engine.tuning(), before, "what it reached counts for the next one");
}

#[tokio::test]
async fn a_download_that_asks_whether_bbr_is_still_better_is_not_put_on_it_by_what_is_best_on_such_paths() {
    let begins_with = async |transfers, bbr| {
        let mut engine = Engine::new(PaceConfig::default(), Arc::new(Metrics::new()));
        // Whatever this machine allows.
        engine.bbr = bbr;
        engine.configure(PaceConfig::default());
        engine.recall_tuning("download good unknown congestion 1 0 0 0 0 0 0 0\n");
        let key = ProfileKey::new(None, of_client(Direction::Download, None).whose.address);
        let known = Profile { rate_default: Some(1e6), rate_bbr: Some(9e6), min_rtt: Some(0.1), ..Profile::default() };
        let kept = vec![(key, Profile { transfers, at: clock::now(), ..known })];
        engine.profiles().recall(kept, engine.oldest());
        let flow = Arc::new(engine).begin(of_client(Direction::Download, None)).await;
        (flow.plan().congestion, flow.has_asked)
    };
    assert_eq!(begins_with(24, Ok(())).await, (Some(Congestion::Bbr), false));
    assert_eq!(begins_with(25, Ok(())).await, (None, true));
    assert_eq!(begins_with(25, Err(Unsettable::Absent("bbr"))).await, (None, false), "there is none to ask about");
}

#[tokio::test]
async fn a_download_that_asks_shows_nothing_of_steps_where_no_rate_without_bbr_is_known() {
    let takes_part = async |transfers, rate_default| {
        // In steps, of which the contest is.
        let settings = Settings { zero_copy: false, ..Settings::default() };
        let config = || PaceConfig { settings, ..PaceConfig::default() };
        let mut engine = Engine::new(config(), Arc::new(Metrics::new()));
        engine.bbr = Ok(());
        engine.configure(config());
        let key = ProfileKey::new(None, of_client(Direction::Download, None).whose.address);
        let known = Profile { rate_default, rate_bbr: Some(9e6), loss: Some(0.02), ..Profile::default() };
        let kept = vec![(key, Profile { transfers, at: clock::now(), ..known })];
        engine.profiles().recall(kept, engine.oldest());
        Arc::new(engine).begin(of_client(Direction::Download, None)).await.trial.is_some()
    };
    assert!(takes_part(24, None).await && takes_part(25, Some(1e6)).await);
    assert!(!takes_part(25, None).await);
}

#[tokio::test(start_paused = true)]
async fn a_known_client_is_granted_what_the_configuration_says_of_such_clients() {
    let bounds = |kib: usize, patience| Bounds { ceiling: Some(kib << 10), patience: Some(patience), retry: None };
    let mut strategies = Strategies { desktop: bounds(128, 2.0), by_quality: true, ..Strategies::default() };
    strategies.links[Link::KNOWN.iter().position(|link| *link == Link::Lte).unwrap()] = bounds(32, 3.0);
    let usual = Settings::default();
    let lte = Guess { link: Link::Lte, confidence: 0.9 };
    for (guess, ceiling, patience) in [(Guess::default(), 128 << 10, 2), (lte, 32 << 10, 3)] {
        let engine = engine(|config| config.strategies = strategies);
        assert_eq!(first(&engine, Direction::Download).await.stall, usual.stall, "of a stranger, nothing is known");
        teach(&engine, guess);
        assert_eq!(first(&engine, Direction::Download).await.stall.idle, patience * usual.stall.idle, "{guess:?}");
        assert_eq!(grown(&engine, SMALL).await, ceiling, "{guess:?}");
        assert!(grown(&engine, None).await <= ceiling, "{guess:?}: the contest allows no more");
    }
}

#[tokio::test]
async fn what_must_be_seen_takes_no_larger_pieces_than_steps_may_be() {
    let room = async |engine: &Arc<Engine>| engine.begin(of_client(Direction::Upload, SMALL)).await.room_for(1 << 20);
    let usual = engine(|_| {});
    teach(&usual, Guess::default());
    assert_eq!(room(&usual).await, 1 << 20);
    let small = engine(|config| config.settings.max_step = 128 << 10);
    assert_eq!(room(&small).await, 128 << 10, "`max_buffer_size`");
    let granted = engine(|config| {
        let desktop = Bounds { ceiling: Some(256 << 10), ..Bounds::default() };
        config.strategies = Strategies { desktop, by_quality: true, ..Strategies::default() };
    });
    assert_eq!(room(&granted).await, 1 << 20, "a stranger");
    teach(&granted, Guess::default());
    assert_eq!(room(&granted).await, 256 << 10, "`buffer_size` of its strategy");
}

#[tokio::test(start_paused = true)]
async fn where_transfers_wait_for_memory_those_on_links_of_a_lower_number_go_first() {
    let engine = engine(|config| {
        config.memory = ByteSize::mib(1);
        config.strategies.priorities = [Some(10), None, None, None, None, Some(50)];
    });
    let clients = [("192.0.2.7", Link::Vpn), ("198.51.100.7", Link::Unknown), ("203.0.113.7", Link::Ethernet)];
    for (address, link) in clients {
        let lesson = Lesson { guess: Guess { link, confidence: 0.9 }, ..lesson(10_000_000) };
        let key = ProfileKey::new(None, address.parse().ok());
        engine.profiles().learn(&key, &lesson, 1.0, clock::now());
    }
    let all = engine.memory().share(1 << 20, 1 << 20, 0).await;
    let (begun, mut waiting) = (Arc::new(std::sync::Mutex::new(Vec::new())), tokio::task::JoinSet::new());
    for (address, link) in clients {
        let (engine, begun) = (Arc::clone(&engine), Arc::clone(&begun));
        let whose = Whose { address: address.parse().ok(), ..Whose::default() };
        let begin = Begin { whose, ..of_client(Direction::Upload, None) };
        waiting.spawn(async move {
            let _flow = engine.begin(begin).await;
            begun.lock().unwrap().push(link);
        });
        tokio::task::yield_now().await;
    }
    drop(all);
    waiting.join_all().await;
    // The first had its turn already when the others came.
    assert_eq!(*begun.lock().unwrap(), [Link::Vpn, Link::Ethernet, Link::Unknown]);
}

#[tokio::test]
async fn a_client_is_asked_to_wait_as_long_as_its_strategy_says() {
    let factor = |change: fn(&mut PaceConfig), is_known| {
        let engine = engine(|config| {
            config.strategies.mobile.retry = Some(1.5);
            change(config);
        });
        if is_known {
            teach(&engine, Guess { link: Link::Lte, confidence: 0.9 });
        }
        engine.retry_factor(of_client(Direction::Upload, None).whose)
    };
    assert_eq!((factor(|_| {}, true), factor(|_| {}, false)), (1.5, 1.0));
    assert_eq!(factor(|config| config.enabled = false, true), 1.0, "the standard path knows nobody");
}
