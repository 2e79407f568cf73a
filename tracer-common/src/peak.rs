//! The peak: the most that was live at once, how it is kept, and how exactly. Why it is so:
//! `docs/design/0020-peak.md`.
//!
//! Each CPU adds up what comes and goes and hands that on when it is more than a step, so that no cache line
//! is written by every event. What has been handed on is the total; where that rises above the last peak by
//! a part of it, the next peak is declared. The step is small near the peak and large far below it. Peaks are
//! numbered: by that a stack knows whether its amounts at the peak have been kept before it changes.

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
/// Bytes that a CPU may keep to itself at most, so that [`Amount`] has room for what several tasks add.
const MOST_STEP: u64 = 1 << 34;
/// Bits of the number in a [`PeakWord`].
const NUMBER_BITS: u32 = 16;
/// Bits of the bytes in an [`Amount`].
const BYTES_BITS: u32 = 40;
/// Set in an [`Amount`] that is to be handed on because it is filling up.
const FILLING: u64 = 3 << 62 | 3 << (BYTES_BITS - 2);

/// [`Config::peak_shift`](crate::Config::peak_shift) for a machine with so many CPUs.
#[must_use]
pub const fn peak_shift(cpus: u32) -> u32 {
    KEPT_SHIFT + cpus.next_power_of_two().trailing_zeros()
}

/// Bytes of change that a CPU may keep to itself. What all of them keep together is no more than half of what
/// is missing to the peak, so that it can't be passed unseen, or else a small part of the peak.
#[inline(always)]
#[must_use]
pub const fn peak_step(live: u64, peak: u64, shift: u32) -> u64 {
    let missing = peak.saturating_sub(live) >> (shift - KEPT_SHIFT + 1);
    let part = peak >> shift;
    let step = if missing < part { part } else { missing };
    if step < LEAST_STEP {
        LEAST_STEP
    } else if step > MOST_STEP {
        MOST_STEP
    } else {
        step
    }
}

/// Objects of change that a CPU may keep to itself.
#[inline(always)]
#[must_use]
const fn peak_objects_step(peak: u64, shift: u32) -> u64 {
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
        self.0 >> NUMBER_BITS
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
        Self(bytes << NUMBER_BITS | (self.0 as u16).wrapping_add(1) as u64)
    }
}

/// Objects and their bytes: one word, so that one addition changes both. Bytes are below.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Amount(pub u64);

impl Amount {
    /// An object of less than a step.
    #[inline(always)]
    #[must_use]
    pub const fn object(bytes: u64) -> Self {
        Self((1 << BYTES_BITS) + bytes)
    }

    /// Both.
    #[inline(always)]
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }

    /// Bytes.
    #[inline(always)]
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0 & ((1 << BYTES_BITS) - 1)
    }

    /// Objects.
    #[inline(always)]
    #[must_use]
    pub const fn objects(self) -> u64 {
        self.0 >> BYTES_BITS
    }
}

/// What came and went on a CPU and was not handed on. A cache line of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Flow {
    /// Allocations, an [`Amount`].
    pub came: u64,
    /// Frees, an [`Amount`].
    pub went: u64,
    /// Zero.
    pub reserved: [u64; 6],
}

/// Whether a CPU may keep to itself what came and went.
#[inline(always)]
#[must_use]
pub const fn may_be_kept(came: Amount, went: Amount, mark: &PeakMark, shift: u32) -> bool {
    let bytes = came.bytes() as i64 - went.bytes() as i64;
    let objects = came.objects() as i64 - went.objects() as i64;
    (came.0 | went.0) & FILLING == 0
        && bytes.unsigned_abs() < mark.step
        && objects.unsigned_abs() < peak_objects_step(mark.objects, shift)
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
    /// Bytes of change that a CPU may keep to itself now, see [`peak_step`].
    pub step: u64,
}

const _: () = {
    assert!(size_of::<LiveTotal>() == 16);
    assert!(size_of::<PeakMark>() == 32);
    assert!(size_of::<Flow>() == 64);
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
    fn what_cpus_keep_to_themselves_is_a_small_part_of_the_peak() {
        for cpus in [1, 2, 3, 64, 100] {
            let peak = 1_u64 << 30;
            let kept = u64::from(cpus) * peak_step(peak, peak, peak_shift(cpus));
            assert!(kept * 512 <= peak, "{cpus}");
        }
    }

    #[test]
    fn what_cpus_keep_to_themselves_does_not_reach_the_peak() {
        let peak = 1_u64 << 30;
        for cpus in [1, 2, 3, 64, 100] {
            for live in [0, peak / 2, peak / 10 * 9, peak / 100 * 99] {
                let kept = u64::from(cpus) * peak_step(live, peak, peak_shift(cpus));
                assert!(live + kept < peak + peak / 256, "{cpus} {live}");
            }
        }
    }

    #[test]
    fn an_amount_is_handed_on_before_it_is_full() {
        let mark = PeakMark {
            step: MOST_STEP,
            objects: 1 << 40,
            ..PeakMark::default()
        };
        let kept = |came, went| may_be_kept(Amount(came), Amount(went), &mark, peak_shift(1));
        assert!(kept(Amount::object(5).0, 0));
        // As much of both, so that nothing but the room is missing.
        let objects = 1 << (BYTES_BITS + 22);
        assert!(!kept(objects, objects));
        let bytes = 1 << (BYTES_BITS - 2);
        assert!(!kept(bytes, bytes));
    }

    proptest! {
        #[test]
        fn an_amount_is_what_went_into_it(sizes in prop::collection::vec(0..MOST_STEP, 0..60)) {
            let amount = sizes.iter().fold(Amount::default(), |sum, &size| sum.plus(Amount::object(size)));
            prop_assert_eq!(amount.bytes(), sizes.iter().sum::<u64>());
            prop_assert_eq!(amount.objects(), sizes.len() as u64);
        }
    }
}
