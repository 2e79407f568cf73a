//! What is different where memory was told from page faults: `docs/design/0029-growth.md`.
//!
//! Pages have an owner by who touched them first, and can change hands without any growth. So what a stack is said to
//! do counts only where the target's memory does it as a whole, which is known whatever the faults say.

use super::{Judge, Recorded};
use crate::check::evaluate::Live;
use crate::check::policy::Policy;
use crate::check::report::bytes;
use crate::profile::series::Series;

/// Whether a recording counts pages.
pub(super) fn is_by_pages(recorded: &Recorded) -> bool {
    recorded.series.counts_pages() || recorded.profile.counts_pages()
}

/// The rules of a policy that a recording of page faults can't judge: it knows no peak, and who first touched pages is
/// not who holds what.
#[must_use]
pub fn unjudgeable_by_pages(policy: &Policy) -> Vec<&'static str> {
    [
        (policy.peak.is_some(), "the peak"),
        (!policy.budgets.is_empty(), "a budget"),
        (policy.baseline.is_some(), "a baseline"),
    ]
    .into_iter()
    .filter_map(|(is_asked, name)| is_asked.then_some(name))
    .collect()
}

/// What the target has as a whole at the end of each window, without what stacks have that are `known`.
pub(super) fn totals(series: &Series, known: &[Live]) -> Vec<Live> {
    let marks = series.marks().iter().zip(known);
    let left = marks.map(|(mark, known)| {
        let has = i64::try_from(mark.resident.unwrap_or(0)).unwrap_or(i64::MAX);
        Live {
            bytes: has.saturating_sub(known.bytes),
            objects: 0,
        }
    });
    left.collect()
}

