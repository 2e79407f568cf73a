//! Who runs: the tgid check that comes before everything else.

use aya_ebpf::bindings::{BPF_ANY, bpf_pidns_info};
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::bpf_get_ns_current_pid_tgid;
use tracer_common::{Counter, TargetInfo};

use crate::count::bump;
use crate::maps::{MAIN_TARGET, TARGETS, config};

/// The current thread, which belongs to a traced process.
#[derive(Clone, Copy)]
pub(crate) struct Task {
    /// Process.
    pub(crate) tgid: u32,
    /// Thread.
    pub(crate) tid: u32,
    /// Image of the process.
    pub(crate) image: u32,
    /// Heap of this image.
    pub(crate) heap: u32,
    /// Where its mappings stand until it has some of its own.
    pub(crate) space: u32,
    /// Not 0 where image and heap are another process's.
    pub(crate) borrowed: u32,
}

/// The current thread where its process is traced.
#[inline(always)]
pub(crate) fn traced() -> Option<Task> {
    let (tgid, tid) = ids()?;
    let TargetInfo {
        image,
        heap,
        space,
        borrowed,
    } = target(tgid)?;
    Some(Task {
        tgid,
        tid,
        image,
        heap,
        space,
        borrowed,
    })
}

/// What is known of a traced process.
#[inline(always)]
fn target(tgid: u32) -> Option<TargetInfo> {
    if tgid == config!(main_tgid) {
        let info = *MAIN_TARGET.get(0)?;
        return (info.heap != 0).then_some(info);
    }
    // SAFETY: the value is copied at once; user space and exec replace it whole.
    unsafe { TARGETS.get(&tgid) }.copied()
}

/// Traces a process from now on.
#[inline(always)]
pub(crate) fn trace(tgid: u32, info: &TargetInfo) -> Result<(), i32> {
    if tgid == config!(main_tgid) {
        return MAIN_TARGET.set(0, info, 0);
    }
    TARGETS.insert(&tgid, info, u64::from(BPF_ANY))
}

/// Traces a process no more.
#[inline(always)]
pub(crate) fn forget(tgid: u32) {
    if tgid == config!(main_tgid) {
        let _ = MAIN_TARGET.set(0, &TargetInfo::default(), 0);
    } else {
        let _ = TARGETS.remove(&tgid);
    }
}

/// As [`traced`], and counts the others: for probes, which only the target should hit.
#[inline(always)]
pub(crate) fn traced_or_foreign() -> Option<Task> {
    let task = traced();
    if task.is_none() {
        bump(Counter::ForeignEvents);
    }
    task
}

/// The tgid in the machine's own pid namespace.
#[inline(always)]
pub(crate) fn global_tgid() -> u32 {
    (bpf_get_current_pid_tgid() >> 32) as u32
}

/// (tgid, tid) in the pid namespace of the tracer.
#[inline(always)]
pub(crate) fn ids() -> Option<(u32, u32)> {
    let (device, namespace) = (config!(pidns_dev), config!(pidns_ino));
    if namespace == 0 {
        let id = bpf_get_current_pid_tgid();
        return Some(((id >> 32) as u32, id as u32));
    }
    let mut info = bpf_pidns_info { pid: 0, tgid: 0 };
    // SAFETY: the buffer is the helper's own type and size.
    let result = unsafe {
        bpf_get_ns_current_pid_tgid(
            device,
            namespace,
            &raw mut info,
            size_of::<bpf_pidns_info>() as u32,
        )
    };
    (result == 0).then_some((info.tgid, info.pid))
}
