//! How stacks end, as far as it is known when they have their names: a walk that was cut may have reached the
//! first frame all the same, and one that was not may have left the stack, or led through code that was replaced.

use std::ops::AddAssign;

use tracer_common::{Counter, StackEnd};

use super::Snapshots;
use crate::bpf::StackAmounts;

const ENDS: usize = StackEnd::ALL.len();

/// Stacks that lack callers, by why. All but the stacks are allocations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::session) struct Ends {
    stacks: [u64; ENDS],
    objects: [u64; ENDS],
    /// By how their walk ended, where the stack ends otherwise.
    otherwise: [u64; ENDS],
    /// Of code that was replaced, no frame being left.
    frameless: u64,
}

impl Ends {
    /// Takes in a stack of so many allocations.
    pub(in crate::session) fn add(
        &mut self,
        walked: StackEnd,
        end: StackEnd,
        objects: u64,
        has_frames: bool,
    ) {
        if end != StackEnd::Root {
            self.stacks[end as usize] += 1;
            self.objects[end as usize] += objects;
        }
        if end != walked {
            self.otherwise[walked as usize] += objects;
        }
        if end == StackEnd::Replaced && !has_frames {
            self.frameless += objects;
        }
    }

    /// Stacks that end before the function their process or thread began with.
    pub(in crate::session) fn early(&self) -> u64 {
        self.stacks.iter().sum()
    }

    /// Stacks that end so.
    pub(in crate::session) const fn stacks(&self, end: StackEnd) -> u64 {
        self.stacks[end as usize]
    }

    /// Their allocations.
    pub(in crate::session) const fn objects(&self, end: StackEnd) -> u64 {
        self.objects[end as usize]
    }

    /// Allocations of which no frame is left, because all of their stack lies in code that was replaced.
    pub(in crate::session) const fn frameless(&self) -> u64 {
        self.frameless
    }

    /// A counter of walks that were cut, without those whose stack ends otherwise.
    pub(in crate::session) fn correct(&self, counter: Counter, value: u64) -> u64 {
        let walked = StackEnd::ALL
            .into_iter()
            .find(|end| end.counter() == Some(counter));
        walked.map_or(value, |walked| {
            value.saturating_sub(self.otherwise[walked as usize])
        })
    }
}

impl AddAssign for Ends {
    fn add_assign(&mut self, other: Self) {
        let pairs = [
            (&mut self.stacks, other.stacks),
            (&mut self.objects, other.objects),
            (&mut self.otherwise, other.otherwise),
        ];
        for (sums, more) in pairs {
            for (sum, more) in sums.iter_mut().zip(more) {
                *sum += more;
            }
        }
        self.frameless += other.frameless;
    }
}

impl Snapshots {
    /// Counts how stacks end, once all that is known of them is taken in.
    pub(in crate::session) fn count_ends(&self, amounts: &[StackAmounts], ends: &mut Ends) {
        for amount in amounts {
            if let Some(stack) = self.stacks.get(&amount.index) {
                let sample = &self.profile.samples[stack.sample as usize];
                // One stands for what is missing.
                let has_frames = sample.locations.len() > 1;
                let objects = amount.counters.alloc_objects;
                ends.add(stack.walked, stack.end, objects, has_frames);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_walk_whose_stack_is_whole_is_no_cut_one() {
        let mut ends = Ends::default();
        ends.add(StackEnd::NoRule, StackEnd::Root, 5, true);
        ends.add(StackEnd::NoRule, StackEnd::NoRule, 3, true);
        ends.add(StackEnd::Root, StackEnd::NotCalled, 2, true);
        assert_eq!(ends.correct(Counter::CutNoRule, 8), 3);
        assert_eq!(ends.correct(Counter::CutTooDeep, 8), 8);
        assert_eq!(ends.early(), 2);
        assert_eq!(ends.objects(StackEnd::NotCalled), 2);
    }

    #[test]
    fn what_is_left_without_a_frame_is_told_apart() {
        let mut ends = Ends::default();
        ends.add(StackEnd::Root, StackEnd::Replaced, 5, true);
        ends.add(StackEnd::Root, StackEnd::Replaced, 3, false);
        let mut sum = ends.clone();
        sum += ends;
        assert_eq!(sum.objects(StackEnd::Replaced), 16);
        assert_eq!(sum.stacks(StackEnd::Replaced), 4);
        assert_eq!(sum.frameless(), 6);
    }
}
