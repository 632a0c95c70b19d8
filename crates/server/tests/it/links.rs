//! Real transfers over emulated links: loss, and an outage in the middle. Needs root: elsewhere it fails and says so.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::process::Command;
use std::time::{Duration, Instant};

use netlab::{Lab, Namespace, SERVER, Setup, Shape, connect};
use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};

use crate::rig::http::{Connection, Response, exchange};
use crate::rig::server::{SECRET, TestServer};
use crate::rig::{free_port, sign, wait_until};

const TOKEN: &str = "0b7d1c93e5f24a6880cf9e2d4b6a8c1e";

/// A laboratory whose hosts are on cubic, as most are, and this thread in its server's network.
#[track_caller]
fn lab(shape: &str) -> Lab {
    lab_on("cubic", shape)
}

#[track_caller]
fn lab_on(congestion: &str, shape: &str) -> Lab {
    let shape = Shape::parse(shape).expect("a shape");
    let lab = Lab::build(&Setup { shape, congestion: Some(congestion.to_owned()), seed: 1 });
    let lab = lab.unwrap_or_else(|error| panic!("{error:#}"));
    lab.server.enter().expect("the server's network");
    lab
}

/// A server that the laboratory's clients reach at the returned address.
#[track_caller]
fn server(adaptive: bool) -> (TestServer, SocketAddr) {
    let port = free_port();
    let server = TestServer::builder()
        .set("admin.token", &format!("\"{TOKEN}\""))
        .port(port)
        .set("server.listen_address", &format!("\"0.0.0.0:{port}\""))
        .set("performance.adaptive_buffers", &adaptive.to_string())
        .set("performance.optimization_logging", "true")
        .start();
    (server, SocketAddr::from((SERVER, port)))
}

