//! Stacks that can't be walked yet, because the news of a mapping has not reached user space: their
//! memory is handed over, and walked there once it has.

use core::ffi::c_void;

use aya_ebpf::bindings::BPF_RB_AVAIL_DATA;
use aya_ebpf::helpers::generated::{
    bpf_ktime_get_ns, bpf_loop, bpf_probe_read_user, bpf_ringbuf_output, bpf_ringbuf_query,
};
use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use tracer_common::limits::{COPY_SLOTS, COPY_WORDS, PAGE_BYTES, RING_BYTES};
use tracer_common::{Counter, EventHeader, EventKind, StackCopyEvent, StackEnd, StackHash};

use crate::count::{atomic_swap, bump, take_number};
use crate::maps::{COPIED, EVENTS, STACK_STARTS};
use crate::space::space_of;
use crate::task::Task;
use crate::thread;

/// Bytes of a copy, at most.
const COPY_BYTES: u64 = COPY_WORDS as u64 * 8;

/// Bytes that are copied beyond where the first thread's stack begins. What is above are the arguments and
/// the environment.
const BEYOND: u64 = 64;

/// A place to copy a stack to.
#[repr(C)]
pub(crate) struct StackCopy {
    /// 1 while a program uses the slot.
    busy: u64,
    /// Bytes copied so far.
    len: u64,
    /// Bytes that are wanted.
    wanted: u64,
    event: StackCopyEvent,
}

/// Places to copy a stack to. Not per CPU: such a value may not be larger than 32 KiB.
#[map]
static COPIES: Array<StackCopy> = Array::with_max_entries(COPY_SLOTS, 0);

/// Whether there may be a copy.
#[inline(always)]
pub(crate) fn is_allowed() -> bool {
    // SAFETY: a valid map value; user space writes it, too.
    COPIED
        .get_ptr(0)
        .is_some_and(|copied| unsafe { (*copied)[0] < (*copied)[1] })
}

/// Copies a stack from `sp` on. Returns its identity, which no other has; 0 where that was not possible.
#[inline(always)]
pub(crate) fn send(task: &Task, ip: u64, sp: u64, bp: u64) -> u64 {
    let owner = u64::from(task.image) << 32 | u64::from(task.tgid);
    // SAFETY: a valid map value, which user space replaces whole.
    let start = STACK_STARTS
        .get_ptr(space_of(task))
        .map_or(0, |start| unsafe { core::ptr::read_volatile(start) });
    send_words(owner, ip, sp, bp, start)
}

/// As [`send`], with image and process in one word.
#[inline(never)]
fn send_words(owner: u64, ip: u64, sp: u64, bp: u64, start: u64) -> u64 {
    let Some(slot) = acquire() else {
        return 0;
    };
    // Of another thread's stack, wherever it lies, no more than fits.
    let wanted = start.wrapping_sub(sp).wrapping_add(BEYOND).min(COPY_BYTES);
    // SAFETY: the slot was taken by this program.
    unsafe { core::ptr::write_volatile(&raw mut (*slot).wanted, wanted) };
    let stack = fill_and_send(slot, owner, ip, sp, bp);
    // SAFETY: the slot was taken by this program.
    unsafe { core::ptr::write_volatile(&raw mut (*slot).busy, 0) };
    stack
}

#[inline(always)]
fn fill_and_send(slot: *mut StackCopy, owner: u64, ip: u64, sp: u64, bp: u64) -> u64 {
    let Some(copied) = COPIED.get_ptr_mut(0) else {
        return 0;
    };
    if !is_allowed() || is_ring_half_full() {
        return 0;
    }
    // SAFETY: a valid map value; only its address is formed here.
    let number = take_number(unsafe { &raw mut (*copied)[0] });
    let stack = StackHash::default().push(u64::MAX).push(number).finish();
    {
        // SAFETY: the busy flag makes this program the slot's only user.
        let copy = unsafe { &mut *slot };
        copy.len = 0;
        copy.event.sp = sp;
    }
    let mut context = slot;
    // SAFETY: the callback has the helper's signature, and its context outlives the call.
    unsafe {
        bpf_loop(
            (COPY_BYTES / PAGE_BYTES) as u32,
            copy_page as *mut c_void,
            (&raw mut context).cast(),
            0,
        );
    }
    // SAFETY: as above.
    let copy = unsafe { &mut *slot };
    let len = copy.len.min(copy.wanted) & (COPY_BYTES - 1);
    copy.event.ip = ip;
    copy.event.bp = bp;
    copy.event.header = EventHeader {
        kind: EventKind::StackCopy as u32,
        frames: (len / 8) as u32,
        tgid: owner as u32,
        image: (owner >> 32) as u32,
        // SAFETY: no arguments.
        time_ns: unsafe { bpf_ktime_get_ns() },
        value: stack,
        end: StackEnd::Unmapped as u32,
        thread: thread::current(),
    };
    // SAFETY: `len` is less than the words take, so that the range lies within the slot.
    let sent = unsafe {
        bpf_ringbuf_output(
            (&raw const EVENTS).cast_mut().cast(),
            (&raw mut copy.event).cast(),
            size_of::<StackCopyEvent>() as u64 - COPY_BYTES + len,
            0,
        )
    };
    if sent != 0 {
        return 0;
    }
    bump(Counter::CopiedStacks);
    stack
}

/// Copies are large, and must leave room for other events.
#[inline(always)]
fn is_ring_half_full() -> bool {
    let ring = (&raw const EVENTS).cast_mut().cast();
    // SAFETY: a map.
    let waiting = unsafe { bpf_ringbuf_query(ring, u64::from(BPF_RB_AVAIL_DATA)) };
    waiting > u64::from(RING_BYTES) / 2
}

/// Copies up to the end of a page, as a callback of `bpf_loop`; 1 ends it.
extern "C" fn copy_page(_index: u64, context: *mut c_void) -> u64 {
    // SAFETY: `fill_and_send` passes a pointer to its slot, which nothing else uses meanwhile.
    let copy = unsafe { &mut **context.cast::<*mut StackCopy>() };
    let len = copy.len & (COPY_BYTES - 1);
    if len >= COPY_BYTES - PAGE_BYTES || len >= copy.wanted {
        return 1;
    }
    let address = copy.event.sp + len;
    let rest = PAGE_BYTES - (address & (PAGE_BYTES - 1));
    // SAFETY: a whole page more fits, of which the verifier makes sure; the read is checked by the kernel.
    let read = unsafe {
        bpf_probe_read_user(
            copy.event.words.as_mut_ptr().byte_add(len as usize).cast(),
            rest as u32,
            address as *const _,
        )
    };
    if read != 0 {
        // The stack ends before this page.
        return 1;
    }
    copy.len = len + rest;
    0
}

/// Takes a free slot.
#[inline(always)]
fn acquire() -> Option<*mut StackCopy> {
    let mut i = 0;
    while i < COPY_SLOTS {
        let slot = COPIES.get_ptr_mut(i)?;
        // SAFETY: a valid map value; only its address is formed here.
        if atomic_swap(unsafe { &raw mut (*slot).busy }, 1) == 0 {
            return Some(slot);
        }
        i += 1;
    }
    None
}
