//! What there is to say of a recording: each counter once, with its class, what it means, and how it bears on
//! the verdict.

use tracer_common::{Counter, CounterKind, StackEnd};

use crate::profile::{
    CounterClass::{self, AmountLoss, AttributionLoss, Note, Traffic},
    CounterValue, PAGES_COUNTED,
};
use crate::session::snapshot::Ends;
use crate::session::windows::WindowsStatus;

/// What memory that no allocator handed out is, where no runtime is known.
const NO_RUNTIME: &str = "usually memory that the program maps itself (mmap, brk) for pools of its own, an \
     allocator that is linked into it, or free memory in pieces that the allocator can't give back";

/// What user space itself found out, in addition to the kernel's counters.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::session) struct Findings {
    /// Distinct stacks with amounts.
    pub(in crate::session) stacks: u64,
    /// Of these, stacks whose frames never arrived.
    pub(in crate::session) stacks_without_frames: u64,
    /// Allocations of the stacks without frames.
    pub(in crate::session) objects_without_frames: u64,
    /// How stacks end.
    pub(in crate::session) ends: Ends,
    /// Mapped files without an unwind table.
    pub(in crate::session) modules_without_table: u64,
    /// How often the kernel side could not be told of new mappings or their unwind tables.
    pub(in crate::session) mappings_not_published: u64,
    /// Files whose unwind table is loaded.
    pub(in crate::session) unwind_tables: u64,
    /// Address spaces that are walked by these tables.
    pub(in crate::session) unwind_spaces: u64,
    /// Kernel memory of the unwind tables, bytes.
    pub(in crate::session) unwind_table_bytes: u64,
    /// How often the live table could not be enlarged when that was due.
    pub(in crate::session) live_table_growth_failures: u64,
    /// Frames at the outer end of stacks that were none.
    pub(in crate::session) frames_discarded: u64,
    /// Locations that nothing names.
    pub(in crate::session) unknown_locations: u64,
    /// Records of new mappings that the kernel dropped.
    pub(in crate::session) mapping_records_lost: u64,
    /// Changes of mappings that were forgotten, because there were too many.
    pub(in crate::session) mappings_forgotten: u64,
    /// Mapped files that could not be opened.
    pub(in crate::session) files_not_opened: u64,
    /// Allocators that were mapped later and could not be probed.
    pub(in crate::session) modules_not_probed: u64,
    /// Allocators that were mapped later, and probed when the news of that had arrived.
    pub(in crate::session) modules_probed_late: u64,
    /// Modules that serve the process and are not probed.
    pub(in crate::session) allocators_not_probed: Vec<String>,
    /// Bytes of memory that the allocators do not explain.
    pub(in crate::session) unseen_growth_bytes: u64,
    /// Bytes that a language runtime has taken for itself.
    pub(in crate::session) runtime_bytes: u64,
    /// Which runtime that is, and what can be done.
    pub(in crate::session) runtime: Option<&'static str>,
    /// Processes that the target started and that were not counted.
    pub(in crate::session) children_not_followed: u64,
    /// Execs by another thread than the first, after which the probes had to be put back.
    pub(in crate::session) execs_by_other_threads: u64,
    /// How often the probes were found to be gone.
    pub(in crate::session) probes_missing: u64,
    /// Children that were followed where their probes may be lost.
    pub(in crate::session) children_unsure: u64,
    /// Memory was followed as it became resident, and no allocator.
    pub(in crate::session) is_growth: bool,
    /// Bytes that became resident without a page fault of the target's own.
    pub(in crate::session) unattributed_bytes: u64,
    /// Bytes that became resident after it was last looked at what is there, before their process ended.
    pub(in crate::session) unlooked_bytes: u64,
    /// Threads that began while page faults were about to be followed, and may have been missed.
    pub(in crate::session) unsure_threads: u64,
    /// Code translators for which the probes were taken out.
    pub(in crate::session) translators: u64,
    /// Records of mappings that found no room before it was known whose they are.
    pub(in crate::session) mappings_dropped: u64,
    /// Only windows were seen.
    pub(in crate::session) windows: Option<WindowsStatus>,
    /// By what amounts of the whole recording were estimated from these, or why they could not be.
    pub(in crate::session) scaled: Option<Result<String, String>>,
    /// Bytes that earlier images of the process held when exec replaced them.
    pub(in crate::session) bytes_released_by_exec: u64,
}

/// A counter, and what follows from it.
pub(super) struct Finding {
    pub(super) counter: CounterValue,
    pub(super) reason: Reason,
    pub(super) weight: Weight,
}

