//! R13: the secret changes again and again while clients upload. A slot is refused only once its key has left the file.

use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::rig::http::Connection;
use crate::rig::server::{SECRET, TestServer};
use crate::rig::{sign, soak_or, wait_until};

const CLIENTS: usize = 4;
/// Uploads between two changes of the file.
const BETWEEN: usize = 40;

#[test]
fn rotations_under_load_refuse_no_valid_slot() {
    let server = TestServer::start();
    let load = Load::default();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (load, server) = (&load, &server);
            scope.spawn(move || load.run(server, client));
        }
        // The clients must also end when something here fails.
        let _stop = StopOnDrop(&load.stop);
        for number in 0..soak_or(5, 100) {
            rotate(&server, &load, number);
        }
    });
    println!("{} uploads under {} secrets", load.stored.into_inner(), soak_or(6, 101));
}

/// From one secret to the next: both, then the new one alone.
fn rotate(server: &TestServer, load: &Load, number: usize) {
    let (old, new) = (secret(number), secret(number + 1));
    load.goes_on();
    server.reconfigure(&format!("secret = \"{old}\""), &format!("secret = [\"{new}\", \"{old}\"]"));
    server.reload_until("applied");
    load.goes_on();
    *load.current.write().expect("a client died") = number + 1;
    server.reconfigure(&format!("[\"{new}\", \"{old}\"]"), &format!("\"{new}\""));
    server.reload_until("applied");
    let slot = format!("late/{number}.txt");
    let late = Connection::open(server.address()).and_then(|mut connection| put(&mut connection, &old, &slot));
    assert_eq!(late.expect("answer"), 403, "{slot}: its key has left the file");
}

/// The `number`th secret; the server starts with the first.
fn secret(number: usize) -> String {
    if number == 0 { SECRET.to_owned() } else { format!("{number:08}{}", &SECRET[8..]) }
}

#[derive(Default)]
struct Load {
    /// The secret that the XMPP server signs with. A client holds it for as long as its upload takes.
    current: RwLock<usize>,
    stored: AtomicUsize,
    stop: AtomicBool,
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Load {
    fn run(&self, server: &TestServer, client: usize) {
        let mut connection = Connection::open(server.address()).expect("connection");
        for upload in 0.. {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let current = self.current.read().expect("the test died");
            let status = put(&mut connection, &secret(*current), &format!("{client}/{upload}.txt"));
            assert_eq!(status.expect("answer"), 201, "upload {upload} of client {client} under secret {current}");
            self.stored.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[track_caller]
    fn goes_on(&self) {
        let enough = self.stored.load(Ordering::Relaxed) + BETWEEN;
        wait_until("uploads", Duration::from_secs(30), || self.stored.load(Ordering::Relaxed) >= enough);
    }
}

fn put(connection: &mut Connection, secret: &str, slot: &str) -> std::io::Result<u16> {
    let target = format!("/{}?{}", sign::encode(slot), sign::v1(secret, slot, 5));
    Ok(connection.request("PUT", &target, &[], Some(b"hello"))?.status)
}
