//! Sizes that both sides must agree on.

/// Most frames a stack can have; the kernel's own default for `kernel.perf_event_max_stack`.
pub const MAX_FRAMES: usize = 127;

/// Words of a stack that are read at once; a power of two.
pub const WINDOW_WORDS: usize = 128;

/// Scratch slots per CPU for collecting a stack. A program can be preempted while it holds one,
/// and the next task on that CPU then takes the next; one that finds none free is counted in
/// [`Counter::StackScratchBusy`](crate::Counter::StackScratchBusy).
pub const SCRATCH_SLOTS: u32 = 4;

/// Threads that can be inside an allocator function at the same time.
pub const MAX_PENDING_CALLS: u32 = 65_536;

/// Processes that one session can follow (the target and, where asked for, its children).
pub const MAX_TARGETS: u32 = 4_096;

/// Default capacity of the live table, in allocations.
pub const DEFAULT_MAX_LIVE: u32 = 1 << 20;

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