/// What the verdict says of a loss.
pub(super) enum Reason {
    /// The value, the name and what it means.
    Help,
    /// Sentences of its own.
    Words(Vec<String>),
    /// One sentence for all stacks that lack callers.
    Cut,
    /// Nothing: another counter says the same.
    Elsewhere,
}

/// How much a loss takes from what can be concluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    /// The amounts and where they come from hold.
    Light,
    /// So many allocations are missing, or in no stack.
    Allocations,
    /// Nobody knows how much is missing.
    Unknown,
}

impl Finding {
    fn new(name: &str, value: u64, class: CounterClass, help: &str) -> Self {
        Self {
            counter: CounterValue {
                name: name.to_owned(),
                value,
                class,
                help: help.to_owned(),
            },
            reason: Reason::Help,
            weight: Weight::Light,
        }
    }

    fn said(self, reason: Reason) -> Self {
        Self { reason, ..self }
    }

    fn weighing(self, weight: Weight) -> Self {
        Self { weight, ..self }
    }

    pub(super) fn is_loss(&self) -> bool {
        self.counter.value > 0 && matches!(self.counter.class, AmountLoss | AttributionLoss)
    }
}

/// Every counter, those of the kernel side first.
pub(super) fn all(counters: &[(Counter, u64)], findings: &Findings) -> Vec<Finding> {
    let of_kernel = counters.iter().map(|&(counter, value)| {
        let value = findings.ends.correct(counter, value);
        of_kernel(counter, value)
    });
    of_kernel
        .chain(of_stacks(findings))
        .chain(of_unwinding(findings))
        .chain(of_mappings(findings))
        .chain(of_allocators(findings))
        .chain(of_processes(findings))
        .chain(of_windows(findings))
        .chain([pages_counted(counters, findings)])
        .collect()
}

/// By which a profile is known to count pages, whatever becomes of it.
fn pages_counted(counters: &[(Counter, u64)], findings: &Findings) -> Finding {
    let came = counters
        .iter()
        .filter(|(counter, _)| findings.is_growth && *counter == Counter::AllocObjects);
    Finding::new(
        PAGES_COUNTED,
        came.map(|(_, value)| value).sum(),
        Traffic,
        "Page faults that made pages resident; the profile counts pages, not allocator calls.",
    )
}

fn of_kernel(counter: Counter, value: u64) -> Finding {
    let class = match counter.kind() {
        CounterKind::Traffic => Traffic,
        CounterKind::Note => Note,
        CounterKind::AttributionLoss | CounterKind::Cut => AttributionLoss,
        CounterKind::AmountLoss => AmountLoss,
    };
    let finding = Finding::new(counter.name(), value, class, counter.help());
    match counter {
        Counter::LiveTableFull => finding.weighing(Weight::Unknown),
        // Nothing is known to be missing.
        Counter::GuessedStacks => finding,
        _ if counter.kind() == CounterKind::Cut => finding.said(Reason::Cut),
        // They stand beside a counter of objects.
        _ if counter.name().ends_with("_bytes") => finding,
        _ => finding.weighing(Weight::Allocations),
    }
}

/// Stacks, and what some of them lack.
fn of_stacks(findings: &Findings) -> Vec<Finding> {
    vec![
        Finding::new("stacks", findings.stacks, Traffic, "Distinct call stacks."),
        Finding::new(
            "stacks_without_frames",
            findings.stacks_without_frames,
            AttributionLoss,
            "Stacks without frames: the event ring was full each time they were sent.",
        )
        .said(Reason::Elsewhere),
        Finding::new(
            "objects_without_frames",
            findings.objects_without_frames,
            AttributionLoss,
            "Allocations of the stacks without frames.",
        )
        .weighing(Weight::Allocations),
        Finding::new(
            "stacks_ended_early",
            findings.ends.early(),
            AttributionLoss,
            "Stacks that end before the first function of their process or thread; the counters cut_… and objects_… say why.",
        )
        .said(Reason::Elsewhere),
        Finding::new(
            "cut_frame_pointers",
            findings.ends.objects(StackEnd::FramePointers),
            AttributionLoss,
            "Allocations whose stack, walked by frame pointers (--unwind fp), ends before the first function of its process or thread.",
        )
        .said(Reason::Cut),
        Finding::new(
            "stacks_overrun",
            findings.ends.stacks(StackEnd::NotCalled),
            AttributionLoss,
            "Stacks cut because the next frame follows no call instruction: the walk had left the stack.",
        )
        .said(Reason::Elsewhere),
        Finding::new(
            "objects_overrun",
            findings.ends.objects(StackEnd::NotCalled),
            AttributionLoss,
            "Allocations of the stacks in stacks_overrun.",
        )
        .said(Reason::Cut),
        Finding::new(
            "stacks_replaced",
            findings.ends.stacks(StackEnd::Replaced),
            AttributionLoss,
            "Stacks cut at code that other code has replaced: it is not known which of the two they ran through.",
        )
        .said(Reason::Elsewhere),
        Finding::new(
            "objects_replaced",
            findings.ends.objects(StackEnd::Replaced),
            AttributionLoss,
            "Allocations of the stacks in stacks_replaced.",
        )
        .said(Reason::Cut),
        Finding::new(
            "objects_replaced_whole",
            findings.ends.frameless(),
            AttributionLoss,
            "Allocations whose whole stack lies in replaced code: in the totals, in no stack.",
        )
        .weighing(Weight::Allocations),
    ]
}

