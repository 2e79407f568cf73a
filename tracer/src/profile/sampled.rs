//! What a profile says of amounts that are estimates: those of a recording of which only windows were seen.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Profile, Sample, ValueKind, Verdict};

/// Standard errors of a stack's own: without what all stacks of the profile share ([`Sampled::shared`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Errors {
    /// Of the objects allocated.
    pub objects: f64,
    /// Of the bytes allocated.
    pub space: f64,
}

impl Errors {
    /// Whether nothing is in doubt.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.objects == 0.0 && self.space == 0.0
    }

    /// The error of the sum of two amounts that know nothing of each other.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            objects: self.objects.hypot(other.objects),
            space: self.space.hypot(other.space),
        }
    }

    /// That of one value; `None` of those that are not estimated.
    #[must_use]
    pub const fn get(&self, kind: ValueKind) -> Option<f64> {
        match kind {
            ValueKind::AllocObjects => Some(self.objects),
            ValueKind::AllocSpace => Some(self.space),
            _ => None,
        }
    }
}

/// What amounts were held against, to tell how much of them was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SampledBy {
    /// Calls of a function that is called rarely.
    Marks,
    /// Time: as many calls of that function came in a second with the probes as without.
    Time,
    /// Time, without proof that the probes did not slow the target down.
    TimeAlone,
    /// One in a part of what was merged, one in another.
    Several,
}

impl SampledBy {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Marks, Self::Time, Self::TimeAlone, Self::Several];

    /// As it stands in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Marks => "marks",
            Self::Time => "time",
            Self::TimeAlone => "time_alone",
            Self::Several => "several",
        }
    }
}

/// The facts behind estimated amounts: `alloc_objects` and `alloc_space` stand for the whole recording.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sampled {
    /// What they were held against.
    pub by: SampledBy,
    /// Windows in which every call was seen.
    pub windows: u64,
    /// How long these were together, in nanoseconds.
    pub nanos: u64,
    /// Windows in which marks were counted.
    pub progress_windows: u64,
    /// How long these were together, in nanoseconds.
    pub progress_nanos: u64,
    /// The part of what the target did that was seen, from 0 to 1.
    pub share_seen: f64,
    /// The part of the target's CPU time that windows took.
    pub share_taken: f64,
    /// Standard error that the objects of all stacks share, as a part of them.
    pub shared_objects: f64,
    /// The same of bytes.
    pub shared_space: f64,
    /// Degrees of freedom of all errors at least.
    pub degrees: f64,
    /// All amounts may be too low by more than their errors say, since the windows may have slowed the target down.
    pub may_be_low: bool,
}

impl fmt::Display for Sampled {
    /// `by rare calls, 45 windows of 200.0 ms together: 0.67% of what was done; all alike ±2.1%`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = match self.by {
            SampledBy::Marks => "by rare calls",
            SampledBy::Time | SampledBy::TimeAlone => "by time",
            SampledBy::Several => "by rare calls and by time",
        };
        write!(
            f,
            "{by}, {} windows of {:.1} ms together: {:.2}% of what was done; all alike ±{:.1}%",
            self.windows,
            self.nanos as f64 / 1e6,
            self.share_seen * 100.0,
            self.shared_space * 100.0,
        )?;
        if self.may_be_low {
            write!(f, ", and perhaps all too low")?;
        }
        Ok(())
    }
}

impl Sampled {
    /// Standard error that all stacks share, as a part of this value; `None` of those that are not estimated.
    #[must_use]
    pub const fn shared(&self, kind: ValueKind) -> Option<f64> {
        match kind {
            ValueKind::AllocObjects => Some(self.shared_objects),
            ValueKind::AllocSpace => Some(self.shared_space),
            _ => None,
        }
    }

    /// Standard error of a sum of samples, from the sum of their own errors' squares.
    #[must_use]
    pub fn error(&self, kind: ValueKind, sum: i64, own_squares: f64) -> Option<f64> {
        let shared = self.shared(kind)? * sum as f64;
        Some((own_squares + shared * shared).sqrt())
    }

