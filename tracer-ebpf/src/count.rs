//! Bumping counters, and the atomic operations under it.
//!
//! The intrinsics are used directly: the BPF target is declared without compare-and-swap, which
//! takes the whole of `core::sync::atomic`'s arithmetic away, although BPF has these since 5.12.

use core::arch::asm;
use core::intrinsics::{AtomicOrdering, atomic_and, atomic_or, atomic_xadd, atomic_xchg};

use tracer_common::Counter;

use crate::maps::COUNTERS;

/// Adds one to a counter.
#[inline(always)]
pub(crate) fn bump(counter: Counter) {
    add(counter, 1);
}

/// Adds to a counter.
#[inline(always)]
pub(crate) fn add(counter: Counter, amount: u64) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter as u32) {
        atomic_add(value, amount);
    }
}

/// Adds to a map value. Atomic also on per-CPU values: a uprobe program can be preempted between
/// the load and the store of a plain addition.
#[inline(always)]
pub(crate) fn atomic_add(value: *mut u64, amount: u64) {
    // SAFETY: the pointer comes from a map value, which is aligned and stays valid for the run of
    // the program; all writers use these functions.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(value, amount) };
}

/// Adds to a map value and returns what was there. Not relaxed: for that order LLVM takes the
/// instruction that returns nothing, and the result is the amount.
#[inline(always)]
pub(crate) fn fetch_add(value: *mut u64, amount: u64) -> u64 {
    // SAFETY: as in `atomic_add`.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::SeqCst }>(value, amount) }
}

/// Adds one to a map value and returns what was there.
#[inline(always)]
pub(crate) fn take_number(value: *mut u64) -> u64 {
    fetch_add(value, 1)
}

/// Stores into a map value where that is what is expected; returns whether it was. In assembly: the
/// intrinsic becomes bitcode that bpf-linker 0.13 can't read ("Invalid record").
#[inline(always)]
pub(crate) fn exchange(value: *mut u64, expected: u64, new: u64) -> bool {
    let found: u64;
    // SAFETY: as in `atomic_add`; the instruction compares with r0, and leaves there what it found.
    unsafe {
        asm!(
            "r0 = cmpxchg_64({value} + 0, r0, {new})",
            value = in(reg) value,
            new = in(reg) new,
            inlateout("r0") expected => found,
        );
    }
    found == expected
}

/// The same for half a word.
#[inline(always)]
pub(crate) fn exchange_half(value: *mut u32, expected: u32, new: u32) -> bool {
    let found: u64;
    // SAFETY: as in `exchange`.
    unsafe {
        asm!(
            "w0 = cmpxchg32_32({value} + 0, w0, {new})",
            value = in(reg) value,
            new = in(wreg) new,
            inlateout("r0") u64::from(expected) => found,
        );
    }
    found as u32 == expected
}

/// Stores into a map value and returns what was there.
#[inline(always)]
pub(crate) fn atomic_swap(value: *mut u64, new: u64) -> u64 {
    // SAFETY: as in `atomic_add`.
    unsafe { atomic_xchg::<u64, { AtomicOrdering::SeqCst }>(value, new) }
}

/// Sets bits in a map value and returns what was there.
#[inline(always)]
pub(crate) fn atomic_set(value: *mut u64, bits: u64) -> u64 {
    // SAFETY: as in `atomic_add`.
    unsafe { atomic_or::<u64, u64, { AtomicOrdering::SeqCst }>(value, bits) }
}

/// Clears bits in a map value.
#[inline(always)]
pub(crate) fn atomic_clear(value: *mut u64, bits: u64) {
    // SAFETY: as in `atomic_add`.
    unsafe { atomic_and::<u64, u64, { AtomicOrdering::SeqCst }>(value, !bits) };
}
