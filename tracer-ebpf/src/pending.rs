//! Calls of a thread that have begun and not returned: which one an entry belongs to, and which one a
//! return ends.
//!
//! A thread has one call that counts, and under it those that it interrupted: a signal handler allocates
//! while the thread is inside malloc, and an allocator may start a thread, whose stack the dynamic linker
//! allocates. `docs/design/0002-pending-calls.md` has the rules.

use core::ffi::c_void;
use core::ptr::copy_nonoverlapping;

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST};
use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::helpers::bpf_probe_read_user;
use aya_ebpf::helpers::generated::{bpf_get_current_task, bpf_loop};
use aya_ebpf::programs::ProbeContext;
use tracer_common::limits::{ALLOCATOR_REACH, MAX_NESTED_CALLS, MAX_SUSPENDED_CALLS, PAGE_BYTES};
use tracer_common::{AllocatorFn, Counter, LiveRecord, PendingCall, ThreadCalls};

use crate::block::put_back;
use crate::context::Probe as _;
use crate::count::{add, bump};
use crate::log::rare;
use crate::maps::{PENDING, SUSPENDED, config};
use crate::task::Task;

/// What a thread begins as. Not on the stack: clearing it there becomes a loop over bytes, which the
/// verifier follows.
static IDLE: ThreadCalls = ThreadCalls {
    call: PendingCall {
        sp: 0,
        function: 0,
        size: 0,
        result_pointer: 0,
        old_address: 0,
        old: LiveRecord {
            size: 0,
            stack: 0,
            generation: 0,
        },
        old_known: 0,
        nested: 0,
        nested_returned: 0,
        interrupted: 0,
    },
    sized_free: 0,
    inner: 0,
    highest: 0,
    depth: 0,
    deepest: 0,
};

/// What an allocating function is asked for.
#[repr(C)]
pub(crate) struct Request {
    pub(crate) sp: u64,
    pub(crate) function: u64,
    pub(crate) size: u64,
    pub(crate) result_pointer: u64,
    pub(crate) old_address: u64,
}

/// Which returns of allocating functions are seen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Returns {
    /// Those whose entry asked for it: a session's.
    Wanted,
    /// All.
    All,
}

/// The thread's calls, made on its first one.
#[inline(always)]
pub(crate) fn of(task: &Task) -> Option<*mut ThreadCalls> {
    if let Some(thread) = PENDING.get_ptr_mut(&task.tid) {
        return Some(thread);
    }
    let _ = PENDING.insert(&task.tid, &IDLE, u64::from(BPF_NOEXIST));
    let thread = PENDING.get_ptr_mut(&task.tid);
    if thread.is_none() {
        bump(Counter::PendingTableFull);
        rare!(PendingTableFull);
    }
    thread
}

/// Where a call that begins is to be kept; `None` where it belongs to one already there (glibc's realloc
/// enters malloc, reallocarray jumps to realloc), or can't be followed.
#[inline(always)]
pub(crate) fn enter(
    ctx: &ProbeContext,
    task: &Task,
    call: &Request,
    returns: Returns,
) -> Option<*mut ThreadCalls> {
    let thread = of(task)?;
    // SAFETY: the entry belongs to this thread alone, and map values stay valid for the run.
    let (sp, highest) = unsafe { ((*thread).call.sp, (*thread).highest) };
    if sp != 0 && !make_room(thread, task, call, ctx.instruction_pointer(), returns) {
        return None;
    }
    if call.sp > highest {
        // SAFETY: as above.
        unsafe { (*thread).highest = call.sp };
    }
    Some(thread)
}

/// Notes a call that begins, and what was taken out of the live table for it.
#[inline(always)]
pub(crate) fn note(thread: *mut ThreadCalls, request: &Request, old: Option<LiveRecord>) {
    // SAFETY: the entry belongs to this thread alone.
    let call = unsafe { &mut (*thread).call };
    call.sp = request.sp;
    call.function = request.function;
    call.size = request.size;
    call.result_pointer = request.result_pointer;
    call.old_address = request.old_address;
    call.old_known = u32::from(old.is_some());
    if let Some(old) = old {
        call.old = old;
    }
    call.nested = 0;
    call.nested_returned = 0;
    call.interrupted = 0;
}

