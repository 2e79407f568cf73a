//! The states of the walks. They lie in a scratch slot: of what lies in a map the verifier assumes nothing, so that
//! all calls of a callback look alike to it. On the BPF stack it would follow each.

use tracer_common::{Recognition, StackHash};

/// A walk under way, along frame pointers.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Walk {
    // In an order that keeps what begins as 0 apart: LLVM makes a call of memset from neighbours,
    // a loop over bytes.
    /// Where the window begins; nothing lies at 0.
    pub(crate) base: u64,
    /// The next frame's return address.
    pub(crate) address: u64,
    pub(crate) hash: StackHash,
    /// Where its saved frame pointer lies.
    pub(crate) frame: u64,
    /// Frames so far.
    pub(crate) len: u64,
}

/// A walk under way, by tables.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Unwind {
    // In an order that keeps what begins as 0 apart, see `Walk`.
    /// What the window holds: from here…
    pub(crate) base: u64,
    pub(crate) ip: u64,
    /// … up to here.
    pub(crate) limit: u64,
    pub(crate) sp: u64,
    pub(crate) hash: StackHash,
    pub(crate) bp: u64,
    /// Frames so far.
    pub(crate) len: u64,
    /// The address space's first mapping.
    pub(crate) space: u64,
    /// 1 where `ip` is a return address.
    pub(crate) is_return_address: u64,
    pub(crate) version: u64,
    /// Rules searched for.
    pub(crate) searches: u64,
    /// Mappings.
    pub(crate) entries: u64,
    /// A [`StackEnd`].
    pub(crate) end: u64,
    /// Where code in no known mapping is taken to keep a frame pointer, because there is no copy:
    /// [`MAY_GUESS`], and [`GUESSED`] once there was such code. Else 0.
    pub(crate) guesses: u64,
    /// The stack's identity where it was copied, else 0.
    pub(crate) copied: u64,
    /// Bounds of a search: the entry sought lies in `low..high`.
    pub(crate) low: u64,
    pub(crate) high: u64,
    /// What is sought.
    pub(crate) wanted: u64,
    /// Where: the number of an array of rows, and the first of the table.
    pub(crate) table: u64,
    pub(crate) first: u64,
}

/// A recognition under way.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Known {
    pub(crate) recognition: Recognition,
    /// The slot to be taken next.
    pub(crate) next: u64,
    /// What the window does not hold: an address of the stack; 0 for none.
    pub(crate) missing: u64,
    /// The slot at the end of the shape, once that is reached; else [`RUNNING`].
    pub(crate) end: u64,
    /// Index of the counters of the stack; [`NONE`] where it was not recognised.
    pub(crate) index: u32,
    pub(crate) padding: u32,
    /// The check of the stack that was walked; 0 where it can't be remembered.
    pub(crate) check: u64,
}
