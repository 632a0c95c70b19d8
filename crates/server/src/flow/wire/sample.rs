//! What the kernel says of a connection, as a [`PathSample`].

use std::time::Duration;

use hfs_core::pace::{Congestion, PathSample};

pub(in crate::flow) fn of_kernel(info: &hfs_sock::TcpInfo, congestion: Option<Congestion>) -> PathSample {
    let micros = |micros: u32| Duration::from_micros(micros.into());
    let span = |micros: Option<u64>| micros.map(Duration::from_micros);
    PathSample {
        rtt: micros(info.rtt),
        rtt_var: micros(info.rttvar),
        min_rtt: info.min_rtt.map(micros),
        receive_rtt: Some(info.rcv_rtt).filter(|&rtt| rtt > 0).map(micros),
        delivery_rate: info.delivery_rate,
        is_rate_app_limited: info.delivery_rate_app_limited,
        window: info.snd_cwnd,
        mss: info.snd_mss,
        receive_mss: info.rcv_mss,
        segments_out: info.data_segs_out.map(u64::from),
        segments_in: info.data_segs_in.map(u64::from),
        retransmits: info.total_retrans.into(),
        bytes_out: info.bytes_sent,
        bytes_retransmitted: info.bytes_retrans,
        bytes_acked: info.bytes_acked,
        bytes_in: info.bytes_received,
        out_of_order: info.rcv_ooopack,
        spurious: info.dsack_dups,
        reorderings: info.reord_seen,
        busy: span(info.busy_time),
        receiver_limited: span(info.rwnd_limited),
        sender_limited: span(info.sndbuf_limited),
        unsent: info.notsent_bytes,
        congestion,
        is_paced: false,
        rate_before: None,
        subflows: 1,
        has_moved: false,
    }
}

/// What the kernel says of the first path of a multipath connection, with what it knows of them all. While the first alone
/// carries it, it is busy when all of them are.
pub(super) fn of_all(all: &hfs_sock::MptcpInfo, first: PathSample) -> PathSample {
    let is_first_alone = all.subflows == 1 && !all.has_moved;
    PathSample {
        busy: if is_first_alone { first.busy } else { all.busy.map(Duration::from_micros) },
        subflows: all.subflows,
        has_moved: all.has_moved,
        bytes_acked: Some(all.acknowledged),
        ..first
    }
}
