//! From counters to the one verdict.

use tracer_common::{Counter, CounterKind};

use super::cost::events;
use crate::profile::{CounterClass, CounterValue, Verdict};

/// Share of the allocations that may be missing, or in no stack, before nothing can be concluded.
const INCONCLUSIVE_SHARE: f64 = 0.01;

/// What memory that no allocator handed out is, where no runtime is known.
const NO_RUNTIME: &str = "usually memory that the program maps itself (mmap, brk) for pools of its own, an \
     allocator that is linked into it, or free memory in pieces that the allocator can't give back";

/// What user space itself found out, in addition to the kernel's counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    /// Distinct stacks with amounts.
    pub(super) stacks: u64,
    /// Of these, stacks whose frames never arrived.
    pub(super) stacks_without_frames: u64,
    /// Allocations of the stacks whose frames never arrived.
    pub(super) objects_without_frames: u64,
    /// Stacks whose outermost frame does not begin a process or thread.
    pub(super) stacks_ended_early: u64,
    /// Stacks that were walked further than they reach.
    pub(super) stacks_overrun: u64,
    /// Allocations of these.
    pub(super) objects_overrun: u64,
    /// Stacks through code that was replaced.
    pub(super) stacks_replaced: u64,
    /// Allocations of these.
    pub(super) objects_replaced: u64,
    /// Mapped files without an unwind table.
    pub(super) modules_without_table: u64,
    /// How often the kernel side could not be told of new mappings or their unwind tables.
    pub(super) mappings_not_published: u64,
    /// Files whose unwind table is loaded.
    pub(super) unwind_tables: u64,
    /// Address spaces that are walked by these tables.
    pub(super) unwind_spaces: u64,
    /// Kernel memory of the unwind tables, bytes.
    pub(super) unwind_table_bytes: u64,
    /// How often the live table could not be enlarged when that was due.
    pub(super) live_table_growth_failures: u64,
    /// Frames at the outer end of stacks that were none.
    pub(super) frames_discarded: u64,
    /// Locations that nothing names.
    pub(super) unknown_locations: u64,
    /// Records of new mappings that the kernel dropped.
    pub(super) mapping_records_lost: u64,
    /// Changes of mappings that were forgotten, because there were too many.
    pub(super) mappings_forgotten: u64,
    /// Mapped files that could not be opened.
    pub(super) files_not_opened: u64,
    /// Allocators that were mapped later and could not be probed.
    pub(super) modules_not_probed: u64,
    /// Allocators that were mapped later, and probed when the news of that had arrived.
    pub(super) modules_probed_late: u64,
    /// Modules that serve the process and are not probed.
    pub(super) allocators_not_probed: Vec<String>,
    /// Bytes of memory that the allocators do not explain.
    pub(super) unseen_growth_bytes: u64,
    /// Bytes that a language runtime has taken for itself.
    pub(super) runtime_bytes: u64,
    /// Which runtime that is, and what can be done.
    pub(super) runtime: Option<&'static str>,
    /// Processes that the target started and that were not counted.
    pub(super) children_not_followed: u64,
    /// Execs by another thread than the first, after which the probes had to be put back.
    pub(super) execs_by_other_threads: u64,
    /// How often the probes were found to be gone.
    pub(super) probes_missing: u64,
    /// Children that were followed where their probes may be lost.
    pub(super) children_unsure: u64,
    /// Code translators for which the probes were taken out.
    pub(super) translators: u64,
    /// Records of mappings that found no room before it was known whose they are.
    pub(super) mappings_dropped: u64,
    /// Bytes that earlier images of the process held when exec replaced them.
    pub(super) bytes_released_by_exec: u64,
}

