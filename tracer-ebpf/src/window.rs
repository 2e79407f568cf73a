//! Windows: what the target calls while user space has the gate open is counted as ever, and nothing is known of the
//! rest.
//!
//! The gate, not the breakpoints, says what is in a window: they come and go one by one. Returns pass it, so that
//! a call counts by when it was entered.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use tracer_common::{AllocatorFn, GATE_STATE, GATE_UNTIL, Gate, WINDOW_OUTSIDE, WINDOW_RAN_NS};

use crate::account::{self, Sight};
use crate::context::Probe as _;
use crate::count::atomic_add;
use crate::maps::{GATE, WINDOW};
use crate::pending::Returns;
use crate::task;

/// What a run can take at most, in nanoseconds. One that takes longer was interrupted for another task.
const LONGEST_RUN: u64 = 1 << 15;

/// The program. Returns whether the return of this call must be seen.
#[inline(always)]
pub(crate) fn session(ctx: *mut c_void) -> bool {
    // SAFETY: no arguments.
    let begun = unsafe { bpf_ktime_get_ns() };
    let at_return = RetProbeContext::new(ctx);
    let wants_return = if at_return.is_return() {
        account::alloc_return(&at_return, Returns::Wanted, Sight::Windows);
        false
    } else {
        entry(&ProbeContext::new(ctx), begun)
    };
    // SAFETY: as above.
    let took = unsafe { bpf_ktime_get_ns() } - begun;
    count(
        WINDOW_RAN_NS,
        if took < LONGEST_RUN {
            took
        } else {
            LONGEST_RUN
        },
    );
    wants_return
}

#[inline(always)]
fn entry(ctx: &ProbeContext, now: u64) -> bool {
    if task::traced_or_foreign().is_none() {
        return false;
    }
    let word = |word| GATE.get(word).copied().unwrap_or(0);
    let gate = word(GATE_STATE);
    if gate == Gate::Closed as u64 || now >= word(GATE_UNTIL) {
        count(WINDOW_OUTSIDE, 1);
        return false;
    }
    let function = ctx.cookie();
    count(function as u32, 1);
    if gate == Gate::Marks as u64 {
        return false;
    }
    // Of others it matters that they are called.
    let Some(known) = AllocatorFn::from_cookie(function) else {
        return false;
    };
    if known.is_free() {
        account::free_entry(ctx, Sight::Windows);
        if known.is_sized_free() {
            account::note_sized_free(ctx);
        }
        return false;
    }
    if known.may_throw() {
        account::throwing_entry(ctx);
        return false;
    }
    account::alloc_entry(ctx, Returns::Wanted)
}

/// Adds to a word of this CPU's.
#[inline(always)]
fn count(word: u32, amount: u64) {
    if let Some(value) = WINDOW.get_ptr_mut(word) {
        atomic_add(value, amount);
    }
}
