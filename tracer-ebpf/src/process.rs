//! The life of the traced processes: exec, fork, the end of a thread and of the last one.
//!
//! Which images there are, and which heap each has, is decided here and nowhere else: what a probe
//! counts a moment later depends on it. User space is told, and takes the rest from there.

use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::helpers::generated::{bpf_get_current_task, bpf_ktime_get_ns};
use aya_ebpf::programs::RawTracePointContext;
use tracer_common::limits::MAX_HEAPS;
use tracer_common::{Counter, EventHeader, EventKind, LogLevel, ProcessEvent, TargetInfo};

use crate::count::{bump, take_number};
use crate::log::{self, rare};
use crate::maps::{EVENTS, FREE_HEAPS, HEAPS, IMAGES, config};
use crate::peak;
use crate::pending;
use crate::space;
use crate::task::{self, Task};

/// A new image, a new heap: whatever the old image held is gone with it.
#[inline(always)]
pub(crate) fn exec(ctx: &RawTracePointContext) {
    let Some(task) = task::traced() else {
        return;
    };
    // A call that was left by longjmp belongs to the old image.
    pending::forget(task.tid);
    if task.borrowed == 0 {
        peak::release(&task);
    }
    // The old image's addresses must not be taken for the new one's, whatever happens.
    // Not by `unwrap_or_default` afterwards: LLVM then reads what it has not written (6.1: "invalid read from
    // stack").
    let mut new = TargetInfo::default();
    match new_image(None) {
        Some(info) if task::trace(task.tgid, &info).is_ok() => new = info,
        _ => {
            task::forget(task.tgid);
            bump(Counter::TargetTableFull);
            rare!(NoRoomForExec, task.image);
        }
    }
    // TP_PROTO(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm). The calling thread has the
    // process's id by now.
    let old_tid: u64 = ctx.arg(1);
    let other_thread = old_tid as u32 != task::global_tgid();
    send(
        EventKind::Exec,
        &task,
        ProcessEvent {
            image: new.image,
            heap: new.heap,
            flags: borrowed(&task)
                | if other_thread {
                    ProcessEvent::OTHER_THREAD
                } else {
                    0
                },
            ..event()
        },
    );
}

/// The next image, with a heap of its own; `space` is that of the image it is a copy of. `None` where the
/// numbers are used up.
#[inline(always)]
fn new_image(space: Option<u32>) -> Option<TargetInfo> {
    let image = take_number(IMAGES.get_ptr_mut(0)?) as u32 + 1;
    let heap = match FREE_HEAPS.pop() {
        Ok(Some(heap)) => heap,
        _ => {
            let heap = take_number(HEAPS.get_ptr_mut(0)?) + 1;
            if heap > MAX_HEAPS {
                return None;
            }
            heap as u32
        }
    };
    Some(TargetInfo {
        image,
        heap,
        space: space.unwrap_or(heap),
        borrowed: 0,
    })
}

/// A thread ends, and perhaps its process.
#[inline(always)]
pub(crate) fn thread_exit() {
    let Some(task) = task::traced() else {
        return;
    };
    // A thread's slot goes with it: the tid may come back as another thread.
    pending::forget(task.tid);
    if config!(task.live) == 0 {
        if task.tid == task.tgid {
            send(EventKind::FirstThreadExit, &task, event());
        }
    } else if is_last() {
        // The pid may come back as another process.
        task::forget(task.tgid);
        if task.borrowed == 0 {
            peak::release(&task);
        }
        send(
            EventKind::Exit,
            &task,
            ProcessEvent {
                flags: borrowed(&task),
                ..event()
            },
        );
    }
}

/// Whether the current thread is the last of its process: the kernel has counted it out before it tells
/// of its end. Two that end at one time may both find this.
#[inline(always)]
fn is_last() -> bool {
    let offsets = config!(task);
    // SAFETY: no arguments.
    let task = unsafe { bpf_get_current_task() };
    let signal = word(task, offsets.signal);
    signal != 0 && word(signal, offsets.live) as u32 == 0
}

