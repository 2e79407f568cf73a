//! Stacks: walked, identified, credited, and sent to user space the first time they are seen.

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_ringbuf_output};
use aya_ebpf::programs::RetProbeContext;
use tracer_common::limits::{MAX_FRAMES, SCRATCH_SLOTS};
use tracer_common::{Counter, EventHeader, EventKind, StackCounters, StackKey};

use crate::context::Probe as _;
use crate::count::{add, atomic_add, atomic_swap, bump};
use crate::maps::{EVENTS, SCRATCH, STACKS, Scratch};
use crate::task::Task;
use crate::walk::{Walked, walk};

const E2BIG: i32 = -7;

/// Credits an allocation to the stack it came from, and returns the stack's identity; 0 where it
/// could not be had.
#[inline(always)]
pub(crate) fn credit(ctx: &RetProbeContext, task: &Task, size: u64) -> u64 {
    let Some(scratch) = acquire() else {
        bump(Counter::StackScratchBusy);
        return credit_unknown(task, size);
    };
    let stack = credit_with(scratch, ctx, task, size);
    release(scratch);
    stack
}

#[inline(always)]
fn credit_with(scratch: *mut Scratch, ctx: &RetProbeContext, task: &Task, size: u64) -> u64 {
    // SAFETY: the busy flag makes this program the slot's only user.
    let slot = unsafe { &mut *scratch };
    let Walked { len, stack } = walk(slot, ctx.instruction_pointer(), ctx.frame_pointer());
    let Some(counters) = counters_of(task, stack) else {
        add(Counter::StackTableFullBytes, size);
        return credit_unknown(task, size);
    };
    add_allocation(counters, size);
    // SAFETY: a valid map value. Two CPUs may both find 0 and both send: user space keeps one.
    if unsafe { (*counters).sent } == 0 {
        slot.event.header = EventHeader {
            kind: EventKind::Stack as u32,
            frames: len as u32,
            tgid: task.tgid,
            life: task.life,
            // SAFETY: no arguments.
            time_ns: unsafe { bpf_ktime_get_ns() },
            value: stack,
        };
        if send(scratch, len) {
            // SAFETY: as above; the write is idempotent.
            unsafe { (*counters).sent = 1 };
            if len == MAX_FRAMES {
                bump(Counter::StackTruncated);
            }
        } else {
            bump(Counter::StackEventDeferred);
        }
    }
    stack
}

/// Sends the head and the first `len` frames.
#[inline(always)]
fn send(scratch: *mut Scratch, len: usize) -> bool {
    let size = size_of::<EventHeader>() + (len & 127) * size_of::<u64>();
    // SAFETY: `len` is at most MAX_FRAMES, so the range lies within the slot.
    unsafe {
        bpf_ringbuf_output(
            (&raw const EVENTS).cast_mut().cast(),
            (&raw mut (*scratch).event).cast(),
            size as u64,
            0,
        ) == 0
    }
}

/// The counters of a stack, made where it is new; `None` where the table is full.
#[inline(always)]
fn counters_of(task: &Task, stack: u64) -> Option<*mut StackCounters> {
    let key = StackKey {
        stack,
        tgid: task.tgid,
        life: task.life,
    };
    if let Some(counters) = STACKS.get_ptr_mut(&key) {
        return Some(counters);
    }
    // Another CPU may be first; both then find the one entry.
    if STACKS.insert(&key, &StackCounters::default(), u64::from(BPF_NOEXIST)) == Err(E2BIG) {
        bump(Counter::StackTableFull);
        return None;
    }
    let counters = STACKS.get_ptr_mut(&key);
    if counters.is_none() {
        bump(Counter::MapUpdateFailed);
    }
    counters
}

/// Credits the entry for allocations without a stack, which user space makes beforehand.
#[inline(always)]
fn credit_unknown(task: &Task, size: u64) -> u64 {
    let key = StackKey {
        stack: 0,
        tgid: task.tgid,
        life: task.life,
    };
    match STACKS.get_ptr_mut(&key) {
        Some(counters) => add_allocation(counters, size),
        None => bump(Counter::MapUpdateFailed),
    }
    0
}

#[inline(always)]
fn add_allocation(counters: *mut StackCounters, size: u64) {
    // SAFETY: a valid map value; only its address is formed here.
    let (objects, bytes) = unsafe {
        (
            &raw mut (*counters).alloc_objects,
            &raw mut (*counters).alloc_bytes,
        )
    };
    atomic_add(objects, 1);
    atomic_add(bytes, size);
}

/// Takes a free slot of this CPU. The program can't migrate, but it can be preempted by a task
/// that runs the same program on the same CPU.
#[inline(always)]
fn acquire() -> Option<*mut Scratch> {
    let mut i = 0;
    while i < SCRATCH_SLOTS {
        let slot = SCRATCH.get_ptr_mut(i)?;
        // SAFETY: a valid map value; only its address is formed here.
        if atomic_swap(unsafe { &raw mut (*slot).busy }, 1) == 0 {
            return Some(slot);
        }
        i += 1;
    }
    None
}

#[inline(always)]
fn release(slot: *mut Scratch) {
    // SAFETY: the slot was taken by this program.
    unsafe { core::ptr::write_volatile(&raw mut (*slot).busy, 0) };
}
