//! The kernel maps, but for slots, which lie beside what they hold (`scratch`, `copy`). Their capacities are set by user space before loading.

use aya_ebpf::Global;
use aya_ebpf::btf_maps::{Array, ArrayOfMaps};
use aya_ebpf::macros::{btf_map, map};
use aya_ebpf::maps::{self, HashMap, PerCpuArray, Queue, RingBuf};
use tracer_common::limits::{
    DEFAULT_MAX_STACKS, INNER_MAPPABLE, LOG_WORDS, MAX_HEAPS, MAX_PENDING_CALLS, MAX_TARGETS,
    MAX_THREAD_NAMES, MMAPABLE, RING_BYTES, SPARE_STACKS,
};
use tracer_common::{
    AlternateStack, Config, Counter, Flow, GATE_WORDS, GenerationCell, KNOWN_STACKS, KnownStack,
    LiveBucket, LiveTotal, MAX_LIVE_SEGMENTS, MAX_RULES, MAX_TABLES, PeakMark, PendingCall,
    RULE_CACHE_ENTRIES, ReturnProbes, Row, Rule, SPACE_ENTRIES, Shape, SpaceEntry, StackCounters,
    StackKey, THREAD_NAME_WORDS, TargetInfo, TaskOffsets, ThreadCalls, WINDOW_WORDS,
};

/// `BPF_F_NO_PREALLOC`: elements are allocated when they are inserted.
const NO_PREALLOC: u32 = 1;

/// Written by user space before loading, constant afterwards.
#[unsafe(no_mangle)]
pub(crate) static CONFIG: Global<Config> = Global::new(Config {
    pidns_dev: 0,
    pidns_ino: 0,
    task: TaskOffsets {
        tgid: 0,
        mm: 0,
        signal: 0,
        live: 0,
        reserved: 0,
    },
    live_buckets: 1,
    main_tgid: 0,
    unwinding: 0,
    generations: 0,
    audit: 0,
    return_probes: ReturnProbes {
        utask: 0,
        instances: 0,
        stack: 0,
        address: 0,
        next: 0,
        reserved: 0,
    },
    alternate_stack: AlternateStack {
        address: 0,
        size: 0,
    },
    peak_shift: 0,
    vm_file: 0,
    by_thread: 0,
    reserved: 0,
});

/// A field of the configuration. `CONFIG.load()` would load all the others as well: a volatile load stays.
macro_rules! config {
    ($($field:ident).+) => {{
        // `Global` is a transparent wrapper.
        let config = (&raw const $crate::maps::CONFIG).cast::<tracer_common::Config>();
        // SAFETY: it is there as long as the program. Volatile, since user space sets it before loading.
        unsafe { core::ptr::read_volatile(&raw const (*config).$($field).+) }
    }};
}
pub(crate) use config;

/// The process that the session began with, where it is traced; else heap 0. Reading an array costs
/// a load, a hash table 40 ns a probe.
#[map]
pub(crate) static MAIN_TARGET: maps::Array<TargetInfo> = maps::Array::with_max_entries(1, 0);

/// The other traced processes.
///
/// Being in one of the two is also the switch that starts and stops counting at one instant for all
/// probes, whatever order they were attached in.
#[map]
pub(crate) static TARGETS: HashMap<u32, TargetInfo> =
    HashMap::with_max_entries(MAX_TARGETS, NO_PREALLOC);

/// Live allocations: the first segment. It never evicts: an eviction would look like a free.
#[map]
pub(crate) static LIVE_FIRST: maps::Array<LiveBucket> = maps::Array::with_max_entries(1, MMAPABLE);

/// An array that user space makes. What is in it is declared as words: on Linux 6.1, an array of
/// structures by type information differs from one without such, and is refused as its like (`EINVAL`).
type Made<const WORDS: usize> = Array<[u64; WORDS], 1, { INNER_MAPPABLE as usize }>;