/// What stacks are walked and named by.
fn of_unwinding(findings: &Findings) -> Vec<Finding> {
    vec![
        Finding::new(
            "modules_without_table",
            findings.modules_without_table,
            Note,
            "Mapped files without an unwind table. Their code is walked by frame pointers; where it keeps none, cut_no_rule counts the stack.",
        ),
        Finding::new(
            "mappings_not_published",
            findings.mappings_not_published,
            AttributionLoss,
            "Times that new mappings or their unwind tables could not be given to the kernel; stacks through them may be wrong or cut.",
        ),
        Finding::new(
            "unwind_tables",
            findings.unwind_tables,
            Traffic,
            "Files whose unwind table is loaded, once for all processes that map them.",
        ),
        Finding::new(
            "unwind_spaces",
            findings.unwind_spaces,
            Traffic,
            "Address spaces walked by these tables, one for each program that a process has run.",
        ),
        Finding::new(
            "unwind_table_bytes",
            findings.unwind_table_bytes,
            Traffic,
            "Kernel memory of the unwind tables.",
        ),
        Finding::new(
            "frames_discarded",
            findings.frames_discarded,
            Note,
            "Addresses outside of all mappings at the outer end of stacks. Whole stacks can have them, too; those that lack callers count as cut.",
        ),
        Finding::new(
            "unknown_locations",
            findings.unknown_locations,
            Note,
            "Code addresses without a name; each one says why.",
        ),
    ]
}

/// What is known of mappings.
fn of_mappings(findings: &Findings) -> Vec<Finding> {
    vec![
        Finding::new(
            "mapping_records_lost",
            findings.mapping_records_lost,
            AttributionLoss,
            "Records of new mappings that the kernel dropped. Until the mappings were read again, code loaded meanwhile has no name, and a new allocator was not probed.",
        ),
        Finding::new(
            "mappings_forgotten",
            findings.mappings_forgotten,
            AttributionLoss,
            "Mapping changes forgotten because the target made too many; code mapped then has no name.",
        ),
        Finding::new(
            "mappings_dropped",
            findings.mappings_dropped,
            AttributionLoss,
            "Records of new mappings dropped because too many came before their process was known.",
        ),
        Finding::new(
            "files_not_opened",
            findings.files_not_opened,
            AmountLoss,
            "Mapped files that could not be opened; their code has no name, and an allocator in them is not probed.",
        ),
    ]
}

/// Allocators, and memory that came from none.
fn of_allocators(findings: &Findings) -> Vec<Finding> {
    vec![
        Finding::new(
            "modules_not_probed",
            findings.modules_not_probed,
            AmountLoss,
            "Allocators loaded during the recording that could not be probed; what they hand out is missing.",
        )
        .weighing(Weight::Unknown),
        Finding::new(
            "modules_probed_late",
            findings.modules_probed_late,
            AmountLoss,
            "Allocators loaded during the recording and probed a moment later; what they handed out before is missing.",
        ),
        Finding::new(
            "allocators_not_probed",
            findings.allocators_not_probed.len() as u64,
            AmountLoss,
            "Modules with a malloc that serves the process and can't be probed; what they hand out is missing.",
        )
        .said(Reason::Words(not_probed(findings)))
        .weighing(Weight::Unknown),
        Finding::new(
            "unseen_growth_bytes",
            findings.unseen_growth_bytes,
            AmountLoss,
            "Bytes of memory growth that no probed allocator handed out.",
        )
        .said(Reason::Words(unseen(findings)))
        .weighing(Weight::Unknown),
        Finding::new(
            "runtime_bytes",
            findings.runtime_bytes,
            Note,
            "Bytes that a language runtime took for its own heap early in the recording, and hardly any later.",
        ),
        Finding::new(
            "live_table_growth_failures",
            findings.live_table_growth_failures,
            Note,
            "Times the live table could not grow. It was tried again; live_table_full counts what found no room meanwhile.",
        ),
    ]
}

