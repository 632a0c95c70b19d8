//! [`Queue`]: whoever logs hands a line over and goes on; a thread of its own writes it.
//!
//! Owns what happens when the destination hangs (a full pipe, a stopped journal, a dead disk): lines are kept up to a
//! bound, further ones are dropped and counted, and their number is written once the destination moves again. It knows
//! nothing of the destination but [`Sink`]. Used by `log`, which every line goes through.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait.
const LINES: usize = 4096;

/// Bytes that may wait: a line can hold a whole request target.
const BYTES: usize = 4 << 20;

/// How long a flush or a reopening waits: a destination that hangs must not keep the server from stopping.
const PATIENCE: Duration = Duration::from_secs(2);

/// Between two tries to get an order into a full queue.
const PAUSE: Duration = Duration::from_millis(10);

/// Where lines go. Only the queue's thread calls it, and it may block there.
pub(super) trait Sink: Send + 'static {
    /// Writes one line, whole.
    fn write(&mut self, line: &[u8]) -> io::Result<()>;

    /// The line that says how many are missing.
    fn confession(&self, missing: u64) -> Vec<u8>;

    /// Opens the destination anew.
    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The way to one sink; clones share it.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    orders: SyncSender<Order>,
    loss: Arc<Loss>,
}

enum Order {
    Line(Vec<u8>),
    Reopen(SyncSender<io::Result<()>>),
    Flush(SyncSender<()>),
}

/// What waits, and what is missing.
#[derive(Debug, Default)]
struct Loss {
    waiting: AtomicUsize,
    /// Since the last confession.
    missing: AtomicU64,
    /// Since the start, where somebody counts.
    total: OnceLock<Counter>,
}

impl Loss {
    fn add(&self, lines: u64) {
        self.missing.fetch_add(lines, Ordering::Relaxed);
        if let Some(total) = self.total.get() {
            total.inc_by(lines);
        }
    }
}

impl Queue {
    /// Starts the thread that writes to `sink`.
    pub(super) fn start(mut sink: impl Sink) -> io::Result<Self> {
        let (orders, received) = sync_channel(LINES);
        let loss = Arc::new(Loss::default());
        let shared = Arc::clone(&loss);
        std::thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || serve(&mut sink, &received, &shared))?;
        Ok(Self { orders, loss })
    }

    /// Counts lost lines in `total` from now on.
    pub(super) fn count_in(&self, total: Counter) {
        // A second counter has nothing to add: there is one log per process.
        let _ = self.loss.total.set(total);
    }

    /// Opens the destination anew; the old one stays in use when that fails.
    pub(super) fn reopen(&self) -> io::Result<()> {
        let (answer, outcome) = sync_channel(1);
        let left = self.order(Order::Reopen(answer))?;
        outcome.recv_timeout(left).map_err(|_| io::ErrorKind::TimedOut)?
    }

    /// Waits until every line so far is written, for a moment at most.
    pub(super) fn flush(&self) {
        let (answer, done) = sync_channel(1);
        if let Ok(left) = self.order(Order::Flush(answer)) {
            let _ = done.recv_timeout(left);
        }
    }

    /// Puts an order behind the lines so far. Unlike a line it may wait; returns how much patience is left.
    fn order(&self, mut order: Order) -> io::Result<Duration> {
        let begin = Instant::now();
        loop {
            order = match self.orders.try_send(order) {
                Ok(()) => return Ok(PATIENCE.saturating_sub(begin.elapsed())),
                Err(TrySendError::Disconnected(_)) => return Err(io::ErrorKind::BrokenPipe.into()),
                Err(TrySendError::Full(_)) if begin.elapsed() >= PATIENCE => return Err(io::ErrorKind::TimedOut.into()),
                Err(TrySendError::Full(order)) => order,
            };
            std::thread::sleep(PAUSE);
        }
    }
}

