//! Stacks: walked, identified, credited, and sent to user space the first time they are seen.

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_ringbuf_output};
use tracer_common::limits::MAX_FRAMES;
use tracer_common::{
    Counter, EventHeader, EventKind, Registers, StackCounters, StackKey, Unwinding,
};

use crate::count::{add, atomic_add, bump, take_number};
use crate::known;
use crate::log::rare;
use crate::maps::{EVENTS, FREE_STACKS, STACK_COUNTERS, STACKS, STACKS_USED, config};
use crate::peak;
use crate::scratch::{self, Scratch};
use crate::space;
use crate::task::Task;
use crate::thread;
use crate::unwind::unwind;
use crate::walk::{Walked, walk};

/// Credits an allocation to the stack it came from, and returns the index of the stack's counters. `first` are
/// the registers as the call returns.
#[inline(always)]
pub(crate) fn credit(task: &Task, first: Registers, size: u64) -> Option<u32> {
    let Some(scratch) = scratch::acquire() else {
        bump(Counter::StackScratchBusy);
        rare!(ScratchBusy, size);
        return credit_unknown(task, size);
    };
    let stack = credit_with(scratch, task, first, size);
    scratch::release(scratch);
    stack
}

#[inline(always)]
fn credit_with(scratch: *mut Scratch, task: &Task, first: Registers, size: u64) -> Option<u32> {
    // SAFETY: the busy flag makes this program the slot's only user.
    let slot = unsafe { &mut *scratch };
    // A constant to the verifier, which drops the other walk.
    let by_tables = config!(unwinding) != Unwinding::FramePointers as u32;
    let thread = thread::current();
    if by_tables {
        known::recognise(slot, space::owner_of(task), first, thread);
        let index = slot.known.index;
        if let Some(counters) = STACK_COUNTERS.get_ptr_mut(index)
            // SAFETY: a valid map value. Until the frames have been sent, they have to be found again.
            && unsafe { (*counters).sent } != 0
            && config!(audit) == 0
        {
            add_allocation(counters, size);
            return Some(index);
        }
    }
    let Walked {
        len,
        stack,
        end,
        copied,
    } = if by_tables {
        unwind(slot, task, first)
    } else {
        walk(slot, first.ip, first.bp)
    };
    let key = stack_key(task, if copied == 0 { stack } else { copied }, thread);
    let Some((index, counters)) = find(&key).or_else(|| make(&key)) else {
        bump(Counter::StackTableFull);
        add(Counter::StackTableFullBytes, size);
        rare!(StackTableFull, stack, size);
        return credit_unknown(task, size);
    };
    add_allocation(counters, size);
    if copied != 0 {
        // SAFETY: a valid map value.
        unsafe { (*counters).sent = 1 };
        return Some(index);
    }
    if by_tables {
        known::remember(slot, index, thread);
    }
    // SAFETY: a valid map value. Two CPUs may both find 0 and both send: user space keeps one.
    if unsafe { (*counters).sent } == 0 {
        slot.event.header = EventHeader {
            kind: EventKind::Stack as u32,
            frames: len as u32,
            tgid: task.tgid,
            image: task.image,
            // SAFETY: no arguments.
            time_ns: unsafe { bpf_ktime_get_ns() },
            value: stack,
            end,
            thread,
        };
        if send(scratch, len) {
            // SAFETY: as above; the write is idempotent.
            unsafe { (*counters).sent = 1 };
        } else {
            bump(Counter::StackEventDeferred);
            rare!(StackDeferred, stack);
        }
    }
    Some(index)
}

/// Sends the head and the first `len` frames.
#[inline(always)]
fn send(scratch: *mut Scratch, len: usize) -> bool {
    let size = size_of::<EventHeader>() + len.min(MAX_FRAMES) * size_of::<u64>();
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

#[inline(always)]
const fn stack_key(task: &Task, stack: u64, thread: u32) -> StackKey {
    StackKey {
        stack,
        image: task.image,
        thread,
    }
}

/// A stack's counters and their index.
#[inline(always)]
fn find(key: &StackKey) -> Option<(u32, *mut StackCounters)> {
    // SAFETY: copied at once, and never changed.
    let index = unsafe { STACKS.get(key) }.copied()?;
    Some((index, STACK_COUNTERS.get_ptr_mut(index)?))
}

/// Makes counters for a new stack; `None` where there is no room.
#[inline(always)]
fn make(key: &StackKey) -> Option<(u32, *mut StackCounters)> {
    let index = match FREE_STACKS.pop() {
        Ok(Some(index)) => index,
        // Each attempt on a full table takes a number: after 2^32 of them it must not begin anew.
        _ => u32::try_from(take_number(STACKS_USED.get_ptr_mut(0)?)).ok()?,
    };
    let counters = STACK_COUNTERS.get_ptr_mut(index)?;
    thread::remember(key.thread);
    // SAFETY: a valid map value that was given to this program alone.
    unsafe { (*counters).key = *key };
    if STACKS.insert(key, &index, u64::from(BPF_NOEXIST)).is_ok() {
        return Some((index, counters));
    }
    // SAFETY: as above. Volatile: two words that are cleared at once become a loop over bytes.
    unsafe { (&raw mut (*counters).key).write_volatile(StackKey::default()) };
    // Another CPU was first, or there is none.
    find(key)
}

/// Credits the image's entry for allocations without a stack; where there is no room for one, that of the
/// session's first image, which is made beforehand.
#[inline(always)]
fn credit_unknown(task: &Task, size: u64) -> Option<u32> {
    let key = stack_key(task, 0, thread::current());
    let (index, counters) = match find(&key).or_else(|| make(&key)) {
        Some(found) => found,
        None => (0, STACK_COUNTERS.get_ptr_mut(0)?),
    };
    add_allocation(counters, size);
    Some(index)
}

#[inline(always)]
fn add_allocation(counters: *mut StackCounters, size: u64) {
    peak::keep(counters);
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

/// Debits a free to the stack that allocated.
#[inline(always)]
pub(crate) fn debit(index: u32, size: u64) {
    let Some(counters) = STACK_COUNTERS.get_ptr_mut(index) else {
        bump(Counter::MapUpdateFailed);
        return;
    };
    peak::keep(counters);
    // SAFETY: a valid map value; only its address is formed here.
    let (objects, bytes) = unsafe {
        (
            &raw mut (*counters).freed_objects,
            &raw mut (*counters).freed_bytes,
        )
    };
    atomic_add(objects, 1);
    atomic_add(bytes, size);
}