/// Every counter under the name it has in every output.
pub(super) fn counter_values(
    counters: &[(Counter, u64)],
    findings: &Findings,
) -> Vec<CounterValue> {
    let kernel = counters.iter().map(|&(counter, value)| CounterValue {
        name: counter.name().to_owned(),
        value,
        class: class(counter.kind()),
        help: counter.help().to_owned(),
    });
    use CounterClass::{AmountLoss, AttributionLoss, Note, Traffic};
    let own = [
        ("stacks", findings.stacks, Traffic, "Distinct call stacks."),
        (
            "stacks_without_frames",
            findings.stacks_without_frames,
            AttributionLoss,
            "Stacks whose frames never arrived: the event ring was full each time.",
        ),
        (
            "objects_without_frames",
            findings.objects_without_frames,
            AttributionLoss,
            "Allocations of the stacks whose frames never arrived.",
        ),
        (
            "stacks_ended_early",
            findings.stacks_ended_early,
            Note,
            "Stacks that end before the function their process or thread began with.",
        ),
        (
            "stacks_overrun",
            findings.stacks_overrun,
            AttributionLoss,
            "Stacks cut where the next frame follows no call: the walk had left the stack.",
        ),
        (
            "objects_overrun",
            findings.objects_overrun,
            AttributionLoss,
            "Allocations of the stacks that were cut because the next frame follows no call.",
        ),
        (
            "stacks_replaced",
            findings.stacks_replaced,
            AttributionLoss,
            "Stacks cut at a place where code was replaced by other code: whose stacks they are is not known.",
        ),
        (
            "objects_replaced",
            findings.objects_replaced,
            AttributionLoss,
            "Allocations of the stacks that were cut at code that was replaced.",
        ),
        (
            "modules_without_table",
            findings.modules_without_table,
            Note,
            "Mapped files without an unwind table; their code was walked along frame pointers.",
        ),
        (
            "mappings_not_published",
            findings.mappings_not_published,
            AttributionLoss,
            "Times that new mappings or their unwind tables could not be handed to the kernel: stacks through them may be wrong or cut.",
        ),
        (
            "unwind_tables",
            findings.unwind_tables,
            Traffic,
            "Files whose unwind table is loaded, once for all processes that map them.",
        ),
        (
            "unwind_spaces",
            findings.unwind_spaces,
            Traffic,
            "Address spaces walked by these tables: one for each program that a process has run.",
        ),
        (
            "unwind_table_bytes",
            findings.unwind_table_bytes,
            Traffic,
            "Kernel memory of the unwind tables.",
        ),
        (
            "live_table_growth_failures",
            findings.live_table_growth_failures,
            Note,
            "Times the live table could not be enlarged; it was tried again, and what found no room meanwhile is in live_table_full.",
        ),
        (
            "frames_discarded",
            findings.frames_discarded,
            Note,
            "Addresses at the outer end of stacks that lie in no mapping: a frame pointer was none.",
        ),
        (
            "unknown_locations",
            findings.unknown_locations,
            Note,
            "Places in the code that nothing names; each carries its reason.",
        ),
        (
            "mapping_records_lost",
            findings.mapping_records_lost,
            AttributionLoss,
            "Records of new mappings that the kernel dropped: code that was loaded then has no name until the mappings were read anew, and an allocator was not probed until then.",
        ),
        (
            "mappings_forgotten",
            findings.mappings_forgotten,
            AttributionLoss,
            "Changes of mappings that were forgotten because the target made too many: code that was there then has no name.",
        ),
        (
            "files_not_opened",
            findings.files_not_opened,
            AmountLoss,
            "Mapped files that could not be opened: their code has no name, and an allocator in them was not probed.",
        ),
        (
            "modules_not_probed",
            findings.modules_not_probed,
            AmountLoss,
            "Allocators mapped during the recording that could not be probed: what they served is missing.",
        ),
        (
            "modules_probed_late",
            findings.modules_probed_late,
            AmountLoss,
            "Allocators mapped during the recording that were probed a moment later: what they served until then is missing.",
        ),
        (
            "allocators_not_probed",
            findings.allocators_not_probed.len() as u64,
            AmountLoss,
            "Modules whose malloc serves the process and is none that can be probed: what they hand out is missing.",
        ),
        (
            "unseen_growth_bytes",
            findings.unseen_growth_bytes,
            AmountLoss,
            "Bytes by which the processes' memory grew beyond what their allocators were seen to hand out.",
        ),
        (
            "runtime_bytes",
            findings.runtime_bytes,
            Note,
            "Bytes that a language runtime took for its own heap early in the recording, and hardly more later.",
        ),
        (
            "children_not_followed",
            findings.children_not_followed,
            Note,
            "Processes that the target started and that were not counted.",
        ),
        (
            "execs_by_other_threads",
            findings.execs_by_other_threads,
            AmountLoss,
            "Execs by another thread than the first: what the new program allocated until the probes were put back, a moment later, is missing (--follow-forks sees it).",
        ),
        (
            "probes_missing",
            findings.probes_missing,
            AmountLoss,
            "Times that the probes were found to be gone from the target: what it allocated and freed until they were put back is missing.",
        ),
        (
            "children_unsure",
            findings.children_unsure,
            AmountLoss,
            "Processes followed by a kernel before 6.12, which may take probes out too early where processes have several threads.",
        ),
        (
            "code_translators",
            findings.translators,
            AmountLoss,
            "Programs that read code as data and would have read the probes: these were taken out for good.",
        ),
        (
            "mappings_dropped",
            findings.mappings_dropped,
            AttributionLoss,
            "Records of new mappings that found no room before it was known whose they are.",
        ),
        (
            "bytes_released_by_exec",
            findings.bytes_released_by_exec,
            Note,
            "Bytes that earlier images of the process held when exec replaced them; not live any more.",
        ),
    ]
    .map(|(name, value, class, help)| CounterValue {
        name: name.to_owned(),
        value,
        class,
        help: help.to_owned(),
    });
    kernel.chain(own).collect()
}

const fn class(kind: CounterKind) -> CounterClass {
    match kind {
        CounterKind::Traffic => CounterClass::Traffic,
        CounterKind::Note => CounterClass::Note,
        CounterKind::AttributionLoss => CounterClass::AttributionLoss,
        CounterKind::AmountLoss => CounterClass::AmountLoss,
    }
}

