//! Stacks that were walked before, recognised by the words that the walk went by.
//!
//! A walk by tables reads few words of a stack, and fewer decide where it goes: the return addresses,
//! and what tells where the next frame is (a saved `rbp` that a rule finds its frame through, a saved
//! stack pointer). Where they lie, counted from the first stack pointer, is the stack's [`Shape`]; what
//! stands there is hashed to its check. From an equal check follows an equal walk, frame by frame: the
//! same address has the same rule, this leads to the same place, relative to the first stack pointer, and
//! the same address stands there. All else on the stack does not matter. `docs/design/0017-known-stacks.md`
//! has the figures.
//!
//! Shapes are hints: whatever stands in one, also half of one and half of another, the check tells, since
//! it takes in the places as well as the words. So neither needs a lock.

use core::marker::PhantomData;
use core::ptr::write_volatile;

use crate::hash::mix;
use crate::limits::LOW_WORDS;
use crate::{RbpRule, Registers, Rule, RuleKind, StackHash};

/// Slots of a shape that can be in use, a power of two: one a frame, two where frames are found through
/// `rbp`.
pub const SHAPE_SLOTS: usize = 256;

/// Slots that may be looked at from any of those on.
pub const SLOTS_AT_ONCE: usize = 16;

/// Shapes that are remembered.
pub const SHAPES: u32 = 1 << SHAPE_BITS;
const SHAPE_BITS: u32 = 12;

/// Stacks that are remembered.
pub const KNOWN_STACKS: u32 = 1 << KNOWN_BITS;
const KNOWN_BITS: u32 = 16;

/// Where a stack's words lie that a walk went by, in the order in which it did. The first slot is the
/// register `rbp`'s; one that is no [`slot::WORD`] stands behind the last.
pub type Shape = [u16; SHAPE_SLOTS + SLOTS_AT_ONCE];

/// A shape that other CPUs may read and write at the same time: no reference to it is formed, and each slot
/// is written by itself.
#[derive(Clone, Copy, Debug)]
pub struct SharedShape<'a> {
    shape: *mut Shape,
    lives: PhantomData<&'a Shape>,
}

impl SharedShape<'_> {
    /// Of a place that others may use.
    ///
    /// # Safety
    ///
    /// The pointer is valid and aligned as long as this lives, and whoever else uses the place reads and
    /// writes slot by slot, too.
    #[inline(always)]
    #[must_use]
    pub const unsafe fn new(shape: *mut Shape) -> Self {
        Self {
            shape,
            lives: PhantomData,
        }
    }

    /// Writes a slot. The mask matters only to a stack that is given up.
    #[inline(always)]
    fn set(self, at: u64, slot: u16) {
        // SAFETY: a valid pointer, and within the shape.
        unsafe {
            write_volatile(
                &raw mut (*self.shape)[at as usize & (SHAPE_SLOTS - 1)],
                slot,
            )
        };
    }
}

impl<'a> From<&'a mut Shape> for SharedShape<'a> {
    fn from(shape: &'a mut Shape) -> Self {
        Self {
            shape,
            lives: PhantomData,
        }
    }
}

/// A slot's upper two bits say what stands there, the others at which word from the first stack pointer
/// on.
pub mod slot {
    /// Nothing, and the shape ends here. In slot 0: `rbp` was not used.
    pub const END: u16 = 0;
    /// A 0, and the shape ends here.
    pub const ZERO: u16 = 1 << 14;
    /// A return address.
    pub const WORD: u16 = 1 << 15;
    /// An address on the stack, which counts relative to the first stack pointer.
    pub const RELATIVE: u16 = WORD | ZERO;
    /// The bits that say where.
    pub const PLACE: u16 = ZERO - 1;
    /// In the register's slot, which has no place: all words are among the first
    /// [`LOW_WORDS`](crate::limits::LOW_WORDS). A hint, as the others.
    pub const LOW: u16 = 1;
}

/// Where a shape is remembered: by the version of the mappings, the first return address, and the stack
/// pointer's place in a page, which tells most paths to it apart, and not one thread from another.
#[inline(always)]
#[must_use]
pub const fn shape_index(version: u64, ip: u64, sp: u64) -> u32 {
    (mix(ip ^ version << 47 ^ sp << 52) >> (64 - SHAPE_BITS)) as u32
}

