//! [`KeptSample`]: a [`PathSample`] in half the memory.
//!
//! Each transfer keeps its last one, and thousands of slow uploads are a common crowd: an `Option` beside each counter and
//! a `Duration` of 16 bytes for what the kernel counts in microseconds would double what a transfer holds.

use std::time::Duration;

use super::{Congestion, PathSample};

/// What is told of a sample: times in microseconds, the largest value where there is none. What is larger than fits is
/// as large as fits: an hour of round trip, four thousand million segments behind a hole.
#[derive(Clone, Debug)]
pub(super) struct KeptSample {
    delivery_rate: Rare<u64>,
    segments_out: Rare<u64>,
    segments_in: Rare<u64>,
    retransmits: u64,
    bytes_out: Rare<u64>,
    bytes_retransmitted: Rare<u64>,
    bytes_acked: Rare<u64>,
    bytes_in: Rare<u64>,
    busy: Rare<u64>,
    receiver_limited: Rare<u64>,
    sender_limited: Rare<u64>,
    rtt: u32,
    rtt_var: u32,
    min_rtt: Rare<u32>,
    receive_rtt: Rare<u32>,
    window: u32,
    mss: u32,
    receive_mss: u32,
    out_of_order: Rare<u32>,
    spurious: Rare<u32>,
    reorderings: Rare<u32>,
    unsent: Rare<u32>,
    is_rate_app_limited: bool,
    congestion: Option<Congestion>,
    is_paced: bool,
    subflows: u8,
    has_moved: bool,
}

impl KeptSample {
    pub(super) fn of(sample: &PathSample) -> Self {
        let long = |span: Option<Duration>| Rare::<u64>::of(span.map(|span| span.as_micros()));
        let short = |span: Option<Duration>| Rare::<u32>::of(span.map(|span| span.as_micros()));
        let micros = |span: Duration| u32::try_from(span.as_micros()).unwrap_or(u32::MAX);
        Self {
            delivery_rate: Rare::<u64>::of(sample.delivery_rate),
            segments_out: Rare::<u64>::of(sample.segments_out),
            segments_in: Rare::<u64>::of(sample.segments_in),
            retransmits: sample.retransmits,
            bytes_out: Rare::<u64>::of(sample.bytes_out),
            bytes_retransmitted: Rare::<u64>::of(sample.bytes_retransmitted),
            bytes_acked: Rare::<u64>::of(sample.bytes_acked),
            bytes_in: Rare::<u64>::of(sample.bytes_in),
            busy: long(sample.busy),
            receiver_limited: long(sample.receiver_limited),
            sender_limited: long(sample.sender_limited),
            rtt: micros(sample.rtt),
            rtt_var: micros(sample.rtt_var),
            min_rtt: short(sample.min_rtt),
            receive_rtt: short(sample.receive_rtt),
            window: sample.window,
            mss: sample.mss,
            receive_mss: sample.receive_mss,
            out_of_order: Rare::<u32>::of(sample.out_of_order),
            spurious: Rare::<u32>::of(sample.spurious),
            reorderings: Rare::<u32>::of(sample.reorderings),
            unsent: Rare::<u32>::of(sample.unsent),
            is_rate_app_limited: sample.is_rate_app_limited,
            congestion: sample.congestion,
            is_paced: sample.is_paced,
            subflows: sample.subflows,
            has_moved: sample.has_moved,
        }
    }

    pub(super) fn congestion(&self) -> Option<Congestion> {
        self.congestion
    }

    pub(super) fn has_moved(&self) -> bool {
        self.has_moved
    }

    pub(super) fn sample(&self) -> PathSample {
        let long = |micros: Rare<u64>| micros.value().map(Duration::from_micros);
        let short = |micros: Rare<u32>| micros.value().map(|micros| Duration::from_micros(micros.into()));
        PathSample {
            rtt: Duration::from_micros(self.rtt.into()),
            rtt_var: Duration::from_micros(self.rtt_var.into()),
            min_rtt: short(self.min_rtt),
            receive_rtt: short(self.receive_rtt),
            delivery_rate: self.delivery_rate.value(),
            is_rate_app_limited: self.is_rate_app_limited,
            window: self.window,
            mss: self.mss,
            receive_mss: self.receive_mss,
            segments_out: self.segments_out.value(),
            segments_in: self.segments_in.value(),
            retransmits: self.retransmits,
            bytes_out: self.bytes_out.value(),
            bytes_retransmitted: self.bytes_retransmitted.value(),
            bytes_acked: self.bytes_acked.value(),
            bytes_in: self.bytes_in.value(),
            out_of_order: self.out_of_order.value(),
            spurious: self.spurious.value(),
            reorderings: self.reorderings.value(),
            busy: long(self.busy),
            receiver_limited: long(self.receiver_limited),
            sender_limited: long(self.sender_limited),
            unsent: self.unsent.value(),
            congestion: self.congestion,
            is_paced: self.is_paced,
            rate_before: None,
            subflows: self.subflows,
            has_moved: self.has_moved,
        }
    }
}

