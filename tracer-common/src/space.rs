//! What the unwinder knows of an address space, and where it keeps the rules it has found.

use crate::hash::mix;
use crate::{Counter, StepFailure};

/// Rules with a fixed place in the dictionary. 0 is none of them: it says "not looked up yet".
pub mod rule_ids {
    /// A gap in a table.
    pub const GAP: u16 = 1;
    /// The first frame of a stack.
    pub const STOP: u16 = 2;
    /// Code without a table, walked along frame pointers.
    pub const FRAME_POINTER: u16 = 3;
    /// No mapping is known there.
    pub const UNMAPPED: u16 = 4;
    /// A rule that can't be followed.
    pub const UNSUPPORTED: u16 = 5;
    /// A gap in a table, walked along frame pointers. Unlike in code made at run time, `rbp` = 0 is no
    /// sign of a first frame: what leaves out the table leaves out frame pointers, too.
    pub const UNDESCRIBED: u16 = 6;
    /// No code: a return address that a return probe has replaced.
    pub const RETURN_PROBE: u16 = 7;
    /// The first that a table may use.
    pub const FIRST_FREE: u16 = 8;
}

/// Rules the dictionary has room for. Whole distributions have a few thousand.
pub const MAX_RULES: u32 = 1 << 16;
/// Arrays of rows that a session can have; modules found at one time share one.
pub const MAX_TABLES: u32 = 4_096;
/// Executable mappings that there is room for, of all address spaces together.
pub const SPACE_ENTRIES: u32 = 1 << 16;

/// Slot 0: sequence counter of publications (heaps count from 1). It counts the changes of the others, once when one begins
/// and once when it is done.
pub const PUBLICATIONS: u32 = 0;

/// Whether the mappings that a reader found may have been written over while it read, by the count of
/// [`PUBLICATIONS`] before and after. A change gives up entries when it is done, so that the next one may
/// write there; one that was under way at the beginning counts.
#[inline(always)]
#[must_use]
pub const fn may_be_overwritten(before: u64, after: u64) -> bool {
    after - (before & !1) > 2
}

/// Where the mappings of an address space stand among those of all: one word, so that it changes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpaceHead {
    /// Differs for each list of mappings that was ever published, so that what was cached for another
    /// is not found any more; 0 where none was.
    pub version: u16,
    /// Index of the first mapping.
    pub first: u32,
    /// How many there are.
    pub entries: u32,
}

impl SpaceHead {
    const FIELD: u32 = 24;

    /// The head as a word; its fields must be below 2^24.
    #[must_use]
    pub const fn to_word(self) -> u64 {
        (self.version as u64) << 48 | (self.first as u64) << Self::FIELD | self.entries as u64
    }

    /// The head in a word. That is 0 for an address space of which nothing is known.
    #[inline(always)]
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        const MASK: u64 = (1 << SpaceHead::FIELD) - 1;
        Self {
            version: (word >> 48) as u16,
            first: (word >> Self::FIELD & MASK) as u32,
            entries: (word & MASK) as u32,
        }
    }
}

/// An executable mapping. Those of an address space stand side by side, sorted by address and not
/// overlapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SpaceEntry {
    /// First address.
    pub start: u64,
    /// First address past the end.
    pub end: u64,
    /// Where `start` lies, counted as in the table's rows.
    pub pc: u32,
    /// Number of the array that holds the table, from 1; 0 where there is none: code made at run time;
    /// [`Self::RETURN_PROBES`].
    pub table: u32,
    /// The table's first row in that array.
    pub first: u32,
    /// Rows of the table.
    pub rows: u32,
}

impl SpaceEntry {
    /// In place of a table: the page that return probes make calls return to.
    pub const RETURN_PROBES: u32 = u32::MAX;
}

const _: () = assert!(size_of::<SpaceEntry>() == 32);

/// Entries of the rule cache.
pub const RULE_CACHE_ENTRIES: u32 = 1 << 16;

/// Where the rule for an address is cached: the entry, and what must stand in its upper 48 bits. A
/// bijection of version, address (47 bits in user space) and kind of address, so that an entry is
/// the answer or another's, never a wrong one; one word, so that it needs no lock.
#[inline(always)]
#[must_use]
pub const fn rule_cache_key(version: u64, ip: u64, is_return_address: bool) -> (u32, u64) {
    let address = (ip << 1 | is_return_address as u64) & ((1 << 48) - 1);
    let hash = mix(version << 48 | address);
    ((hash >> 48) as u32, hash << 16)
}

