//! Saved profiles as a series: the growing counters that a recording has, from what each file says.
//!
//! Which generations survive is in no file. Profiles come one by one, oldest first, so that a long
//! series takes no more memory than two of its profiles and the differences.

use std::collections::HashMap;

use super::judge::Recorded;
use crate::profile::series::{Counters, Mark, Series, StackId, StackWindow, Window};
use crate::profile::{Fingerprint, Incompatible, Invalid, Profile, ValueKind, Values, Verdict};

/// Why profiles are no series.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotASeries {
    /// Their amounts cannot be compared.
    #[error(transparent)]
    Incompatible(#[from] Incompatible),
    /// Two have the same time, or none.
    #[error("it has the same time as the one before")]
    SameTime,
    /// They are of different processes.
    #[error("it is of process {now}, the one before is of process {before}")]
    OtherProcess {
        /// Process of this one.
        now: u32,
        /// Process of the one before.
        before: u32,
    },
    /// Something that only grows in one recording is less than before.
    #[error(
        "less was allocated in it than in the one before: the profiles of a series are snapshots of one recording"
    )]
    OtherRecording,
    /// One is a difference of two profiles, not what was live at a time.
    #[error("it says what changed in some time, not what was live at the end of it")]
    Difference,
    /// The times or counters contradict each other.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

/// Takes the profiles of a series, the oldest first.
#[derive(Debug)]
pub struct SavedSeries {
    series: Series,
    ids: HashMap<Fingerprint, StackId>,
    /// What each stack has come to, by its id.
    counters: Vec<Course>,
    first_time: i64,
    verdict: Verdict,
    last: Option<(Profile, HashMap<StackId, Vec<usize>>)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Course {
    counters: Counters,
    /// Objects and bytes allocated as the last file said.
    said: [i64; 2],
}

impl Default for SavedSeries {
    fn default() -> Self {
        Self {
            series: Series::new(0),
            ids: HashMap::new(),
            counters: Vec::new(),
            first_time: 0,
            verdict: Verdict::Complete,
            last: None,
        }
    }
}

impl SavedSeries {
    /// Takes the next profile, of which `kinds` are in its file.
    ///
    /// # Errors
    /// When it is not the next of the same series.
    pub fn push(&mut self, profile: Profile, kinds: &[ValueKind]) -> Result<(), NotASeries> {
        let time = profile.metadata.time_nanos;
        match &self.last {
            None => self.first_time = time,
            Some((last, _)) => check_follows(last, &profile)?,
        }
        let mut samples: HashMap<StackId, Vec<usize>> = HashMap::new();
        for (index, fingerprint) in profile.fingerprints().into_iter().enumerate() {
            let next = StackId(self.ids.len() as u64);
            let id = *self.ids.entry(fingerprint).or_insert(next);
            samples.entry(id).or_default().push(index);
        }
        self.counters.resize(self.ids.len(), Course::default());
        let says_allocated = [ValueKind::AllocObjects, ValueKind::AllocSpace]
            .iter()
            .all(|kind| kinds.contains(kind));
        // An estimate of a longer time may be lower than that of a shorter one.
        let last = self.last.as_ref().and_then(|(last, _)| last.sampled);
        let only_grows = says_allocated && profile.sampled.is_none() && last.is_none();
        let nothing = Vec::new();
        let mut before = 0_i64;
        let mut now = 0_i64;
        for (index, course) in self.counters.iter_mut().enumerate() {
            let of_stack = samples.get(&StackId(index as u64)).unwrap_or(&nothing);
            let values = sum(&profile, of_stack);
            // An exact counter cannot fall; where allocations are sampled, the estimate of one stack
            // can, and that of all together does not.
            let said = [values.alloc_objects, values.alloc_space];
            let fell = said[0] < course.said[0] || said[1] < course.said[1];
            if only_grows && profile.metadata.period == 1 && fell {
                return Err(NotASeries::OtherRecording);
            }
            before = before.saturating_add(course.said[0]);
            now = now.saturating_add(said[0]);
            course.advance(values);
        }
        if only_grows && now < before {
            return Err(NotASeries::OtherRecording);
        }
        let stacks = self.counters.iter().zip(0..);
        self.series.push(Window {
            mark: Mark {
                seconds: time.saturating_sub(self.first_time) as f64 / 1e9,
                ..Mark::default()
            },
            stacks: stacks
                .map(|(course, id)| StackWindow {
                    stack: StackId(id),
                    counters: course.counters,
                    survivors: Vec::new(),
                })
                .collect(),
        })?;
        let verdict = std::mem::take(&mut self.verdict);
        self.verdict = verdict.worse_of(profile.verdict.clone());
        self.last = Some((profile, samples));
        Ok(())
    }