    /// Whether each number is one that can be.
    pub(crate) fn is_sane(&self) -> bool {
        let part = |part: f64| (0.0..=1.0).contains(&part);
        let errors = [self.shared_objects, self.shared_space, self.degrees];
        part(self.share_seen)
            && self.share_taken >= 0.0
            && self.share_taken.is_finite()
            && errors
                .iter()
                .all(|error| *error >= 0.0 && error.is_finite())
    }
}

impl Profile {
    /// Forgets how wrong amounts may be: for sums of which that is not known.
    pub(crate) fn forget_errors(&mut self) {
        self.sampled = None;
        for sample in &mut self.samples {
            sample.errors = Errors::default();
        }
    }

    /// Whether it is known how wrong amounts may be.
    pub(super) const fn has_known_errors(&self) -> bool {
        let is_exact = matches!(self.verdict, Verdict::Complete | Verdict::Degraded { .. });
        self.sampled.is_some() || is_exact
    }
}

/// The facts of a sum of recordings that know nothing of each other, and what of each one's shared error is not
/// shared by all any more. `None` where the errors of one are not known, or there are none.
pub(super) fn together(profiles: &[&Profile]) -> Option<(Sampled, Vec<Option<Sampled>>)> {
    if profiles.iter().any(|profile| !profile.has_known_errors()) {
        return None;
    }
    let all: Vec<_> = profiles.iter().map(|profile| profile.sampled).collect();
    let mut sum = all.iter().flatten().copied().reduce(|sum, other| Sampled {
        by: if sum.by == other.by {
            sum.by
        } else {
            SampledBy::Several
        },
        windows: sum.windows.saturating_add(other.windows),
        nanos: sum.nanos.saturating_add(other.nanos),
        progress_windows: sum.progress_windows.saturating_add(other.progress_windows),
        progress_nanos: sum.progress_nanos.saturating_add(other.progress_nanos),
        // The cautious one: what is seen has no error.
        share_seen: sum.share_seen.min(other.share_seen),
        share_taken: sum.share_taken.max(other.share_taken),
        degrees: sum.degrees.min(other.degrees),
        may_be_low: sum.may_be_low || other.may_be_low,
        ..sum
    })?;
    let shared = |kind| {
        let (mut total, mut squares) = (0.0, 0.0_f64);
        for profile in profiles {
            let samples = profile.samples.iter();
            let amount: f64 = samples.map(|sample| sample.values.get(kind) as f64).sum();
            let error = profile.sampled.and_then(|sampled| sampled.shared(kind));
            total += amount;
            squares += (error.unwrap_or(0.0) * amount).powi(2);
        }
        if total > 0.0 {
            squares.sqrt() / total
        } else {
            0.0
        }
    };
    if all.len() > 1 {
        sum.shared_objects = shared(ValueKind::AllocObjects);
        sum.shared_space = shared(ValueKind::AllocSpace);
    }
    Some((sum, all))
}

/// The errors of a sample, where of the shared error that its profile `had` only that of a sum is shared any more.
pub(super) fn apart(sample: &Sample, had: Option<&Sampled>, sum: &Sampled) -> Errors {
    let rest = |kind| {
        let had = had.and_then(|had| had.shared(kind)).unwrap_or(0.0);
        let left = had * had - sum.shared(kind).unwrap_or(0.0).powi(2);
        left.max(0.0).sqrt() * sample.values.get(kind) as f64
    };
    sample.errors.plus(Errors {
        objects: rest(ValueKind::AllocObjects),
        space: rest(ValueKind::AllocSpace),
    })
}

#[cfg(test)]
mod tests {
    use super::{Errors, Sampled, SampledBy};
    use crate::export::example::{counter_service, estimated};
    use crate::profile::{Incompatible, Profile, ValueKind, Verdict, diff, merge};

    /// The error of all bytes together.
    fn of_all(profile: &Profile) -> Option<f64> {
        let kind = ValueKind::AllocSpace;
        let samples = &profile.samples;
        let sum = samples.iter().map(|sample| sample.values.get(kind)).sum();
        let own = samples.iter().map(|s| s.errors.space.powi(2)).sum();
        profile.sampled?.error(kind, sum, own)
    }

