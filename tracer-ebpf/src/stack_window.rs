//! The window through which a stack is read: a part of it, read at once.

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use tracer_common::limits::{LOW_WORDS, PAGE_BYTES, WINDOW_WORDS};

use crate::scratch::{self, Scratch};

/// Bytes that are read at once.
pub(crate) const WINDOW_BYTES: u64 = (WINDOW_WORDS * 8) as u64;

/// A window begins this much below the word that is asked for: a saved `rbp` lies below its return
/// address.
const BELOW: u64 = 64;

/// Bytes that are read at once of a stack whose words are all low.
const LOW_BYTES: u64 = BELOW + (LOW_WORDS * 8) as u64;
impl Scratch {
    /// Reads user memory into the window, at most as much as fits.
    #[inline(always)]
    pub(crate) fn read(&mut self, address: u64, bytes: u64) -> bool {
        // SAFETY: `bytes` is at most the window's size, of which the verifier makes sure; the read
        // itself is checked by the kernel.
        unsafe {
            bpf_probe_read_user(
                self.window.as_mut_ptr().cast(),
                bytes as u32,
                address as *const _,
            ) == 0
        }
    }
}

/// A word of the stack.
#[inline(always)]
pub(crate) fn read(scratch: &mut Scratch, address: u64) -> Option<u64> {
    let mut at = address.wrapping_sub(scratch.unwind.base);
    if at > scratch.unwind.limit {
        if !refill(scratch, address, false) {
            return None;
        }
        at = address.wrapping_sub(scratch.unwind.base);
    }
    // A stack has whole words only.
    if !at.is_multiple_of(8) {
        return None;
    }
    Some(scratch.window[(at / 8) as usize & (WINDOW_WORDS - 1)])
}

/// Fills the window so that it holds the word at an address; `is_low` where no word is needed that is not.
#[inline(always)]
pub(crate) fn refill(scratch: &mut Scratch, address: u64, is_low: bool) -> bool {
    scratch::lend(scratch, |number| {
        refill_slot(number, address, u64::from(is_low))
    }) != 0
}

/// As [`refill`], of the slot with a number. A global function, see `live_insert`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn refill_slot(number: u64, address: u64, is_low: u64) -> u64 {
    let Some(slot) = scratch::taken(number) else {
        return 0;
    };
    // SAFETY: a valid map value, which this program has taken.
    let scratch = unsafe { &mut *slot };
    let base = address.wrapping_sub(BELOW);
    let page_rest = PAGE_BYTES - address % PAGE_BYTES;
    if page_rest < 8 {
        // No word of a stack lies across pages.
        return 0;
    }
    let bytes = if is_low == 0 { WINDOW_BYTES } else { LOW_BYTES };
    // A read that fails costs a fault; the stack may end with this page.
    if scratch.read(base, bytes) {
        scratch.unwind.base = base;
        scratch.unwind.limit = bytes - 8;
        return 1;
    }
    // Not a comparison, of which the verifier would lose track: part of the rest is as good.
    let rest = (page_rest & (WINDOW_BYTES - 1)).max(8);
    if scratch.read(address, rest) {
        scratch.unwind.base = address;
        scratch.unwind.limit = rest - 8;
        return 1;
    }
    0
}