/// A figure that an older kernel does not give; the largest one stands for that.
#[derive(Clone, Copy, Debug)]
struct Rare<N>(N);

impl Rare<u64> {
    fn of<N: TryInto<u64>>(value: Option<N>) -> Self {
        Self(value.map_or(u64::MAX, |value| value.try_into().unwrap_or(u64::MAX).min(u64::MAX - 1)))
    }

    fn value(self) -> Option<u64> {
        (self.0 != u64::MAX).then_some(self.0)
    }
}

impl Rare<u32> {
    fn of<N: TryInto<u32>>(value: Option<N>) -> Self {
        Self(value.map_or(u32::MAX, |value| value.try_into().unwrap_or(u32::MAX).min(u32::MAX - 1)))
    }

    fn value(self) -> Option<u32> {
        (self.0 != u32::MAX).then_some(self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pace::Adaptive;

    const MICRO: Duration = Duration::from_micros(1);

    prop_compose! {
        /// As a kernel may say it, with some fields missing.
        fn any_sample()(
            counts in any::<[Option<u64>; 7]>(),
            shorts in any::<[Option<u32>; 6]>(),
            spans in any::<[Option<u32>; 3]>(),
            sizes in any::<[u32; 6]>(),
            is_rate_app_limited in any::<bool>(),
            [is_paced, has_moved] in any::<[bool; 2]>(),
            congestion in proptest::option::of(proptest::sample::select(&Congestion::ALL[..])),
        ) -> PathSample {
            let count = |value: Option<u64>| value.map(|value| value.min(u64::MAX - 1));
            let small = |value: Option<u32>| value.map(|value| value.min(u32::MAX - 1));
            let micros = |value: Option<u32>| small(value).map(|value| MICRO * value);
            PathSample {
                rtt: MICRO * sizes[0],
                rtt_var: MICRO * sizes[1],
                min_rtt: micros(shorts[0]),
                receive_rtt: micros(shorts[1]),
                delivery_rate: count(counts[0]),
                is_rate_app_limited,
                window: sizes[2],
                mss: sizes[3],
                receive_mss: sizes[4],
                segments_out: count(counts[1]),
                segments_in: count(counts[2]),
                retransmits: sizes[5].into(),
                bytes_out: count(counts[3]),
                bytes_retransmitted: count(counts[4]),
                bytes_acked: count(counts[5]),
                bytes_in: count(counts[6]),
                out_of_order: small(shorts[2]),
                spurious: small(shorts[3]),
                reorderings: small(shorts[4]),
                busy: micros(spans[0]),
                receiver_limited: micros(spans[1]),
                sender_limited: micros(spans[2]),
                unsent: small(shorts[5]),
                congestion,
                // Told once, and judged at once.
                rate_before: None,
                subflows: 1,
                is_paced,
                has_moved,
            }
        }
    }

    proptest! {
        #[test]
        fn what_a_kernel_says_comes_back_as_it_was(sample in any_sample()) {
            prop_assert_eq!(KeptSample::of(&sample).sample(), sample);
        }
    }

    #[test]
    fn what_does_not_fit_is_as_large_as_fits() {
        let long = Duration::from_secs(86_400);
        let sample = PathSample { rtt: long, min_rtt: Some(long), bytes_in: Some(u64::MAX), ..PathSample::default() };
        let kept = KeptSample::of(&sample).sample();
        assert!(kept.rtt > Duration::from_secs(3600) && kept.min_rtt > Some(Duration::from_secs(3600)), "{kept:?}");
        assert_eq!(kept.bytes_in, Some(u64::MAX - 1));
    }

    #[test]
    fn a_transfer_holds_half_of_a_sample_and_a_controller_less_than_a_kibibyte() {
        assert!(size_of::<Option<KeptSample>>() <= 160, "{}", size_of::<Option<KeptSample>>());
        // Thousands of uploads wait, each with one.
        assert!(size_of::<Adaptive>() <= 688, "{}", size_of::<Adaptive>());
    }
}
