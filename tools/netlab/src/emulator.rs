//! [`Emulator`]: carries packets between two TUN devices, a thread for each way.
//!
//! User space keeps time here, so it watches itself: [`Counters`] say how late packets left.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::num::NonZeroU64;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::Shape;
use crate::line::{Fate, Line};

/// Packets taken in before looking for those that are due.
const BATCH: usize = 64;
const LARGEST_PACKET: usize = 1 << 16;

/// Which way packets go, seen from the client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    /// To the server.
    Up,
    /// To the client.
    Down,
}

/// What became of the packets of one way.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Packets that arrived.
    pub delivered: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Taken by chance.
    pub lost: u64,
    /// Taken by a full queue.
    pub full: u64,
    /// Taken by an outage.
    pub down: u64,
    /// Sum over all that arrived of how late they left.
    pub late: Duration,
    /// The latest.
    pub latest: Duration,
}

impl Counters {
    /// How late packets left on average: what the emulator adds to the delay by itself.
    #[must_use]
    pub fn mean_lateness(&self) -> Duration {
        self.late / u32::try_from(self.delivered.max(1)).unwrap_or(u32::MAX)
    }
}

/// A link that runs until it is dropped.
#[derive(Debug)]
pub struct Emulator {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    shape: Mutex<Shape>,
    /// What the dice of each way are to begin anew from.
    seeds: [Mutex<Option<u64>>; 2],
    counters: [Mutex<Counters>; 2],
    /// As in the counters, until somebody takes it.
    latest: [Mutex<Duration>; 2],
    is_down: AtomicBool,
    stop: AtomicBool,
}

impl Emulator {
    /// Links the two devices.
    pub(crate) fn start(client: &File, server: &File, shape: Shape, seed: u64) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            shape: Mutex::new(shape),
            seeds: Default::default(),
            counters: Default::default(),
            latest: Default::default(),
            is_down: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        });
        let way = |way: Way, from: &File, to: &File| {
            let (from, to, shared) = (from.try_clone()?, to.try_clone()?, Arc::clone(&shared));
            let line = Line::new(shape, seed_of(way, seed));
            let (waiting, begin, was_empty) = (VecDeque::new(), Instant::now(), Duration::ZERO);
            let carrier = Carrier { from, to, line, way, shared, waiting, begin, was_empty };
            std::thread::Builder::new().name(format!("link {way:?}")).spawn(move || carrier.run())
        };
        let threads = vec![way(Way::Up, client, server)?, way(Way::Down, server, client)?];
        Ok(Self { shared, threads })
    }

    /// The shape in force.
    #[must_use]
    pub fn shape(&self) -> Shape {
        *lock(&self.shared.shape)
    }

    /// Puts another one in force. Packets under way keep their time.
    pub fn set(&self, shape: Shape) {
        *lock(&self.shared.shape) = shape;
    }

    /// Lets chance begin anew, as on a new link of this seed: from here on, the packet of the same number is lost again.
    pub fn repeat_chance(&self, seed: u64) {
        for way in [Way::Up, Way::Down] {
            *lock(&self.shared.seeds[way as usize]) = Some(seed_of(way, seed));
        }
    }

    /// Begins an outage: everything under way and everything that comes is gone, and nobody is told.
    pub fn down(&self) {
        self.shared.is_down.store(true, Relaxed);
    }

    /// Ends it.
    pub fn up(&self) {
        self.shared.is_down.store(false, Relaxed);
    }

    /// How late the latest packet of either way left since the last call.
    #[must_use]
    pub fn take_latest(&self) -> Duration {
        let ways = [Way::Up, Way::Down].map(|way| std::mem::take(&mut *lock(&self.shared.latest[way as usize])));
        ways.into_iter().max().unwrap_or_default()
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self, way: Way) -> Counters {
        *lock(&self.shared.counters[way as usize])
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// One way, in its own thread.
struct Carrier {
    from: File,
    to: File,
    line: Line,
    way: Way,
    shared: Arc<Shared>,
    /// In the order of their time.
    waiting: VecDeque<(Duration, Vec<u8>)>,
    begin: Instant,
    /// When the device was last seen to have nothing.
    was_empty: Duration,
}

impl Carrier {
    fn run(mut self) {
        keep_time();
        let mut packet = vec![0; LARGEST_PACKET];
        while !self.shared.stop.load(Relaxed) {
            self.sleep();
            self.line.shape = *lock(&self.shared.shape);
            if let Some(seed) = lock(&self.shared.seeds[self.way as usize]).take() {
                self.line.repeat_chance(seed);
            }
            self.take_in(&mut packet);
            self.give_out();
        }
    }

    /// Until a packet comes, one is due, or the line is idle.
    fn sleep(&self) {
        let nap = self.line.nap(self.was_empty, self.begin.elapsed(), self.waiting.front().map(|(due, _)| *due));
        let nap = Timespec { tv_sec: 0, tv_nsec: nap.subsec_nanos().into() };
        let mut ready = [PollFd::new(&self.from, PollFlags::IN)];
        // An interrupted sleep is a short one.
        let _ = poll(&mut ready, Some(&nap));
    }

    fn take_in(&mut self, packet: &mut [u8]) {
        for _ in 0..BATCH {
            // The device never blocks: an error is that there is nothing.
            let now = self.begin.elapsed();
            let Ok(length) = self.from.read(packet) else {
                self.was_empty = now;
                return;
            };
            let mut counters = lock(&self.shared.counters[self.way as usize]);
            if self.shared.is_down.load(Relaxed) {
                counters.down += 1;
                continue;
            }
            match self.line.offer(self.was_empty, now, length) {
                Fate::Due(due) => self.waiting.push_back((due, packet[..length].to_vec())),
                Fate::Lost => counters.lost += 1,
                Fate::Full => counters.full += 1,
            }
        }
    }

    fn give_out(&mut self) {
        let now = self.begin.elapsed();
        let mut counters = lock(&self.shared.counters[self.way as usize]);
        let mut latest = lock(&self.shared.latest[self.way as usize]);
        if self.shared.is_down.load(Relaxed) {
            counters.down += self.waiting.len() as u64;
            self.waiting.clear();
        }
        while let Some((due, packet)) = self.waiting.pop_front_if(|(due, _)| *due <= now) {
            // A device whose namespace is being taken apart takes nothing more.
            let _ = self.to.write(&packet);
            counters.delivered += 1;
            counters.bytes += packet.len() as u64;
            counters.late += now - due;
            counters.latest = counters.latest.max(now - due);
            *latest = latest.max(now - due);
        }
    }
}

fn seed_of(way: Way, seed: u64) -> u64 {
    seed.wrapping_mul(2).wrapping_add(way as u64)
}

/// As punctual as this process may be; what is not allowed is left.
fn keep_time() {
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    let _ = rustix::process::setpriority_process(None, -20);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
