//! A laboratory leaves the host as it found it. A binary of its own: no other laboratory is being made meanwhile.

use netlab::{Lab, Setup};

#[test]
fn the_host_keeps_its_congestion_control() {
    let files = ["tcp_congestion_control", "tcp_allowed_congestion_control"];
    let read = || files.map(|file| std::fs::read_to_string(format!("/proc/sys/net/ipv4/{file}")).unwrap());
    let before = read();
    for name in ["cubic", "reno", "bbr"] {
        drop(Lab::build(&Setup { congestion: Some(name.to_owned()), ..Setup::default() }).unwrap());
        assert_eq!(read(), before, "{name}");
    }
    let nonsense = Setup { congestion: Some("nonsense".to_owned()), ..Setup::default() };
    assert!(Lab::build(&nonsense).unwrap_err().to_string().contains("nonsense"));
    assert_eq!(read(), before);
}
