//! From counters to the one verdict.

mod findings;

use tracer_common::Counter;

pub(super) use findings::Findings;
use findings::{Finding, Reason, Weight};

use super::cost::Events;
use super::windows::WindowsStatus;
use crate::profile::{CounterValue, Verdict};

/// Share of the allocations that may be missing, or in no stack, before nothing can be concluded.
const INCONCLUSIVE_SHARE: f64 = 0.01;

/// Every counter under the name it has in every output.
pub(super) fn counter_values(
    counters: &[(Counter, u64)],
    findings: &Findings,
) -> Vec<CounterValue> {
    let all = findings::all(counters, findings).into_iter();
    all.map(|finding| finding.counter).collect()
}

/// The verdict over a recording.
pub(super) fn verdict(counters: &[(Counter, u64)], findings: &Findings) -> Verdict {
    // What came in one that did not count is no evidence.
    let no_window = findings.windows.is_some_and(|windows| windows.windows == 0);
    if !findings.is_growth && (Events::of(counters).is_none() || no_window) {
        let silence = match findings.windows {
            None => "the allocator was never called during the recording: record longer, or while the target works".to_owned(),
            Some(windows) => format!(
                "the allocator was not called in {} windows of {:.1} ms together",
                windows.windows,
                windows.exposure.as_secs_f64() * 1e3
            ),
        };
        return Verdict::Inconclusive {
            reasons: vec![silence],
        };
    }
    let mut losses = findings::all(counters, findings);
    losses.retain(Finding::is_loss);
    let mut reasons = reasons(&losses);
    if reasons.is_empty() && findings.windows.is_none() {
        return Verdict::Complete;
    }
    let objects = counters.iter();
    let objects = objects.filter(|(counter, _)| *counter == Counter::AllocObjects);
    let allocated: u64 = objects.map(|(_, value)| value).sum();
    let lost: u64 = losses
        .iter()
        .filter(|loss| loss.weight == Weight::Allocations)
        .map(|loss| loss.counter.value)
        .sum();
    let is_unknown = losses.iter().any(|loss| loss.weight == Weight::Unknown);
    if is_unknown || lost as f64 / allocated.max(1) as f64 > INCONCLUSIVE_SHARE {
        Verdict::Inconclusive { reasons }
    } else if let Some(windows) = findings.windows {
        let (reason, is_scaled) = sampled(windows, findings.scaled.as_ref());
        reasons.insert(0, reason);
        if is_scaled {
            Verdict::Sampled { reasons }
        } else {
            Verdict::Inconclusive { reasons }
        }
    } else {
        Verdict::Degraded { reasons }
    }
}

/// What only windows can tell, and whether that is of the whole recording.
fn sampled(windows: WindowsStatus, scaled: Option<&Result<String, String>>) -> (String, bool) {
    let amounts = match scaled {
        Some(Ok(by)) => format!(
            "what was allocated is estimated from them {by}, and what is held to be live may have been freed between two"
        ),
        Some(Err(why)) => format!("amounts are those in them, not scaled, since there are {why}"),
        None => "amounts are those in them, not scaled".to_owned(),
    };
    let words = format!(
        "only {} windows of {:.1} ms together were seen: {amounts}",
        windows.windows,
        windows.exposure.as_secs_f64() * 1e3
    );
    (words, matches!(scaled, Some(Ok(_))))
}

/// What there is to say of losses. All that are only cut are told at once, last.
fn reasons(losses: &[Finding]) -> Vec<String> {
    let mut reasons = Vec::new();
    let (mut cut, mut why) = (0, Vec::new());
    for Finding {
        counter, reason, ..
    } in losses
    {
        let CounterValue {
            value, name, help, ..
        } = counter;
        match reason {
            Reason::Help => reasons.push(format!("{value} {name}: {help}")),
            Reason::Words(words) => reasons.extend_from_slice(words),
            Reason::Cut => {
                cut += value;
                why.push(format!("{name} {value}"));
            }
            Reason::Elsewhere => {}
        }
    }
    if cut > 0 {
        reasons.push(format!(
            "{cut} allocations have cut stacks: outer callers are missing, the frames shown are right ({})",
            why.join(", ")
        ));
    }
    reasons
}