/// A child of a traced process, where children are followed.
#[inline(always)]
pub(crate) fn fork(ctx: &RawTracePointContext) {
    let offsets = config!(task);
    if offsets.tgid == 0 {
        return;
    }
    let Some(parent) = task::traced() else {
        return;
    };
    // TP_PROTO(struct task_struct *parent, struct task_struct *child)
    let (parent_task, child_task): (u64, u64) = (ctx.arg(0), ctx.arg(1));
    let tgid = word(child_task, offsets.tgid) as u32;
    if tgid == 0 {
        bump(Counter::MapUpdateFailed);
        rare!(ChildUnreadable);
        return;
    }
    if tgid == parent.tgid {
        // A new thread.
        return;
    }
    if word(child_task, offsets.mm) == word(parent_task, offsets.mm) {
        // Of vfork: until it calls exec, it works on its parent's memory.
        let info = TargetInfo {
            image: parent.image,
            heap: parent.heap,
            space: parent.space,
            borrowed: 1,
        };
        if task::trace(tgid, &info).is_err() {
            bump(Counter::TargetTableFull);
            rare!(NoRoomForVfork, tgid);
        }
        return;
    }
    let child =
        new_image(Some(space::space_of(&parent))).filter(|info| task::trace(tgid, info).is_ok());
    match child {
        Some(info) => send(
            EventKind::Fork,
            &parent,
            ProcessEvent {
                child: tgid,
                image: info.image,
                heap: info.heap,
                ..event()
            },
        ),
        None => {
            bump(Counter::TargetTableFull);
            rare!(NoRoomForFork, tgid);
        }
    }
}

/// A word of a structure in the kernel; 0 where it can't be read.
#[inline(always)]
fn word(structure: u64, offset: u32) -> u64 {
    // SAFETY: a checked read at an offset that the kernel's BTF gives.
    unsafe { bpf_probe_read_kernel((structure + u64::from(offset)) as *const u64) }.unwrap_or(0)
}

#[inline(always)]
const fn borrowed(task: &Task) -> u32 {
    if task.borrowed == 0 {
        0
    } else {
        ProcessEvent::BORROWED
    }
}

/// An event that says nothing yet.
#[inline(always)]
const fn event() -> ProcessEvent {
    ProcessEvent {
        header: EventHeader {
            kind: 0,
            frames: 0,
            tgid: 0,
            image: 0,
            time_ns: 0,
            value: 0,
            end: 0,
            thread: 0,
        },
        child: 0,
        image: 0,
        heap: 0,
        old_heap: 0,
        flags: 0,
        reserved: 0,
    }
}

#[inline(always)]
fn send(kind: EventKind, task: &Task, event: ProcessEvent) {
    let event = ProcessEvent {
        header: EventHeader {
            kind: kind as u32,
            tgid: task.tgid,
            image: task.image,
            // SAFETY: no arguments.
            time_ns: unsafe { bpf_ktime_get_ns() },
            ..event.header
        },
        old_heap: task.heap,
        ..event
    };
    if log::is_on(LogLevel::Info) {
        tell(&event);
    }
    if EVENTS.output(&event, 0).is_err() {
        bump(Counter::ProcessEventDropped);
        rare!(EventDropped, event.header.kind, event.header.image);
    }
}

/// Tells of an event. A function that reads it from where it lies: LLVM took what exec has not yet set for
/// something that need not be set ("!read_ok").
#[cold]
#[inline(never)]
fn tell(event: &ProcessEvent) {
    const EXEC: u32 = EventKind::Exec as u32;
    const FORK: u32 = EventKind::Fork as u32;
    let (old, new, heap) = (event.header.image, event.image, event.heap);
    match event.header.kind {
        EXEC => rare!(Exec, old, new, heap),
        FORK => rare!(Fork, event.child, new, heap),
        _ => rare!(End, old, event.old_heap),
    }
}
