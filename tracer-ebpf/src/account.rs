//! Exact accounting: what an allocator function did, told from its entry and its return.
//!
//! The order is what makes it exact. An address enters the live table at the allocation's return
//! and leaves it at the entry of free: it is out before the allocator can hand it to another
//! thread, and in before anyone can free it.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::bpf_probe_read_user;
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use tracer_common::limits::{ALLOCATOR_REACH, PAGE_BYTES};
use tracer_common::{
    AllocatorFn, Counter, LiveRecord, PendingCall, Registers, ThreadCalls, live_key,
};

use crate::context::{Probe as _, RETURN_SIZE};
use crate::count::{add, bump};
use crate::generation;
use crate::live;
use crate::log::rare;
use crate::maps::PENDING;
use crate::peak;
use crate::pending::{self, Request, Returns};
use crate::stack;
use crate::task::{self, Task};

/// What no request can get, in bytes: the address space of a process.
const MAX_SIZE: u64 = 1 << 47;

/// Entry of an allocating function: note what is asked for. Returns whether the return of this call
/// must be seen: not for another process, and not for a call from inside another one.
#[inline(always)]
pub(crate) fn alloc_entry(ctx: &ProbeContext, returns: Returns) -> bool {
    let Some(task) = task::traced_or_foreign() else {
        return false;
    };
    let argument = |n| ctx.arg::<u64>(n).unwrap_or(0);
    let (first, second) = (argument(0), argument(1));
    let function = ctx.cookie();
    let (size, result_pointer, old_address) = match AllocatorFn::from_cookie(function) {
        Some(
            AllocatorFn::Malloc | AllocatorFn::Valloc | AllocatorFn::Pvalloc | AllocatorFn::Mallocx,
        ) => (first, 0, 0),
        Some(AllocatorFn::AlignedAlloc | AllocatorFn::Memalign) => (second, 0, 0),
        Some(AllocatorFn::Calloc) => (product(first, second), 0, 0),
        Some(AllocatorFn::Realloc | AllocatorFn::Rallocx | AllocatorFn::Xallocx) => {
            (second, 0, first)
        }
        Some(AllocatorFn::Reallocarray) => (product(second, argument(2)), 0, first),
        Some(AllocatorFn::PosixMemalign) => (argument(2), first, 0),
        _ => return false,
    };
    let call = Request {
        sp: ctx.stack_pointer(),
        function,
        size,
        result_pointer,
        old_address,
    };
    let Some(thread) = pending::enter(ctx, &task, &call, returns) else {
        return false;
    };
    let old = if call.old_address == 0 {
        None
    } else {
        take(&task, call.old_address)
    };
    pending::note(thread, &call, old);
    true
}

/// `nmemb * size`. A call where this overflows returns NULL, so the value only has to differ from
/// that of a call for nothing. (A full overflow check becomes a 128-bit multiplication, which BPF
/// has no instruction for.)
#[inline(always)]
fn product(nmemb: u64, size: u64) -> u64 {
    let product = nmemb.wrapping_mul(size);
    if product == 0 && nmemb != 0 && size != 0 {
        return u64::MAX;
    }
    product
}

/// Which of the target's calls are seen, and so what one means that doesn't fit.
#[derive(Clone, Copy)]
pub(crate) enum Sight {
    /// All.
    All,
    /// Those in windows: what goes on between them is not.
    Windows,
}

impl Sight {
    /// Counts frees of addresses that are not in the live table.
    const fn unknown(self) -> Counter {
        match self {
            Self::All => Counter::UnknownFrees,
            Self::Windows => Counter::FreesOfUnseen,
        }
    }

    /// Counts allocations at an address that is in the live table.
    const fn again(self) -> Counter {
        match self {
            Self::All => Counter::MissedFrees,
            Self::Windows => Counter::FreedUnseen,
        }
    }
}

/// Return of an allocating function: settle what came of it.
#[inline(always)]
pub(crate) fn alloc_return(ctx: &RetProbeContext, returns: Returns, sight: Sight) {
    let Some(task) = task::traced_or_foreign() else {
        return;
    };
    let sp = ctx.stack_pointer() - RETURN_SIZE;
    if let Some((thread, call)) = pending::leave(&task, sp, ctx.cookie(), returns) {
        settle(ctx, &task, thread, &call, sight);
    }
}

#[inline(always)]
fn settle(
    ctx: &RetProbeContext,
    task: &Task,
    thread: *mut ThreadCalls,
    call: &PendingCall,
    sight: Sight,
) {
    let address = match result(ctx, call) {
        Ok(address) => address,
        Err(()) => {
            bump(Counter::ResultUnreadable);
            rare!(ResultUnreadable, call.result_pointer);
            return;
        }
    };
    if address == 0 {
        if call.old_address != 0 && call.size == 0 {
            // realloc(p, 0) that returns NULL has freed p.
            release_old(call, sight);
        } else {
            // `xallocx` only tries.
            if call.size != 0 && call.function != AllocatorFn::Xallocx.cookie() {
                bump(Counter::FailedAllocs);
                rare!(AllocationFailed, call.function, call.size);
            }
            put_back(task.heap, call);
        }
        return;
    }
    if call.old_address != 0 {
        release_old(call, sight);
    }
    // SAFETY: the entry belongs to this thread alone.
    let (is_inner, inner) = unsafe { ((*thread).call.sp != 0, (*thread).inner) };
    if call.interrupted != 0 && address == inner && is_live(task, address) {
        // It hands out what another allocator gave it, and that has counted.
        bump(Counter::NestedCalls);
        return;
    }
    if is_inner {
        // SAFETY: as above.
        unsafe { (*thread).inner = address };
    }
    let first = Registers {
        ip: ctx.instruction_pointer(),
        sp: ctx.stack_pointer(),
        bp: ctx.frame_pointer(),
    };
    credit(task, first, address, call.size, sight.again());
}

