//! A restart under load: the successor takes over the inherited socket, and no request fails.

use std::net::{SocketAddr, TcpListener};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::rig::http::Connection;
use crate::rig::load::Upload;
use crate::rig::server::TestServer;
use crate::rig::{soak_or, wait_until};

#[test]
fn ten_restarts_under_load_fail_no_request() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listener");
    let mut server = TestServer::builder().inherit(listener).start();
    let load = Load::default();
    let address = server.address();
    std::thread::scope(|scope| {
        for client in 0..8 {
            let load = &load;
            scope.spawn(move || load.run(address, client));
        }
        // The clients must also end when something here fails.
        let _stop = StopOnDrop(&load.stop);
        for restart in 0..soak_or(10, 100) {
            let before = load.answered.load(Ordering::Relaxed);
            wait_until("requests between restarts", Duration::from_secs(30), || {
                load.answered.load(Ordering::Relaxed) >= before + soak_or(200, 500)
            });
            let ended = server.hand_over();
            assert!(ended.success(), "restart {restart}: the old process ended with {ended}");
        }
    });
    let failures = load.failures.into_inner().expect("failures");
    let answered = load.answered.into_inner();
    println!("{answered} requests answered");
    assert_eq!(failures, Vec::<String>::new());
    assert!(answered >= soak_or(2_000, 50_000));
    server.terminate();
    server.assert_whole();
}

#[derive(Default)]
struct Load {
    stop: AtomicBool,
    answered: AtomicUsize,
    failures: Mutex<Vec<String>>,
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Load {
    /// Uploads 20 KB, downloads it again, and so on. Even clients keep their connection as long as the server does.
    fn run(&self, address: SocketAddr, client: usize) {
        let mut kept = None;
        for number in 0.. {
            let upload = Upload { slot: format!("client-{client}/{number}.bin"), size: 20_000 };
            let body = upload.body();
            let steps = [("PUT", upload.put_target(), 201), ("GET", upload.get_target(), 200)];
            for (method, target, expected) in steps {
                let body = (method == "PUT").then_some(body.as_slice());
                match self.step(&mut kept, address, client.is_multiple_of(2), (method, &target, body)) {
                    Ok(status) if status == expected => drop(self.answered.fetch_add(1, Ordering::Relaxed)),
                    Ok(status) => self.fail(format!("{method} {target}: {status}")),
                    Err(error) => self.fail(format!("{method} {target}: {error}")),
                }
            }
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    fn step(
        &self,
        kept: &mut Option<Connection>,
        address: SocketAddr,
        keep: bool,
        (method, target, body): (&str, &str, Option<&[u8]>),
    ) -> std::io::Result<u16> {
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => Connection::open(address)?,
        };
        let headers: &[(&str, &str)] = if keep { &[] } else { &[("Connection", "close")] };
        let answer = connection.request(method, target, headers, body)?;
        if keep && answer.header("connection") != Some("close") {
            *kept = Some(connection);
        }
        Ok(answer.status)
    }

    fn fail(&self, what: String) {
        self.failures.lock().expect("failures").push(what);
    }
}