/// Why a walk ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum StackEnd {
    /// At the first frame of the process or thread: the stack is whole.
    #[default]
    Root = 0,
    /// The walk along frame pointers found no more; that may be the root.
    FramePointers = 1,
    /// There is no unwind rule for the last frame.
    NoRule = 2,
    /// The last frame's rule is one that is not followed.
    UnsupportedRule = 3,
    /// Stack memory could not be read.
    Unreadable = 4,
    /// The caller's frame would have been below its callee's, or at an odd address.
    NotRising = 5,
    /// The last frame lies in no known mapping.
    Unmapped = 6,
    /// There were more frames than are kept.
    TooDeep = 7,
    /// The last frame's function has changed to another stack, and nothing leads back.
    Switched = 8,
    /// The frame above follows no call: the walk has left the stack. Found out when frames are named.
    NotCalled = 9,
    /// The frame above lies where code was replaced. Found out when frames are named.
    Replaced = 10,
}

impl StackEnd {
    /// All of them, in order of their numbers.
    pub const ALL: [Self; 11] = [
        Self::Root,
        Self::FramePointers,
        Self::NoRule,
        Self::UnsupportedRule,
        Self::Unreadable,
        Self::NotRising,
        Self::Unmapped,
        Self::TooDeep,
        Self::Switched,
        Self::NotCalled,
        Self::Replaced,
    ];

    /// The end with a number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(number as usize).copied()
    }

    /// The counter of the stacks that end like this; `None` for those that are whole or may be.
    #[inline(always)]
    #[must_use]
    pub const fn counter(self) -> Option<Counter> {
        Some(match self {
            Self::Root | Self::FramePointers | Self::NotCalled | Self::Replaced => return None,
            Self::NoRule => Counter::CutNoRule,
            Self::UnsupportedRule => Counter::CutUnsupportedRule,
            Self::Unreadable => Counter::CutUnreadable,
            Self::NotRising => Counter::CutNotRising,
            Self::Unmapped => Counter::CutUnmapped,
            Self::TooDeep => Counter::CutTooDeep,
            Self::Switched => Counter::CutSwitched,
        })
    }

    /// The end that a step leads to which finds no caller.
    #[inline(always)]
    #[must_use]
    pub const fn of_failure(failure: StepFailure) -> Self {
        match failure {
            StepFailure::NoRule => Self::NoRule,
            StepFailure::UnsupportedRule => Self::UnsupportedRule,
            StepFailure::Unreadable => Self::Unreadable,
            StepFailure::NotRising | StepFailure::Misaligned => Self::NotRising,
            StepFailure::StackSwitched => Self::Switched,
        }
    }

    /// What stands in a profile in place of the frames that are missing; `None` where none are known
    /// to be.
    #[must_use]
    pub const fn frame(self) -> Option<&'static str> {
        Some(match self {
            Self::Root | Self::FramePointers => return None,
            Self::NoRule => "[stack cut: no unwind rule]",
            Self::UnsupportedRule => "[stack cut: unwind rule not supported]",
            Self::Unreadable => "[stack cut: memory unreadable]",
            Self::NotRising => "[stack cut: no frame above]",
            Self::Unmapped => "[stack cut: code in no known mapping]",
            Self::TooDeep => "[stack cut: too deep]",
            Self::Switched => "[stack cut: switch to another stack]",
            Self::NotCalled => "[stack cut: no call leads on]",
            Self::Replaced => "[stack cut: code was replaced]",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_keys_are_never_shared() {
        let addresses = [0x40_1000, 0x40_1001, 0x7fff_ffff_ffff];
        let mut keys: [(u32, u64); 12] = [(0, 0); 12];
        let mut count = 0;
        for version in [1, 2] {
            for ip in addresses {
                for is_return_address in [false, true] {
                    let (index, tag) = rule_cache_key(version, ip, is_return_address);
                    assert!(index < RULE_CACHE_ENTRIES);
                    assert_eq!(tag & 0xffff, 0);
                    assert!(!keys[..count].contains(&(index, tag)));
                    keys[count] = (index, tag);
                    count += 1;
                }
            }
        }
    }

    #[test]
    fn entries_outlive_the_change_that_gives_them_up() {
        // Nothing under way: one change may come and go, the next must not begin.
        assert!(!may_be_overwritten(4, 4));
        assert!(!may_be_overwritten(4, 6));
        assert!(may_be_overwritten(4, 7));
        // One under way: it may end.
        assert!(!may_be_overwritten(5, 6));
        assert!(may_be_overwritten(5, 7));
    }

    #[test]
    fn heads_fit_a_word() {
        let head = SpaceHead {
            version: u16::MAX,
            first: SPACE_ENTRIES - 1,
            entries: SPACE_ENTRIES,
        };
        assert_eq!(SpaceHead::from_word(head.to_word()), head);
        assert_eq!(SpaceHead::from_word(0).entries, 0);
    }

    #[test]
    fn ends_have_their_numbers() {
        for (number, end) in StackEnd::ALL.into_iter().enumerate() {
            assert_eq!(end as usize, number);
            assert_eq!(StackEnd::from_number(number as u32), Some(end));
        }
        assert_eq!(StackEnd::from_number(StackEnd::ALL.len() as u32), None);
    }
}
