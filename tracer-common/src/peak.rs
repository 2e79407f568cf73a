//! The peak: the most that was live at once, how it is kept, and how exactly. Why it is so:
//! `docs/design/0020-peak.md`.
//!
//! Each CPU adds up what changes and hands that on when it is more than a step, so that no cache line is
//! shared by every event. What has been handed on is the total; where that rises above the last peak by a
//! part of it, the next peak is declared. Peaks are numbered: by that a stack knows whether its amounts
//! at the peak have been kept before it changes.

/// Bytes that a CPU may keep to itself however small the peak is.
const LEAST_STEP: u64 = 1 << 10;
/// Objects, likewise.
const LEAST_OBJECTS: u64 = 16;
/// Objects that a CPU can keep to itself at most.
const MOST_OBJECTS: u64 = 1 << 12;
/// A new peak is higher by this part of the last one: 1/256.
const RISE_SHIFT: u32 = 8;
/// CPUs together keep at most this part of the peak to themselves: 1/512.
const KEPT_SHIFT: u32 = 9;
/// Bits of the objects in a CPU's change, and of the number in a [`PeakWord`].
const SMALL_BITS: u32 = 16;

/// [`Config::peak_shift`](crate::Config::peak_shift) for a machine with so many CPUs.
#[must_use]
pub const fn peak_shift(cpus: u32) -> u32 {
    KEPT_SHIFT + cpus.next_power_of_two().trailing_zeros()
}

/// Bytes of change that a CPU may keep to itself.
#[inline(always)]
#[must_use]
pub const fn peak_step(peak: u64, shift: u32) -> u64 {
    let step = peak >> shift;
    if step < LEAST_STEP { LEAST_STEP } else { step }
}

/// Objects of change that a CPU may keep to itself.
#[inline(always)]
#[must_use]
pub const fn peak_objects_step(peak: u64, shift: u32) -> u64 {
    let step = peak >> shift;
    if step < LEAST_OBJECTS {
        LEAST_OBJECTS
    } else if step > MOST_OBJECTS {
        MOST_OBJECTS
    } else {
        step
    }
}

/// Whether so many live bytes are a new peak.
#[inline(always)]
#[must_use]
pub const fn is_new_peak(live: u64, peak: u64) -> bool {
    live > peak + (peak >> RISE_SHIFT)
}

/// The last peak as one word, so that one exchange changes it: its bytes, and its number below. The
/// number can't come around: each is higher by 1/256, and after 10,000 there is no such amount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct PeakWord(pub u64);

impl PeakWord {
    /// Most bytes that were live at once.
    #[inline(always)]
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0 >> SMALL_BITS
    }

    /// Its number, from 1; 0 where nothing was live yet.
    #[inline(always)]
    #[must_use]
    pub const fn epoch(self) -> u32 {
        self.0 as u16 as u32
    }

    /// The next peak.
    #[inline(always)]
    #[must_use]
    pub const fn next(self, bytes: u64) -> Self {
        Self(bytes << SMALL_BITS | (self.0 as u16).wrapping_add(1) as u64)
    }
}

/// Bytes and objects that came, or went, on one CPU: one word, so that one addition changes both. Bytes
/// are below, signed; what they borrow is taken from the objects and given back by [`Self::objects`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct LiveChange(pub u64);

impl LiveChange {
    /// An object came.
    #[inline(always)]
    #[must_use]
    pub const fn came(bytes: u64) -> Self {
        Self((1 << (64 - SMALL_BITS)) + bytes)
    }

    /// An object went.
    #[inline(always)]
    #[must_use]
    pub const fn went(bytes: u64) -> Self {
        Self(0_u64.wrapping_sub(Self::came(bytes).0))
    }

    /// Both.
    #[inline(always)]
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }

    /// Bytes that came, less those that went.
    #[inline(always)]
    #[must_use]
    pub const fn bytes(self) -> i64 {
        (self.0 << SMALL_BITS) as i64 >> SMALL_BITS
    }

    /// Objects that came, less those that went.
    #[inline(always)]
    #[must_use]
    pub const fn objects(self) -> i64 {
        self.0.wrapping_sub(self.bytes() as u64) as i64 >> (64 - SMALL_BITS)
    }

    /// Whether a CPU may keep it to itself.
    #[inline(always)]
    #[must_use]
    pub const fn is_small(self, mark: &PeakMark, shift: u32) -> bool {
        self.bytes().unsigned_abs() < mark.step(shift)
            && self.objects().unsigned_abs() < peak_objects_step(mark.objects, shift)
    }
}

/// What is live, as far as it has been handed on: signed, in two's complement, since a CPU may hand on the
/// frees of what another has not handed on yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct LiveTotal {
    /// Bytes.
    pub bytes: u64,
    /// Objects.
    pub objects: u64,
}

/// The most that was live at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PeakMark {
    /// The peak of bytes, a [`PeakWord`].
    pub word: u64,
    /// When that was, `CLOCK_MONOTONIC` in nanoseconds.
    pub time_ns: u64,
    /// Most objects that were live at once, at whatever time.
    pub objects: u64,
}

impl PeakMark {
    /// Bytes of change that a CPU may keep to itself.
    #[inline(always)]
    #[must_use]
    pub const fn step(&self, shift: u32) -> u64 {
        peak_step(PeakWord(self.word).bytes(), shift)
    }
}

const _: () = {
    assert!(size_of::<LiveTotal>() == 16);
    assert!(size_of::<PeakMark>() == 24);
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_of_peaks_do_not_come_around() {
        let mut peak = PeakWord::default();
        let mut number = 0_u32;
        while peak.bytes() < 1 << 47 {
            // The least that is a new one.
            let (mut low, mut high) = (peak.bytes(), 1 << 48);
            while high - low > 1 {
                let middle = u64::midpoint(low, high);
                if is_new_peak(middle, peak.bytes()) {
                    high = middle;
                } else {
                    low = middle;
                }
            }
            peak = peak.next(high);
            number += 1;
            assert_eq!((peak.epoch(), peak.bytes()), (number, high));
        }
        assert!(number < u32::from(u16::MAX), "{number}");
    }

    #[test]
    fn what_cpus_keep_to_themselves_is_a_small_part() {
        for cpus in [1, 2, 3, 64, 100] {
            let peak = 1_u64 << 30;
            let kept = u64::from(cpus) * peak_step(peak, peak_shift(cpus));
            assert!(kept * 512 <= peak, "{cpus}");
        }
    }

    proptest! {
        #[test]
        fn a_change_is_what_went_into_it(sizes in prop::collection::vec((any::<bool>(), 0_u64..1 << 33), 0..1_000)) {
            let mut change = LiveChange::default();
            let (mut bytes, mut objects) = (0_i64, 0_i64);
            for (came, size) in sizes {
                let sign = if came { 1 } else { -1 };
                bytes += sign * size as i64;
                objects += sign;
                change = change.plus(if came { LiveChange::came(size) } else { LiveChange::went(size) });
                prop_assert_eq!((change.bytes(), change.objects()), (bytes, objects));
            }
        }
    }
}