    /// The series, with the last profile; `None` without profiles.
    #[must_use]
    pub fn finish(self) -> Option<Recorded> {
        let (mut profile, samples) = self.last?;
        profile.verdict = self.verdict;
        Some(Recorded {
            series: self.series,
            profile,
            samples,
        })
    }
}

fn check_follows(last: &Profile, next: &Profile) -> Result<(), NotASeries> {
    Incompatible::check(last, next)?;
    let (before, now) = (&last.metadata, &next.metadata);
    if before.duration_nanos.is_some() || now.duration_nanos.is_some() {
        return Err(NotASeries::Difference);
    }
    if before.time_nanos == now.time_nanos {
        return Err(NotASeries::SameTime);
    }
    match (before.pids.first(), now.pids.first()) {
        (Some(&before), Some(&now)) if before != now => {
            Err(NotASeries::OtherProcess { now, before })
        }
        _ => Ok(()),
    }
}

fn sum(profile: &Profile, samples: &[usize]) -> Values {
    let samples = samples
        .iter()
        .filter_map(|&index| profile.samples.get(index));
    samples.fold(Values::default(), |sum, sample| sum.plus(sample.values))
}

impl Course {
    /// Goes on to what the next file says. What is live is taken as it is; where a file does not say
    /// what was allocated, or an estimate contradicts it, no more is made up than the steps need.
    fn advance(&mut self, values: Values) {
        let Counters {
            alloc_objects,
            alloc_bytes,
            freed_objects,
            freed_bytes,
        } = &mut self.counters;
        step(
            alloc_objects,
            freed_objects,
            values.alloc_objects,
            values.inuse_objects,
        );
        step(
            alloc_bytes,
            freed_bytes,
            values.alloc_space,
            values.inuse_space,
        );
        self.said = [values.alloc_objects, values.alloc_space];
    }
}

fn step(allocated: &mut u64, freed: &mut u64, says: i64, live: i64) {
    let unsigned = |amount: i64| u64::try_from(amount).unwrap_or(0);
    let live = unsigned(live);
    *allocated = unsigned(says)
        .max(*allocated)
        .max(live.saturating_add(*freed));
    *freed = *allocated - live;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::example::{counter_service, estimated};

    fn at(second: i64) -> Profile {
        let mut profile = counter_service();
        profile.metadata.time_nanos += second * 1_000_000_000;
        let values = &mut profile.samples[0].values;
        values.alloc_objects += second;
        values.alloc_space += second * 64;
        values.inuse_objects += second;
        values.inuse_space += second * 64;
        profile
    }

    fn series(profiles: &[Profile], kinds: &[ValueKind]) -> Result<Recorded, NotASeries> {
        let mut series = SavedSeries::default();
        for profile in profiles {
            series.push(profile.clone(), kinds)?;
        }
        series.finish().ok_or(NotASeries::SameTime)
    }

    #[test]
    fn counters_are_those_of_the_files() -> Result<(), NotASeries> {
        let recorded = series(&[at(0), at(1), at(3)], &ValueKind::ALL)?;
        let marks: Vec<_> = recorded.series.marks().iter().map(|m| m.seconds).collect();
        assert_eq!(marks, [0.0, 1.0, 3.0]);
        let (id, history) = recorded
            .series
            .stacks()
            .next()
            .ok_or(NotASeries::SameTime)?;
        assert_eq!(recorded.samples[&id], [0]);
        assert_eq!(history.points().len(), 3);
        assert_eq!(history.counters().alloc_objects, 3_003);
        assert_eq!(history.counters().live_bytes(), 2_048_000 + 192);
        Ok(())
    }

    #[test]
    fn what_is_live_makes_counters_where_a_file_has_none() -> Result<(), NotASeries> {
        let lives = [5, 9, 2, 0, 4];
        let profiles = lives.map(|live| {
            let mut profile = at(live);
            profile.samples.truncate(1);
            profile.samples[0].values = Values {
                inuse_objects: live,
                inuse_space: live * 8,
                ..Values::default()
            };
            profile
        });
        let mut saved = SavedSeries::default();
        for (nth, mut profile) in profiles.into_iter().enumerate() {
            profile.metadata.time_nanos = nth as i64;
            saved.push(profile, &[ValueKind::InuseObjects, ValueKind::InuseSpace])?;
        }
        let recorded = saved.finish().ok_or(NotASeries::SameTime)?;
        let (_, history) = recorded
            .series
            .stacks()
            .next()
            .ok_or(NotASeries::SameTime)?;
        let points = history.points().iter();
        let live: Vec<_> = points.map(|p| p.counters.live_objects() as i64).collect();
        assert_eq!(live, lives);
        assert_eq!(history.counters().alloc_objects, 13);
        Ok(())
    }

    #[test]
    fn other_recordings_are_no_series() {
        let other = |change: fn(&mut Profile)| {
            let mut next = at(1);
            change(&mut next);
            series(&[at(0), next], &ValueKind::ALL).err()
        };
        assert_eq!(other(|_| ()), None);
        assert_eq!(
            other(|next| next.metadata.time_nanos = at(0).metadata.time_nanos),
            Some(NotASeries::SameTime)
        );
        assert_eq!(
            other(|next| next.metadata.pids = vec![1]),
            Some(NotASeries::OtherProcess {
                now: 1,
                before: 4711
            })
        );
        let fewer = other(|next| next.samples[1].values.alloc_objects -= 1);
        assert_eq!(fewer, Some(NotASeries::OtherRecording));
        let gone = other(|next| {
            next.samples.remove(2);
        });
        assert_eq!(gone, Some(NotASeries::OtherRecording));
        assert_eq!(
            other(|next| next.metadata.duration_nanos = Some(1)),
            Some(NotASeries::Difference)
        );
    }

    #[test]
    fn an_estimate_may_fall_but_not_all_of_them() -> Result<(), NotASeries> {
        let sampled = |second: i64, one: i64, other: i64| {
            let mut profile = at(second);
            profile.metadata.period = 4_096;
            profile.samples[1].values.alloc_objects += one;
            profile.samples[2].values.alloc_objects += other;
            profile
        };
        series(&[sampled(0, 0, 0), sampled(1, -3, 9)], &ValueKind::ALL)?;
        let fell = series(&[sampled(0, 0, 0), sampled(1, -3, 0)], &ValueKind::ALL).err();
        assert_eq!(fell, Some(NotASeries::OtherRecording));
        Ok(())
    }

    #[test]
    fn an_estimate_of_what_windows_saw_may_fall() -> Result<(), NotASeries> {
        let windows = |second: i64, fewer: i64| {
            let mut profile = at(second);
            profile.sampled = estimated().sampled;
            profile.samples[1].values.alloc_objects -= fewer;
            profile
        };
        series(&[windows(0, 0), windows(1, 1)], &ValueKind::ALL)?;
        series(&[windows(0, 0), windows(1, 1), at(2)], &ValueKind::ALL).map(drop)
    }

    #[test]
    fn the_worst_verdict_counts() -> Result<(), NotASeries> {
        let mut lossy = at(0);
        lossy.verdict = Verdict::Inconclusive {
            reasons: vec!["x".to_owned()],
        };
        let recorded = series(&[lossy, at(1)], &ValueKind::ALL)?;
        assert_eq!(recorded.profile.verdict.name(), "inconclusive");
        Ok(())
    }
}