/// The verdict over a recording.
pub(super) fn verdict(counters: &[(Counter, u64)], findings: &Findings) -> Verdict {
    let value = |wanted: Counter| {
        counters
            .iter()
            .find_map(|&(counter, value)| (counter == wanted).then_some(value))
            .unwrap_or(0)
    };
    if events(counters) == (0, 0) {
        return Verdict::Inconclusive {
            reasons: vec!["attached, but the allocator was never called".to_owned()],
        };
    }

    let mut reasons = Vec::new();
    let mut lost = 0;
    for &(counter, amount) in counters {
        let is_loss = matches!(
            counter.kind(),
            CounterKind::AmountLoss | CounterKind::AttributionLoss
        );
        if amount == 0 || !is_loss {
            continue;
        }
        reasons.push(format!("{} {}: {}", amount, counter.name(), counter.help()));
        // The byte counters stand beside a counter of objects.
        if !counter.name().ends_with("_bytes") {
            lost += amount;
        }
    }
    if findings.objects_without_frames > 0 {
        reasons.push(format!(
            "{} allocations from {} stacks whose frames never arrived",
            findings.objects_without_frames, findings.stacks_without_frames
        ));
        lost += findings.objects_without_frames;
    }
    if findings.objects_overrun > 0 {
        reasons.push(format!(
            "{} allocations from {} stacks that were cut because the next frame follows no call",
            findings.objects_overrun, findings.stacks_overrun
        ));
        lost += findings.objects_overrun;
    }
    if findings.objects_replaced > 0 {
        reasons.push(format!(
            "{} allocations from {} stacks that were cut where code was replaced by other code",
            findings.objects_replaced, findings.stacks_replaced
        ));
        lost += findings.objects_replaced;
    }
    if findings.mappings_not_published > 0 {
        reasons.push(format!(
            "{} times new mappings could not be handed to the kernel: stacks through them may be wrong or cut",
            findings.mappings_not_published
        ));
    }
    if findings.mapping_records_lost > 0 {
        reasons.push(format!(
            "{} records of new mappings were lost: code that was loaded then may have no name, and an allocator may have been probed late",
            findings.mapping_records_lost
        ));
    }
    if findings.mappings_forgotten > 0 {
        reasons.push(format!(
            "{} changes of mappings were forgotten, because the target made too many: code that was there then has no name",
            findings.mappings_forgotten
        ));
    }
    if findings.files_not_opened > 0 {
        reasons.push(format!(
            "{} mapped files could not be opened: their code has no name, and an allocator in them was not probed",
            findings.files_not_opened
        ));
    }
    let said = [
        (
            findings.execs_by_other_threads,
            "execs by another thread than the first: what the new program allocated until the probes were put back is missing",
        ),
        (
            findings.probes_missing,
            "times the probes were found to be gone from the target: what it did until they were put back is missing",
        ),
        (
            findings.children_unsure,
            "processes were followed on a kernel before 6.12, which may take the probes of those with several threads out",
        ),
        (
            findings.translators,
            "programs that read code as data turned up: the probes were taken out for good",
        ),
        (
            findings.mappings_dropped,
            "records of new mappings found no room: code loaded then may have no name, and an allocator may be missing",
        ),
    ];
    for (count, what) in said.into_iter().filter(|&(count, _)| count > 0) {
        reasons.push(format!("{count} {what}"));
    }
    if findings.modules_not_probed > 0 {
        reasons.push(format!(
            "{} allocators mapped during the recording could not be probed: what they served is missing",
            findings.modules_not_probed
        ));
    }
    if findings.modules_probed_late > 0 {
        reasons.push(format!(
            "{} allocators were mapped during the recording and probed a moment later: what they served until then is missing",
            findings.modules_probed_late
        ));
    }
    for path in &findings.allocators_not_probed {
        reasons.push(format!(
            "{path} serves the target's malloc and is none that can be probed: what it hands out is missing"
        ));
    }
    if findings.unseen_growth_bytes > 0 {
        reasons.push(format!(
            "{:.1} MiB by which the target's memory grew were handed out by no allocator that is probed: {}",
            findings.unseen_growth_bytes as f64 / f64::from(1 << 20),
            findings.runtime.unwrap_or(NO_RUNTIME)
        ));
    }
    if reasons.is_empty() {
        return Verdict::Complete;
    }
    let share = lost as f64 / value(Counter::AllocObjects).max(1) as f64;
    // How much an unprobed library served, nobody knows.
    let unknown = value(Counter::LiveTableFull) > 0
        || findings.modules_not_probed > 0
        || !findings.allocators_not_probed.is_empty()
        || findings.unseen_growth_bytes > 0;
    if unknown || share > INCONCLUSIVE_SHARE {
        Verdict::Inconclusive { reasons }
    } else {
        Verdict::Degraded { reasons }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
                reason.contains("118.0 MiB") && reason.contains(words),
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
    fn every_counter_has_one_name() {
        let counters: Vec<_> = Counter::ALL.iter().map(|&counter| (counter, 0)).collect();
        let values = counter_values(&counters, &Findings::default());
        let mut names: Vec<_> = values.iter().map(|value| value.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), values.len());
    }
}