/// A stack that was walked: its check and the index of its counters, without a lock. The second word is
/// the index; where one is another's than the other, the first does not fit the check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct KnownStack {
    /// The check, with the bits of [`Self::index`] flipped that are 1.
    pub check: u64,
    /// Index of the stack's counters.
    pub index: u64,
}

impl KnownStack {
    /// Of a stack's check and the index of its counters.
    #[inline(always)]
    #[must_use]
    pub const fn new(check: u64, index: u32) -> Self {
        Self {
            check: check ^ index as u64,
            index: index as u64,
        }
    }

    /// Where it is remembered.
    #[inline(always)]
    #[must_use]
    pub const fn place(check: u64) -> u32 {
        (check >> (64 - KNOWN_BITS)) as u32
    }

    /// The index, if this is the stack with the check. A check is never 0, so that an empty entry is none.
    #[inline(always)]
    #[must_use]
    pub const fn index_of(self, check: u64) -> Option<u32> {
        if self.check ^ self.index == check {
            Some(self.index as u32)
        } else {
            None
        }
    }
}

/// What a walk goes by, noted as it goes.
///
/// With few branches: the verifier follows each way through, for every frame.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Trail {
    /// The stack pointer that the walk began with.
    sp: u64,
    /// And `rbp`.
    bp: u64,
    /// Slots so far; at some time more than there are where the stack can't be remembered.
    len: u64,
    /// All places so far, one on the other: whether any is [`OUT_OF_REACH`].
    places: u64,
    /// The place where the present `rbp` was read; [`IN_REGISTER`].
    bp_from: u64,
    /// The register's slot.
    register: u64,
    check: Check,
}

/// A word that is too far up for a slot, as are all above it.
const OUT_OF_REACH: u64 = slot::PLACE as u64 + 1;
/// No place: it was there when the walk began.
const IN_REGISTER: u64 = u64::MAX;

impl Trail {
    /// Of a walk that begins with these registers.
    #[inline(always)]
    #[must_use]
    pub const fn new(owner: Owner, first: Registers) -> Self {
        Self {
            sp: first.sp,
            bp: first.bp,
            len: 1,
            places: 0,
            bp_from: IN_REGISTER,
            register: slot::END as u64,
            check: Check::new(owner, first.ip),
        }
    }

    /// A rule has led from one frame to another, whose address and `rbp` were read there; see
    /// [`Step`](crate::Step).
    #[inline(always)]
    pub fn climb(
        &mut self,
        shape: SharedShape<'_>,
        rule: &Rule,
        (from, to): (Registers, Registers),
        (ip_at, bp_at): (u64, u64),
    ) {
        let base = self.base(shape, rule, from);
        if rule.kind == RuleKind::CfaDerefSp as u8 || rule.kind == RuleKind::CfaDerefBp as u8 {
            let at = base.wrapping_add_signed(i64::from(rule.cfa_offset));
            let address = to.sp.wrapping_sub(i64::from(rule.second).cast_unsigned());
            self.note(shape, slot::RELATIVE, self.place(at), address);
        }
        self.note(shape, slot::WORD, self.place(ip_at), to.ip);
        if rule.rbp != RbpRule::Same as u8 {
            // Where it was not read, at 0, which is out of reach: that is no frame.
            self.bp_from = self.place(bp_at);
        }
    }

    /// A return address of 0 was read: the root.
    #[inline(always)]
    pub fn end_at_zero(
        &mut self,
        shape: SharedShape<'_>,
        rule: &Rule,
        from: Registers,
        ip_at: u64,
    ) {
        self.base(shape, rule, from);
        if rule.kind == RuleKind::CfaDerefSp as u8 || rule.kind == RuleKind::CfaDerefBp as u8 {
            self.give_up();
        }
        self.note(shape, slot::ZERO, self.place(ip_at), 0);
    }

    /// The root is where it is because `rbp` is 0.
    #[inline(always)]
    pub fn end_by_bp(&mut self, shape: SharedShape<'_>) {
        self.note_bp(shape, slot::ZERO, 0);
    }

    /// The walk went by something else, too.
    #[inline(always)]
    pub const fn give_up(&mut self) {
        self.places = OUT_OF_REACH;
    }

