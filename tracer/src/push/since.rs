//! What was allocated since the last time.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::time::Duration;

use foldhash::fast::RandomState;

use crate::profile::{Labels, Profile, Sample, Values};

/// What has been told so far of each stack, by a hash of it: two share one by chance once in 10¹⁰ recordings of
/// a hundred thousand stacks at most.
#[derive(Default)]
pub(super) struct Since {
    told: HashMap<u64, [i64; 2], RandomState>,
    hasher: RandomState,
    /// The end of the last profile, nanoseconds since the Unix epoch.
    until: Option<i64>,
}

impl Since {
    /// The profile with what was allocated since the last one. Samples lose `common` labels, which go beside them, what
    /// they held at the peak, and their process: stacks of processes that have ended are put together, and would
    /// count once more.
    ///
    /// What has been told is never taken back: an estimate that falls counts again when it has risen as far.
    pub(super) fn take(
        &mut self,
        profile: &Profile,
        common: &Labels,
        elapsed: Duration,
    ) -> Profile {
        let mut piece = profile.clone();
        for sample in &mut piece.samples {
            sample.pid = None;
        }
        piece.merge_equal_samples();
        for sample in &mut piece.samples {
            let told = self
                .told
                .entry(self.hasher.hash_one(identity(sample)))
                .or_default();
            let values = &mut sample.values;
            for (amount, told) in [&mut values.alloc_objects, &mut values.alloc_space]
                .into_iter()
                .zip(told)
            {
                let all = *amount;
                *amount = (all - *told).max(0);
                *told = all.max(*told);
            }
            let own = sample
                .labels
                .iter()
                .filter(|(key, _)| common.get(key).is_none());
            sample.labels = own.collect();
        }
        piece.forget_peak();
        // The errors are those of the whole.
        piece.forget_errors();
        piece
            .samples
            .retain(|sample| sample.values != Values::default());
        let end = piece.metadata.time_nanos;
        let begin = self.until.replace(end);
        let before = i64::try_from(elapsed.as_nanos()).unwrap_or(i64::MAX);
        let length = begin.map_or(before, |begin| end.saturating_sub(begin));
        piece.metadata.duration_nanos = Some(length.max(1));
        piece
    }
}

/// The indices of places stay what they are as long as a recording lasts.
fn identity(sample: &Sample) -> impl std::hash::Hash {
    (&sample.locations, &sample.labels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::example::counter_service;

    fn total(profile: &Profile) -> Values {
        let samples = profile.samples.iter();
        samples.fold(Values::default(), |sum, sample| sum.plus(sample.values))
    }

    #[test]
    fn allocations_are_told_once_and_live_amounts_each_time() {
        let mut since = Since::default();
        let mut profile = counter_service();
        let all = total(&profile);
        let second = Duration::from_secs(1);
        let first = since.take(&profile, &Labels::default(), second);
        assert_eq!(total(&first).without_peak(), all.without_peak());
        assert_eq!(first.metadata.duration_nanos, Some(1_000_000_000));

        profile.metadata.time_nanos += 5_000_000_000;
        profile.samples[0].values.alloc_space += 10;
        profile.samples[0].values.alloc_objects += 1;
        profile.samples[1].values.alloc_space -= 100;
        let next = since.take(&profile, &Labels::default(), 6 * second);
        let told = total(&next);
        assert_eq!((told.alloc_objects, told.alloc_space), (1, 10));
        assert_eq!(
            (told.inuse_objects, told.inuse_space),
            (all.inuse_objects, all.inuse_space)
        );
        assert_eq!(next.metadata.duration_nanos, Some(5_000_000_000));

        // Back to where it was: told already.
        profile.samples[1].values.alloc_space += 100;
        let last = since.take(&profile, &Labels::default(), 7 * second);
        assert_eq!(total(&last).alloc_space, 0);
        assert_eq!(last.validate(), Ok(()));
    }

    #[test]
    fn what_ended_processes_have_allocated_counts_once() {
        let mut since = Since::default();
        let mut profile = counter_service();
        let all = total(&profile);
        let other = Sample {
            pid: Some(7),
            ..profile.samples[0].clone()
        };
        profile.samples.push(other.clone());
        let first = since.take(&profile, &Labels::default(), Duration::ZERO);
        let told = total(&first).alloc_space;
        assert_eq!(told, all.alloc_space + other.values.alloc_space);
        // Both have ended.
        profile.samples.pop();
        profile.samples[0].pid = None;
        profile.samples[0].values += other.values;
        let next = since.take(&profile, &Labels::default(), Duration::ZERO);
        assert_eq!(total(&next).alloc_space, 0);
    }

    #[test]
    fn labels_of_all_go_and_others_stay() {
        let mut profile = counter_service();
        for sample in &mut profile.samples {
            sample.labels = [("team", "web"), ("thread", "main")].into_iter().collect();
        }
        let common = [("team", "web")].into_iter().collect();
        let piece = Since::default().take(&profile, &common, Duration::ZERO);
        let expected = [("thread", "main")].into_iter().collect();
        assert!(piece.samples.iter().all(|sample| sample.labels == expected));
    }
}
