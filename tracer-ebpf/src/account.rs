//! Exact accounting: what an allocator function did, told from its entry and its return.
//!
//! The order is what makes it exact. An address enters the live table at the allocation's return
//! and leaves it at the entry of free: it is out before the allocator can hand it to another
//! thread, and in before anyone can free it.

use aya_ebpf::helpers::bpf_probe_read_user;
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use tracer_common::limits::ALLOCATOR_REACH;
use tracer_common::{AllocatorFn, Counter, PendingCall, Registers, ThreadCalls};

use crate::block::{credit, debit, is_live, put_back, take};
use crate::context::{Probe as _, RETURN_SIZE};
use crate::count::{add, bump};
use crate::log::rare;
use crate::maps::PENDING;
use crate::pending::{self, Request, Returns};
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

/// The old block of a reallocation is gone.
#[inline(always)]
fn release_old(call: &PendingCall, sight: Sight) {
    if call.old_known != 0 {
        debit(&call.old);
    } else {
        bump(sight.unknown());
    }
}
