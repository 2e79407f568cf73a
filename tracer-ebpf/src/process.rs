//! The life of the traced processes: exec, exit, fork.

use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use aya_ebpf::programs::RawTracePointContext;
use tracer_common::limits::MAX_HEAPS;
use tracer_common::{Counter, EventHeader, EventKind, StackKey, TargetInfo};

use crate::count::{bump, take_number};
use crate::maps::{CONFIG, EVENTS, HEAPS, PENDING};
use crate::stack;
use crate::{task, unwind};

/// A new image, a new heap: whatever the old image held is gone with it.
#[inline(always)]
pub(crate) fn exec() {
    let Some(task) = task::traced() else {
        return;
    };
    let life = task.life + 1;
    prepare(task.tgid, life);
    // The old image's addresses must not be taken for the new one's, whatever happens.
    let new = new_heap().filter(|&heap| {
        let info = TargetInfo {
            life,
            heap,
            space: heap,
            reserved: 0,
        };
        task::trace(task.tgid, &info).is_ok()
    });
    if new.is_none() {
        task::forget(task.tgid);
        bump(Counter::TargetTableFull);
    }
    let heaps = u64::from(task.heap) << 32 | u64::from(new.unwrap_or(0));
    send(EventKind::Exec, task.tgid, life, heaps);
}

/// The next heap's number; `None` where they are used up.
#[inline(always)]
fn new_heap() -> Option<u32> {
    let heap = take_number(HEAPS.get_ptr_mut(0)?) + 1;
    (heap <= MAX_HEAPS).then_some(heap as u32)
}

/// A thread's slot goes with it: the tid may come back as another thread.
#[inline(always)]
pub(crate) fn thread_exit() {
    let Some(task) = task::traced() else {
        return;
    };
    let _ = PENDING.remove(&task.tid);
}

/// A child of a traced process, where children are followed.
#[inline(always)]
pub(crate) fn fork(ctx: &RawTracePointContext) {
    let offset = CONFIG.load().task_tgid_offset;
    if offset == 0 {
        return;
    }
    let Some(parent) = task::traced() else {
        return;
    };
    // TP_PROTO(struct task_struct *parent, struct task_struct *child)
    let child: u64 = ctx.arg(1);
    // SAFETY: a checked read at the offset that the kernel's BTF gives for task_struct.tgid.
    let tgid = unsafe { bpf_probe_read_kernel((child + u64::from(offset)) as *const u32) };
    let Ok(tgid) = tgid else {
        bump(Counter::MapUpdateFailed);
        return;
    };
    if tgid == parent.tgid {
        // A new thread.
        return;
    }
    prepare(tgid, 0);
    let child = new_heap().filter(|&heap| {
        let info = TargetInfo {
            life: 0,
            heap,
            space: unwind::space_of(&parent),
            reserved: 0,
        };
        task::trace(tgid, &info).is_ok()
    });
    match child {
        Some(heap) => {
            let value = u64::from(heap) << 32 | u64::from(tgid);
            send(EventKind::Fork, parent.tgid, parent.life, value);
        }
        None => bump(Counter::TargetTableFull),
    }
}

/// Makes the entry for allocations whose stack can't be had.
#[inline(always)]
fn prepare(tgid: u32, life: u32) {
    let key = StackKey {
        stack: 0,
        tgid,
        life,
    };
    if stack::make(&key).is_none() {
        bump(Counter::MapUpdateFailed);
    }
}

#[inline(always)]
fn send(kind: EventKind, tgid: u32, life: u32, value: u64) {
    let header = EventHeader {
        kind: kind as u32,
        frames: 0,
        tgid,
        life,
        // SAFETY: no arguments.
        time_ns: unsafe { bpf_ktime_get_ns() },
        value,
        end: 0,
        reserved: 0,
    };
    if EVENTS.output(&header, 0).is_err() {
        bump(Counter::ProcessEventDropped);
    }
}
