//! The walk along frame pointers.
//!
//! Not `bpf_get_stack`: that took 700 ns of the 1,230 that an allocation's return cost, before the
//! first frame. Here the stack is read a window at a time and followed inside it, so that most
//! frames cost a few instructions.

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use tracer_common::limits::{MAX_FRAMES, WINDOW_WORDS};
use tracer_common::{Counter, StackHash};

use crate::count::bump;
use crate::maps::Scratch;

const WINDOW_BYTES: u64 = (WINDOW_WORDS * 8) as u64;
/// A saved frame pointer and the return address above it.
const FRAME_BYTES: u64 = 16;
const PAGE_BYTES: u64 = 4096;
/// A frame that lies less than this below the one it was called from is none. Further away may be
/// another stack: a signal's, a coroutine's.
const SAME_STACK: u64 = 64 << 10;

/// What a walk found.
pub(crate) struct Walked {
    /// Frames, which are in the scratch slot's event, leaf first. At least one.
    pub(crate) len: usize,
    /// Their identity.
    pub(crate) stack: u64,
}

/// Walks from a function's return: `return_address` is where it returns to, `frame_pointer` the
/// register's value there.
#[inline(always)]
pub(crate) fn walk(scratch: &mut Scratch, return_address: u64, frame_pointer: u64) -> Walked {
    let mut hash = StackHash::default().push(return_address);
    scratch.event.frames[0] = return_address;
    let mut len = 1;
    let mut frame = frame_pointer;
    // Where the window begins; nothing lies at 0.
    let mut base = 0;
    while len < MAX_FRAMES {
        if frame == 0 || !frame.is_multiple_of(8) {
            break;
        }
        let mut at = frame.wrapping_sub(base);
        if base == 0 || at > WINDOW_BYTES - FRAME_BYTES {
            base = match read_window(scratch, frame) {
                Some(base) => base,
                None => {
                    bump(Counter::StackUnreadable);
                    break;
                }
            };
            at = 0;
        }
        let index = (at / 8) as usize;
        let caller = scratch.window[index & (WINDOW_WORDS - 1)];
        let address = scratch.window[(index + 1) & (WINDOW_WORDS - 1)];
        if address == 0 {
            break;
        }
        scratch.event.frames[len] = address;
        hash = hash.push(address);
        len += 1;
        if caller <= frame && frame - caller < SAME_STACK {
            break;
        }
        frame = caller;
    }
    Walked {
        len,
        stack: hash.finish(),
    }
}

/// Fills the window from a frame on. Returns where it begins, or 0 where only the one frame was
/// there to be read: the end of the stack may be nearer than a window.
#[inline(always)]
fn read_window(scratch: &mut Scratch, frame: u64) -> Option<u64> {
    if read(scratch, frame, WINDOW_BYTES) {
        return Some(frame);
    }
    // A read that fails costs a fault. Within one page, a second would fail the same way.
    let reaches_next_page = frame % PAGE_BYTES > PAGE_BYTES - WINDOW_BYTES;
    (reaches_next_page && read(scratch, frame, FRAME_BYTES)).then_some(0)
}

/// Reads user memory into the window.
#[inline(always)]
fn read(scratch: &mut Scratch, address: u64, bytes: u64) -> bool {
    // SAFETY: `bytes` is at most the window's size; the read itself is checked by the kernel.
    unsafe {
        bpf_probe_read_user(
            scratch.window.as_mut_ptr().cast(),
            bytes as u32,
            address as *const _,
        ) == 0
    }
}
