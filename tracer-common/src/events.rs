//! What the eBPF side sends through the ring buffer: rare events only, never one per allocation.

use crate::limits::{COPY_WORDS, MAX_FRAMES};

/// The kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum EventKind {
    /// A stack seen for the first time; followed by its frames.
    Stack = 1,
    /// A traced process replaced its image: a [`ProcessEvent`].
    Exec = 2,
    /// The last thread of a traced process is about to end: a [`ProcessEvent`].
    Exit = 3,
    /// A traced process has a child that is traced too: a [`ProcessEvent`].
    Fork = 4,
    /// The live table has begun to use its last segment; `value` is the number of the next.
    LiveTableFilling = 5,
    /// A stack that is still to be walked; see [`StackCopyEvent`].
    StackCopy = 6,
    /// The first thread of a traced process is about to end, and others may go on: a [`ProcessEvent`].
    /// Not sent where children are followed: no probe depends on that thread then.
    FirstThreadExit = 7,
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
    /// Image of the process, see [`TargetInfo::image`](crate::TargetInfo::image); of an [`EventKind::Exec`]
    /// the one that is replaced, of an [`EventKind::Fork`] the parent's.
    pub image: u32,
    /// `CLOCK_MONOTONIC` in nanoseconds, to place the event among the process's mappings.
    pub time_ns: u64,
    /// The stack's identity, or the number of the live table's next segment.
    pub value: u64,
    /// A stack's [`StackEnd`](crate::StackEnd).
    pub end: u32,
    /// A stack's thread, see [`StackKey::thread`](crate::StackKey::thread).
    pub thread: u32,
}

/// A change in the life of a process.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct ProcessEvent {
    /// Head.
    pub header: EventHeader,
    /// The child's tgid where this is a fork, else 0.
    pub child: u32,
    /// The image that begins, else 0.
    pub image: u32,
    /// Its heap; 0 where there was no number left for it, and it is not traced.
    pub heap: u32,
    /// Heap of the image in the header.
    pub old_heap: u32,
    /// [`Self::BORROWED`], [`Self::OTHER_THREAD`].
    pub flags: u32,
    /// Padding.
    pub reserved: u32,
}

impl ProcessEvent {
    /// The image in the header is another process's, and does not end.
    pub const BORROWED: u32 = 1;
    /// Another thread than the first has called exec.
    pub const OTHER_THREAD: u32 = 2;
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
const _: () = assert!(size_of::<ProcessEvent>() == 64);
const _: () = assert!(size_of::<StackCopyEvent>() == 64 + 8 * COPY_WORDS);
const _: () = assert!(size_of::<StackEvent>() == 40 + 8 * MAX_FRAMES);
