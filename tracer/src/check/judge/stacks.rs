//! From the ids of a series to stacks that people can read, and to the suppressions they are known by.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::Judge;
use crate::check::evaluate::{Breach, Live};
use crate::check::finding::{Finding, Stack, What};
use crate::check::growth;
use crate::check::place;
use crate::check::suppressions::{Suppression, frames};
use crate::profile::series::{Counters, StackId};
use crate::profile::{ValueKind, Values};

impl Judge<'_> {
    /// The suppression of a stack. All that match are in use from now on: the second of two that know a stack
    /// is no stale one.
    pub(super) fn suppression_of(&mut self, stack: StackId) -> Option<usize> {
        if self.policy.suppressions.leaks.list().is_empty() {
            return None;
        }
        let sample = *self.samples(stack).first()?;
        self.suppression_of_sample(sample)
    }

    pub(super) fn suppression_of_sample(&mut self, sample: usize) -> Option<usize> {
        let profile = &self.recorded.profile;
        let frames = frames(profile, profile.samples.get(sample)?);
        let mut first = None;
        for position in self.policy.suppressions.leaks.positions(&frames) {
            first = first.or(Some(position));
            self.mark_used(position);
        }
        first
    }

    fn mark_used(&mut self, suppression: usize) {
        if let Some(used) = self.used.get_mut(suppression) {
            *used = true;
        }
    }

    pub(super) fn suppression(&self, position: Option<usize>) -> Option<&Suppression> {
        self.policy.suppressions.leaks.list().get(position?)
    }

    pub(super) fn samples(&self, stack: StackId) -> &[usize] {
        let samples = self.recorded.samples.get(&stack);
        samples.map_or(&[], Vec::as_slice)
    }

    pub(super) fn finding(
        &self,
        what: What,
        stack: StackId,
        counters: Counters,
        suppression: Option<usize>,
    ) -> Finding {
        Finding {
            what,
            stack: Some(self.stack(stack, Some(counters))),
            others: Vec::new(),
            suppression: self.suppression(suppression).map(label),
            blame: None,
        }
    }

    /// A stack by its id; its amounts are those of the counters, or of the profile.
    pub(super) fn stack(&self, id: StackId, counters: Option<Counters>) -> Stack {
        let stack = self.stack_of_samples(self.samples(id));
        let signed = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX);
        let values = counters.map_or(stack.values, |counters| Values {
            alloc_objects: signed(counters.alloc_objects),
            alloc_space: signed(counters.alloc_bytes),
            inuse_objects: signed(counters.live_objects()),
            inuse_space: signed(counters.live_bytes()),
            ..stack.values
        });
        Stack { values, ..stack }
    }

    pub(super) fn stack_of_samples(&self, samples: &[usize]) -> Stack {
        let profile = &self.recorded.profile;
        let all = samples
            .iter()
            .filter_map(|&index| profile.samples.get(index));
        let values = all.fold(Values::default(), |sum, sample| sum.plus(sample.values));
        let first = samples.first();
        let sample = first.and_then(|&index| profile.samples.get(index));
        let located = sample
            .map(|one| place::stack(&self.sites, one))
            .unwrap_or_default();
        Stack {
            frames: located.frames,
            place: located.place,
            own: located.own,
            purpose: located.purpose,
            what: located.what,
            values,
            fingerprint: first.and_then(|&index| self.fingerprints.get(index).copied()),
            stacks: 1,
            only_largest: false,
            of_pages: self.by_pages,
        }
    }

    pub(super) fn about_samples(&self, breach: Breach) -> Finding {
        Finding {
            stack: Some(self.stack_of_samples(&breach.samples)),
            what: What::Breach(breach),
            others: Vec::new(),
            suppression: None,
            blame: None,
        }
    }

    /// With the largest contributor: of the breach's own samples, or of all.
    pub(super) fn about_everything(&self, breach: Breach) -> Finding {
        let samples = &self.recorded.profile.samples;
        let amount = |&index: &usize| samples.get(index).map_or(0, |s| s.values.get(breach.value));
        let largest = match breach.samples.first() {
            Some(&first) => Some(first),
            None => (0..samples.len()).max_by_key(amount),
        };
        let stack = largest
            .filter(|index| amount(index) > 0)
            .map(|index| Stack {
                only_largest: true,
                ..self.stack_of_samples(&[index])
            });
        Finding {
            stack,
            what: What::Breach(breach),
            others: Vec::new(),
            suppression: None,
            blame: None,
        }
    }

    /// With the stacks that held most at the peak: those of one place and its caller, which tells the users
    /// of a helper such as `xmalloc` apart, are one. What held less than a tenth of the largest is left out.
    pub(super) fn about_peak(&self, breach: Breach) -> Finding {
        const MOST: usize = 4;
        // All that follow are a small part, and there may be a hundred thousand.
        const LOOKED_AT: usize = 1_000;
        let samples = &self.recorded.profile.samples;
        let held = |index: usize| samples.get(index).map_or(0, |s| s.values.get(breach.value));
        let mut places: Vec<Vec<usize>> = Vec::new();
        let mut place_of = HashMap::new();
        let mut holders: Vec<usize> = (0..samples.len())
            .filter(|&index| held(index) > 0)
            .collect();
        holders.sort_by_key(|&index| Reverse(held(index)));
        for index in holders.into_iter().take(LOOKED_AT) {
            let Stack { frames, place, .. } = self.stack_of_samples(&[index]);
            let at = frames.into_iter().skip(place.unwrap_or(0)).take(2);
            let at = at.map(|frame| (frame.function, frame.file, frame.line));
            let at: Vec<_> = at.collect();
            let place = *place_of.entry(at).or_insert_with(|| {
                places.push(Vec::new());
                places.len() - 1
            });
            places[place].push(index);
        }
        let sum = |samples: &[usize]| samples.iter().map(|&index| held(index)).sum::<i64>();
        places.sort_by_key(|place| Reverse(sum(place)));
        let least = places.first().map_or(0, |place| sum(place) / 10);
        places.retain(|place| sum(place) >= least);
        let mut stacks = places.iter().take(MOST).map(|place| Stack {
            only_largest: true,
            stacks: place.len(),
            ..self.stack_of_samples(place)
        });
        Finding {
            stack: stacks.next(),
            others: stacks.collect(),
            what: What::Breach(breach),
            suppression: None,
            blame: None,
        }
    }

    /// With the stack that held most in the snapshot that shows it.
    pub(super) fn about_snapshot(&self, breach: Breach, totals: &[Live]) -> Finding {
        let bytes = breach.value == ValueKind::InuseSpace;
        let total = |live: &Live| if bytes { live.bytes } else { live.objects };
        let window = totals.iter().position(|live| total(live) == breach.amount);
        let largest = window.and_then(|window| {
            growth::counters_at(&self.recorded.series, window).max_by_key(|(stack, counters)| {
                let live = if bytes {
                    counters.live_bytes()
                } else {
                    counters.live_objects()
                };
                (live, Reverse(*stack))
            })
        });
        Finding {
            stack: largest.map(|(stack, counters)| Stack {
                only_largest: true,
                ..self.stack(stack, Some(counters))
            }),
            others: Vec::new(),
            what: What::Breach(breach),
            suppression: None,
            blame: None,
        }
    }
}

/// The name of a suppression in a report.
pub(super) fn label(suppression: &Suppression) -> String {
    suppression.name.clone()
}