/// Makes room for a call that begins while another is there. Rare, and so not part of its caller.
#[inline(never)]
fn make_room(
    thread: *mut ThreadCalls,
    task: &Task,
    call: &Request,
    ip: u64,
    returns: Returns,
) -> bool {
    // SAFETY: the entry belongs to this thread alone; copied, not borrowed, since it changes below.
    let top = unsafe { (*thread).call.sp };
    if call.sp > top && is_on_another_stack(call.sp, top) {
        bump(Counter::AlternateStackCalls);
        rare!(AlternateStackCall, call.function, call.sp, top);
        // A return probe now would make the kernel take the ones below for left by longjmp.
        if returns == Returns::Wanted {
            return false;
        }
        suspend(thread, task);
        return true;
    }
    drop_deeper(task, call.sp);
    // SAFETY: as above.
    let outer = unsafe { &mut (*thread).call };
    if outer.sp == 0 {
        return true;
    }
    if is_inside(ip, call, outer) {
        if outer.nested < MAX_NESTED_CALLS {
            outer.nested += 1;
            bump(Counter::NestedCalls);
            return false;
        }
        add(Counter::NestingExceeded, u64::from(MAX_NESTED_CALLS));
        rare!(NestingExceeded, call.function, call.sp, top);
    } else if call.sp < outer.sp {
        suspend(thread, task);
        return true;
    }
    // The new call takes its place.
    abandon(thread, task.heap);
    true
}

/// Whether a call that begins is part of the one that is there: entered by the allocator itself.
#[inline(always)]
fn is_inside(ip: u64, call: &Request, outer: &PendingCall) -> bool {
    if call.sp == outer.sp {
        // A jump from the end of the pending function: it hands on what it was asked for. Those
        // that still have work to do afterwards don't jump.
        let rounding = call.size.wrapping_sub(outer.size);
        return call.function != outer.function
            && match AllocatorFn::from_cookie(outer.function) {
                Some(
                    AllocatorFn::Realloc
                    | AllocatorFn::Reallocarray
                    | AllocatorFn::AlignedAlloc
                    | AllocatorFn::Memalign
                    | AllocatorFn::Valloc,
                ) => rounding == 0,
                Some(AllocatorFn::Pvalloc) => rounding <= PAGE_BYTES,
                _ => false,
            };
    }
    // SAFETY: a checked read of user memory: the return address lies on top of the stack.
    let Ok(return_address) = (unsafe { bpf_probe_read_user(call.sp as *const u64) }) else {
        return false;
    };
    let near = return_address.abs_diff(ip) < ALLOCATOR_REACH;
    near && call.sp < outer.sp && outer.sp - call.sp < ALLOCATOR_REACH
}

/// Whether the thread runs on its alternate signal stack at `sp`, and did not at `before`: the places say
/// nothing of each other then.
#[inline(always)]
fn is_on_another_stack(sp: u64, before: u64) -> bool {
    let offsets = config!(alternate_stack);
    if offsets.address == 0 {
        return false;
    }
    // SAFETY: no arguments.
    let task = unsafe { bpf_get_current_task() };
    let word = |offset: u32| {
        // SAFETY: a checked read at an offset that the kernel's BTF gives for task_struct.
        unsafe { bpf_probe_read_kernel((task + u64::from(offset)) as *const u64) }.unwrap_or(0)
    };
    let (address, size) = (word(offsets.address), word(offsets.size));
    sp.wrapping_sub(address) < size && before.wrapping_sub(address) >= size
}

/// The thread's call that returns, taken off: with what it was inside in its place. `None` for a return
/// that ends none.
#[inline(always)]
pub(crate) fn leave(
    task: &Task,
    sp: u64,
    function: u64,
    returns: Returns,
) -> Option<(*mut ThreadCalls, PendingCall)> {
    let Some(thread) = PENDING.get_ptr_mut(&task.tid) else {
        bump(Counter::ReturnWithoutEntry);
        rare!(ReturnWithoutEntry, function, sp);
        return None;
    };
    // SAFETY: the entry belongs to this thread alone.
    let is_top = unsafe { (*thread).call.sp == sp && (*thread).call.function == function };
    if !is_top && !find(thread, task, sp, function, returns) {
        return None;
    }
    // SAFETY: as above.
    let call = unsafe { (*thread).call };
    restore(thread, task.tid);
    Some((thread, call))
}

/// Finds the call that returns, where it isn't the last one that began.
#[inline(never)]
fn find(thread: *mut ThreadCalls, task: &Task, sp: u64, function: u64, returns: Returns) -> bool {
    drop_deeper(task, sp);
    // SAFETY: the entry belongs to this thread alone.
    let top = unsafe { &mut (*thread).call };
    if top.sp == sp && top.function == function {
        return true;
    }
    if returns == Returns::All && top.sp >= sp && top.nested_returned < top.nested {
        // A function entered from inside it.
        top.nested_returned += 1;
        return false;
    }
    // SAFETY: as above. Where no entry was ever seen this far up, the call was entered before the start.
    if unsafe { (*thread).highest } < sp {
        bump(Counter::ReturnWithoutEntry);
        rare!(ReturnWithoutEntry, function, sp);
    } else {
        bump(Counter::ReturnUnmatched);
        rare!(ReturnUnmatched, function, sp);
    }
    false
}

