//! What changed from one profile to another: B − A, every value.
//!
//! Stacks are matched by [`Fingerprint`], so that another run, another build or another place in
//! memory is no difference, nor are labels. Stacks that differ only in what a fingerprint leaves out become one.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::merge::{Merger, add_counters};
use super::{
    CounterClass, CounterValue, Errors, Fingerprint, Incompatible, LocationIndex, Metadata,
    Profile, Sample, Values, Verdict,
};

/// Two profiles stack by stack.
#[derive(Clone, Debug, PartialEq)]
pub struct Diff {
    /// The differences as a profile. It has every stack of the two, those that are the same in both
    /// with all values 0; [`Diff::into_delta`] leaves these out.
    pub profile: Profile,
    /// The amounts behind each sample of the profile, in their order.
    pub stacks: Vec<StackChange>,
}

/// A stack in two profiles.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StackChange {
    /// What it was matched by.
    pub fingerprint: Fingerprint,
    /// Its amounts in A.
    pub before: Values,
    /// Its amounts in B.
    pub after: Values,
    /// How wrong those in A may be, without what all stacks of A share.
    pub errors_before: Errors,
    /// The same in B.
    pub errors_after: Errors,
}

impl Diff {
    /// The profile of the differences, without stacks that did not change.
    #[must_use]
    pub fn into_delta(self) -> Profile {
        let mut profile = self.profile;
        profile
            .samples
            .retain(|sample| sample.values != Values::default());
        profile
    }
}

/// `after` − `before`, every value, stack by stack.
///
/// Places are those of `after`, and of `before` where a stack is no longer there. The counters are
/// those of the losses, of both profiles together: each may have hidden or made up a difference. The
/// worse verdict counts. Errors are in [`Diff::stacks`] only: what all stacks of a side share is no part of a
/// difference.
///
/// # Errors
/// When their sampling intervals differ.
pub fn diff(before: &Profile, after: &Profile) -> Result<Diff, Incompatible> {
    Incompatible::check(before, after)?;
    let mut merger = Merger::starting_with(after);
    let mut stacks = Stacks::default();
    // What one of them has not kept is not known to differ.
    let peaks = before.peak.zip(after.peak);
    let values = |sample: &Sample| match peaks {
        Some(_) => sample.values,
        None => sample.values.without_peak(),
    };
    for (sample, fingerprint) in after.samples.iter().zip(after.fingerprints()) {
        let change = stacks.change(fingerprint, sample, || sample.locations.clone());
        change.after += values(sample);
        change.errors_after = change.errors_after.plus(sample.errors);
    }
    let mut adoption = merger.adopt(before);
    for (sample, fingerprint) in before.samples.iter().zip(before.fingerprints()) {
        let change = stacks.change(fingerprint, sample, || adoption.locations(sample));
        change.before += values(sample);
        change.errors_before = change.errors_before.plus(sample.errors);
    }
    let mut profile = merger.profile;
    profile.samples = stacks.samples;
    for (sample, change) in profile.samples.iter_mut().zip(&stacks.changes) {
        sample.values = change.after.minus(change.before);
    }
    profile.metadata = metadata(&before.metadata, &after.metadata);
    profile.peak = peaks.map(|(before, after)| after.minus(before));
    profile.counters = losses(before, after);
    profile.verdict = of("A", &before.verdict).worse_of(of("B", &after.verdict));
    Ok(Diff {
        profile,
        stacks: stacks.changes,
    })
}

#[derive(Default)]
struct Stacks {
    samples: Vec<Sample>,
    changes: Vec<StackChange>,
    index_of: HashMap<Fingerprint, usize, RandomState>,
}

impl Stacks {
    fn change(
        &mut self,
        fingerprint: Fingerprint,
        from: &Sample,
        locations: impl FnOnce() -> Vec<LocationIndex>,
    ) -> &mut StackChange {
        let index = *self.index_of.entry(fingerprint).or_insert_with(|| {
            self.samples.push(Sample {
                locations: locations(),
                pid: from.pid,
                labels: from.labels.clone(),
                ..Sample::default()
            });
            self.changes.push(StackChange {
                fingerprint,
                before: Values::default(),
                after: Values::default(),
                errors_before: Errors::default(),
                errors_after: Errors::default(),
            });
            self.changes.len() - 1
        });
        let sample = &mut self.samples[index];
        if sample.pid != from.pid {
            // Several processes went this way.
            sample.pid = None;
        }
        sample.labels = sample.labels.common_with(&from.labels);
        &mut self.changes[index]
    }
}

