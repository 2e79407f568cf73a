//! What a check leaves open: stacks that may leak, and why nobody can tell.

use crate::check::finding::What;
use crate::check::leaks::{Caveat, Confidence, Lack};
use crate::check::report::{bytes, count};

/// Stacks that can't be judged, and what they grew by.
#[derive(Default)]
pub(super) struct Open {
    possible: Stacks,
    few: Stacks,
    slower: Stacks,
}

#[derive(Default)]
struct Stacks {
    count: usize,
    /// Bytes; of possible leaks, bytes a second.
    amount: f64,
}

impl Stacks {
    fn add(&mut self, amount: f64) {
        self.count += 1;
        self.amount += amount;
    }
}

impl Open {
    /// Counts a finding that accuses nobody.
    pub(super) fn add(&mut self, what: &What) {
        match what {
            // Pages that changed hands are explained: the whole does not grow, or is open by itself.
            What::Leak(leak)
                if leak.confidence < Confidence::Medium
                    && !leak.caveats.contains(&Caveat::NotAsAWhole) =>
            {
                self.possible.add(leak.bytes_per_second);
            }
            What::Undecided(Lack::Events { bytes, .. }) => self.few.add(*bytes as f64),
            What::Undecided(Lack::Load { bytes }) => self.slower.add(*bytes as f64),
            _ => {}
        }
    }

    /// A sentence for each of what is open, with what to do about it.
    pub(super) fn reasons(&self) -> Vec<String> {
        const ALLOW: &str = "or pass over it with --allow-undecided";
        let mut reasons = Vec::new();
        if self.possible.count > 0 {
            reasons.push(format!(
                "{} of {}/s in all: record longer, {ALLOW}",
                count(self.possible.count, "possible leak"),
                bytes(self.possible.amount)
            ));
        }
        for (stacks, how) in [
            (
                &self.few,
                "too few times to tell whether it leaks: record longer or under more load",
            ),
            (
                &self.slower,
                "ever more slowly while the load fell, which a cache that fills does as well: record under an \
                 even load",
            ),
        ] {
            if stacks.count > 0 {
                reasons.push(format!(
                    "{} grew, by {} in all, {how}, {ALLOW}",
                    count(stacks.count, "stack"),
                    bytes(stacks.amount)
                ));
            }
        }
        reasons
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::leaks::Leak;

    fn leak(confidence: Confidence, caveat: Caveat) -> What {
        What::Leak(Leak {
            confidence,
            caveats: vec![caveat],
            false_alarm: 0.001,
            bytes_per_second: 512.0,
            objects_per_second: 1.0,
            bytes_per_operation: None,
            since_seconds: 1.0,
            seconds_to_limit: None,
        })
    }

    #[test]
    fn a_possible_leak_leaves_the_check_open() {
        let mut open = Open::default();
        assert_eq!(open.reasons(), Vec::<String>::new());
        open.add(&leak(Confidence::Low, Caveat::MaySlowDown));
        open.add(&leak(Confidence::Low, Caveat::OnlyYoung));
        open.add(&What::Undecided(Lack::Events { have: 2, bytes: 64 }));
        let [possible, few] = &open.reasons()[..] else {
            panic!("{:?}", open.reasons());
        };
        assert!(
            possible.contains("2 possible leaks of 1 kB/s"),
            "{possible}"
        );
        assert!(few.contains("1 stack grew, by 64 B"), "{few}");
        for reason in [possible, few] {
            assert!(reason.contains("--allow-undecided"), "{reason}");
        }
    }

    #[test]
    fn pages_that_changed_hands_are_explained() {
        let mut open = Open::default();
        open.add(&leak(Confidence::Low, Caveat::NotAsAWhole));
        assert!(open.reasons().is_empty());
    }
}