fn noise(length: usize) -> Vec<u8> {
    (0..length as u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect()
}

#[track_caller]
fn get(lab: &Lab, server: SocketAddr, slot: &str) -> Response {
    lab.client.run(|| Ok(exchange(server, "GET", &format!("/{slot}"), &[], None)?)).expect("an answer")
}

/// Body bytes of a download that arrive within the time.
#[track_caller]
fn arrive(lab: &Lab, server: SocketAddr, slot: &str, span: Duration) -> u64 {
    let begin = Instant::now();
    let read = || -> anyhow::Result<u64> {
        let mut stream: TcpStream = connect(Lab::client_address(1), server)?;
        write!(stream, "GET /{slot} HTTP/1.1\r\nHost: x\r\n\r\n")?;
        stream.set_read_timeout(Some(Duration::from_millis(200)))?;
        let (mut arrived, mut piece) = (0, vec![0; 1 << 16]);
        while begin.elapsed() < span {
            arrived += stream.read(&mut piece).unwrap_or(0) as u64;
        }
        Ok(arrived)
    };
    lab.client.run(read).expect("a download")
}

#[test]
fn a_lossy_link_gets_bbr_and_every_byte() {
    let lab = lab("rate=100mbit delay=20ms loss=2%");
    let body = noise(6 << 20);
    let (standard, at) = server(false);
    assert_eq!(standard.put("s/file.bin", &body).status, 201);
    let span = Duration::from_secs(3);
    let usual = arrive(&lab, at, "s/file.bin", span) as f64 / span.as_secs_f64();

    let (adaptive, at) = server(true);
    assert_eq!(adaptive.put("s/file.bin", &body).status, 201);
    let begin = Instant::now();
    let answer = get(&lab, at, "s/file.bin");
    let reached = body.len() as f64 / begin.elapsed().as_secs_f64();
    assert_eq!(answer.status, 200);
    assert!(answer.body == body, "other bytes arrived");
    println!("standard {:.1} Mbit/s, adaptive {:.1} Mbit/s", usual * 8e-6, reached * 8e-6);
    // How much better it is depends on the machine: `cargo xtask bench --links` says it.
    assert!(reached >= usual / 2.0, "{reached} bytes a second instead of {usual}");
    assert!(adaptive.metric("hfs_congestion_switches_total") >= 1);
    let log = adaptive.log();
    let explained = |line: &str| line.contains("Plan changed") && line.contains("congestion") && line.contains("bbr");
    assert!(log.lines().any(explained), "nobody says why:\n{log}");
}

/// What that is worth is a measurement: `cargo xtask bench --links --only get-100-300`.
#[test]
fn a_long_window_is_spread_over_its_round_trip() {
    let lab = lab("rate=100mbit delay=75ms");
    let body = noise(16 << 20);
    let (server, at) = server(true);
    assert_eq!(server.put("s/file.bin", &body).status, 201);
    let answer = get(&lab, at, "s/file.bin");
    assert!(answer.body == body, "other bytes arrived");
    await_line(&server, "lever=\"pacing\" from=\"off\" to=\"on\"", "at once they may be more than a queue holds");
    assert!(!server.log().contains("SO_MAX_PACING_RATE"), "the kernel refused it");
}

/// What the kernel says of the connections to this thread's network.
#[track_caller]
fn sockets(server: SocketAddr) -> String {
    let output = Command::new("ss").args(["-tin", "sport", "=", &format!(":{}", server.port())]).output().expect("ss");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A server on a host that is on BBR, with a file that takes a minute over 10 Mbit/s, and half of one over 20.
#[track_caller]
fn on_bbr(shape: &str) -> (Lab, TestServer, SocketAddr, Vec<u8>) {
    let lab = lab_on("bbr", shape);
    let (server, at) = server(true);
    let body = noise(80_000_000);
    assert_eq!(server.put("s/file.bin", &body).status, 201);
    (lab, server, at, body)
}

/// Waits for a line of the log that has both of these.
#[track_caller]
fn await_line(server: &TestServer, what: &str, because: &str) {
    let is_it = |line: &str| line.contains(what) && line.contains(because);
    wait_until(because, Duration::from_secs(100), || server.log().lines().any(is_it));
}

/// Waits for the line of a change to another congestion control for this reason, and for the kernel to have made it.
#[track_caller]
fn await_change(server: &TestServer, to: &str, because: &str, changes: u64) {
    await_line(server, to, because);
    let are_made = || server.metric("hfs_congestion_switches_total") >= changes;
    wait_until("change of the socket", Duration::from_secs(10), are_made);
}

/// Whether all of the server's connections, of which there are some, have the host's BBR.
#[track_caller]
fn are_on_bbr(server: SocketAddr) -> bool {
    let seen = sockets(server);
    seen.contains(" bbr ") && !seen.contains(" cubic ")
}

#[test]
fn a_clean_short_link_of_a_host_on_bbr_gets_cubic_and_the_next_standard_flow_finds_bbr() {
    let (lab, server, at, body) = on_bbr("rate=10mbit delay=12ms queue=25ms");
    let mut connection = lab.client.run(|| Ok(Connection::open(at)?)).expect("a connection");
    let mut get = |range| connection.request("GET", "/s/file.bin", &[("Range", range)], None).expect("an answer");
    std::thread::scope(|scope| {
        let download = scope.spawn(|| get("bytes=0-"));
        await_change(&server, "to=\"cubic\"", "clean and short", 1);
        // What is left need not take its time.
        lab.link.set(Shape { rate: None, ..lab.link.shape() });
        assert!(download.join().expect("the download").body == body, "other bytes arrived");
    });
    server.reconfigure("adaptive_buffers = true", "adaptive_buffers = false");
    server.reload_until("applied");
    assert!(get("bytes=0-99").body == body[..100], "other bytes arrived");
    assert!(are_on_bbr(at), "{}", sockets(at));
}

#[test]
fn a_queue_that_cubic_would_fill_is_the_hosts_bbrs_again() {
    let (lab, server, at, body) = on_bbr("rate=10mbit delay=12ms queue=200ms");
    std::thread::scope(|scope| {
        let download = scope.spawn(|| get(&lab, at, "s/file.bin"));
        await_change(&server, "to=\"cubic\"", "clean and short", 1);
        await_change(&server, "to=\"the host's\"", "ms of queue stand\"", 2);
        wait_until("bbr", Duration::from_secs(10), || are_on_bbr(at));
        lab.link.set(Shape { rate: None, ..lab.link.shape() });
        assert!(download.join().expect("the download").body == body, "other bytes arrived");
    });
}

/// What a phone does that leaves a wireless network.
#[test]
fn a_path_that_becomes_another_one_is_the_hosts_bbrs_again() {
    let (lab, server, at, body) = on_bbr("rate=20mbit delay=12ms queue=25ms");
    std::thread::scope(|scope| {
        let download = scope.spawn(|| get(&lab, at, "s/file.bin"));
        await_change(&server, "to=\"cubic\"", "clean and short", 1);
        lab.link.set(Shape { loss: 0.08, ..lab.link.shape() });
        await_change(&server, "to=\"the host's\"", "another path", 2);
        wait_until("bbr", Duration::from_secs(10), || are_on_bbr(at));
        lab.link.set(Shape { rate: None, loss: 0.0, ..lab.link.shape() });
        assert!(download.join().expect("the download").body == body, "other bytes arrived");
    });
}

#[test]
fn losses_that_hold_cubic_back_bring_the_hosts_bbr_back() {
    let (lab, server, at, body) = on_bbr("rate=20mbit delay=12ms queue=25ms");
    std::thread::scope(|scope| {
        let download = scope.spawn(|| get(&lab, at, "s/file.bin"));
        await_change(&server, "to=\"cubic\"", "clean and short", 1);
        // What slows it down from here on is no part of its trial.
        await_line(&server, "lever=\"trial\" from=\"cubic\" to=\"passed\"", "as fast: ");
        let since = Instant::now();
        // Three times what holds back the window of 40 segments that fills the path; a third of the rate is left.
        lab.link.set(Shape { loss: 0.008, ..lab.link.shape() });
        await_change(&server, "to=\"the host's\"", "lost while only", 2);
        wait_until("bbr", Duration::from_secs(10), || are_on_bbr(at));
        println!("BBR is back after {:?}", since.elapsed());
        lab.link.set(Shape { rate: None, loss: 0.0, ..lab.link.shape() });
        assert!(download.join().expect("the download").body == body, "other bytes arrived");
    });
}

#[test]
fn transfers_survive_an_outage_in_their_middle() {
    let lab = lab("rate=20mbit delay=15ms");
    let body = noise(5_000_000);
    let (server, at) = server(true);
    assert_eq!(server.put("s/down.bin", &body).status, 201);
    let put = || {
        let target = format!("/s/up.bin?{}", sign::v1(SECRET, "s/up.bin", body.len() as u64));
        lab.client.run(|| Ok(exchange(at, "PUT", &target, &[], Some(&body))?)).expect("an answer")
    };
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let (up, down) = (scope.spawn(put), scope.spawn(|| get(&lab, at, "s/down.bin")));
        // Half of what two seconds carry is on its way.
        std::thread::sleep(Duration::from_secs(1));
        lab.link.down();
        std::thread::sleep(Duration::from_secs(5));
        lab.link.up();
        assert!(!up.is_finished() && !down.is_finished(), "nothing was in the middle");
        assert_eq!(up.join().expect("the upload").status, 201);
        assert!(down.join().expect("the download").body == body, "other bytes arrived");
    });
    println!("both took {:?}", begin.elapsed());
    assert!(server.get("s/up.bin").body == body, "other bytes were stored");
    server.assert_whole();
}

