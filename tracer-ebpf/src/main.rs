//! The entry points: which kernel event runs which concern. Each is about three lines; what they
//! do lives in the modules.
//!
//! Every probe program exists twice, for multi-uprobe links and for perf-event uprobes: the
//! attach type is part of a program, so the choice can't be made at attach. Where the kernel has
//! uprobe sessions, one program takes the place of two.
#![no_std]
#![no_main]
#![expect(internal_features, reason = "atomics, see count.rs")]
#![feature(asm_experimental_arch, core_intrinsics)]

mod account;
mod block;
mod context;
mod copy;
mod count;
mod generation;
mod known;
mod live;
mod log;
mod maps;
mod peak;
mod pending;
mod process;
mod replaced;
mod resident;
mod scratch;
mod search;
mod space;
mod stack;
mod stack_window;
mod state;
mod task;
mod thread;
mod unwind;
mod walk;
mod window;

use core::ffi::c_void;

use aya_ebpf::macros::{perf_event, raw_tracepoint, uprobe, uretprobe};
use aya_ebpf::programs::{PerfEventContext, ProbeContext, RawTracePointContext, RetProbeContext};

use crate::account::Sight;
use crate::context::Probe as _;
use crate::pending::Returns;

macro_rules! probes {
    ($($(#[$attr:meta])* $multi:ident, $single:ident ($ctx:ty) => $run:path, $macro:ident;)+) => {$(
        $(#[$attr])*
        #[$macro(multi)]
        fn $multi(ctx: $ctx) -> u32 {
            let _ = $run(&ctx);
            0
        }

        $(#[$attr])*
        #[$macro]
        fn $single(ctx: $ctx) -> u32 {
            let _ = $run(&ctx);
            0
        }
    )+};
}

probes! {
    /// Entry of an allocating function.
    alloc_entry_multi, alloc_entry(ProbeContext) => alloc_entry_all, uprobe;
    /// Return of an allocating function.
    alloc_return_multi, alloc_return(RetProbeContext) => alloc_return_all, uretprobe;
    /// Entry of a freeing function.
    free_entry_multi, free_entry(ProbeContext) => free_entry_all, uprobe;
    /// Entry of a freeing function that is told the size.
    sized_free_entry_multi, sized_free_entry(ProbeContext) => account::sized_free_entry, uprobe;
    /// Entry of an allocating function that may throw.
    throwing_entry_multi, throwing_entry(ProbeContext) => account::throwing_entry, uprobe;
}

/// Does nothing. A probe with it keeps its breakpoint in the target, for the others at the same
/// instruction: see tracer/src/bpf/inherited.rs.
#[uprobe]
fn keep(_ctx: ProbeContext) -> u32 {
    0
}

#[inline(always)]
fn alloc_entry_all(ctx: &ProbeContext) -> bool {
    account::alloc_entry(ctx, Returns::All)
}

#[inline(always)]
fn alloc_return_all(ctx: &RetProbeContext) {
    account::alloc_return(ctx, Returns::All, Sight::All);
}

#[inline(always)]
fn free_entry_all(ctx: &ProbeContext) {
    account::free_entry(ctx, Sight::All);
}

/// Entry and return of an allocating function as one session. A result other than 0 at the entry
/// spares the call its return probe.
///
/// Written without aya's macro, which knows no sessions and always returns 0. The section's name is
/// one that aya accepts; user space loads the program itself (tracer/src/bpf/uprobe_session.rs).
#[unsafe(no_mangle)]
#[unsafe(link_section = "uprobe.multi")]
fn alloc_session(ctx: *mut c_void) -> u32 {
    let at_return = RetProbeContext::new(ctx);
    if at_return.is_return() {
        account::alloc_return(&at_return, Returns::Wanted, Sight::All);
        return 0;
    }
    u32::from(!account::alloc_entry(
        &ProbeContext::new(ctx),
        Returns::Wanted,
    ))
}

/// Entry of every function of an allocator, and return of those that allocate, as one session: for windows,
/// which are made and taken away with one link. As [`alloc_session`] for the rest.
#[unsafe(no_mangle)]
#[unsafe(link_section = "uprobe.multi")]
fn window_session(ctx: *mut c_void) -> u32 {
    u32::from(!window::session(ctx))
}

/// A page fault, where memory is followed as it becomes resident
#[perf_event]
fn page_fault(ctx: PerfEventContext) -> u32 {
    resident::page_fault(&ctx);
    0
}

/// `sched:sched_process_exec`
#[raw_tracepoint(tracepoint = "sched_process_exec")]
fn process_exec(ctx: RawTracePointContext) -> i32 {
    process::exec(&ctx);
    0
}

/// `sched:sched_process_exit`, once a thread
#[raw_tracepoint(tracepoint = "sched_process_exit")]
fn process_exit(_ctx: RawTracePointContext) -> i32 {
    process::thread_exit();
    0
}

/// `sched:sched_process_fork`
#[raw_tracepoint(tracepoint = "sched_process_fork")]
fn process_fork(ctx: RawTracePointContext) -> i32 {
    process::fork(&ctx);
    0
}

/// The licence the kernel checks before it lends GPL-only helpers.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Nothing here can panic: the verifier would reject it.
#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
