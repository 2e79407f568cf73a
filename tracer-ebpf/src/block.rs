//! A block's way into the books and out of them: the live table, the amounts of its stack, the peak.

use core::mem::MaybeUninit;

use tracer_common::{Counter, LiveRecord, PendingCall, Registers, live_key};

use crate::count::{add, bump};
use crate::generation;
use crate::live;
use crate::log::rare;
use crate::peak;
use crate::stack;
use crate::task::Task;

/// Takes an address out of the live table.
#[inline(always)]
pub(crate) fn take(task: &Task, address: u64) -> Option<LiveRecord> {
    // Not cleared before: that becomes a loop over bytes.
    let mut record = MaybeUninit::uninit();
    let is_there = live::take(live_key(address, task.heap)?, record.as_mut_ptr());
    // SAFETY: written where it was there.
    is_there.then(|| unsafe { record.assume_init() })
}

/// Whether an address is in the live table: taken out and put in again, by the thread that has it.
#[inline(never)]
pub(crate) fn is_live(task: &Task, address: u64) -> bool {
    let Some(record) = take(task, address) else {
        return false;
    };
    put_in(task.heap, address, &record);
    true
}

/// The old block of a reallocation is still there, in that heap.
#[inline(always)]
pub(crate) fn put_back(heap: u32, call: &PendingCall) {
    if call.old_known != 0 {
        put_in(heap, call.old_address, &call.old);
    }
}

/// Puts what was taken out back into the live table.
#[inline(always)]
fn put_in(heap: u32, address: u64, record: &LiveRecord) {
    put_in_words(u64::from(heap), address, record.size, record.place());
}

/// As [`put_in`]. A global function, see `live_insert`; its result says nothing.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn put_in_words(heap: u64, address: u64, size: u64, place: u64) -> u64 {
    let record = LiveRecord::new(size, place);
    if !insert(heap as u32, address, &record) {
        bump(Counter::LiveTableFull);
        add(Counter::LiveTableFullBytes, size);
        rare!(LiveTableFull, address, size);
        debit(&record);
    }
    0
}

/// Puts an address into the live table.
#[inline(always)]
fn insert(heap: u32, address: u64, record: &LiveRecord) -> bool {
    live_key(address, heap).is_some_and(|key| live::insert(key, record))
}

/// Counts an allocation and puts it into the live table. `again` counts those at an address that is in it.
#[inline(always)]
pub(crate) fn credit(task: &Task, first: Registers, address: u64, size: u64, again: Counter) {
    let Some(stack) = stack::credit(task, first, size) else {
        count_dead(size);
        return;
    };
    let record = LiveRecord {
        size,
        stack,
        generation: generation::credit(stack, size),
    };
    if let Some(old) = take(task, address) {
        bump(again);
        if again == Counter::MissedFrees {
            rare!(FreeMissed, address, old.size);
        }
        debit(&old);
    }
    if !insert(task.heap, address, &record) {
        bump(Counter::LiveTableFull);
        add(Counter::LiveTableFullBytes, size);
        rare!(LiveTableFull, address, size);
        count_dead(size);
        // Its free will not be recognised, so it must not stay in the live amounts either.
        stack::debit(stack, size);
        generation::debit(&record);
        return;
    }
    // Last: the peak that it may be has it in its stack.
    peak::came(size);
}

/// Counts an allocation that is not known to be live.
#[inline(always)]
fn count_dead(size: u64) {
    add(Counter::AllocObjects, 1);
    add(Counter::AllocBytes, size);
}

/// Counts a free.
#[inline(always)]
pub(crate) fn debit(record: &LiveRecord) {
    debit_words(record.size, record.place());
}

/// As [`debit`]. A global function, see `live_insert`; its result says nothing.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn debit_words(size: u64, place: u64) -> u64 {
    let record = LiveRecord::new(size, place);
    stack::debit(record.stack, size);
    generation::debit(&record);
    peak::went(size);
    0
}
