//! What a window takes from the target: the calls in it, and what comes after it.

use std::time::Duration;

use tracer_common::Callee;

use super::governor::Effort;
use crate::bpf::Calls;
use crate::session::cost::EventCosts;

/// What a window takes from each CPU that the target uses, once it is over: caches are cold, pages of code are mapped
/// anew. Measured from outside, a busy target did 90 to 97% of its work in the next 100 ms.
const AFTERMATH: Duration = Duration::from_millis(6);
/// What a trap takes until that is known.
pub(super) const TRAPS: EventCosts = EventCosts {
    allocation: 2_000.0,
    free: 1_000.0,
};

/// What the target loses when a window is over in which it used so much CPU time.
pub(super) fn aftermath(length: Duration, used: Duration) -> Duration {
    AFTERMATH.mul_f64(used.as_secs_f64() / length.as_secs_f64().max(1e-9))
}

/// Target's time that the calls of a window took: the program, as long as it says that it ran, and the traps.
pub(super) fn took(calls: &Calls, effort: Effort, traps: EventCosts) -> Duration {
    let mut nanoseconds = calls.ran_ns as f64 + calls.outside as f64 * traps.free;
    for callee in Callee::all() {
        let has_return = match callee {
            Callee::Allocator(function) => {
                effort == Effort::Full && !function.is_free() && !function.may_throw()
            }
            Callee::Io(_) => false,
        };
        let trap = if has_return {
            traps.allocation
        } else {
            traps.free
        };
        nanoseconds += calls.of(callee) as f64 * trap;
    }
    Duration::from_nanos(nanoseconds as u64)
}

#[cfg(test)]
mod tests {
    use tracer_common::{AllocatorFn, IoFn};

    use super::*;

    #[test]
    fn a_call_takes_its_traps_and_what_the_program_ran() {
        let traps = EventCosts {
            allocation: 1_000.0,
            free: 500.0,
        };
        let mut calls = Calls {
            ran_ns: 7_000,
            outside: 2,
            ..Calls::default()
        };
        for (callee, known) in Callee::all().zip(&mut calls.by_function) {
            *known = match callee {
                Callee::Allocator(AllocatorFn::Malloc) => 3,
                Callee::Allocator(AllocatorFn::Free) => 4,
                Callee::Io(IoFn::Write) => 1,
                _ => 0,
            };
        }
        let full = took(&calls, Effort::Full, traps);
        assert_eq!(
            full,
            Duration::from_nanos(7_000 + 1_000 + 3_000 + 2_000 + 500)
        );
        let progress = took(&calls, Effort::Progress, traps);
        assert_eq!(progress, full - Duration::from_nanos(1_500));
    }
}
