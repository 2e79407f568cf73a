//! From the kernel's amounts to those of a profile: what a stack has, and the peak.

use std::time::Duration;

use tracer_common::StackCounters;

use crate::bpf::{Held, KernelPeak, StackAmounts};
use crate::profile::{Peak, Values};

/// What a stack has allocated and holds, and what it held at the peak.
pub(super) fn values(counters: &StackCounters, at_peak: Held) -> Values {
    let live = |allocated: u64, freed| count(allocated.saturating_sub(freed));
    Values {
        alloc_objects: count(counters.alloc_objects),
        alloc_space: count(counters.alloc_bytes),
        inuse_objects: live(counters.alloc_objects, counters.freed_objects),
        inuse_space: live(counters.alloc_bytes, counters.freed_bytes),
        peak_objects: count(at_peak.objects),
        peak_space: count(at_peak.bytes),
    }
}

/// The peak, and whether that is now: what has risen since the last one may be too little for a peak of
/// its own.
pub(super) fn peak_of(
    last: KernelPeak,
    (began, elapsed): (u64, Duration),
    amounts: &[StackAmounts],
) -> (Peak, bool) {
    let sum = |of: fn(&Held) -> u64| amounts.iter().map(|amount| of(&amount.now)).sum::<u64>();
    let (bytes, objects) = (sum(|held| held.bytes), sum(|held| held.objects));
    let at_peak = amounts.iter().map(|amount| amount.at_peak.objects).sum();
    let is_now = bytes > last.bytes;
    let after = if is_now {
        i64::try_from(elapsed.as_nanos()).unwrap_or(i64::MAX)
    } else {
        count(last.time_ns.saturating_sub(began))
    };
    let peak = Peak {
        bytes: count(bytes.max(last.bytes)),
        // Few objects are not handed on.
        objects: count(objects.max(at_peak).max(last.objects)),
        after_nanos: Some(after),
    };
    (peak, is_now)
}

fn count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
