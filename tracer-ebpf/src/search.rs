//! The rule of an address: first its mapping among those of the address space, then its row in the table of
//! the file.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use tracer_common::{SpaceEntry, Unwinding, rule_ids};

use crate::maps::{self, SPACES, config};
use crate::scratch::{self, Scratch};
use crate::state::Unwind;

/// Halvings that find one of 2^32 rows.
const SEARCH_STEPS: u32 = 32;

/// Searches for the rule of an address: the number of one, never 0. A global function, see `live_insert`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn search_slot(number: u64, ip: u64, is_return_address: u64) -> u64 {
    let Some(slot) = scratch::taken(number) else {
        return u64::from(rule_ids::UNMAPPED);
    };
    // SAFETY: a valid map value, which this program has taken.
    u64::from(search(unsafe { &mut *slot }, ip, is_return_address != 0))
}

#[inline(always)]
fn search(scratch: &mut Scratch, ip: u64, is_return_address: bool) -> u16 {
    scratch.unwind.searches += 1;
    let address = ip - u64::from(is_return_address);
    // Entries count from 1 here, so that 0 is "before the first".
    scratch.unwind.low = 0;
    scratch.unwind.high = scratch.unwind.entries + 1;
    scratch.unwind.wanted = address;
    halve(scratch, search_space);
    let entry = scratch.unwind.low as u32;
    if entry == 0 {
        return rule_ids::UNMAPPED;
    }
    let Some(entry) = SPACES.get_ptr(scratch.unwind.space as u32 + entry - 1) else {
        return rule_ids::UNMAPPED;
    };
    // SAFETY: a valid map value. User space may write over it meanwhile: then the walk is dropped, see
    // `may_be_overwritten`.
    let SpaceEntry {
        start,
        end,
        pc,
        table,
        first,
        rows,
    } = unsafe { core::ptr::read_volatile(entry) };
    if address >= end {
        return rule_ids::UNMAPPED;
    }
    let (without, undescribed) = if config!(unwinding) == Unwinding::Auto as u32 {
        (rule_ids::FRAME_POINTER, rule_ids::UNDESCRIBED)
    } else {
        (rule_ids::GAP, rule_ids::GAP)
    };
    if table == 0 {
        return without;
    }
    if table == SpaceEntry::RETURN_PROBES {
        return rule_ids::RETURN_PROBE;
    }
    // Rows, too, count from 1.
    scratch.unwind.low = 0;
    scratch.unwind.high = u64::from(rows) + 1;
    scratch.unwind.wanted = address - start + u64::from(pc);
    scratch.unwind.table = u64::from(table);
    scratch.unwind.first = u64::from(first);
    halve(scratch, search_table);
    let row = scratch.unwind.low as u32;
    let mut rule = rule_ids::GAP;
    if row != 0
        && let Some(row) = maps::row(table, first + row - 1)
    {
        rule = row.rule;
    }
    if rule != rule_ids::GAP {
        return rule;
    }
    // A return address at the very beginning of a function, behind a gap, was made by hand: see
    // `UnwindTable::rule_for`.
    if is_return_address
        && row < rows
        && let Some(next) = maps::row(table, first + row)
        && u64::from(next.pc) == scratch.unwind.wanted + 1
    {
        return rule_ids::STOP;
    }
    undescribed
}

/// Halves `low..high` until one is left, by a callback that looks at the middle.
#[inline(always)]
fn halve(scratch: &mut Scratch, look: extern "C" fn(u64, *mut c_void) -> u64) {
    let mut context: *mut Scratch = scratch;
    // SAFETY: the callback has the helper's signature, and its context outlives the call.
    unsafe {
        bpf_loop(
            SEARCH_STEPS,
            look as *mut c_void,
            (&raw mut context).cast(),
            0,
        );
    }
}

/// The middle of a search; `None` at its end.
#[inline(always)]
fn middle(scratch: &Scratch) -> Option<u64> {
    let Unwind { low, high, .. } = scratch.unwind;
    (high - low > 1).then(|| low + (high - low) / 2)
}

#[inline(always)]
fn narrow(scratch: &mut Scratch, middle: u64, is_after: bool) {
    if is_after {
        scratch.unwind.high = middle;
    } else {
        scratch.unwind.low = middle;
    }
}

extern "C" fn search_space(_index: u64, context: *mut c_void) -> u64 {
    // SAFETY: as in `climb`.
    let scratch = unsafe { &mut **context.cast::<*mut Scratch>() };
    let Some(middle) = middle(scratch) else {
        return 1;
    };
    let Some(entry) = SPACES.get_ptr((scratch.unwind.space + middle - 1) as u32) else {
        return 1;
    };
    // SAFETY: as in `search`.
    let start = unsafe { core::ptr::read_volatile(&raw const (*entry).start) };
    narrow(scratch, middle, start > scratch.unwind.wanted);
    0
}

extern "C" fn search_table(_index: u64, context: *mut c_void) -> u64 {
    // SAFETY: as in `climb`.
    let scratch = unsafe { &mut **context.cast::<*mut Scratch>() };
    let Some(middle) = middle(scratch) else {
        return 1;
    };
    let row = scratch.unwind.first + middle - 1;
    let Some(row) = maps::row(scratch.unwind.table as u32, row as u32) else {
        return 1;
    };
    narrow(scratch, middle, u64::from(row.pc) > scratch.unwind.wanted);
    0
}
