//! Return addresses that return probes have replaced, the tracer's own or another tool's: they are looked up
//! where the kernel keeps them.

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::helpers::generated::{bpf_get_current_task, bpf_loop};
use tracer_common::ReturnProbes;

use crate::maps::config;
use crate::scratch::Scratch;

/// Calls that have not returned, at most: the kernel's own limit (`MAX_URETPROBE_DEPTH`).
const MAX_CALLS: u32 = 64;

/// The return address that lay at a place of the stack; 0 where that is not known.
#[inline(never)]
pub(crate) fn return_address(scratch: &mut Scratch, place: u64) -> u64 {
    let ReturnProbes {
        utask, instances, ..
    } = config!(return_probes);
    if utask == 0 {
        return 0;
    }
    // SAFETY: no arguments.
    let task = unsafe { bpf_get_current_task() };
    // The bounds of a search, which none is under way in.
    scratch.unwind.low = word(word(task, utask), instances);
    scratch.unwind.high = 0;
    scratch.unwind.wanted = place;
    let mut context: *mut Scratch = scratch;
    // SAFETY: the callback has the helper's signature, and its context outlives the call.
    unsafe {
        bpf_loop(MAX_CALLS, look as *mut c_void, (&raw mut context).cast(), 0);
    }
    scratch.unwind.high
}

/// Looks at a call; the last one first.
extern "C" fn look(_index: u64, context: *mut c_void) -> u64 {
    // SAFETY: `return_address` passes a pointer to its scratch slot, which nothing else uses meanwhile.
    let scratch = unsafe { &mut **context.cast::<*mut Scratch>() };
    let call = scratch.unwind.low;
    if call == 0 {
        return 1;
    }
    let offsets = config!(return_probes);
    if word(call, offsets.stack) == scratch.unwind.wanted {
        scratch.unwind.high = word(call, offsets.address);
        return 1;
    }
    scratch.unwind.low = word(call, offsets.next);
    0
}

/// A word of a structure in the kernel; 0 where it can't be read.
#[inline(always)]
fn word(structure: u64, offset: u32) -> u64 {
    if structure == 0 {
        return 0;
    }
    // SAFETY: a checked read at an offset that the kernel's BTF gives.
    unsafe { bpf_probe_read_kernel((structure + u64::from(offset)) as *const u64) }.unwrap_or(0)
}