/// Words of a value.
const fn words<T>() -> usize {
    assert!(size_of::<T>().is_multiple_of(8) && align_of::<T>() <= 8);
    size_of::<T>() / 8
}

/// The segments after the first, which user space makes.
#[btf_map]
pub(crate) static LIVE: ArrayOfMaps<
    Made<{ words::<LiveBucket>() }>,
    { MAX_LIVE_SEGMENTS as usize },
> = ArrayOfMaps::new();

/// A bucket of one of the segments after the first, which count from 0 here.
#[inline(always)]
pub(crate) fn live_bucket(segment: u32, index: u32) -> Option<*mut LiveBucket> {
    LIVE.get_value_ptr_mut(segment, &index).map(<*mut _>::cast)
}

/// The last segment of the live table that was asked for.
#[map]
pub(crate) static LIVE_ASKED: maps::Array<u64> = maps::Array::with_max_entries(1, 0);

/// Images numbered so far.
#[map]
pub(crate) static IMAGES: maps::Array<u64> = maps::Array::with_max_entries(1, 0);

/// Heaps numbered so far.
#[map]
pub(crate) static HEAPS: maps::Array<u64> = maps::Array::with_max_entries(1, 0);

/// Numbers of heaps that may be used again.
#[map]
pub(crate) static FREE_HEAPS: Queue<u32> = Queue::with_max_entries(MAX_HEAPS as u32, 0);

/// Where a stack's counters are.
#[map]
pub(crate) static STACKS: HashMap<StackKey, u32> = HashMap::with_max_entries(DEFAULT_MAX_STACKS, 0);

/// Names of threads by their numbers, where stacks are told apart by them.
#[map]
pub(crate) static THREAD_NAMES: HashMap<u32, [u64; THREAD_NAME_WORDS]> =
    HashMap::with_max_entries(MAX_THREAD_NAMES, NO_PREALLOC);

/// Growing counters per stack. Apart from the hash table, so that a free, which knows the index, does
/// without that.
#[map]
pub(crate) static STACK_COUNTERS: maps::Array<StackCounters> =
    maps::Array::with_max_entries(DEFAULT_MAX_STACKS + SPARE_STACKS, MMAPABLE);

/// What is live of each stack by generation, [`GENERATION_CELLS`](tracer_common::GENERATION_CELLS) cells
/// a stack in the order of [`STACK_COUNTERS`]; a single one where no series is recorded.
#[map]
pub(crate) static GENERATIONS: maps::Array<GenerationCell> =
    maps::Array::with_max_entries(1, MMAPABLE);

/// The generation that allocations belong to now: the number of the window.
#[map]
pub(crate) static GENERATION: maps::Array<u64> = maps::Array::with_max_entries(1, 0);

/// Entries of [`STACK_COUNTERS`] that may be used again.
#[map]
pub(crate) static FREE_STACKS: Queue<u32> = Queue::with_max_entries(1, 0);

/// What came and went on each CPU and was not handed on yet, to [`LIVE_TOTAL`] and [`COUNTERS`]. By the number
/// of the CPU, since another may collect it.
#[map]
pub(crate) static FLOWS: maps::Array<Flow> = maps::Array::with_max_entries(1, MMAPABLE);

/// What is live in all heaps. Apart from the peak, which each event reads.
#[map]
pub(crate) static LIVE_TOTAL: maps::Array<LiveTotal> = maps::Array::with_max_entries(1, 0);

/// The most that was live at once.
#[map]
pub(crate) static PEAK: maps::Array<PeakMark> = maps::Array::with_max_entries(1, 0);

/// How many entries of [`STACK_COUNTERS`] were given out.
#[map]
pub(crate) static STACKS_USED: maps::Array<u64> = maps::Array::with_max_entries(1, 0);

