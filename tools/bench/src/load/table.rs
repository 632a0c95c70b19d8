//! [`LOADS`]: everything that is measured, by whom, and what must be reached.

use super::{GIB, Kind, Load, SMALL_SIZE};
use crate::goal::Bound::{AtLeast, AtMost};
use crate::goal::{Goal, What};

/// Everything that is measured, in the order of the table. Memory comes first: a server that has worked has holes.
pub(super) const LOADS: [Load; 8] = {
    /// What adapting costs.
    const ADAPTING: Goal = Goal::ratio("pinned", What::Cpu, "standard", AtMost(1.02));
    const GET: Load = Load {
        id: "get-large",
        name: "GET 1 GiB",
        kind: Kind::Get,
        size: GIB,
        requests: 2,
        connections: 1,
        slices: 2,
        is_journaled: false,
        peers: &["adaptive", "standard", "pinned", "nginx", "caddy", "dufs", "prosody"],
        goals: &[
            Goal::ratio("adaptive", What::Cpu, "nginx", AtMost(0.95)),
            Goal::ratio("adaptive", What::Cpu, "standard", AtMost(1.02)),
            ADAPTING,
        ],
        itself: Some("standard"),
        is_slice: false,
    };
    const MEMORY: Load = Load {
        kind: Kind::Idle,
        size: 1 << 20,
        connections: 900,
        peers: &["adaptive", "nginx-default"],
        itself: None,
        ..GET
    };
    const SMALL: Load = Load { size: SMALL_SIZE, ..GET };
    const PUT_SMALL: Load = Load {
        id: "put-small",
        name: "PUT 64 KiB, 32 clients",
        kind: Kind::Put,
        requests: 1600,
        connections: 32,
        slices: 4,
        peers: &["adaptive", "standard", "pinned", "unsynced", "nginx", "floor", "floor-unsynced"],
        goals: &[
            Goal::ratio("adaptive", What::Cpu, "nginx", AtMost(1.8)).with_least("floor", "nginx"),
            Goal::ratio("adaptive", What::Throughput, "unsynced", AtLeast(0.6)).with_least("floor", "floor-unsynced"),
            ADAPTING,
        ],
        ..SMALL
    };
    [
        Load {
            id: "idle",
            name: "900 idle connections",
            goals: &[Goal::alone("adaptive", What::Memory, AtMost(4.0))],
            ..MEMORY
        },
        Load {
            id: "slow",
            name: "500 slow uploads",
            kind: Kind::Slow,
            connections: 500,
            goals: &[Goal::alone("adaptive", What::Memory, AtMost(8.0))],
            ..MEMORY
        },
        GET,
        Load {
            id: "get-small",
            name: "GET 64 KiB, keep-alive",
            requests: 20_000,
            connections: 4,
            slices: 8,
            goals: &[Goal::ratio("adaptive", What::Cpu, "nginx", AtMost(0.95)), ADAPTING],
            ..SMALL
        },
        Load {
            id: "get-tls",
            name: "GET 1 GiB, TLS 1.3",
            peers: &["tls", "nginx-tls"],
            goals: &[Goal::ratio("tls", What::Cpu, "nginx-tls", AtMost(0.55))],
            itself: None,
            ..GET
        },
        Load {
            id: "put-large",
            name: "PUT 1 GiB",
            kind: Kind::Put,
            requests: 1,
            slices: 8,
            peers: &[
                "adaptive",
                "standard",
                "pinned",
                "hashing",
                "nginx",
                "nginx-default",
                "dufs",
                "prosody",
                "floor",
                "floor-hashing",
            ],
            goals: &[
                Goal::ratio("hashing", What::Cpu, "nginx", AtMost(1.6)).with_least("floor-hashing", "nginx"),
                Goal::ratio("adaptive", What::Cpu, "nginx", AtMost(1.0)).with_least("floor", "nginx"),
                Goal::ratio("adaptive", What::Cpu, "standard", AtMost(0.35)),
                Goal::ratio("adaptive", What::Throughput, "standard", AtLeast(2.0)),
                ADAPTING,
                Goal::alone("adaptive", What::Tail, AtMost(0.05)),
            ],
            ..GET
        },
        PUT_SMALL,
        // Where small uploads share their syncs.
        Load { id: "put-small-journal", name: "PUT 64 KiB, 32 clients, journal", is_journaled: true, ..PUT_SMALL },
    ]
};
