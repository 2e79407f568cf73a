//! The kernel maps. Their capacities are set by user space before loading.

use aya_ebpf::Global;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{HashMap, PerCpuArray, RingBuf};
use tracer_common::limits::{
    DEFAULT_MAX_LIVE, DEFAULT_MAX_STACKS, MAX_PENDING_CALLS, MAX_TARGETS, RING_BYTES,
    SCRATCH_SLOTS, WINDOW_WORDS,
};
use tracer_common::{
    Config, Counter, LiveKey, LiveRecord, PendingCall, StackCounters, StackEvent, StackKey,
    TargetInfo,
};

/// `BPF_F_NO_PREALLOC`: elements are allocated when they are inserted.
const NO_PREALLOC: u32 = 1;

/// Written by user space before loading, constant afterwards.
#[unsafe(no_mangle)]
pub(crate) static CONFIG: Global<Config> = Global::new(Config {
    pidns_dev: 0,
    pidns_ino: 0,
    task_tgid_offset: 0,
    reserved: 0,
});

/// Traced processes. Being in it or not is also the switch that starts and stops counting at one
/// instant for all probes, whatever order they were attached in.
#[map]
pub(crate) static TARGETS: HashMap<u32, TargetInfo> = HashMap::with_max_entries(MAX_TARGETS, 0);

/// Live allocations. It never evicts: an eviction would look like a free.
#[map]
pub(crate) static LIVE: HashMap<LiveKey, LiveRecord> =
    HashMap::with_max_entries(DEFAULT_MAX_LIVE, 0);

/// Growing counters per stack.
#[map]
pub(crate) static STACKS: HashMap<StackKey, StackCounters> =
    HashMap::with_max_entries(DEFAULT_MAX_STACKS, 0);

/// Calls in flight, by tid. An entry stays for the life of its thread, so that a call costs
/// look-ups only.
#[map]
pub(crate) static PENDING: HashMap<u32, PendingCall> =
    HashMap::with_max_entries(MAX_PENDING_CALLS, NO_PREALLOC);

/// Counters by [`Counter`].
#[map]
pub(crate) static COUNTERS: PerCpuArray<u64> =
    PerCpuArray::with_max_entries(Counter::ALL.len() as u32, 0);

/// A place to collect a stack in; too large for the 512 bytes of BPF stack.
#[repr(C)]
pub(crate) struct Scratch {
    /// 1 while a program uses the slot.
    pub(crate) busy: u64,
    /// The part of the stack that is being walked.
    pub(crate) window: [u64; WINDOW_WORDS],
    /// The event under construction.
    pub(crate) event: StackEvent,
}

/// Scratch slots of each CPU.
#[map]
pub(crate) static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(SCRATCH_SLOTS, 0);

/// Rare events: stacks seen for the first time, exec, exit, fork.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);