/// A laboratory whose client has two addresses, and uses both for each multipath connection.
#[track_caller]
fn lab_of_two_paths() -> Lab {
    let lab = lab("rate=20mbit delay=15ms");
    for network in [&lab.server, &lab.client] {
        ip(network, "mptcp limits set subflow 2");
    }
    ip(&lab.client, "mptcp endpoint add 10.79.2.2 subflow");
    lab
}

#[track_caller]
fn ip(network: &Namespace, words: &str) {
    let output = network.command("ip").args(words.split(' ')).output().expect("ip");
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
}

#[track_caller]
fn multipath_socket() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP));
    socket.expect("multipath TCP, which this kernel lacks or `sysctl net.mptcp.enabled` has switched off")
}

fn connect_multipath(to: SocketAddr) -> anyhow::Result<TcpStream> {
    let socket = multipath_socket();
    socket.bind(&SocketAddr::from((Lab::client_address(1), 0)).into())?;
    socket.connect(&to.into())?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    Ok(stream)
}

/// The report of a benchmark's download of `size` bytes by a multipath client, which does `midway` when half has come.
#[track_caller]
fn report_of_multipath(lab: &Lab, size: usize, midway: impl Fn() + Sync) -> Value {
    let (server, at) = server(true);
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let get = || -> anyhow::Result<()> {
        let mut stream = connect_multipath(at)?;
        write!(
            stream,
            "GET /benchmark/download/adaptive?size={size} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{bearer}\r\n\r\n"
        )?;
        let mut answer = vec![0; size / 2];
        stream.read_exact(&mut answer)?;
        midway();
        stream.read_to_end(&mut answer)?;
        assert!(answer.len() > size, "{}", String::from_utf8_lossy(&answer[..300]));
        Ok(())
    };
    lab.client.run(get).expect("a download");
    let results = server.request("GET", "/benchmark/results", &[("Authorization", &format!("Bearer {TOKEN}"))], None);
    let mut results: Value = serde_json::from_slice(&results.body).expect("results");
    results["results"][0].take()
}

