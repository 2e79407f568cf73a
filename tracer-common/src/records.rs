//! Keys and values of the kernel maps.

/// Settings that user space writes before the programs are loaded. All in one value so that one
/// read-only global carries them.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Config {
    /// Device of the pid namespace whose pids are used, or 0 for the initial namespace.
    pub pidns_dev: u64,
    /// Inode of that namespace, or 0.
    pub pidns_ino: u64,
    /// Process that the session began with: it is looked up without a hash.
    pub main_tgid: u32,
    /// How stacks are walked: see [`Unwinding`].
    pub unwinding: u32,
    /// Not 0 where live amounts are counted by generation, too, see
    /// [`GenerationCell`](crate::GenerationCell).
    pub generations: u32,
    /// Where the kernel keeps what tells of children; all 0 where they are not followed.
    pub task: TaskOffsets,
    /// Buckets of the live table's first segment, see [`segment_buckets`](crate::segment_buckets).
    pub live_buckets: u32,
    /// Not 0 where stacks that are recognised are walked as well, see
    /// [`Counter::StacksMistaken`](crate::Counter::StacksMistaken).
    pub audit: u32,
    /// Where return addresses are that return probes have replaced.
    pub return_probes: ReturnProbes,
    /// Where a thread's alternate signal stack is told.
    pub alternate_stack: AlternateStack,
    /// How exactly the peak is kept: see [`peak_step`](crate::peak_step).
    pub peak_shift: u32,
    /// Byte offset of `vm_file` in `vm_area_struct`, which tells what memory belongs to a file; 0 where memory
    /// is not followed as it becomes resident.
    pub vm_file: u32,
    /// Not 0 where stacks are told apart by the names of their threads.
    pub by_thread: u32,
    /// Padding.
    pub reserved: u32,
}

/// Byte offsets in `task_struct`: where the thread's alternate signal stack begins, and its size. All 0
/// where the kernel's types are not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct AlternateStack {
    /// `sas_ss_sp`.
    pub address: u32,
    /// `sas_ss_size`.
    pub size: u32,
}

/// Byte offsets in the kernel's structures, on the way to the return addresses that return probes have
/// replaced: the task's probes, their list of calls that have not returned, and what stands there. All 0
/// where nobody needs them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ReturnProbes {
    /// `utask` in `task_struct`.
    pub utask: u32,
    /// `return_instances` in `uprobe_task`.
    pub instances: u32,
    /// `stack` in `return_instance`: where the return address lies.
    pub stack: u32,
    /// `orig_ret_vaddr` in `return_instance`: the return address.
    pub address: u32,
    /// `next` in `return_instance`.
    pub next: u32,
    /// Padding.
    pub reserved: u32,
}

/// Byte offsets in the kernel's structures, on the way from a task to its process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TaskOffsets {
    /// `tgid` in `task_struct`.
    pub tgid: u32,
    /// `mm` in `task_struct`.
    pub mm: u32,
    /// `signal` in `task_struct`.
    pub signal: u32,
    /// `live` in `signal_struct`: how many threads have not ended.
    pub live: u32,
    /// Padding.
    pub reserved: u32,
}

/// How stacks are walked; [`Config::unwinding`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum Unwinding {
    /// Along frame pointers.
    FramePointers = 0,
    /// By call frame information only.
    Tables = 1,
    /// By call frame information, and along frame pointers where there is none.
    #[default]
    Auto = 2,
}

/// A traced process, keyed by its tgid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TargetInfo {
    /// Number of the process's image among all of the session, from 1. An image is one run of one
    /// program: exec begins a new one, and so does fork in the child. No number is used twice.
    pub image: u32,
    /// Number of the image's heap, from 1 to [`MAX_HEAPS`](crate::limits::MAX_HEAPS). It is used again
    /// when the image has ended and nothing of its heap is left in the live table.
    pub heap: u32,
    /// Heap of the process whose mappings these were at first: its own, or after fork the parent's.
    pub space: u32,
    /// Not 0 where image and heap are another process's: a child of vfork has them of its parent
    /// until it calls exec.
    pub borrowed: u32,
}

/// A live allocation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct LiveRecord {
    /// Bytes asked for.
    pub size: u64,
    /// Stack it was allocated from, as an index into the stacks' counters.
    pub stack: u32,
    /// Generation it belongs to; 0 where these are not counted.
    pub generation: u32,
}

impl LiveRecord {
    /// From a size and what [`Self::place`] gave.
    #[inline(always)]
    #[must_use]
    pub const fn new(size: u64, place: u64) -> Self {
        Self {
            size,
            stack: place as u32,
            generation: (place >> 32) as u32,
        }
    }