#[cfg(test)]
mod tests {
    use tracer_common::StackEnd;

    use super::*;
    use crate::profile::CounterClass;

    #[test]
    fn the_guide_explains_every_counter() {
        let guide = include_str!("../../../docs/guide/09-counters-and-verdicts.md");
        let all: Vec<_> = Counter::ALL.iter().map(|&counter| (counter, 0)).collect();
        let findings = Findings {
            windows: Some(WindowsStatus::default()),
            ..Findings::default()
        };
        for counter in counter_values(&all, &findings) {
            let row = format!("| `{}` |", counter.name);
            let row = guide.lines().find(|line| line.starts_with(&row));
            let row = row.unwrap_or_default();
            assert!(
                row.contains(&format!(" | {} | ", counter.help)),
                "the guide does not say `{}` of {}: {row:?}",
                counter.help,
                counter.name
            );
        }
    }

    #[test]
    fn mappings_that_the_kernel_was_not_told_of_degrade() {
        let findings = Findings {
            mappings_not_published: 1,
            ..Findings::default()
        };
        let verdict = verdict(&[(Counter::AllocObjects, 5)], &findings);
        assert!(matches!(verdict, Verdict::Degraded { reasons } if reasons.len() == 1));
    }

    #[test]
    fn what_is_not_known_of_mappings_is_a_loss() {
        let lost = [
            Findings {
                mapping_records_lost: 7,
                ..Findings::default()
            },
            Findings {
                mappings_forgotten: 7,
                ..Findings::default()
            },
            Findings {
                mappings_dropped: 7,
                ..Findings::default()
            },
        ];
        for findings in lost {
            let counters = [(Counter::AllocObjects, 5)];
            let verdict = verdict(&counters, &findings);
            assert!(matches!(&verdict, Verdict::Degraded { reasons } if reasons.len() == 1));
            assert!(verdict.reasons()[0].starts_with("7 "));
            let values = counter_values(&counters, &findings);
            let losses = values.iter().filter(|counter| {
                counter.value == 7 && counter.class == CounterClass::AttributionLoss
            });
            assert_eq!(losses.count(), 1);
        }
    }

    #[test]
    fn nothing_lost_is_complete() {
        let counters = [(Counter::AllocObjects, 5), (Counter::UnknownFrees, 9)];
        assert_eq!(verdict(&counters, &Findings::default()), Verdict::Complete);
    }

    #[test]
    fn windows_are_sampled_whatever_was_seen() {
        let findings = Findings {
            windows: Some(WindowsStatus {
                windows: 7,
                exposure: std::time::Duration::from_millis(14),
                ..WindowsStatus::default()
            }),
            scaled: Some(Ok("by calls of calloc".to_owned())),
            ..Findings::default()
        };
        let with = |counters: &[(Counter, u64)]| verdict(counters, &findings);
        let whole = with(&[(Counter::AllocObjects, 1_000)]);
        assert_eq!(whole.name(), "sampled");
        assert!(whole.reasons()[0].contains("7 windows of 14.0 ms"));
        assert!(whole.reasons()[0].contains("by calls of calloc"));
        let few = Findings {
            scaled: Some(Err("too few windows".to_owned())),
            ..findings.clone()
        };
        let few = verdict(&[(Counter::AllocObjects, 1_000)], &few);
        assert_eq!(few.name(), "inconclusive");
        assert!(few.reasons()[0].contains("not scaled, since there are too few windows"));
        let lossy = with(&[(Counter::AllocObjects, 1_000), (Counter::CallNotKept, 5)]);
        assert_eq!((lossy.name(), lossy.reasons().len()), ("sampled", 2));
        let worse = with(&[(Counter::AllocObjects, 1_000), (Counter::CallNotKept, 50)]);
        assert_eq!(worse.name(), "inconclusive");
        let silent = with(&[(Counter::AllocObjects, 0)]);
        assert_eq!(silent.name(), "inconclusive");
        assert!(silent.reasons()[0].contains("7 windows"));
        let none = Findings {
            windows: Some(WindowsStatus::default()),
            ..Findings::default()
        };
        let verdict = verdict(&[(Counter::AllocObjects, 9)], &none);
        assert_eq!(verdict.name(), "inconclusive");
    }