impl MakeWriter<'_> for Queue {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Each call is one line: so `tracing_subscriber` calls it.
impl Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let fits = self.loss.waiting.fetch_add(line.len(), Ordering::Relaxed) + line.len() <= BYTES;
        if !fits || self.orders.try_send(Order::Line(line.to_vec())).is_err() {
            self.loss.waiting.fetch_sub(line.len(), Ordering::Relaxed);
            self.loss.add(1);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Until the last queue is gone.
fn serve(sink: &mut dyn Sink, orders: &Receiver<Order>, loss: &Loss) {
    // Lines were lost behind those that waited then, so that is where it is said.
    let mut written_since = 0;
    loop {
        let next = orders.try_recv();
        if written_since >= LINES || next.is_err() {
            confess(sink, loss);
        }
        let order = match next {
            Ok(order) => order,
            Err(TryRecvError::Empty) => {
                let Ok(order) = orders.recv() else { return };
                order
            }
            Err(TryRecvError::Disconnected) => return,
        };
        written_since = if loss.missing.load(Ordering::Relaxed) == 0 { 0 } else { written_since + 1 };
        obey(sink, order, loss);
    }
}

fn obey(sink: &mut dyn Sink, order: Order, loss: &Loss) {
    match order {
        Order::Line(line) => {
            loss.waiting.fetch_sub(line.len(), Ordering::Relaxed);
            // A line that fails has nowhere else to go, but is counted with the dropped ones.
            if sink.write(&line).is_err() {
                loss.add(1);
            }
        }
        Order::Reopen(answer) => {
            let _ = answer.send(sink.reopen());
        }
        Order::Flush(answer) => {
            confess(sink, loss);
            let _ = answer.send(());
        }
    }
}

fn confess(sink: &mut dyn Sink, loss: &Loss) {
    let missing = loss.missing.swap(0, Ordering::Relaxed);
    if missing > 0 && sink.write(&sink.confession(missing)).is_err() {
        loss.missing.fetch_add(missing, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::channel;

    use super::*;

    /// Writes when it is let, and keeps what it wrote.
    struct Gated {
        gate: Receiver<()>,
        written: Arc<Mutex<Vec<String>>>,
    }

    impl Sink for Gated {
        fn write(&mut self, line: &[u8]) -> io::Result<()> {
            self.gate.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
            self.written.lock().unwrap().push(String::from_utf8_lossy(line).into_owned());
            Ok(())
        }

        fn confession(&self, missing: u64) -> Vec<u8> {
            format!("{missing} missing").into_bytes()
        }
    }

    fn gated() -> (Queue, std::sync::mpsc::Sender<()>, Arc<Mutex<Vec<String>>>) {
        let (open, gate) = channel();
        let written = Arc::new(Mutex::new(Vec::new()));
        let queue = Queue::start(Gated { gate, written: Arc::clone(&written) }).unwrap();
        (queue, open, written)
    }

    #[test]
    fn nothing_is_lost_while_the_queue_has_room() {
        let (mut queue, open, written) = gated();
        for n in 0..LINES {
            queue.write_all(format!("{n}").as_bytes()).unwrap();
        }
        (0..LINES).for_each(|_| open.send(()).unwrap());
        queue.flush();
        assert_eq!(*written.lock().unwrap(), (0..LINES).map(|n| n.to_string()).collect::<Vec<_>>());
    }

    #[test]
    fn a_hanging_sink_costs_lines_and_says_how_many() {
        let (mut queue, open, written) = gated();
        let total = Counter::default();
        queue.count_in(total.clone());
        let most = 3 * LINES;
        for _ in 0..most {
            queue.write_all(b"line").unwrap();
        }
        let lost = total.get();
        // The thread may hold one line in its hands.
        assert!((most - LINES - 1..=most - LINES).contains(&usize::try_from(lost).unwrap()), "{lost}");
        (0..most).for_each(|_| open.send(()).unwrap());
        queue.flush();
        let written = written.lock().unwrap();
        assert!(written.contains(&format!("{lost} missing")), "{:?}", written.last());
        assert_eq!(written.iter().filter(|line| *line == "line").count() as u64, most as u64 - lost);
    }

    #[test]
    fn long_lines_do_not_pile_up() {
        let (mut queue, _open, _) = gated();
        let total = Counter::default();
        queue.count_in(total.clone());
        for _ in 0..6 {
            queue.write_all(&vec![b'x'; 1 << 20]).unwrap();
        }
        assert!((1..=2).contains(&total.get()), "{}", total.get());
    }

    #[test]
    fn a_flush_of_a_hanging_sink_ends() {
        let (mut queue, _open, _) = gated();
        queue.write_all(b"line").unwrap();
        let begin = Instant::now();
        queue.flush();
        assert!(begin.elapsed() < 3 * PATIENCE, "{:?}", begin.elapsed());
        drop(queue);
    }

    #[test]
    fn a_failed_line_is_counted() {
        let (mut queue, open, _) = gated();
        drop(open);
        let total = Counter::default();
        queue.count_in(total.clone());
        queue.write_all(b"line").unwrap();
        queue.flush();
        assert_eq!(total.get(), 1);
    }
}
