//! [`left`]: clients that leave while their transfers wait for memory.
//!
//! Nobody reads or writes meanwhile, so nothing else shows that they have gone: their connections would stay for as long as
//! others hold the memory.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use hfs_sock::Tap as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::time::sleep;

use super::Wire;

/// How often that is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// The client left while its transfer waited for memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the client left while its transfer waited for memory")]
pub struct Left;

/// Waits until the other end has closed the connection behind `wire`. One that closed it in one direction counts, too:
/// there are next to none, and whether they still read shows only when something is sent.
pub(crate) async fn left(wire: Wire) {
    let mut has_left = false;
    while !has_left {
        sleep(LOOK).await;
        wire.tap(&mut |socket| has_left = is_closed(socket));
    }
}

fn is_closed(socket: BorrowedFd<'_>) -> bool {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    // Errors and a full end are told unasked.
    poll(&mut [PollFd::new(&socket, PollFlags::RDHUP)], Some(&at_once)) == Ok(1)
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use hfs_core::ByteSize;
    use hfs_core::pace::Carrier;
    use http::Request;

    use super::*;
    use crate::flow::testing::anonymous;
    use crate::http::exchange::{Incoming, Peer};
    use crate::http::testing::{Rig, get, put};

    #[tokio::test(start_paused = true)]
    async fn who_leaves_while_its_transfer_waits_for_memory_is_noticed() {
        let rig = Rig::with(|config| config.pace.memory = ByteSize::kib(16));
        rig.fill("a/old", b"bytes", |_| {}).await;
        let all = rig.app.engine().begin(anonymous()).await;
        let connected = |mut request: Request<Incoming>| {
            let (theirs, ours) = UnixStream::pair().unwrap();
            let wire = Some(Wire::new(OwnedFd::from(ours), Carrier::Plain));
            request.extensions_mut().insert(Peer { wire, ..Peer::default() });
            (theirs, rig.start(request))
        };
        let (client, stays) = connected(get("a/old"));
        for request in [get("a/old"), put("a/new", b"bytes")] {
            let (client, waits) = connected(request);
            sleep(Duration::from_secs(600)).await;
            assert!(!waits.is_finished(), "others hold all of it");
            drop(client);
            sleep(LOOK + LOOK / 2).await;
            assert!(waits.is_finished());
            assert_eq!(waits.await.unwrap().status, 400);
        }
        drop(all);
        assert_eq!(stays.await.unwrap().status, 200);
        drop(client);
    }
}