    #[test]
    fn silence_is_inconclusive() {
        let verdict = verdict(&[(Counter::AllocObjects, 0)], &Findings::default());
        assert_eq!(verdict.name(), "inconclusive");
    }

    #[test]
    fn calls_that_are_only_counted_are_no_silence() {
        let counters = [(Counter::AllocObjects, 0), (Counter::ThrowingCalls, 7)];
        let verdict = verdict(&counters, &Findings::default());
        assert_eq!(verdict.name(), "inconclusive");
        assert!(verdict.reasons()[0].contains("7 throwing_calls"));
    }

    #[test]
    fn a_small_loss_degrades_and_a_large_one_is_inconclusive() {
        let with = |missed| {
            verdict(
                &[
                    (Counter::AllocObjects, 1_000),
                    (Counter::MissedFrees, missed),
                ],
                &Findings::default(),
            )
        };
        assert_eq!(with(5).name(), "degraded");
        assert_eq!(with(50).name(), "inconclusive");
        assert!(with(5).reasons()[0].contains("missed_frees"));
    }

    #[test]
    fn a_full_live_table_is_inconclusive_however_small() {
        let counters = [
            (Counter::AllocObjects, 1_000_000),
            (Counter::LiveTableFull, 1),
        ];
        assert_eq!(
            verdict(&counters, &Findings::default()).name(),
            "inconclusive"
        );
    }

    #[test]
    fn a_library_that_was_not_probed_is_inconclusive() {
        let findings = Findings {
            modules_not_probed: 1,
            ..Findings::default()
        };
        let verdict = verdict(&[(Counter::AllocObjects, 1_000)], &findings);
        assert_eq!(verdict.name(), "inconclusive");
        assert!(verdict.reasons()[0].contains("could not be probed"));
    }

    #[test]
    fn a_library_that_was_probed_late_degrades() {
        let findings = Findings {
            modules_probed_late: 1,
            ..Findings::default()
        };
        let verdict = verdict(&[(Counter::AllocObjects, 1_000)], &findings);
        assert_eq!(verdict.name(), "degraded");
        assert!(verdict.reasons()[0].contains("a moment later"));
    }

    #[test]
    fn growth_that_was_not_seen_is_inconclusive_and_says_what_it_may_be() {
        let with = |runtime| {
            let findings = Findings {
                unseen_growth_bytes: 118 << 20,
                runtime,
                ..Findings::default()
            };
            verdict(&[(Counter::AllocObjects, 1_000)], &findings)
        };
        for (runtime, words) in [(None, "mmap"), (Some("arenas of its own"), "arenas")] {
            let verdict = with(runtime);
            assert_eq!(verdict.name(), "inconclusive");
            let reason = &verdict.reasons()[0];
            assert!(
                reason.contains("118.0 MB") && reason.contains(words),
                "{reason}"
            );
        }
    }

    #[test]
    fn memory_of_a_runtime_that_does_not_grow_is_worth_a_note() {
        let findings = Findings {
            runtime_bytes: 118 << 20,
            ..Findings::default()
        };
        let verdict = verdict(&[(Counter::AllocObjects, 1_000)], &findings);
        assert_eq!(verdict, Verdict::Complete);
    }

