//! Memory that becomes resident, told from page faults: nothing is placed into the target.
//!
//! A page is accounted as an allocation of its size at its address, by whoever touched it first. When it is
//! given back nobody is told here: user space looks which pages are still there.

use core::ffi::c_void;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{bpf_perf_event_data, pt_regs};
use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::helpers::generated::{bpf_find_vma, bpf_get_current_task_btf, bpf_task_pt_regs};
use aya_ebpf::programs::PerfEventContext;
use tracer_common::limits::PAGE_BYTES;
use tracer_common::{Counter, Registers};

use crate::block::credit;
use crate::count::bump;
use crate::maps::config;
use crate::task;

/// What the memory at an address belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
enum Backing {
    /// Nobody says: the mappings are being changed, or there is none.
    Unknown = 0,
    File = 1,
    Anonymous = 2,
}

/// A page fault of a traced process.
#[inline(always)]
pub(crate) fn page_fault(ctx: &PerfEventContext) {
    let Some(task) = task::traced() else {
        return;
    };
    let data: *const bpf_perf_event_data = ctx.as_ptr().cast();
    // SAFETY: the kernel hands every program of a perf event such a structure.
    let address = unsafe { (*data).addr };
    match backing(address) {
        Backing::File => {
            bump(Counter::FileFaults);
            return;
        }
        Backing::Unknown => bump(Counter::FaultsUnclassified),
        Backing::Anonymous => {}
    }
    let Some(first) = user_registers() else {
        bump(Counter::ResultUnreadable);
        return;
    };
    credit(
        &task,
        first,
        address & !(PAGE_BYTES - 1),
        PAGE_BYTES,
        Counter::PagesAgain,
    );
}

/// The registers of user space, also where the kernel itself touched the page, for a system call. The
/// instruction that faulted is told as one that was called from here, which is how frames are told.
#[inline(always)]
fn user_registers() -> Option<Registers> {
    // SAFETY: the first has no arguments, and its result is what the second takes.
    let registers = unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) } as *const pt_regs;
    // SAFETY: a checked read.
    let pt_regs { rip, rsp, rbp, .. } = unsafe { bpf_probe_read_kernel(registers) }.ok()?;
    Some(Registers {
        ip: rip + 1,
        sp: rsp,
        bp: rbp,
    })
}

#[inline(always)]
fn backing(address: u64) -> Backing {
    let mut found = Backing::Unknown;
    // SAFETY: the callback has the helper's signature, and its context outlives the call.
    unsafe {
        bpf_find_vma(
            bpf_get_current_task_btf(),
            address,
            look as *mut c_void,
            (&raw mut found).cast(),
            0,
        );
        core::ptr::read_volatile(&raw const found)
    }
}

/// Looks at the area of memory, as a callback of `bpf_find_vma`.
extern "C" fn look(_task: *mut c_void, area: *mut c_void, context: *mut c_void) -> i64 {
    let file = area.wrapping_byte_add(config!(vm_file) as usize);
    // SAFETY: a checked read at the offset that the kernel's BTF gives.
    let found = match unsafe { bpf_probe_read_kernel(file.cast::<u64>()) } {
        Ok(0) => Backing::Anonymous,
        Ok(_) => Backing::File,
        Err(_) => Backing::Unknown,
    };
    // SAFETY: `backing` passes a pointer to its variable.
    unsafe { core::ptr::write_volatile(context.cast::<Backing>(), found) };
    0
}
