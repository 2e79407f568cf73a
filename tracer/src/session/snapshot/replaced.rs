//! Stacks through code that was replaced: by the time that is known, stacks of what came have been walked by
//! what was there before, and counted as its stacks where they have the same addresses.
//!
//! Must not leave a frame that lies there, whichever of the two it is of, nor one beyond it.

use std::collections::HashMap;
use std::ops::Range;

use tracer_common::StackEnd;

use super::Snapshots;
use crate::bpf::StackAmounts;
use crate::profile::{Location, MappingIndex};
use crate::session::processes::{Processes, Traced};

/// Addresses of the profile.
type Places = Vec<(Option<MappingIndex>, Range<u64>)>;

impl Snapshots {
    /// Cuts stacks where code was replaced, also those that were named before it was.
    pub(in crate::session) fn cut_replaced(
        &mut self,
        processes: &Processes,
        amounts: &[StackAmounts],
    ) {
        let mut replaced: HashMap<u32, Places> = HashMap::new();
        for (image, traced) in processes.iter() {
            if !traced.space.replaced().is_empty() {
                replaced.insert(image, self.places(image, traced));
            }
        }
        if replaced.is_empty() {
            return;
        }
        for amount in amounts {
            let counters = &amount.counters;
            let (Some(places), Some(mut stack)) = (
                replaced.get(&counters.key.image),
                self.stacks.get(&amount.index).copied(),
            ) else {
                continue;
            };
            let is_replaced = |location: &Location| {
                places.iter().any(|(mapping, range)| {
                    *mapping == location.mapping && range.contains(&location.address)
                })
            };
            let locations = &self.profile.samples[stack.sample as usize].locations;
            let first = locations
                .iter()
                .position(|index| is_replaced(&self.profile.locations[index.position()]));
            if let Some(first) = first {
                let cut = self.pseudo(StackEnd::Replaced.frame().unwrap_or_default());
                let locations = &mut self.profile.samples[stack.sample as usize].locations;
                locations.truncate(first);
                locations.push(cut);
                stack.end = StackEnd::Replaced;
                self.stacks.insert(amount.index, stack);
            }
        }
    }

    /// Where the profile has what lay in an image's replaced ranges.
    fn places(&self, image: u32, traced: &Traced) -> Places {
        let ranges = traced.space.replaced();
        let mut places: Places = ranges.iter().map(|range| (None, range.clone())).collect();
        for (index, mapped) in traced.space.mappings() {
            let Some(known) = self.mappings.get(&(image, index)) else {
                continue;
            };
            let mapping = &self.profile.mappings[known.mapping];
            for range in ranges {
                let start = range.start.max(mapped.start);
                let end = range.end.min(mapped.end);
                if start < end {
                    let offset = start - mapped.start + mapped.file_offset;
                    let first = (mapping.start + offset).wrapping_sub(mapping.file_offset);
                    places.push((Some(known.mapping), first..first + (end - start)));
                }
            }
        }
        places
    }
}
