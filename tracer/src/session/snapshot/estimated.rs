//! Estimates in the place of what was seen in windows.

use super::Snapshots;
use crate::bpf::StackAmounts;
use crate::profile::Errors;
use crate::session::windows::{Estimated, Stack};

impl Snapshots {
    /// Has each sample say what its stack allocated in the whole recording, as far as that can be told. Without
    /// estimates samples say what was seen.
    pub(in crate::session) fn estimate(
        &mut self,
        amounts: &[StackAmounts],
        estimated: Option<&Estimated>,
    ) {
        self.profile.sampled = estimated.map(|estimated| estimated.sampled);
        let Some(estimated) = estimated else { return };
        for sample in &mut self.profile.samples {
            sample.errors = Errors::default();
        }
        let known = amounts.iter().filter_map(|amount| {
            let stack = Stack::Known(amount.counters.key);
            Some((stack, self.sample_of(amount.index)?))
        });
        let known: Vec<_> = known.collect();
        let ended = estimated.stacks.keys().filter_map(|&stack| match stack {
            Stack::Ended(sample) => Some((stack, sample as usize)),
            Stack::Known(_) => None,
        });
        for (stack, sample) in known.into_iter().chain(ended) {
            let sample = self.profile.samples.get_mut(sample);
            if let (Some(sample), Some(&([objects, bytes], errors))) =
                (sample, estimated.stacks.get(&stack))
            {
                // What was seen has happened, whatever is made of it.
                let values = &mut sample.values;
                values.alloc_objects = values.alloc_objects.max(objects);
                values.alloc_space = values.alloc_space.max(bytes);
                sample.errors = errors;
            }
        }
    }
}