    /// Stack and generation in a word.
    #[inline(always)]
    #[must_use]
    pub const fn place(&self) -> u64 {
        (self.generation as u64) << 32 | self.stack as u64
    }
}

/// Key of a stack's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct StackKey {
    /// Identity of the stack, see [`StackHash`](crate::StackHash); 0 for the allocations whose
    /// stack could not be read.
    pub stack: u64,
    /// Image it was seen in, see [`TargetInfo::image`].
    pub image: u32,
    /// Name of the thread, see [`thread_id`](crate::thread_id); 0 where threads are not told apart.
    pub thread: u32,
}

/// What one stack has allocated and given back. The counters only grow: live is the difference.
///
/// A reader takes the freed side first: then it sees a free only after its allocation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct StackCounters {
    /// Which stack; all 0 where the entry is not in use.
    pub key: StackKey,
    /// Objects freed.
    pub freed_objects: u64,
    /// Bytes freed.
    pub freed_bytes: u64,
    /// Objects allocated.
    pub alloc_objects: u64,
    /// Bytes allocated.
    pub alloc_bytes: u64,
    /// Objects live when the peak was declared that [`Self::peak_epoch`] names.
    pub peak_objects: u64,
    /// Bytes live then.
    pub peak_bytes: u64,
    /// The last peak whose amounts are kept here: those of later ones are what is live, since nothing has
    /// changed; see [`PeakWord`](crate::PeakWord).
    pub peak_epoch: u32,
    /// Not 0 once the frames have been handed to the event ring.
    pub sent: u16,
    /// Not 0 where the image is gone that allocated, with all its memory.
    pub released: u16,
}

/// A call of an allocating function that has not returned yet. Functions entered by the allocator from
/// inside another belong to the outer call, and have none.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct PendingCall {
    /// Stack pointer at the function's entry, or 0 where there is no call.
    pub sp: u64,
    /// Cookie of the function, see [`AllocatorFn`](crate::AllocatorFn).
    pub function: u64,
    /// Bytes asked for; `u64::MAX` where `nmemb * size` overflows.
    pub size: u64,
    /// `posix_memalign`'s result pointer.
    pub result_pointer: u64,
    /// The block to be resized, or 0.
    pub old_address: u64,
    /// The record of that block while it is out of the live table; [`Self::old_known`] says
    /// whether there is one.
    pub old: LiveRecord,
    /// Not 0 where `old` holds a record.
    pub old_known: u32,
    /// Allocator functions entered from inside this call so far.
    pub nested: u32,
    /// How many of these have returned, where all returns are seen.
    pub nested_returned: u32,
    /// Not 0 where another call has interrupted this one.
    pub interrupted: u32,
}

/// What a thread is in the middle of, keyed by its tid.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct ThreadCalls {
    /// The call that began last, of those that count by themselves; its `sp` is 0 where there is none.
    pub call: PendingCall,
    /// The last block given to `free_sized` or `free_aligned_sized`, which may hand on to `free`.
    pub sized_free: u64,
    /// The last block that a call gave out which had interrupted another; 0 where there is none.
    pub inner: u64,
    /// Highest stack pointer that a call began at.
    pub highest: u64,
    /// Calls that are interrupted, each by the next one, the last of them by [`Self::call`].
    pub depth: u32,
    /// Most of these that there ever were.
    pub deepest: u32,
}

const _: () = {
    assert!(size_of::<TargetInfo>() == 16);
    assert!(size_of::<LiveRecord>() == 16);
    assert!(size_of::<StackKey>() == 16);
    assert!(size_of::<StackCounters>() == 72);
    assert!(size_of::<PendingCall>() == 72);
    assert!(size_of::<ThreadCalls>() == 104);
    assert!(size_of::<Config>() == 104);
};

#[cfg(feature = "user")]
mod pod {
    use super::{
        Config, LiveRecord, PendingCall, StackCounters, StackKey, TargetInfo, ThreadCalls,
    };
    use crate::{Flow, GenerationCell, KnownStack, LiveBucket, LiveTotal, PeakMark, SpaceEntry};

    macro_rules! pod {
        ($($ty:ty),+) => {$(
            // SAFETY: repr(C), integers only, no padding (asserted above): every bit pattern is
            // a value.
            unsafe impl aya::Pod for $ty {}
        )+};
    }
    pod!(
        Config,
        Flow,
        GenerationCell,
        KnownStack,
        LiveBucket,
        SpaceEntry,
        LiveRecord,
        LiveTotal,
        PeakMark,
        PendingCall,
        StackCounters,
        StackKey,
        TargetInfo,
        ThreadCalls
    );
}