fn metadata(before: &Metadata, after: &Metadata) -> Metadata {
    let source = |metadata: &Metadata| match metadata.source.as_str() {
        "" => "a profile without a source".to_owned(),
        source => source.to_owned(),
    };
    // Two totals of one recording are a window; two runs are not.
    let window = after.time_nanos.saturating_sub(before.time_nanos);
    let totals = before.duration_nanos.is_none() && after.duration_nanos.is_none();
    let same_target = !before.pids.is_empty() && before.pids.first() == after.pids.first();
    Metadata {
        time_nanos: after.time_nanos,
        duration_nanos: (totals && same_target && window > 0).then_some(window),
        period: after.period,
        source: format!(
            "difference from A, {}, to B, {}",
            source(before),
            source(after)
        ),
        pids: after.pids.clone(),
        notes: Vec::new(),
    }
}

fn losses(before: &Profile, after: &Profile) -> Vec<CounterValue> {
    let mut sum = Vec::new();
    for profile in [before, after] {
        add_counters(&mut sum, &profile.counters);
    }
    sum.retain(|counter| {
        let loss = matches!(
            counter.class,
            CounterClass::AttributionLoss | CounterClass::AmountLoss
        );
        loss && counter.value != 0
    });
    sum
}

/// A verdict whose reasons say which profile they are about.
fn of(name: &str, verdict: &Verdict) -> Verdict {
    let reasons = verdict.reasons().iter();
    let reasons = reasons.map(|reason| format!("{name}: {reason}")).collect();
    match verdict {
        Verdict::Complete => Verdict::Complete,
        Verdict::Degraded { .. } => Verdict::Degraded { reasons },
        Verdict::Sampled { .. } => Verdict::Sampled { reasons },
        Verdict::Inconclusive { .. } => Verdict::Inconclusive { reasons },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::diff;
    use crate::export::example::counter_service;
    use crate::profile::{
        Incompatible, LocationIndex, Peak, Profile, Sample, ValueKind, Values, Verdict,
    };

    fn total(profile: &Profile) -> Values {
        let samples = profile.samples.iter();
        samples.fold(Values::default(), |sum, sample| sum.plus(sample.values))
    }

    #[test]
    fn a_profile_does_not_differ_from_itself() -> Result<(), Incompatible> {
        let diff = diff(&counter_service(), &counter_service())?;
        assert_eq!(diff.stacks.len(), 4);
        assert!(diff.stacks.iter().all(|stack| stack.before == stack.after));
        assert_eq!(diff.into_delta().samples, []);
        Ok(())
    }

    #[test]
    fn a_rebuild_at_other_addresses_is_compared_by_name() -> Result<(), Incompatible> {
        let before = counter_service();
        let mut after = counter_service();
        after.mappings[0].build_id = "77aa".to_owned();
        for mapping in &mut after.mappings {
            mapping.start += 0x7000;
            mapping.limit += 0x7000;
        }
        for location in &mut after.locations {
            location.address += 0x7000;
        }
        after.locations[2].address += 0x55;
        after.locations[2].lines[1].line += 3;
        after.samples[0].values.inuse_space += 64;
        after.samples[0].values.inuse_objects += 1;
        let diff = diff(&before, &after)?;
        let delta = diff.into_delta();
        assert_eq!(delta.validate(), Ok(()));
        assert_eq!(delta.samples.len(), 1);
        assert_eq!(
            delta.samples[0].values,
            Values {
                inuse_space: 64,
                inuse_objects: 1,
                ..Values::default()
            }
        );
        assert_eq!(delta.samples[0].pid, Some(4711));
        Ok(())
    }

    #[test]
    fn what_is_only_in_one_keeps_its_names() -> Result<(), Incompatible> {
        let (mut before, mut after) = (counter_service(), counter_service());
        before.functions[4].name = "counter::old".to_owned();
        after.functions[4].name = "counter::new".to_owned();
        let delta = diff(&before, &after)?.into_delta();
        assert_eq!(delta.validate(), Ok(()));
        let leaf = |sample: &Sample| {
            let frame = delta.frames(sample).last();
            frame.map(|frame| delta.functions[frame.function].name.clone())
        };
        let changes: Vec<_> = delta
            .samples
            .iter()
            .map(|sample| (leaf(sample), sample.values.inuse_space))
            .collect();
        assert_eq!(
            changes,
            [
                (Some("counter::new".to_owned()), 1_000),
                (Some("counter::old".to_owned()), -1_000)
            ]
        );
        Ok(())
    }

    #[test]
    fn losses_and_verdicts_of_both_are_in_it() -> Result<(), Incompatible> {
        let before = counter_service();
        let mut after = counter_service();
        after.verdict = Verdict::Inconclusive {
            reasons: vec!["Nothing fired.".to_owned()],
        };
        after.counters[2].value = 5;
        let delta = diff(&before, &after)?.into_delta();
        let losses: Vec<_> = delta
            .counters
            .iter()
            .map(|c| (c.name.as_str(), c.value))
            .collect();
        assert_eq!(losses, [("stack_unreadable", 7)]);
        assert_eq!(delta.verdict.name(), "inconclusive");
        assert_eq!(
            delta.verdict.reasons(),
            [
                "A: 2 of 3048 allocations have no stack.",
                "B: Nothing fired."
            ]
        );
        Ok(())
    }

    #[test]
    fn two_totals_of_one_process_are_a_window() -> Result<(), Incompatible> {
        let before = counter_service();
        let mut after = counter_service();
        after.metadata.time_nanos += 5_000_000_000;
        assert_eq!(
            diff(&before, &after)?.profile.metadata.duration_nanos,
            Some(5_000_000_000)
        );
        assert_eq!(diff(&after, &before)?.profile.metadata.duration_nanos, None);
        after.metadata.pids = vec![4712];
        assert_eq!(diff(&before, &after)?.profile.metadata.duration_nanos, None);
        Ok(())
    }

    #[test]
    fn different_sampling_is_refused() {
        let mut sampled = counter_service();
        sampled.metadata.period = 524_288;
        let error = diff(&sampled, &counter_service()).map(|_| ());
        assert_eq!(error, Err(Incompatible::Period(524_288, 1)));
    }

    /// The example with other stacks and amounts.
    fn arbitrary() -> impl Strategy<Value = Profile> {
        let amount = || -1_000_i64..1_000;
        let values = [amount(), amount(), amount(), amount(), amount(), amount()];
        let sample = (proptest::collection::vec(0_usize..5, 0..4), values);
        let samples = proptest::collection::vec(sample, 0..20);
        (samples, proptest::option::of(amount())).prop_map(|(samples, peak)| {
            let mut profile = Profile {
                samples: samples
                    .into_iter()
                    .map(|(locations, values)| Sample {
                        locations: locations.into_iter().map(LocationIndex::new).collect(),
                        values: Values {
                            alloc_objects: values[0],
                            alloc_space: values[1],
                            inuse_objects: values[2],
                            inuse_space: values[3],
                            peak_objects: values[4],
                            peak_space: values[5],
                        },
                        ..Sample::default()
                    })
                    .collect(),
                peak: peak.map(|bytes| Peak {
                    bytes,
                    objects: bytes,
                    after_nanos: Some(bytes),
                }),
                ..counter_service()
            };
            if peak.is_none() {
                profile.forget_peak();
            }
            profile
        })
    }

    proptest! {
        #[test]
        fn nothing_appears_or_goes_missing(before in arbitrary(), after in arbitrary()) {
            let diff = diff(&before, &after).map_err(|e| TestCaseError::fail(e.to_string()))?;
            // Of a peak that only one has kept nothing is said; the rest is as if neither had.
            let (mut before, mut after) = (before, after);
            prop_assert_eq!(diff.profile.peak.is_some(), before.peak.is_some() && after.peak.is_some());
            if diff.profile.peak.is_none() {
                before.forget_peak();
                after.forget_peak();
            }
            prop_assert_eq!(diff.profile.validate(), Ok(()));
            prop_assert_eq!(total(&diff.profile), total(&after).minus(total(&before)));

            // Stack by stack, by adding up what has one fingerprint.
            let mut expected: HashMap<_, (Values, Values)> = HashMap::new();
            for (fingerprint, sample) in before.fingerprints().into_iter().zip(&before.samples) {
                expected.entry(fingerprint).or_default().0 += sample.values;
            }
            for (fingerprint, sample) in after.fingerprints().into_iter().zip(&after.samples) {
                expected.entry(fingerprint).or_default().1 += sample.values;
            }
            prop_assert_eq!(diff.stacks.len(), expected.len());
            // The profile's stacks are the ones that were compared.
            prop_assert_eq!(
                diff.profile.fingerprints(),
                diff.stacks.iter().map(|s| s.fingerprint).collect::<Vec<_>>()
            );
            for (stack, sample) in diff.stacks.iter().zip(&diff.profile.samples) {
                prop_assert_eq!(Some(&(stack.before, stack.after)), expected.get(&stack.fingerprint));
                for kind in ValueKind::ALL.into_iter().chain(ValueKind::PEAK) {
                    let change = stack.after.get(kind) - stack.before.get(kind);
                    prop_assert_eq!(sample.values.get(kind), change);
                }
            }
        }
    }
}