impl Judge<'_> {
    /// What became resident without a fault has no stack: whether that grows nobody can tell.
    pub(super) fn check_pages(&mut self) {
        let mut counters = self.recorded.profile.counters.iter();
        let missing = counters.find(|counter| counter.name == "unattributed_bytes");
        let missing = missing.map_or(0, |counter| counter.value);
        if missing > 0 {
            self.reasons.push(format!(
                "{} of the memory that became resident belong to no page fault, so that nobody can tell who made it \
                 grow: probe the target's allocator",
                bytes(missing as f64)
            ));
        }
    }

    /// Rules that are asked for, and can't be judged.
    pub(super) fn say_unjudgeable(&mut self) {
        for rule in unjudgeable_by_pages(self.policy) {
            self.reasons.push(format!(
                "{rule} can't be judged by page faults: record with --source probes"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::check::leaks::{Caveat, Confidence, MemoryLimit};
    use crate::check::{Judgement, Outcome, Policy, Recorded, What, judge};
    use crate::export::example::counter_service;
    use crate::profile::series::{Counters, Mark, Series, StackId, StackWindow, Survivors, Window};
    use crate::profile::{CounterClass, CounterValue, Verdict};

    type Checked<T> = Result<T, Box<dyn std::error::Error>>;

    const PAGE: u64 = 4_096;
    const MIB: u64 = 1 << 20;

    /// A window a second, at whose end the second stack of the example has so many pages, and the target so many bytes.
    fn recorded(seconds: u64, pages: fn(u64) -> u64, whole: fn(u64) -> u64) -> Checked<Recorded> {
        let mut profile = counter_service();
        profile.verdict = Verdict::Complete;
        profile.peak = None;
        let mut series = Series::new(10);
        for second in 0..seconds {
            let came = |second: u64| {
                if second == 0 {
                    pages(0)
                } else {
                    pages(second) - pages(second - 1)
                }
            };
            let survivors = (0..=second).map(|generation| Survivors {
                generation: u32::try_from(generation).unwrap_or(0),
                objects: came(generation),
                bytes: came(generation) * PAGE,
            });
            series.push(Window {
                mark: Mark {
                    seconds: second as f64,
                    resident: Some(whole(second)),
                    ..Mark::default()
                },
                stacks: vec![StackWindow {
                    stack: StackId(1),
                    counters: Counters {
                        alloc_objects: pages(second),
                        alloc_bytes: pages(second) * PAGE,
                        ..Counters::default()
                    },
                    survivors: survivors.filter(|one| one.objects > 0).collect(),
                }],
            })?;
        }
        Ok(Recorded::by_sample(series, profile))
    }

    fn judged(recorded: &Recorded, policy: &str) -> Checked<Judgement> {
        let limit: Option<MemoryLimit> = None;
        Ok(judge(recorded, &Policy::parse(policy)?, None, limit)?)
    }

    #[test]
    fn growth_of_a_stack_and_of_the_whole_is_found_at_medium() -> Checked<()> {
        let recorded = recorded(40, |second| 5 * second, |second| MIB + 5 * second * PAGE)?;
        let judgement = judged(&recorded, "")?;
        assert_eq!(judgement.outcome, Outcome::Found, "{:?}", judgement.reasons);
        let [finding] = &*judgement.findings else {
            return Err("not one finding".into());
        };
        let What::Leak(leak) = &finding.what else {
            return Err("no growth".into());
        };
        assert_eq!(leak.confidence, Confidence::Medium);
        assert!(leak.is_of_pages() && !leak.caveats.contains(&Caveat::NothingFreed));
        Ok(())
    }

    #[test]
    fn pages_that_change_hands_accuse_nobody() -> Checked<()> {
        let recorded = recorded(40, |second| 5 * second, |_| MIB)?;
        let judgement = judged(&recorded, "")?;
        assert_eq!(judgement.outcome, Outcome::NothingFound);
        let warned = judgement.warnings.iter().any(|finding| {
            matches!(&finding.what, What::Leak(leak) if leak.caveats.contains(&Caveat::NotAsAWhole))
        });
        assert!(warned);
        Ok(())
    }

    #[test]
    fn a_target_that_touches_nothing_new_is_fine() -> Checked<()> {
        let mut recorded = recorded(40, |_| 0, |_| MIB)?;
        assert_eq!(judged(&recorded, "")?.outcome, Outcome::NothingFound);
        let missing = CounterValue {
            name: "unattributed_bytes".to_owned(),
            value: 64 * MIB,
            class: CounterClass::AmountLoss,
            help: String::new(),
        };
        recorded.profile.counters.push(missing);
        assert_eq!(judged(&recorded, "")?.outcome, Outcome::Inconclusive);
        Ok(())
    }

    #[test]
    fn growth_that_no_stack_explains_is_not_fine() -> Checked<()> {
        let recorded = recorded(40, |second| second / 10, |second| MIB * (1 + second))?;
        let judgement = judged(&recorded, "")?;
        assert_eq!(judgement.outcome, Outcome::Inconclusive);
        Ok(())
    }

    #[test]
    fn a_short_recording_says_so() -> Checked<()> {
        let recorded = recorded(5, |_| 0, |_| MIB)?;
        let judgement = judged(&recorded, "")?;
        assert_eq!(judgement.outcome, Outcome::Inconclusive);
        assert!(
            judgement
                .reasons
                .iter()
                .any(|reason| reason.contains("steps"))
        );
        Ok(())
    }

    #[test]
    fn the_limit_of_growth_is_one_of_the_whole() -> Checked<()> {
        let recorded = recorded(40, |_| 0, |second| MIB * (1 + second))?;
        let policy =
            |limit: &str| format!("no-leaks = false\n[growth]\nmax-per-second = \"{limit}\"\n");
        assert_eq!(
            judged(&recorded, &policy("2MB"))?.outcome,
            Outcome::NothingFound
        );
        assert_eq!(judged(&recorded, &policy("500kB"))?.outcome, Outcome::Found);
        Ok(())
    }

    #[test]
    fn what_pages_do_not_tell_is_not_judged() -> Checked<()> {
        let recorded = recorded(40, |_| 0, |_| MIB)?;
        for (policy, name) in [
            ("[peak]\nmax-live = \"1GB\"\n", "the peak"),
            (
                "[[budget]]\nfunction = \"x\"\nmax-live = \"1GB\"\n",
                "a budget",
            ),
        ] {
            let judgement = judged(&recorded, policy)?;
            assert_eq!(judgement.outcome, Outcome::Inconclusive);
            assert!(judgement.reasons.iter().any(|reason| reason.contains(name)));
        }
        Ok(())
    }
}
