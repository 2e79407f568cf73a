//! The walk by call frame information: up stacks whose code keeps no frame pointers.
//!
//! A frame's rule is remembered by its address, so that a table is searched once for each place in
//! the program that a call returns to; the step itself is `tracer_common::step`, the same as in user
//! space. As in `walk.rs`, all state lies in the scratch map and all loops are `bpf_loop`'s, because
//! the verifier would follow others through each iteration.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use tracer_common::limits::MAX_FRAMES;
use tracer_common::{
    Counter, Owner, PUBLICATIONS, Registers, SharedShape, SpaceHead, StackEnd, StackHash, Step,
    Trail, Unwinding, may_be_overwritten, rule_cache_key, rule_ids, step,
};

use crate::copy;
use crate::count::{add, bump};
use crate::known::{self, Context};
use crate::log;
use crate::maps::{RULE_CACHE, RULES, config};
use crate::replaced;
use crate::scratch::{self, Scratch};
use crate::search::search_slot;
use crate::space::{head, owner, space_of};
use crate::stack_window::read;
use crate::state::Unwind;
use crate::task::Task;
use crate::walk::Walked;

/// States of [`Unwind::guesses`].
const MAY_GUESS: u64 = 1;
const GUESSED: u64 = 2;

/// Walks from a function's return.
#[inline(always)]
pub(crate) fn unwind(scratch: &mut Scratch, task: &Task, first: Registers) -> Walked {
    let before = head(PUBLICATIONS);
    let space = SpaceHead::from_word(head(space_of(task)));
    let mut end = run(scratch, owner(task, space), space, first);
    if may_be_overwritten(before, head(PUBLICATIONS)) {
        end = END_UNMAPPED;
    }
    let mut copied = 0;
    if end == END_UNMAPPED {
        copied = copy::send(task, first.ip, first.sp, first.bp);
    }
    if end != END_ROOT {
        scratch.known.check = 0;
        if copied == 0 {
            count_end(end, scratch);
        }
    } else if scratch.unwind.guesses == GUESSED {
        bump(Counter::GuessedStacks);
    }
    // By way of the map, so that both look alike to the verifier: it would follow the rest twice.
    scratch.unwind.copied = copied;
    scratch.unwind.end = u64::from(end);
    Walked {
        len: scratch.unwind.len as usize,
        // Stacks with the same frames that ended for different reasons are different.
        stack: scratch.unwind.hash.push(scratch.unwind.end).finish(),
        end: scratch.unwind.end as u32,
        // SAFETY: a reference is valid.
        copied: unsafe { core::ptr::read_volatile(&raw const scratch.unwind.copied) },
    }
}

/// The walk by the mappings of an address space, which leaves the check that it is known by. Returns a
/// [`StackEnd`].
#[inline(always)]
fn run(scratch: &mut Scratch, owner: Owner, space: SpaceHead, first: Registers) -> u32 {
    // There is one at each index.
    let Some(shape) = known::shape_of(owner, first) else {
        return END_NO_RULE;
    };
    scratch.unwind.base = 0;
    scratch.unwind.ip = first.ip;
    scratch.unwind.limit = 0;
    scratch.unwind.sp = first.sp;
    scratch.unwind.hash = StackHash::default();
    scratch.unwind.bp = first.bp;
    scratch.unwind.len = 0;
    scratch.unwind.space = u64::from(space.first);
    scratch.unwind.is_return_address = 1;
    scratch.unwind.version = owner.version;
    scratch.unwind.searches = 0;
    scratch.unwind.entries = u64::from(space.entries);
    scratch.unwind.end = StackEnd::TooDeep as u64;
    scratch.unwind.guesses = if copy::is_allowed() { 0 } else { MAY_GUESS };
    scratch.trail = Trail::new(owner, first);
    let mut context = Context { scratch, shape };
    // SAFETY: the callback has the helper's signature, and its context outlives the call.
    unsafe {
        bpf_loop(
            MAX_FRAMES as u32,
            climb as *mut c_void,
            (&raw mut context).cast(),
            0,
        );
    }
    // SAFETY: a valid map value. Other CPUs may write it, too: it is a hint.
    scratch.known.check = scratch.trail.finish(unsafe { SharedShape::new(shape) });
    bump(Counter::UnwoundStacks);
    add(Counter::UnwoundFrames, scratch.unwind.len);
    if scratch.unwind.searches != 0 {
        add(Counter::RuleSearches, scratch.unwind.searches);
    }
    scratch.unwind.end as u32
}

#[inline(always)]
fn count_end(end: u32, scratch: &Scratch) {
    let counter = match end {
        END_ROOT | END_FRAME_POINTERS => None,
        END_NO_RULE => StackEnd::NoRule.counter(),
        END_UNSUPPORTED => StackEnd::UnsupportedRule.counter(),
        END_UNREADABLE => StackEnd::Unreadable.counter(),
        END_NOT_RISING => StackEnd::NotRising.counter(),
        END_UNMAPPED => StackEnd::Unmapped.counter(),
        END_SWITCHED => StackEnd::Switched.counter(),
        _ => StackEnd::TooDeep.counter(),
    };
    if let Some(counter) = counter {
        bump(counter);
        let Unwind { ip, sp, len, .. } = scratch.unwind;
        log::cut(end, ip, sp, len);
    }
}

