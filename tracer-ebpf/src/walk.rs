//! The walk along frame pointers.
//!
//! Not `bpf_get_stack`: that took 700 ns of the 1,230 that an allocation's return cost, before the
//! first frame. Here the stack is read a window at a time and followed inside it, so that most
//! frames cost a few instructions.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use tracer_common::limits::{MAX_FRAMES, PAGE_BYTES, WINDOW_WORDS};
use tracer_common::{Counter, StackEnd, StackHash};

use crate::count::bump;
use crate::log;
use crate::scratch::Scratch;
use crate::stack_window::WINDOW_BYTES;
use crate::state::Walk;

/// A saved frame pointer and the return address above it.
const FRAME_BYTES: u64 = 16;
/// A frame that lies less than this below the one it was called from is none. Further away may be
/// another stack: a signal's, a coroutine's.
const SAME_STACK: u64 = 64 << 10;

const END_TOO_DEEP: u32 = StackEnd::TooDeep as u32;

/// What a walk found.
pub(crate) struct Walked {
    /// Frames, which are in the scratch slot's event, leaf first. At least one.
    pub(crate) len: usize,
    /// Their identity.
    pub(crate) stack: u64,
    /// A [`StackEnd`].
    pub(crate) end: u32,
    /// Not 0 where the stack's memory is on its way to user space, under this identity.
    pub(crate) copied: u64,
}

/// Frames that one call of the callback takes. A call costs as much as two frames, and the verifier
/// follows each frame of a call anew.
const FRAMES_PER_CALL: usize = 8;

/// Walks from a function's return: `return_address` is where it returns to, `frame_pointer` the
/// register's value there.
#[inline(always)]
pub(crate) fn walk(scratch: &mut Scratch, return_address: u64, frame_pointer: u64) -> Walked {
    scratch.walk = Walk {
        address: return_address,
        frame: frame_pointer,
        base: 0,
        hash: StackHash::default(),
        len: 0,
    };
    let mut context: *mut Scratch = scratch;
    // Not a loop of our own: the verifier follows all of that, which took it 190 ms at each attach.
    // SAFETY: the callback has the helper's signature, and its context outlives the call.
    unsafe {
        bpf_loop(
            (MAX_FRAMES / FRAMES_PER_CALL) as u32,
            steps as *mut c_void,
            (&raw mut context).cast(),
            0,
        );
    }
    Walked {
        copied: 0,
        len: scratch.walk.len as usize,
        stack: scratch.walk.hash.finish(),
        end: if scratch.walk.len == MAX_FRAMES as u64 {
            bump(Counter::CutTooDeep);
            log::cut(
                END_TOO_DEEP,
                return_address,
                frame_pointer,
                MAX_FRAMES as u64,
            );
            END_TOO_DEEP
        } else {
            StackEnd::FramePointers as u32
        },
    }
}

/// Some frames of the walk, as a callback of `bpf_loop`; 1 ends it.
extern "C" fn steps(_index: u64, context: *mut c_void) -> u64 {
    // SAFETY: `walk` passes a pointer to its scratch slot, which nothing else uses meanwhile.
    let scratch = unsafe { &mut **context.cast::<*mut Scratch>() };
    let mut walk = scratch.walk;
    let mut goes_on = true;
    for _ in 0..FRAMES_PER_CALL {
        goes_on = step(&mut walk, scratch);
        if !goes_on {
            break;
        }
    }
    scratch.walk = walk;
    u64::from(!goes_on)
}

/// Takes a frame and looks for the next; `false` at the end of the stack.
#[inline(always)]
fn step(walk: &mut Walk, scratch: &mut Scratch) -> bool {
    // The mask changes nothing: there are no more steps than frames.
    scratch.event.frames[walk.len as usize & (MAX_FRAMES - 1)] = walk.address;
    walk.hash = walk.hash.push(walk.address);
    walk.len += 1;
    let frame = walk.frame;
    if frame == 0 || !frame.is_multiple_of(8) {
        return false;
    }
    let mut at = frame.wrapping_sub(walk.base);
    if walk.base == 0 || at > WINDOW_BYTES - FRAME_BYTES {
        let Some(base) = read_window(scratch, frame) else {
            bump(Counter::StackUnreadable);
            return false;
        };
        walk.base = base;
        at = 0;
    }
    let index = (at / 8) as usize;
    let caller = scratch.window[index & (WINDOW_WORDS - 1)];
    walk.address = scratch.window[(index + 1) & (WINDOW_WORDS - 1)];
    walk.frame = if caller > frame || frame - caller >= SAME_STACK {
        caller
    } else {
        0
    };
    walk.address != 0
}

/// Fills the window from a frame on. Returns where it begins, or 0 where only the one frame was
/// there to be read: the end of the stack may be nearer than a window.
#[inline(always)]
fn read_window(scratch: &mut Scratch, frame: u64) -> Option<u64> {
    if scratch.read(frame, WINDOW_BYTES) {
        return Some(frame);
    }
    // A read that fails costs a fault. Within one page, a second would fail the same way.
    let reaches_next_page = frame % PAGE_BYTES > PAGE_BYTES - WINDOW_BYTES;
    (reaches_next_page && scratch.read(frame, FRAME_BYTES)).then_some(0)
}