/// The address the call gave out; 0 where it failed.
#[inline(always)]
fn result(ctx: &RetProbeContext, call: &PendingCall) -> Result<u64, ()> {
    let value: u64 = ctx.ret();
    if call.function == AllocatorFn::Xallocx.cookie() {
        // How large the block is now.
        return Ok(if value < call.size {
            0
        } else {
            call.old_address
        });
    }
    if call.result_pointer == 0 {
        return Ok(value);
    }
    // posix_memalign returns an error number, an int.
    if value as u32 != 0 {
        return Ok(0);
    }
    // SAFETY: a checked read of user memory.
    unsafe { bpf_probe_read_user(call.result_pointer as *const u64) }.map_err(drop)
}

/// Entry of a freeing function.
#[inline(always)]
pub(crate) fn free_entry(ctx: &ProbeContext, sight: Sight) {
    let Some(task) = task::traced_or_foreign() else {
        return;
    };
    let address = ctx.arg::<u64>(0).unwrap_or(0);
    if address == 0 {
        bump(Counter::NullFrees);
        return;
    }
    if let Some(record) = take(&task, address) {
        debit(&record);
    } else if belongs_to_pending(&task, address) {
        bump(Counter::NestedCalls);
    } else if is_the_allocators(ctx) {
        bump(Counter::AllocatorFrees);
    } else {
        bump(sight.unknown());
    }
}

/// Entry of `free_sized` or `free_aligned_sized`, which may hand on to `free`: that one must not be
/// taken for a free of an unknown address.
#[inline(always)]
pub(crate) fn sized_free_entry(ctx: &ProbeContext) {
    free_entry(ctx, Sight::All);
    note_sized_free(ctx);
}

/// Notes the block that a free is told the size of.
#[inline(always)]
pub(crate) fn note_sized_free(ctx: &ProbeContext) {
    let Some(task) = task::traced() else {
        return;
    };
    if let Some(thread) = pending::of(&task) {
        // SAFETY: the entry belongs to this thread alone.
        unsafe { (*thread).sized_free = ctx.arg::<u64>(0).unwrap_or(0) };
    }
}

/// Entry of an allocating function that may throw, and so gets no return probe.
#[inline(always)]
pub(crate) fn throwing_entry(ctx: &ProbeContext) {
    if task::traced_or_foreign().is_some() {
        bump(Counter::ThrowingCalls);
        let size = ctx.arg::<u64>(0).unwrap_or(0);
        if size < MAX_SIZE {
            add(Counter::ThrowingCallsBytes, size);
        }
    }
}

/// Whether an address that is in the live table no more was taken out by the very call that now
/// frees it: by realloc, or by free_sized on its way to free.
#[inline(always)]
fn belongs_to_pending(task: &Task, address: u64) -> bool {
    let Some(thread) = PENDING.get_ptr_mut(&task.tid) else {
        return false;
    };
    // SAFETY: the entry belongs to this thread alone.
    let thread = unsafe { &mut *thread };
    if thread.sized_free == address {
        thread.sized_free = 0;
        return true;
    }
    thread.call.sp != 0 && thread.call.old_address == address
}

/// Whether the allocator itself calls free, for memory that it never gave out or has back already. The
/// probe lies before anything is pushed; where it does not, what is read is no such address.
#[inline(always)]
fn is_the_allocators(ctx: &ProbeContext) -> bool {
    // SAFETY: a checked read of user memory: the return address lies on top of the stack.
    unsafe { bpf_probe_read_user(ctx.stack_pointer() as *const u64) }
        .is_ok_and(|address| address.abs_diff(ctx.instruction_pointer()) < ALLOCATOR_REACH)
}

/// Takes an address out of the live table.
#[inline(always)]
fn take(task: &Task, address: u64) -> Option<LiveRecord> {
    // Not cleared before: that becomes a loop over bytes.
    let mut record = MaybeUninit::uninit();
    let is_there = live::take(live_key(address, task.heap)?, record.as_mut_ptr());
    // SAFETY: written where it was there.
    is_there.then(|| unsafe { record.assume_init() })
}

/// Whether an address is in the live table: taken out and put in again, by the thread that has it.
#[inline(never)]
fn is_live(task: &Task, address: u64) -> bool {
    let Some(record) = take(task, address) else {
        return false;
    };
    put_in(task.heap, address, &record);
    true
}

/// The old block of a reallocation is gone.
#[inline(always)]
fn release_old(call: &PendingCall, sight: Sight) {
    if call.old_known != 0 {
        debit(&call.old);
    } else {
        bump(sight.unknown());
    }
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

/// A page became resident, touched from `first` on.
#[inline(always)]
pub(crate) fn became_resident(task: &Task, first: Registers, page: u64) {
    credit(task, first, page, PAGE_BYTES, Counter::PagesAgain);
}

/// Counts an allocation and puts it into the live table. `again` counts those at an address that is in it.
#[inline(always)]
fn credit(task: &Task, first: Registers, address: u64, size: u64, again: Counter) {
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
fn debit(record: &LiveRecord) {
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