    #[test]
    fn an_allocator_that_is_not_probed_is_inconclusive_and_named() {
        let findings = Findings {
            allocators_not_probed: vec!["/lib/libarena.so".to_owned()],
            ..Findings::default()
        };
        let verdict = verdict(&[(Counter::AllocObjects, 1_000)], &findings);
        assert_eq!(verdict.name(), "inconclusive");
        assert!(verdict.reasons()[0].contains("/lib/libarena.so"));
    }

    #[test]
    fn cut_stacks_degrade_however_many_and_are_told_at_once() {
        let mut findings = Findings::default();
        let ends = [StackEnd::NotCalled, StackEnd::FramePointers];
        for end in ends {
            findings.ends.add(end, end, 2, true);
        }
        let counters = [
            (Counter::AllocObjects, 1_000),
            (Counter::CutUnmapped, 900),
            (Counter::CutTooDeep, 3),
        ];
        let verdict = verdict(&counters, &findings);
        assert_eq!(verdict.name(), "degraded");
        let [reason] = verdict.reasons() else {
            panic!("{verdict:?}");
        };
        assert!(reason.starts_with("907 allocations"), "{reason}");
        for part in [
            "cut_unmapped 900",
            "cut_too_deep 3",
            "objects_overrun 2",
            "cut_frame_pointers 2",
        ] {
            assert!(reason.contains(part), "{reason}");
        }
    }

    #[test]
    fn every_way_to_cut_a_stack_is_a_loss() {
        for counter in StackEnd::ALL.into_iter().filter_map(StackEnd::counter) {
            let counters = [(Counter::AllocObjects, 1_000), (counter, 1)];
            let verdict = verdict(&counters, &Findings::default());
            assert_eq!(verdict.name(), "degraded", "{}", counter.name());
        }
        let no_counter = StackEnd::ALL
            .into_iter()
            .filter(|end| *end != StackEnd::Root && end.counter().is_none());
        for end in no_counter {
            let mut findings = Findings::default();
            findings.ends.add(end, end, 1, true);
            let verdict = verdict(&[(Counter::AllocObjects, 1_000)], &findings);
            assert_eq!(verdict.name(), "degraded", "{end:?}");
        }
    }

    #[test]
    fn a_cut_walk_that_reached_the_root_is_none() {
        let mut findings = Findings::default();
        findings.ends.add(StackEnd::NoRule, StackEnd::Root, 7, true);
        let counters = [(Counter::AllocObjects, 1_000), (Counter::CutNoRule, 7)];
        assert_eq!(verdict(&counters, &findings), Verdict::Complete);
    }

    #[test]
    fn stacks_without_any_frame_left_count_as_lost() {
        let mut findings = Findings::default();
        findings
            .ends
            .add(StackEnd::Root, StackEnd::Replaced, 500, false);
        let verdict = verdict(&[(Counter::AllocObjects, 1_000)], &findings);
        assert_eq!(verdict.name(), "inconclusive");
    }

    #[test]
    fn every_loss_has_a_reason() {
        let counters: Vec<_> = Counter::ALL.iter().map(|&counter| (counter, 1)).collect();
        let mut findings = Findings::default();
        for end in StackEnd::ALL {
            findings.ends.add(end, end, 1, false);
        }
        let reasons = verdict(&counters, &findings).reasons().join("\n");
        for counter in counter_values(&counters, &findings) {
            let is_loss = matches!(
                counter.class,
                CounterClass::AmountLoss | CounterClass::AttributionLoss
            );
            // The stacks are told by their allocations.
            let is_told = counter.name.starts_with("stacks_");
            if is_loss && counter.value > 0 && !is_told {
                assert!(reasons.contains(&counter.name), "{}", counter.name);
            }
        }
    }

    #[test]
    fn every_counter_has_one_name() {
        let counters: Vec<_> = Counter::ALL.iter().map(|&counter| (counter, 0)).collect();
        let values = counter_values(&counters, &Findings::default());
        let mut names: Vec<_> = values.iter().map(|value| value.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), values.len());
    }
}
