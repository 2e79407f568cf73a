//! The walk by call frame information: up stacks whose code keeps no frame pointers.
//!
//! A frame's rule is remembered by its address, so that a table is searched once for each place in
//! the program that a call returns to; the step itself is `tracer_common::step`, the same as in user
//! space. As in `walk.rs`, all state lies in the scratch map and all loops are `bpf_loop`'s, because
//! the verifier would follow others through each iteration.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use tracer_common::limits::{LOW_WORDS, MAX_FRAMES, PAGE_BYTES, WINDOW_WORDS};
use tracer_common::{
    Counter, Owner, PUBLICATIONS, Registers, SharedShape, SpaceEntry, SpaceHead, StackEnd,
    StackHash, Step, Trail, Unwinding, may_be_overwritten, rule_cache_key, rule_ids, step,
};

use crate::copy;
use crate::count::{add, bump};
use crate::known::{self, Context};
use crate::log;
use crate::maps::{self, RULE_CACHE, RULES, SPACE_HEADS, SPACES, config};
use crate::replaced;
use crate::scratch::{self, Scratch, WINDOW_BYTES};
use crate::task::Task;
use crate::walk::Walked;

/// A window begins this much below the word that is asked for: a saved `rbp` lies below its return
/// address.
const BELOW: u64 = 64;

/// Bytes that are read at once of a stack whose words are all low.
const LOW_BYTES: u64 = BELOW + (LOW_WORDS * 8) as u64;
/// Halvings that find one of 2^32 rows.
const SEARCH_STEPS: u32 = 32;

/// A walk under way.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Unwind {
    // In an order that keeps what begins as 0 apart, see `Walk`.
    /// What the window holds: from here…
    pub(crate) base: u64,
    ip: u64,
    /// … up to here.
    pub(crate) limit: u64,
    sp: u64,
    hash: StackHash,
    bp: u64,
    /// Frames so far.
    len: u64,
    /// The address space's first mapping.
    space: u64,
    /// 1 where `ip` is a return address.
    is_return_address: u64,
    version: u64,
    /// Rules searched for.
    searches: u64,
    /// Mappings.
    entries: u64,
    /// A [`StackEnd`].
    end: u64,
    /// Where code in no known mapping is taken to keep a frame pointer, because there is no copy:
    /// [`MAY_GUESS`], and [`GUESSED`] once there was such code. Else 0.
    guesses: u64,
    /// The stack's identity where it was copied, else 0.
    copied: u64,
    /// Bounds of a search: the entry sought lies in `low..high`.
    pub(crate) low: u64,
    pub(crate) high: u64,
    /// What is sought.
    pub(crate) wanted: u64,
    /// Where: the number of an array of rows, and the first of the table.
    table: u64,
    first: u64,
}

const MAY_GUESS: u64 = 1;
const GUESSED: u64 = 2;

/// Whose stack it is that a task is on.
#[inline(always)]
pub(crate) fn owner_of(task: &Task) -> Owner {
    owner(task, SpaceHead::from_word(head(space_of(task))))
}

#[inline(always)]
fn owner(task: &Task, space: SpaceHead) -> Owner {
    Owner {
        version: u64::from(space.version),
        image: task.image,
    }
}

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

/// The number of a task's address space: its own, or the one it was forked with.
#[inline(always)]
pub(crate) fn space_of(task: &Task) -> u32 {
    if head(task.heap) != 0 {
        task.heap
    } else {
        task.space
    }
}

/// Where an address space's mappings are, as a word.
#[inline(always)]
fn head(space: u32) -> u64 {
    match SPACE_HEADS.get_ptr(space) {
        // SAFETY: a valid map value, which user space replaces whole.
        Some(head) => unsafe { core::ptr::read_volatile(head) },
        None => 0,
    }
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

/// Searches for the rule of an address: the number of one, never 0. A global function, see `live_insert`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn search_slot(number: u64, ip: u64, is_return_address: u64) -> u64 {
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
