//! Generations of a stack's allocations: the kernel side of `tracer_common::GenerationCell`.
//!
//! Only where a series is recorded: otherwise the verifier, which knows the configuration, takes all of
//! this out.

use tracer_common::{Counter, GENERATION_CELLS, LiveRecord, generation_cell};

use crate::count::{atomic_add, bump};
use crate::maps::{GENERATION, GENERATIONS, config};

/// Counts an allocation, and returns the generation it belongs to. Before anybody can free it.
#[inline(always)]
pub(crate) fn credit(stack: u32, size: u64) -> u32 {
    if config!(generations) == 0 {
        return 0;
    }
    let current = current();
    change(stack, generation_cell(current, current), 1, size);
    current
}

/// Counts a free.
#[inline(always)]
pub(crate) fn debit(record: &LiveRecord) {
    if config!(generations) == 0 {
        return;
    }
    let cell = generation_cell(record.generation, current());
    let minus = 0_u64.wrapping_sub(record.size);
    change(record.stack, cell, u64::MAX, minus);
}

/// The number of the window.
#[inline(always)]
fn current() -> u32 {
    match GENERATION.get_ptr_mut(0) {
        // SAFETY: a valid map value; volatile, since user space writes it at any time.
        Some(current) => unsafe { current.read_volatile() as u32 },
        None => 0,
    }
}

#[inline(always)]
fn change(stack: u32, cell: u32, objects: u64, bytes: u64) {
    let Some(cell) = GENERATIONS.get_ptr_mut(stack * GENERATION_CELLS + cell) else {
        bump(Counter::MapUpdateFailed);
        return;
    };
    // SAFETY: a valid map value; only its address is formed here.
    let (live_objects, live_bytes) = unsafe { (&raw mut (*cell).objects, &raw mut (*cell).bytes) };
    atomic_add(live_objects, objects);
    atomic_add(live_bytes, bytes);
}
