//! What is kept of processes that have ended: their samples, summed up by stack. A target may start tens of
//! thousands of processes, and neither the kernel's tables nor this process may grow with each.

use std::collections::{HashMap, HashSet};

use tracer_common::StackKey;

use super::processes::Processes;
use super::snapshot::{Arrived, Snapshots};
use super::verdict::Findings;
use crate::bpf::StackAmounts;
use crate::profile::{Labels, LocationIndex, Profile, Values};

/// The samples of processes that have ended.
#[derive(Default)]
pub(super) struct Retired {
    /// The sample of each stack.
    samples: HashMap<(Vec<LocationIndex>, Labels), u32>,
    /// Samples that stand for no stack any more.
    pub(super) free: Vec<u32>,
    /// What there is to say of these stacks.
    findings: Findings,
    /// Processes.
    images: u64,
    /// The peak that what they held at it is of.
    peak: u32,
}

impl Retired {
    /// What ended processes held at a peak, they did not hold at a later one.
    pub(super) fn keep_peak(&mut self, profile: &mut Profile, peak: u32) {
        if std::mem::replace(&mut self.peak, peak) == peak {
            return;
        }
        for &sample in self.samples.values() {
            if let Some(sample) = profile.samples.get_mut(sample as usize) {
                sample.values = sample.values.without_peak();
            }
        }
    }
}

impl Snapshots {
    /// Takes in the last amounts of images that have ended, of which nothing more comes: their stacks have left
    /// the kernel's tables. Returns which sample each of them belongs to from now on.
    pub(super) fn retire(
        &mut self,
        processes: &Processes,
        images: &HashSet<u32>,
        amounts: &[StackAmounts],
        peak: u32,
        seen: &mut Arrived,
    ) -> Vec<(StackKey, u32)> {
        self.retired.keep_peak(&mut self.profile, peak);
        let mut findings = std::mem::take(&mut self.retired.findings);
        for amount in amounts {
            let key = amount.counters.key;
            let (held, seen_of) = (amount.at_peak, seen.get_mut(&key));
            self.sample(processes, amount, held, seen_of, false, &mut findings);
            seen.remove(&key);
        }
        self.cut_replaced(processes, amounts);
        self.count_ends(amounts, &mut findings.ends);
        let mut moved = Vec::new();
        for amount in amounts {
            let sample = self.sample_of(amount.index);
            let sample = sample.and_then(|sample| self.merge(sample));
            moved.extend(sample.map(|sample| (amount.counters.key, sample)));
            self.forget(amount.index);
        }
        self.retired.findings = findings;
        self.retired.images += images.len() as u64;
        seen.retain(|key, _| !images.contains(&key.image));
        self.forget_images(images);
        moved
    }

    /// Adds a stack's sample to the one of its like. Returns which that is.
    fn merge(&mut self, number: usize) -> Option<u32> {
        let sample = self.profile.samples.get_mut(number)?;
        let values = sample.values;
        let identity = (std::mem::take(&mut sample.locations), sample.labels.clone());
        match self.retired.samples.get(&identity) {
            Some(&like) => {
                sample.values = Values::default();
                if let Some(like) = self.profile.samples.get_mut(like as usize) {
                    like.values += values;
                }
                self.retired.free.push(number as u32);
                Some(like)
            }
            None => {
                sample.locations.clone_from(&identity.0);
                self.retired.samples.insert(identity, number as u32);
                Some(number as u32)
            }
        }
    }

    /// What there is to say of the stacks that have been retired.
    pub(super) fn retired_findings(&self) -> Findings {
        self.retired.findings.clone()
    }

    /// Images whose samples are summed up.
    pub(super) const fn retired_images(&self) -> u64 {
        self.retired.images
    }
}
