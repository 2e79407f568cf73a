//! The most that was live at once, as a part of a profile.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Profile, ValueKind};
use crate::size::Size;

/// The most that was live at once.
///
/// Each amount is within 1% of what it was; so the samples' [`peak_space`](Values::peak_space) need not add
/// up to exactly [`bytes`](Self::bytes).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peak {
    /// Most bytes.
    pub bytes: i64,
    /// Most objects, which may have been at another time than most bytes.
    pub objects: i64,
    /// When most bytes were live, in nanoseconds since counting began; `None` where that is not known.
    pub after_nanos: Option<i64>,
}

impl fmt::Display for Peak {
    /// `201.00 MB after 0.5 s`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Size::from(self.bytes))?;
        match self.after_nanos {
            Some(nanos) => write!(f, " after {:.1} s", nanos as f64 / 1e9),
            None => Ok(()),
        }
    }
}

impl Peak {
    /// The sum of two peaks, which need not have been at the same time: so much may have been live at once,
    /// and no more.
    pub(super) const fn plus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            objects: self.objects.saturating_add(other.objects),
            after_nanos: None,
        }
    }

    /// The difference.
    pub(super) const fn minus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(other.bytes),
            objects: self.objects.saturating_sub(other.objects),
            after_nanos: None,
        }
    }
}

impl Profile {
    /// Whether the profile has values of this kind; where not, they are 0 and say nothing.
    #[must_use]
    pub const fn has(&self, kind: ValueKind) -> bool {
        !kind.is_peak() || self.peak.is_some()
    }

    /// Forgets the peak, as if it had not been kept.
    pub(crate) fn forget_peak(&mut self) {
        self.peak = None;
        for sample in &mut self.samples {
            sample.values = sample.values.without_peak();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Peak;
    use crate::export::example::counter_service;
    use crate::profile::{Incompatible, Profile, Values, merge};

    fn total(profile: &Profile) -> Values {
        let samples = profile.samples.iter();
        samples.fold(Values::default(), |sum, sample| sum.plus(sample.values))
    }

    #[test]
    fn a_peak_reads_well() {
        let peak = |bytes, after_nanos| {
            let peak = Peak {
                bytes,
                objects: 1,
                after_nanos,
            };
            peak.to_string()
        };
        assert_eq!(peak(201 << 20, Some(451_000_000)), "201.00 MB after 0.5 s");
        assert_eq!(peak(1_000, None), "1000 B");
        assert_eq!(peak(-1_536, None), "-1.50 kB");
    }

    #[test]
    fn a_peak_that_one_has_not_kept_is_not_known_of_both() -> Result<(), Incompatible> {
        let without = counter_service();
        let mut with = counter_service();
        with.peak = Some(Peak {
            bytes: 50,
            objects: 5,
            after_nanos: Some(9),
        });
        with.samples[0].values.peak_space = 40;
        assert_eq!(merge([&with])?, with);
        let both = merge([&with, &with])?;
        let sum = Peak {
            bytes: 100,
            objects: 10,
            after_nanos: None,
        };
        assert_eq!((both.peak, total(&both).peak_space), (Some(sum), 80));
        for mixed in [[&with, &without], [&without, &with]] {
            let mixed = merge(mixed)?;
            assert_eq!((mixed.peak, total(&mixed).peak_space), (None, 0));
        }
        Ok(())
    }
}