/// What a callback drops calls by.
#[repr(C)]
struct Drop {
    thread: *mut ThreadCalls,
    tid: u32,
    heap: u32,
    sp: u64,
}

/// Drops the calls that began deeper in the stack than where the thread is now: they were left by longjmp
/// or an exception.
#[inline(always)]
fn drop_deeper(task: &Task, sp: u64) {
    drop_calls(u64::from(task.tid), u64::from(task.heap), sp);
}

/// As [`drop_deeper`]. A global function, see `live_insert`; its result says nothing.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn drop_calls(tid: u64, heap: u64, sp: u64) -> u64 {
    let (tid, heap) = (tid as u32, heap as u32);
    let Some(thread) = PENDING.get_ptr_mut(&tid) else {
        return 0;
    };
    let mut context = Drop {
        thread,
        tid,
        heap,
        sp,
    };
    // SAFETY: the callback has the helper's signature, and its context outlives the call.
    unsafe {
        bpf_loop(
            MAX_SUSPENDED_CALLS + 1,
            drop_one as *mut c_void,
            (&raw mut context).cast(),
            0,
        );
    }
    0
}

/// Drops a call, as a callback of `bpf_loop`; 1 ends it.
extern "C" fn drop_one(_index: u64, context: *mut c_void) -> u64 {
    // SAFETY: `drop_calls` passes its context.
    let &mut Drop {
        thread,
        tid,
        heap,
        sp,
    } = unsafe { &mut *context.cast::<Drop>() };
    // SAFETY: the entry belongs to this thread alone.
    let top = unsafe { (*thread).call.sp };
    if top == 0 || top >= sp {
        return 1;
    }
    abandon(thread, heap);
    restore(thread, tid);
    0
}

/// The call that is there was left by longjmp or an exception.
#[inline(always)]
fn abandon(thread: *mut ThreadCalls, heap: u32) {
    bump(Counter::AbandonedCalls);
    // SAFETY: the entry belongs to this thread alone.
    let call = unsafe { &(*thread).call };
    rare!(CallAbandoned, call.function, call.sp, call.size);
    put_back(heap, call);
}

/// Sets the call that is there aside, for another that has interrupted it.
#[inline(always)]
fn suspend(thread: *mut ThreadCalls, task: &Task) {
    // SAFETY: the entry belongs to this thread alone.
    let thread = unsafe { &mut *thread };
    thread.call.interrupted = 1;
    let depth = thread.depth;
    let key = key(task.tid, depth);
    if depth < MAX_SUSPENDED_CALLS
        && SUSPENDED
            .insert(&key, &thread.call, u64::from(BPF_ANY))
            .is_ok()
    {
        thread.depth = depth + 1;
        thread.deepest = thread.deepest.max(depth + 1);
        rare!(CallInterrupted, thread.call.function, thread.call.sp, depth);
        return;
    }
    bump(Counter::CallNotKept);
    rare!(CallNotKept, thread.call.function, thread.call.sp, depth);
    put_back(task.heap, &thread.call);
}

/// Takes the last call off; the one that it interrupted, if any, is there again.
#[inline(always)]
fn restore(thread: *mut ThreadCalls, tid: u32) {
    // SAFETY: the entry belongs to this thread alone.
    let thread = unsafe { &mut *thread };
    thread.call.sp = 0;
    if thread.depth == 0 {
        return;
    }
    thread.depth -= 1;
    let key = key(tid, thread.depth);
    if let Some(call) = SUSPENDED.get_ptr(&key) {
        // SAFETY: valid map values, of two maps, and this thread's alone. An assignment becomes a loop over
        // bytes: LLVM takes the two for overlapping.
        unsafe { copy_nonoverlapping(call, &raw mut thread.call, 1) };
    } else {
        thread.depth = 0;
        bump(Counter::CallNotKept);
        rare!(InterruptedCallGone);
    }
}

/// Forgets a thread that ends, or begins anew: its tid may come back as another's. Not inlined: in exec's
/// program LLVM then read a slot of the stack before it was written (6.18: "invalid size of register fill").
#[inline(never)]
pub(crate) fn forget(tid: u32) {
    let Some(thread) = PENDING.get_ptr(&tid) else {
        return;
    };
    // SAFETY: a valid map value.
    let deepest = unsafe { (*thread).deepest };
    let mut depth = 0;
    while depth < MAX_SUSPENDED_CALLS && depth < deepest {
        let _ = SUSPENDED.remove(&key(tid, depth));
        depth += 1;
    }
    let _ = PENDING.remove(&tid);
}

#[inline(always)]
const fn key(tid: u32, depth: u32) -> u64 {
    (tid as u64) << 32 | depth as u64
}