/// What windows there were, where only these are seen.
fn of_windows(findings: &Findings) -> Vec<Finding> {
    let Some(windows) = findings.windows else {
        return Vec::new();
    };
    vec![
        Finding::new(
            "windows",
            windows.windows,
            Traffic,
            "Windows in which every call was seen.",
        ),
        Finding::new(
            "windows_microseconds",
            microseconds(windows.exposure),
            Traffic,
            "Length of these windows together, in microseconds.",
        ),
        Finding::new(
            "progress_windows",
            windows.progress_windows,
            Traffic,
            "Windows in which only the calls of one rare function were counted.",
        ),
        Finding::new(
            "progress_windows_microseconds",
            microseconds(windows.progress_exposure),
            Traffic,
            "Length of these windows together, in microseconds.",
        ),
        Finding::new(
            "marks",
            windows.marks,
            Traffic,
            "Calls of that function in windows in which every call was seen.",
        ),
        Finding::new(
            "progress_marks",
            windows.progress_marks,
            Traffic,
            "Calls of that function in windows in which nothing else was counted.",
        ),
        Finding::new(
            "windows_unsure",
            windows.unsure,
            Note,
            "Windows left out of the estimate because the tracer was interrupted and their length is not known well enough.",
        ),
        Finding::new(
            "calls_outside_windows",
            windows.calls_outside,
            Traffic,
            "Calls not counted because they hit a probe while a window was being opened or closed.",
        ),
        Finding::new(
            "calls_at_edges",
            windows.calls_at_edges,
            Note,
            "Calls not counted because they had not returned when their window closed.",
        ),
    ]
}

fn microseconds(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Processes and the probes in them.
fn of_processes(findings: &Findings) -> Vec<Finding> {
    vec![
        Finding::new(
            "children_not_followed",
            findings.children_not_followed,
            Note,
            "Processes that the target started and that were not counted.",
        ),
        Finding::new(
            "execs_by_other_threads",
            findings.execs_by_other_threads,
            AmountLoss,
            "Execs by another thread than the first: what the new program allocated until the \
             probes were put back, a moment later, is missing (--follow-forks sees it).",
        ),
        Finding::new(
            "probes_missing",
            findings.probes_missing,
            AmountLoss,
            "Times that the probes were found to be gone from the target: what it allocated and \
             freed until they were put back is missing.",
        ),
        Finding::new(
            "children_unsure",
            findings.children_unsure,
            AmountLoss,
            "Processes followed by a kernel before 6.12, which may take probes out too early \
             where processes have several threads.",
        ),
        Finding::new(
            "unattributed_bytes",
            findings.unattributed_bytes,
            AmountLoss,
            "Bytes that became resident without a page fault of the target's own: the kernel filled them in \
             at once (MAP_POPULATE, mlock), or another process did (userfaultfd).",
        ),
        Finding::new(
            "unlooked_bytes",
            findings.unlooked_bytes,
            AmountLoss,
            "Bytes that became resident between the last look at what is there and the end of their process: \
             they count as there, and may have been given back.",
        ),
        Finding::new(
            "threads_unsure",
            findings.unsure_threads,
            AmountLoss,
            "Threads that began while page faults were about to be followed, whose faults may be missing.",
        ),
        Finding::new(
            "code_translators",
            findings.translators,
            AmountLoss,
            "Programs that read code as data and would have read the probes: these were taken out \
             for good.",
        ),
        Finding::new(
            "bytes_released_by_exec",
            findings.bytes_released_by_exec,
            Note,
            "Bytes that earlier images of the process held when exec replaced them; not live any \
             more.",
        ),
    ]
}

fn not_probed(findings: &Findings) -> Vec<String> {
    let paths = findings.allocators_not_probed.iter();
    let reason = |path: &String| {
        format!(
            "{path} serves the target's malloc and is none that can be probed: what it hands out is missing"
        )
    };
    paths.map(reason).collect()
}

fn unseen(findings: &Findings) -> Vec<String> {
    vec![format!(
        "{:.1} MB by which the target's memory grew were handed out by no allocator that is \
         probed: {}",
        findings.unseen_growth_bytes as f64 / f64::from(1 << 20),
        findings.runtime.unwrap_or(NO_RUNTIME)
    )]
}