/// Calls in flight, by tid. An entry stays for the life of its thread, so that a call costs
/// look-ups only.
#[map]
pub(crate) static PENDING: HashMap<u32, ThreadCalls> =
    HashMap::with_max_entries(MAX_PENDING_CALLS, NO_PREALLOC);

/// Calls that others have interrupted, by tid and depth. These entries, too, stay for the life of their
/// thread.
#[map]
pub(crate) static SUSPENDED: HashMap<u64, PendingCall> =
    HashMap::with_max_entries(MAX_PENDING_CALLS, NO_PREALLOC);

/// Counters by [`Counter`].
#[map]
pub(crate) static COUNTERS: PerCpuArray<u64> =
    PerCpuArray::with_max_entries(Counter::ALL.len() as u32, 0);

/// Whether calls count, see [`Gate`](tracer_common::Gate), and until when: where only windows are seen.
#[map]
pub(crate) static GATE: maps::Array<u64> = maps::Array::with_max_entries(GATE_WORDS, MMAPABLE);

/// What windows have seen, its [`WINDOW_WORDS`] words.
#[map]
pub(crate) static WINDOW: PerCpuArray<u64> = PerCpuArray::with_max_entries(WINDOW_WORDS, 0);

/// Rules by their number, the session's dictionary.
#[map]
pub(crate) static RULES: maps::Array<Rule> = maps::Array::with_max_entries(MAX_RULES, MMAPABLE);

/// Rules found before, by address: see [`tracer_common::rule_cache_key`].
#[map]
pub(crate) static RULE_CACHE: maps::Array<u64> =
    maps::Array::with_max_entries(RULE_CACHE_ENTRIES, MMAPABLE);

/// Where the words lie that a walk goes by, by [`tracer_common::shape_index`].
#[map]
pub(crate) static SHAPES: maps::Array<Shape> =
    maps::Array::with_max_entries(tracer_common::SHAPES, 0);

/// Stacks that were walked, by [`KnownStack::place`].
#[map]
pub(crate) static KNOWN: maps::Array<KnownStack> =
    maps::Array::with_max_entries(KNOWN_STACKS, MMAPABLE);

/// Unwind tables by their number.
#[btf_map]
pub(crate) static TABLES: ArrayOfMaps<Made<{ words::<Row>() }>, { MAX_TABLES as usize }> =
    ArrayOfMaps::new();

/// A row of an array of rows.
#[inline(always)]
pub(crate) fn row(table: u32, index: u32) -> Option<&'static Row> {
    let words = TABLES.get_value(table, &index)?;
    // SAFETY: user space has put a row there, and changes none that can be found.
    Some(unsafe { &*core::ptr::from_ref(words).cast() })
}

/// Executable mappings of all address spaces.
#[map]
pub(crate) static SPACES: maps::Array<SpaceEntry> =
    maps::Array::with_max_entries(SPACE_ENTRIES, MMAPABLE);

/// Where an address space's mappings are, by the number of its heap: a [`SpaceHead`](tracer_common::SpaceHead).
#[map]
pub(crate) static SPACE_HEADS: maps::Array<u64> =
    maps::Array::with_max_entries(MAX_HEAPS as u32 + 1, MMAPABLE);

/// Where the stack of a process's first thread begins, by the number of its address space; 0 where that is
/// not known.
#[map]
pub(crate) static STACK_STARTS: maps::Array<u64> =
    maps::Array::with_max_entries(MAX_HEAPS as u32 + 1, MMAPABLE);

/// Stacks copied so far, and how many may be.
#[map]
pub(crate) static COPIED: maps::Array<[u64; 2]> = maps::Array::with_max_entries(1, MMAPABLE);

/// Events told in words, and how many may be: see [`LOG_TRIED`](tracer_common::limits::LOG_TRIED).
#[map]
pub(crate) static LOG_BUDGET: maps::Array<u64> = maps::Array::with_max_entries(LOG_WORDS, 0);

/// Rare events: stacks seen for the first time, changes of processes.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);