    /// Ends the shape at the root. Returns the check to be remembered; 0 where the stack can't be. It comes
    /// from the walk alone: others may have written the shape meanwhile.
    #[inline(always)]
    #[must_use]
    pub fn finish(&self, shape: SharedShape<'_>) -> u64 {
        let register = self.register as u16;
        shape.set(self.len, slot::END);
        // No branch, as above: the sign of a difference.
        let is_low = self.places.wrapping_sub(LOW_WORDS as u64) >> 63;
        shape.set(0, register | (is_low as u16 * slot::LOW));
        if self.len >= SHAPE_SLOTS as u64 || self.places >= OUT_OF_REACH {
            return 0;
        }
        self.check.finish(register, self.sp, self.bp)
    }

    /// The register that a rule finds the frame through.
    #[inline(always)]
    fn base(&mut self, shape: SharedShape<'_>, rule: &Rule, from: Registers) -> u64 {
        if rule.kind == RuleKind::CfaBp as u8
            || rule.kind == RuleKind::CfaDerefBp as u8
            || rule.kind == RuleKind::Switch as u8
        {
            self.note_bp(shape, slot::RELATIVE, from.bp);
            return from.bp;
        }
        if rule.rbp == RbpRule::AtBp as u8 {
            // There, unlike above, it counts whether `rbp` is 0.
            self.give_up();
        }
        from.sp
    }

    /// The word of the stack at an address.
    #[inline(always)]
    const fn place(&self, address: u64) -> u64 {
        address.wrapping_sub(self.sp) / 8
    }

    #[inline(always)]
    fn note_bp(&mut self, shape: SharedShape<'_>, kind: u16, bp: u64) {
        if self.bp_from == IN_REGISTER {
            self.register = kind as u64;
        } else {
            self.note(shape, kind, self.bp_from, bp);
        }
    }

    #[inline(always)]
    fn note(&mut self, shape: SharedShape<'_>, kind: u16, place: u64, word: u64) {
        let slot = kind | place as u16 & slot::PLACE;
        shape.set(self.len, slot);
        self.len += 1;
        self.places |= place;
        self.check = self.check.push(slot, word, self.sp);
    }
}

/// Whose stack it is: what else the answer of a walk is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Version of the mappings.
    pub version: u64,
    /// Image of the process, see [`TargetInfo::image`](crate::TargetInfo::image).
    pub image: u32,
}

/// The hash of all that a walk goes by.
#[derive(Clone, Copy, Debug, Default)]
#[repr(transparent)]
struct Check(StackHash);

impl Check {
    #[inline(always)]
    const fn new(owner: Owner, ip: u64) -> Self {
        let hash = StackHash::new()
            .push(owner.image as u64)
            .push(ip ^ owner.version << 48);
        Self(hash)
    }

    /// Takes in a word and where it stands.
    #[inline(always)]
    const fn push(self, slot: u16, word: u64, sp: u64) -> Self {
        // All bits of a word on the stack count relative to the first stack pointer, or none. No branch:
        // which it is changes from word to word.
        let is_relative = (slot >> 14 & slot >> 15) as u64;
        let value = word.wrapping_sub(sp & is_relative.wrapping_neg());
        Self(self.0.push(value ^ (slot as u64) << 48))
    }

    /// Takes in the register `rbp`, where it counts. Never 0.
    #[inline(always)]
    const fn finish(self, register: u16, sp: u64, bp: u64) -> u64 {
        let bp = if register == slot::END { 0 } else { bp };
        self.push(register, bp, sp).0.finish()
    }
}

/// Goes up a stack by a shape: no walk, but where one would lead if this shape is the stack's.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Recognition {
    /// The first stack pointer.
    sp: u64,
    check: Check,
}

impl Recognition {
    /// Begins at a frame.
    #[inline(always)]
    #[must_use]
    pub const fn new(owner: Owner, ip: u64, sp: u64) -> Self {
        Self {
            sp,
            check: Check::new(owner, ip),
        }
    }

    /// Where a slot's word lies.
    #[inline(always)]
    #[must_use]
    pub const fn address(&self, slot: u16) -> u64 {
        self.sp.wrapping_add((slot & slot::PLACE) as u64 * 8)
    }

    /// Takes in a slot and its word.
    #[inline(always)]
    pub const fn take(&mut self, slot: u16, word: u64) {
        self.check = self.check.push(slot, word, self.sp);
    }

    /// At the end of the shape: the check, which says whether a walk would find the same.
    #[inline(always)]
    #[must_use]
    pub const fn finish(&self, register: u16, bp: u64) -> u64 {
        self.check.finish(register & !slot::PLACE, self.sp, bp)
    }
}
