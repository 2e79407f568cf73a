//! Sizes that both sides must agree on.

/// Most frames a stack can have; a power of two.
pub const MAX_FRAMES: usize = 256;

/// Words of a stack that are read at once; a power of two.
pub const WINDOW_WORDS: usize = 256;

/// Words from the stack pointer on that are read of a stack which needs no more, see
/// [`slot::LOW`](crate::slot::LOW); a power of two.
pub const LOW_WORDS: usize = 128;

/// Words of a stack that are copied at most, a power of two: 64 KiB.
pub const COPY_WORDS: usize = 8_192;

/// Copies that can be under way at the same time, on all CPUs.
pub const COPY_SLOTS: u32 = 2;

/// Stacks that may be copied before the news of a mapping has arrived. There is code that never becomes
/// known, and a copy costs the target microseconds.
pub const MAX_COPIES: u64 = 4_096;

/// Scratch slots per CPU for collecting a stack. A program can be preempted while it holds one,
/// and the next task on that CPU then takes the next; one that finds none free is counted in
/// [`Counter::StackScratchBusy`](crate::Counter::StackScratchBusy).
pub const SCRATCH_SLOTS: u32 = 4;

/// Threads that can be inside an allocator function at the same time.
pub const MAX_PENDING_CALLS: u32 = 65_536;

/// Calls of a thread that can be interrupted at the same time, each by the next: by signal handlers, or
/// because the allocator calls something that allocates.
pub const MAX_SUSPENDED_CALLS: u32 = 8;

/// Names of threads that are told. What is over that stands without a name.
pub const MAX_THREAD_NAMES: u32 = 4096;

/// Processes that one session can follow at the same time (the target and, where asked for, its children).
pub const MAX_TARGETS: u32 = 65_536;

/// Slots of the live table that an allocation is given room by: a table in use can't fill evenly.
pub const LIVE_SLOTS_PER_ALLOCATION: u64 = 2;

/// Heaps that one session can tell apart at the same time: each image of each process has one.
pub const MAX_HEAPS: u64 = 65_535;

/// Entries of the stacks' counters beyond the capacity of the stack table: two CPUs that see a new stack
/// at one time use up one each, and one of them is lost.
pub const SPARE_STACKS: u32 = 1_024;

/// Default capacity of the stack table, in distinct stacks.
pub const DEFAULT_MAX_STACKS: u32 = 1 << 18;

/// Size of the event ring in bytes; a power of two and a multiple of the page size.
pub const RING_BYTES: u32 = 16 << 20;

/// How far apart an allocator's functions lie in their module, and how much stack they use below
/// their entry, in bytes. glibc's lie within 16 KiB, whose `malloc` and its relatives are one object
/// file and its neighbours.
pub const ALLOCATOR_REACH: u64 = 64 << 10;

/// Most allocator functions that one call enters from inside; glibc's deepest nesting is two.
pub const MAX_NESTED_CALLS: u32 = 16;

/// `BPF_F_MMAPABLE`, for tables that user space reads or clears without a call for each entry.
pub const MMAPABLE: u32 = 1 << 10;

/// And for those in a map of maps: `BPF_F_INNER_MAP`, so that they may differ in size.
pub const INNER_MAPPABLE: u32 = MMAPABLE | (1 << 12);

/// Where in `LOG_BUDGET` it says how many events were to be told in words.
pub const LOG_TRIED: u32 = 0;
/// Of those, how many may be: user space raises it each second.
pub const LOG_ALLOWED: u32 = 1;
/// Those that were not told.
pub const LOG_REFUSED: u32 = 2;
/// Words of `LOG_BUDGET`.
pub const LOG_WORDS: u32 = 3;

/// Bytes of a page: what is mapped or not as a whole.
pub const PAGE_BYTES: u64 = 4096;