/// What a phone with two networks does.
#[test]
fn a_connection_of_two_subflows_is_seen_as_such() {
    let report = report_of_multipath(&lab_of_two_paths(), 2_000_000, || {});
    assert_eq!(report["path"]["last"]["subflows"], 2, "{report}");
    assert_eq!(report["evidence"].as_array().map(|all| all.contains(&"multipath".into())), Some(true), "{report}");
}

/// It leaves the network that it began on.
#[test]
fn a_client_that_moves_to_another_path_is_seen_to() {
    let lab = lab_of_two_paths();
    let report = report_of_multipath(&lab, 16_000_000, || ip(&lab.client, "mptcp endpoint delete id 0 10.79.1.2"));
    assert_eq!(report["path"]["last"]["subflows"], 1, "{report}");
    assert_eq!(report["evidence"].as_array().map(|all| all.contains(&"migrated".into())), Some(true), "{report}");
}

/// Its reader wants nothing for a while, as one over HTTP/2 may.
#[test]
fn two_subflows_without_anything_to_send_are_seen_to_rest() {
    let lab = lab_of_two_paths();
    let (listener, at) = (multipath_socket(), SocketAddr::from((SERVER, free_port())));
    listener.bind(&at.into()).expect("an address");
    listener.listen(1).expect("a listener");
    let mut theirs = lab.client.run(|| connect_multipath(at)).expect("a connection");
    let mut ours = TcpStream::from(listener.accept().expect("a connection").0);
    let connection = ours.try_clone().expect("a descriptor");
    let seen = || hfs_sock::mptcp_info(connection.as_fd()).expect("a multipath connection");
    let mut send = |size| {
        ours.write_all(&noise(size)).expect("room");
        theirs.read_exact(&mut vec![0; size]).expect("what was sent");
    };
    wait_until("second subflow", Duration::from_secs(10), || {
        send(100);
        seen().subflows == 2
    });
    let before = seen().busy.expect("a kernel that tells");
    send(200_000);
    assert!(seen().busy > Some(before + 20_000), "80 ms of one path: {:?} after {before}", seen().busy);
    wait_until("rest", Duration::from_secs(10), || {
        let busy = seen().busy;
        std::thread::sleep(Duration::from_millis(300));
        seen().busy == busy
    });
}
