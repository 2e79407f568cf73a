//! Scratch slots: where a stack is collected, and the window through which it is read.

use core::arch::asm;

use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;
use tracer_common::limits::{SCRATCH_SLOTS, WINDOW_WORDS};
use tracer_common::{StackEvent, Trail};

use crate::count::atomic_swap;
use crate::state::{Known, Unwind, Walk};

/// A place to collect a stack in; too large for the 512 bytes of BPF stack.
#[repr(C)]
pub(crate) struct Scratch {
    /// 1 while a program uses the slot.
    pub(crate) busy: u64,
    /// Its number, for functions that are given numbers only.
    pub(crate) number: u64,
    /// The walk under way, along frame pointers.
    pub(crate) walk: Walk,
    /// The walk under way, by tables.
    pub(crate) unwind: Unwind,
    /// The recognition under way.
    pub(crate) known: Known,
    /// What the walk by tables goes by.
    pub(crate) trail: Trail,
    /// The part of the stack that is being walked.
    pub(crate) window: [u64; WINDOW_WORDS],
    /// The event under construction.
    pub(crate) event: StackEvent,
}

/// Scratch slots of each CPU.
#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(SCRATCH_SLOTS, 0);

/// Takes a free slot of this CPU. The program can't migrate, but it can be preempted by a task
/// that runs the same program on the same CPU.
#[inline(always)]
pub(crate) fn acquire() -> Option<*mut Scratch> {
    let mut i = 0;
    while i < SCRATCH_SLOTS {
        let slot = SCRATCH.get_ptr_mut(i)?;
        // SAFETY: a valid map value; only its address is formed here.
        if atomic_swap(unsafe { &raw mut (*slot).busy }, 1) == 0 {
            // SAFETY: the slot was taken by this program.
            unsafe { (*slot).number = u64::from(i) };
            return Some(slot);
        }
        i += 1;
    }
    None
}

/// Has a function work on a slot that is given its number instead of the reference. To the compiler, which knows
/// of nobody else who has a reference, all of the slot is read before and may be changed after.
#[inline(always)]
pub(crate) fn lend<T>(scratch: &mut Scratch, function: impl FnOnce(u64) -> T) -> T {
    let number = scratch.number;
    let mut slot: *mut Scratch = scratch;
    // SAFETY: an assignment to itself.
    unsafe { asm!("{0} = {0}", inout(reg) slot, options(nostack)) };
    let result = function(number);
    // SAFETY: as above.
    unsafe { asm!("{0} = {0}", inout(reg) slot, options(nostack)) };
    let _ = slot;
    result
}

/// The slot with a number, which the caller has taken.
#[inline(always)]
pub(crate) fn taken(number: u64) -> Option<*mut Scratch> {
    SCRATCH.get_ptr_mut(number as u32)
}

#[inline(always)]
pub(crate) fn release(slot: *mut Scratch) {
    // SAFETY: the slot was taken by this program.
    unsafe { core::ptr::write_volatile(&raw mut (*slot).busy, 0) };
}
