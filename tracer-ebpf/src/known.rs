//! Stacks that were walked before: recognised by the words that the walk went by, without a walk. How
//! that can be sure is told in `tracer_common::known`.

use core::ffi::c_void;
use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::helpers::generated::bpf_loop;
use tracer_common::limits::WINDOW_WORDS;
use tracer_common::{
    Counter, KnownStack, Owner, Recognition, Registers, SHAPE_SLOTS, SLOTS_AT_ONCE, Shape,
    shape_index, slot,
};

use crate::count::bump;
use crate::maps::{KNOWN, SHAPES, config};
use crate::scratch::Scratch;
use crate::stack_window::{read, refill};

/// Calls of the callback, at most: each takes some slots, or comes to the end of the window.
const MAX_CALLS: usize = 64;

/// No slot.
const RUNNING: u64 = u64::MAX;
/// Greater than any index.
const NONE: u32 = u32::MAX;

/// What the callbacks of a recognition and of a walk work on.
#[repr(C)]
pub(crate) struct Context {
    pub(crate) scratch: *mut Scratch,
    /// The shape that is tried, and where a walk leaves its own.
    pub(crate) shape: *mut Shape,
}

/// The shape that a stack may have. There is one at each index.
#[inline(always)]
pub(crate) fn shape_of(owner: Owner, first: Registers) -> Option<*mut Shape> {
    SHAPES.get_ptr_mut(shape_index(owner.version, first.ip, first.sp))
}

/// Looks whether a stack was walked before, and leaves the index of its counters in the scratch slot.
#[inline(always)]
pub(crate) fn recognise(scratch: &mut Scratch, owner: Owner, first: Registers, thread: u32) {
    scratch.known.index = NONE;
    scratch.known.check = 0;
    // A walk would not get far.
    if !first.sp.is_multiple_of(8) {
        return;
    }
    let Some(shape) = shape_of(owner, first) else {
        return;
    };
    scratch.known.recognition = Recognition::new(owner, first.ip, first.sp);
    scratch.known.next = 1;
    scratch.known.missing = first.sp;
    scratch.known.end = RUNNING;
    let mut context = Context { scratch, shape };
    // SAFETY: the callback has the helper's signature, and its context outlives the call.
    unsafe {
        bpf_loop(
            MAX_CALLS as u32,
            take_slots as *mut c_void,
            (&raw mut context).cast(),
            0,
        );
    }
    let end = scratch.known.end as u16;
    if scratch.known.end == RUNNING {
        return;
    }
    if end != slot::END {
        let address = scratch.known.recognition.address(end);
        let Some(word) = read(scratch, address) else {
            return;
        };
        scratch.known.recognition.take(end, word);
    }
    // SAFETY: a valid map value, which other CPUs may be writing.
    let register = unsafe { read_volatile(&raw const (*shape)[0]) };
    let check = scratch.known.recognition.finish(register, first.bp);
    let check = of_thread(check, thread);
    if let Some(known) = KNOWN.get_ptr(KnownStack::place(check)) {
        // SAFETY: as above, word by word.
        let known = unsafe {
            KnownStack {
                check: read_volatile(&raw const (*known).check),
                index: read_volatile(&raw const (*known).index),
            }
        };
        scratch.known.index = known.index_of(check).unwrap_or(NONE);
    }
}

/// Takes some slots, as a callback of `bpf_loop`; 1 ends it. No calls between them, so that all is in
/// registers.
extern "C" fn take_slots(_index: u64, context: *mut c_void) -> u64 {
    // SAFETY: `recognise` passes its context, whose scratch slot nothing else uses meanwhile.
    let context = unsafe { &mut *context.cast::<Context>() };
    // SAFETY: as above.
    let scratch = unsafe { &mut *context.scratch };
    let missing = scratch.known.missing;
    if missing != 0 {
        // SAFETY: a valid map value, which other CPUs may be writing.
        let register = unsafe { read_volatile(&raw const (*context.shape)[0]) };
        if !refill(scratch, missing, register & slot::LOW != 0) {
            return 1;
        }
    }
    scratch.known.missing = 0;
    let mut recognition = scratch.known.recognition;
    let (base, limit) = (scratch.unwind.base, scratch.unwind.limit);
    let next = scratch.known.next as usize & (SHAPE_SLOTS - 1);
    let mut taken = 0;
    while taken < SLOTS_AT_ONCE {
        // SAFETY: a valid map value, which other CPUs may be writing.
        let slot = unsafe { read_volatile(&raw const (*context.shape)[next + taken]) };
        if slot & slot::WORD == 0 {
            scratch.known.end = u64::from(slot);
            break;
        }
        let address = recognition.address(slot);
        let at = address.wrapping_sub(base);
        if at > limit {
            scratch.known.missing = address;
            break;
        }
        recognition.take(slot, scratch.window[(at / 8) as usize & (WINDOW_WORDS - 1)]);
        taken += 1;
    }
    scratch.known.recognition = recognition;
    scratch.known.next = (next + taken) as u64;
    u64::from(scratch.known.end != RUNNING)
}

/// The same stack of another thread is another one, where threads are told apart.
#[inline(always)]
fn of_thread(check: u64, thread: u32) -> u64 {
    check ^ u64::from(thread).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Remembers the stack that was walked by the index of its counters, if it can be recognised.
#[inline(always)]
pub(crate) fn remember(scratch: &Scratch, index: u32, thread: u32) {
    if config!(audit) != 0 && scratch.known.index != NONE && scratch.known.index != index {
        bump(Counter::StacksMistaken);
    }
    let check = scratch.known.check;
    if check != 0
        && let Some(known) = KNOWN.get_ptr_mut(KnownStack::place(of_thread(check, thread)))
    {
        let check = of_thread(check, thread);
        let KnownStack { check, index } = KnownStack::new(check, index);
        // SAFETY: a valid map value, which other CPUs may be writing, too.
        unsafe {
            write_volatile(&raw mut (*known).check, check);
            write_volatile(&raw mut (*known).index, index);
        }
    }
}