    #[test]
    fn own_squares_and_the_shared_part_add() {
        let sampled = Sampled {
            shared_space: 0.03,
            ..estimated().sampled.unwrap_or(UNKNOWN)
        };
        let error = sampled.error(ValueKind::AllocSpace, 1_000, 1_600.0);
        assert_eq!(error, Some(50.0));
        assert_eq!(sampled.error(ValueKind::InuseSpace, 1_000, 1_600.0), None);
    }

    const UNKNOWN: Sampled = Sampled {
        by: SampledBy::TimeAlone,
        windows: 0,
        nanos: 0,
        progress_windows: 0,
        progress_nanos: 0,
        share_seen: 0.0,
        share_taken: 0.0,
        shared_objects: 0.0,
        shared_space: 0.0,
        degrees: 3.0,
        may_be_low: true,
    };

    #[test]
    fn two_recordings_have_their_errors_in_squares() -> Result<(), Incompatible> {
        let one = estimated();
        assert_eq!(merge([&one])?, one);
        let both = merge([&one, &one])?;
        let facts = both.sampled.unwrap_or(UNKNOWN);
        let before = one.sampled.unwrap_or(UNKNOWN);
        assert_eq!(facts.windows, 2 * before.windows);
        let halved = before.shared_space / 2.0_f64.sqrt();
        assert!((facts.shared_space - halved).abs() < 1e-12, "{facts:?}");
        // Twice the amounts, and no more than root 3 times the error; less than twice.
        let (error, single) = (of_all(&both), of_all(&one));
        let times = error.zip(single).map_or(0.0, |(both, one)| both / one);
        assert!((1.41..=1.74).contains(&times), "{times}");
        Ok(())
    }

    #[test]
    fn a_stack_of_one_recording_keeps_its_error() -> Result<(), Incompatible> {
        let one = estimated();
        let mut other = estimated();
        for sample in &mut other.samples {
            sample.pid = Some(9);
        }
        let both = merge([&one, &other])?;
        let error = |profile: &Profile, nth: usize| {
            let sample = &profile.samples[nth];
            let own = sample.errors.space.powi(2);
            let sampled = profile.sampled.unwrap_or(UNKNOWN);
            sampled.error(ValueKind::AllocSpace, sample.values.alloc_space, own)
        };
        let (before, after) = (error(&one, 0), error(&both, 0));
        let times = before.zip(after).map_or(0.0, |(one, both)| both / one);
        assert!((times - 1.0).abs() < 1e-9, "{times}");
        Ok(())
    }

    #[test]
    fn what_was_counted_adds_no_error() -> Result<(), Incompatible> {
        let one = estimated();
        for pair in [[&one, &counter_service()], [&counter_service(), &one]] {
            let mixed = merge(pair)?;
            let (error, single) = (of_all(&mixed), of_all(&one));
            let times = error.zip(single).map_or(0.0, |(both, one)| both / one);
            assert!((0.99..1.5).contains(&times), "{times}");
        }
        Ok(())
    }

    #[test]
    fn errors_that_one_does_not_know_nobody_knows() -> Result<(), Incompatible> {
        let mut unknown = counter_service();
        unknown.verdict = Verdict::Inconclusive {
            reasons: Vec::new(),
        };
        let mixed = merge([&estimated(), &unknown])?;
        assert_eq!(mixed.sampled, None);
        assert!(mixed.samples.iter().all(|sample| sample.errors.is_none()));
        Ok(())
    }

    #[test]
    fn a_difference_has_both_sides_errors_and_no_shared_part() -> Result<(), Incompatible> {
        let one = estimated();
        let diff = diff(&one, &one)?;
        assert_eq!(diff.profile.sampled, None);
        let stack = &diff.stacks[0];
        assert_eq!(stack.errors_before, one.samples[0].errors);
        assert_eq!(stack.errors_after, one.samples[0].errors);
        assert_ne!(stack.errors_after, Errors::default());
        Ok(())
    }
}