const END_ROOT: u32 = StackEnd::Root as u32;
const END_FRAME_POINTERS: u32 = StackEnd::FramePointers as u32;
const END_NO_RULE: u32 = StackEnd::NoRule as u32;
const END_UNSUPPORTED: u32 = StackEnd::UnsupportedRule as u32;
const END_UNREADABLE: u32 = StackEnd::Unreadable as u32;
const END_NOT_RISING: u32 = StackEnd::NotRising as u32;
const END_UNMAPPED: u32 = StackEnd::Unmapped as u32;
const END_SWITCHED: u32 = StackEnd::Switched as u32;

/// A frame of the walk, as a callback of `bpf_loop`; 1 ends it. Not more than one: the verifier follows each
/// anew, 10,000 instructions.
extern "C" fn climb(_index: u64, context: *mut c_void) -> u64 {
    // SAFETY: `run` passes its context, whose scratch slot nothing else uses meanwhile.
    let context = unsafe { &mut *context.cast::<Context>() };
    // SAFETY: as above; other CPUs may write the shape, which is a hint.
    let (scratch, shape) = unsafe { (&mut *context.scratch, SharedShape::new(context.shape)) };
    match take_frame(scratch, shape) {
        Some(end) => {
            scratch.unwind.end = u64::from(end);
            1
        }
        None => 0,
    }
}

/// Takes a frame and looks for the next; the walk's end where there is none.
#[inline(always)]
fn take_frame(scratch: &mut Scratch, shape: SharedShape<'_>) -> Option<u32> {
    let Unwind {
        ip,
        sp,
        bp,
        len,
        version,
        is_return_address,
        ..
    } = scratch.unwind;
    // Frames are told as return addresses, whose call lies before. The mask changes nothing: there
    // are no more steps than frames.
    let frame = ip + 1 - is_return_address;
    let before = scratch.unwind.hash;
    scratch.event.frames[len as usize & (MAX_FRAMES - 1)] = frame;
    scratch.unwind.hash = scratch.unwind.hash.push(frame);
    scratch.unwind.len = len + 1;

    let is_return_address = is_return_address != 0;
    let (index, tag) = rule_cache_key(version, ip, is_return_address);
    let cached = RULE_CACHE.get_ptr_mut(index)?;
    // SAFETY: a valid map value; other CPUs replace it whole.
    let word = unsafe { core::ptr::read_volatile(cached) };
    let mut id = word as u16;
    if word ^ u64::from(id) != tag || id == 0 {
        let is_return_address = u64::from(is_return_address);
        id = scratch::lend(scratch, |number| search_slot(number, ip, is_return_address)) as u16;
        // SAFETY: as above.
        unsafe { core::ptr::write_volatile(cached, tag | u64::from(id)) };
    }
    let mut fallback = false;
    let mut otherwise = END_NO_RULE;
    // One comparison for nearly all frames.
    if id < rule_ids::FIRST_FREE {
        // The page that replaced return addresses lead to is mapped at the first of them, a moment before. The
        // first frame is the true one, and the kernel may still have that as replaced.
        if id == rule_ids::RETURN_PROBE || id == rule_ids::UNMAPPED && len != 0 {
            // It lay below where the stack now ends.
            let ip = replaced::return_address(scratch, sp - 8);
            if ip != 0 {
                // That was no frame: once more from the true address.
                scratch.unwind.ip = ip;
                scratch.unwind.hash = before;
                scratch.unwind.len = len;
                scratch.trail.give_up();
                return None;
            }
            if id == rule_ids::RETURN_PROBE {
                return Some(END_NO_RULE);
            }
        }
        fallback = id == rule_ids::FRAME_POINTER || id == rule_ids::UNDESCRIBED;
        if fallback && bp == 0 {
            // What the ABI asks of the first frame; in a gap of a table it says nothing.
            return Some(if id == rule_ids::FRAME_POINTER {
                scratch.trail.end_by_bp(shape);
                END_ROOT
            } else {
                END_NO_RULE
            });
        }
        if id == rule_ids::UNMAPPED {
            otherwise = END_UNMAPPED;
            if config!(unwinding) != Unwinding::Auto as u32 || scratch.unwind.guesses == 0 {
                return Some(otherwise);
            }
            // Not remembered as such: it may become known.
            fallback = true;
            id = rule_ids::FRAME_POINTER;
            scratch.unwind.guesses = GUESSED;
            scratch.trail.give_up();
        }
    }
    let rule = RULES.get(u32::from(id))?;
    let from = Registers { ip, sp, bp };
    match step(rule, from, &mut |address| read(scratch, address)) {
        Step::Caller {
            registers: to,
            is_return_address,
            ip_at,
            bp_at,
        } => {
            scratch.unwind.ip = to.ip;
            scratch.unwind.sp = to.sp;
            scratch.unwind.bp = to.bp;
            scratch.unwind.is_return_address = u64::from(is_return_address);
            if is_return_address {
                scratch.trail.climb(shape, rule, (from, to), (ip_at, bp_at));
            } else {
                scratch.trail.give_up();
            }
            None
        }
        Step::Root { ip_at } => {
            if ip_at != 0 {
                scratch.trail.end_at_zero(shape, rule, from, ip_at);
            }
            Some(END_ROOT)
        }
        // What was no frame pointer after all leads nowhere.
        Step::Failed(_) if fallback => Some(otherwise),
        Step::Failed(failure) => Some(StackEnd::of_failure(failure) as u32),
    }
}
