//! What the eBPF side sends through the ring buffer: rare events only, never one per allocation.

use crate::limits::{COPY_WORDS, MAX_FRAMES};

/// The kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum EventKind {
    /// A stack seen for the first time; followed by its frames.
    Stack = 1,
    /// A traced process replaced its image; `life` is the new one, `value` the new heap, and in the upper
    /// half the one that is gone.
    Exec = 2,
    /// The last thread of a traced process is about to exit.
    Exit = 3,
    /// A traced process has a child that is traced too; `value` is the child's tgid and, in the upper half,
    /// its heap.
    Fork = 4,
    /// The live table has begun to use its last segment; `value` is the number of the next.
    LiveTableFilling = 5,
    /// A stack that is still to be walked; see [`StackCopyEvent`].
    StackCopy = 6,
}

/// Head of every event.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct EventHeader {
    /// An [`EventKind`].
    pub kind: u32,
    /// Frames that follow, or words of a copy; 0 for all but stacks.
    pub frames: u32,
    /// Process the event belongs to.
    pub tgid: u32,
    /// Life of the process, see [`TargetInfo::life`](crate::TargetInfo::life).
    pub life: u32,
    /// `CLOCK_MONOTONIC` in nanoseconds, to place the event among the process's mappings.
    pub time_ns: u64,
    /// The stack's identity, or the child's tgid.
    pub value: u64,
    /// A stack's [`StackEnd`](crate::StackEnd).
    pub end: u32,
    /// Padding.
    pub reserved: u32,
}

/// A stack event: the head and up to [`MAX_FRAMES`] return addresses, leaf first. Only
/// `header.frames` of them are sent.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct StackEvent {
    /// Head.
    pub header: EventHeader,
    /// Return addresses, leaf first.
    pub frames: [u64; MAX_FRAMES],
}

/// A stack as it lay in memory, with the registers to walk it by. Only as many bytes as there are to
/// `header.frames` words are sent.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct StackCopyEvent {
    /// Head. `frames` counts words here.
    pub header: EventHeader,
    /// Where the allocating function returns to.
    pub ip: u64,
    /// Stack pointer there, and address of the first word.
    pub sp: u64,
    /// `rbp` there.
    pub bp: u64,
    /// The stack from `sp` on.
    pub words: [u64; COPY_WORDS],
}

const _: () = assert!(size_of::<EventHeader>() == 40);
const _: () = assert!(size_of::<StackCopyEvent>() == 64 + 8 * COPY_WORDS);
const _: () = assert!(size_of::<StackEvent>() == 40 + 8 * MAX_FRAMES);
