//! The emulated link is what it was asked to be. Needs root: elsewhere it fails and says so.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use netlab::{Lab, SERVER, Setup, Shape, Way, connect};

fn lab(words: &str) -> Lab {
    let shape = Shape::parse(words).expect("a shape");
    Lab::build(&Setup { shape, congestion: Some("cubic".to_owned()), seed: 1 }).expect("a laboratory")
}

/// A connection over the link: the client's end, the server's end, and how long it took to make.
fn pair(lab: &Lab) -> (TcpStream, TcpStream, Duration) {
    let listener = lab.server.run(|| Ok(TcpListener::bind((SERVER, 0))?)).expect("listen");
    let address = listener.local_addr().expect("bound");
    let (client, took) = lab
        .client
        .run(|| {
            let begin = Instant::now();
            Ok((connect(Lab::client_address(1), SocketAddr::from((SERVER, address.port())))?, begin.elapsed()))
        })
        .expect("a connection");
    let (server, from) = listener.accept().expect("accept");
    assert_eq!(from.ip(), Lab::client_address(1));
    (client, server, took)
}

#[test]
fn a_link_has_its_round_trip_its_rate_and_its_congestion_control() {
    let lab = lab("rate=20mbit delay=20ms");
    let shortest = (0..5).map(|_| pair(&lab).2).min().unwrap();
    assert!(shortest >= Duration::from_millis(40), "{shortest:?}");
    assert!(
        shortest < Duration::from_millis(60),
        "{shortest:?}; the link was late by {:?}",
        lab.link.counters(Way::Up)
    );

    let (mut client, mut server, _) = pair(&lab);
    let body = vec![7; 4_000_000];
    let begin = Instant::now();
    let sender = std::thread::spawn(move || server.write_all(&body));
    let mut received = vec![0; 4_000_000];
    client.read_exact(&mut received).unwrap();
    let rate = 4_000_000.0 * 8e-6 / begin.elapsed().as_secs_f64();
    sender.join().unwrap().unwrap();
    assert!(received.iter().all(|&byte| byte == 7));
    assert!((10.0..20.0).contains(&rate), "{rate} Mbit/s of 20");
    assert_eq!(hfs_sock::congestion(std::os::fd::AsFd::as_fd(&client)).unwrap(), "cubic");
    let sent = lab.server.tcp().unwrap().sent;
    assert!((2_700..6_000).contains(&sent), "{sent} segments of 1448 bytes");
}

#[test]
fn loss_and_outages_take_packets_and_tcp_mends_it() {
    let lab = lab("rate=50mbit delay=2ms loss=2%");
    let (mut client, mut server, _) = pair(&lab);
    let body: Vec<u8> = (0..1_000_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    let expected = body.clone();
    let (begun, halfway) = mpsc::channel();
    let sender = std::thread::spawn(move || {
        server.write_all(&body[..500_000]).unwrap();
        begun.send(()).unwrap();
        server.write_all(&body[500_000..]).unwrap();
    });
    let mut received = vec![0; 500_000];
    client.read_exact(&mut received).unwrap();
    halfway.recv().unwrap();
    lab.link.down();
    client.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut rest = vec![0; 500_000];
    let mut length = 0;
    // What had arrived before is read; then nothing comes.
    while let Ok(count) = client.read(&mut rest[length..]) {
        length += count;
        assert!(length < rest.len(), "the link is down");
    }
    lab.link.up();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    client.read_exact(&mut rest[length..]).unwrap();
    sender.join().unwrap();
    received.append(&mut rest);
    assert!(received == expected);
    let latest = lab.link.take_latest();
    let ever = [Way::Up, Way::Down].map(|way| lab.link.counters(way).latest).into_iter().max().unwrap();
    assert!(Duration::ZERO < latest && latest <= ever, "{latest:?} {ever:?}");
    let again = lab.link.take_latest();
    assert!(again < latest, "{again:?} of a link that is quiet, after {latest:?}");
    let seen = lab.link.counters(Way::Down);
    assert!(seen.lost > 0 && seen.down > 0, "{seen:?}");
    assert!(lab.server.tcp().unwrap().retransmitted > 0);
}
