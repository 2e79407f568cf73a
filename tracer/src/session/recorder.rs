//! The session itself: load, attach, listen, stop.

mod asking;
mod ending;
mod events;
mod keeping;
mod memory;
mod resident;
mod series;
mod subject;
mod survivors;
mod windows;
mod words;

pub use asking::{Asked, Asking, NoSnapshot, Snapshot, asking};
pub(super) use memory::INTERVAL as MEMORY_INTERVAL;
pub use series::{Pace, Progress};
pub use windows::Limit;
pub use words::AmountWords;

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio::io::unix::AsyncFd;
use tokio::time::{Interval, MissedTickBehavior, interval_at};
use tracer_common::{Counter, Unwinding};

use self::asking::{Ask, next_ask};
use self::resident::Pages;
use self::subject::Subject;
use self::survivors::Survivors;
use self::windows::{Effort, next_look, next_step, without_unseen};
use super::allocator::{Found, Searched};
use super::cost::{Costs, Events};
use super::growth::Growth;
use super::placing::place;
use super::processes::Processes;
use super::snapshot::{Arrived, Snapshots};
use super::unwinding::Unwinder;
use super::wake::{ask_for_short_slices, pidfd, watch};
use super::windows::{Step, Windows, WindowsStatus};
use super::{Foreseen, SessionError, table_sizes};
use crate::bpf::{
    BpfError, FIRST_HEAP, FIRST_IMAGE, Heirs, Kernel, LoadOptions, LogOptions, MayWindow,
    ProbeKind, ProcessChange, Scope, StackCopy, Threads,
};
use crate::life::Event;
use crate::printable::Shown as _;
use crate::process::{
    HeapUse, Identity, LimitedGroup, MappedFile, MappingEvent, ProcessError, Sideband,
    has_first_thread, pid_namespace, stack_start, threads_of,
};
use crate::profile::{Labels, Profile};

/// What amounts are told from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// Probes on the allocator: each call counts.
    #[default]
    Probes,
    /// Page faults: memory counts as it becomes resident. Nothing is placed into the target.
    Growth,
}

/// How to record.
#[derive(Clone, Debug)]
pub struct Options {
    /// What amounts are told from.
    pub source: Source,
    /// Live allocations there is room for; `None` for what the machine's memory allows.
    pub max_live: Option<u32>,
    /// Distinct stacks there is room for.
    pub max_stacks: u32,
    /// Count the children that the target forks, too.
    pub follow_forks: bool,
    /// Record a series, see [`Session::record_series`].
    pub series: bool,
    /// How to place the probes, where not as the kernel does best.
    pub probes: Option<ProbeKind>,
    /// The most that tracing may take from the target. Where it would take more exactly, that is seen in windows.
    pub max_overhead: Option<Limit>,
    /// How to walk stacks.
    pub unwinding: Unwinding,
    /// Walk every stack in user space, from a copy. For tests: what is done for stacks that come before
    /// the news of a mapping.
    pub copy_stacks: bool,
    /// Also walk the stacks found in the cache, and count those credited to the wrong one. For tests.
    pub audit_stacks: bool,
    /// What each sample is labelled with.
    pub labels: Labels,
    /// Tell the process of each sample, even where there is only one.
    pub label_pids: bool,
    /// Tell samples apart by the names of their threads, and label them with these.
    pub label_threads: bool,
    /// What the kernel side tells of rare events.
    pub log: Option<LogOptions>,
}

/// What to record.
#[derive(Debug)]
pub enum Target {
    /// A process that runs.
    Running(Identity),
    /// A process that waits to exec the program to be traced.
    Waiting {
        /// The process; its name is the program's.
        who: Identity,
        /// What the program will load.
        foreseen: Box<Foreseen>,
    },
}

/// Why a recording ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The time was up.
    Elapsed,
    /// Somebody asked for it.
    Interrupted,
    /// The target ended, and what it started where that is followed.
    TargetExited,
    /// The probes had to be taken out, so as not to harm somebody.
    MadeWay,
}

/// How a recording stands, for a live display.
#[derive(Clone, Copy, Debug)]
pub struct Status {
    /// What the amounts are told from.
    pub source: Source,
    /// Since counting began.
    pub elapsed: Duration,
    /// Allocations counted.
    pub alloc_objects: u64,
    /// Live objects.
    pub live_objects: u64,
    /// Live bytes.
    pub live_bytes: u64,
    /// Most bytes that were live at once so far.
    pub peak_bytes: u64,
    /// Distinct stacks that have arrived.
    pub stacks: usize,
    /// Events lost, of every kind.
    pub losses: u64,
    /// Allocations whose stack was cut.
    pub cut: u64,
    /// Share of one CPU that the tracing takes from the target, once it is known.
    pub cost: Option<f64>,
    /// Where only windows are seen.
    pub windows: Option<WindowsStatus>,
}

/// A finished recording.
#[derive(Debug)]
pub struct Recording {
    /// The profile.
    pub profile: Profile,
    /// What its amounts are told from.
    pub source: Source,
    /// `attach` or `run`.
    pub mode: &'static str,
    /// Why it ended.
    pub ended: Ended,
    /// How long it counted.
    pub elapsed: Duration,
    /// From the beginning to the first event that could be counted.
    pub attach_time: Duration,
    /// Until the last probe was out.
    pub detach_time: Duration,
    /// Where only windows were seen.
    pub windows: Option<WindowsStatus>,
}

/// Which processes the probes are for, beside the one that the session is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// None: the cheapest way.
    Process(NonZeroU32),
    /// What its threads start.
    Heirs(Heirs),
}

impl Reach {
    fn of(process: NonZeroU32, options: &Options) -> Self {
        if options.follow_forks {
            Self::Heirs(Heirs::Children)
        } else if options.source == Source::Growth {
            // Each thread has events of its own.
            Self::Heirs(Heirs::Threads)
        } else if has_first_thread(process.get()) {
            Self::Process(process)
        } else {
            Self::Heirs(Heirs::Threads)
        }
    }

    /// `list` tells the threads that there are now.
    fn scope<'a>(self, list: &'a (dyn Fn() -> Vec<u32> + Sync)) -> Scope<'a> {
        match self {
            Self::Process(process) => Scope::Process(process),
            Self::Heirs(heirs) => Scope::Threads(Threads { list, heirs }),
        }
    }
}

/// A session that counts.
pub struct Session {
    kernel: Kernel,
    sideband: Sideband,
    processes: Processes,
    unwinder: Unwinder,
    searched: Searched,
    found: Found,
    reach: Reach,
    who: Identity,
    /// `attach` or `run`.
    mode: &'static str,
    exited: AsyncFd<OwnedFd>,
    wake: AsyncFd<OwnedFd>,
    stacks: Arrived,
    snapshots: Snapshots,
    label_threads: bool,
    /// Files mapped since they were last looked through for allocators.
    new_modules: Vec<Arc<MappedFile>>,
    /// Stacks to be walked when the mappings are published.
    copies: VecDeque<StackCopy>,
    /// Words of memory in them.
    waiting_words: usize,
    /// Stacks cut while they were walked in user space.
    cut_here: HashMap<Counter, u64>,
    mapping_records_lost: u64,
    children: u64,
    /// Images that have ended and whose mappings are still published.
    ended: Vec<u32>,
    /// Images that stacks have come from since they were last looked at, each with its process and a time.
    seen: HashMap<u32, (u32, u64)>,
    /// When the last event was sent that was taken out of the ring, nanoseconds.
    drained_ns: u64,
    /// What the side-band has told of a time that the ring has not come to, with that time.
    later: Vec<(u64, Event<MappingEvent>)>,
    /// What the kernel side has told of processes since it was last taken in.
    changes: Vec<ProcessChange>,
    /// Why C libraries that were mapped later could not be probed.
    not_probed: Vec<String>,
    /// Allocators that were mapped before they were probed.
    probed_late: Vec<PathBuf>,
    follow_forks: bool,
    is_series: bool,
    /// The target has ended, and others that it has started may go on.
    has_ended: bool,
    /// Since when the breakpoints belong to the target's threads, nanoseconds.
    kept_ns: Option<u64>,
    /// Whether they did from the beginning.
    had_first_thread_gone: bool,
    /// Why the probes were taken out before the end.
    made_way: Option<String>,
    execs_by_other_threads: u64,
    probes_missing: u64,
    /// Why the tables could not be cleared of processes that have ended.
    not_retired: Option<BpfError>,
    started: Instant,
    /// The same, `CLOCK_MONOTONIC` in nanoseconds.
    started_ns: u64,
    attach_time: Duration,
    costs: Costs,
    /// Where tracing may not take more than a limit.
    effort: Option<Effort>,
    /// Where the target was seen in these, too.
    windows: Option<Windows>,
    survivors: Survivors,
    heap_at_start: Option<HeapUse>,
    source: Source,
    /// Where page faults are what is counted.
    pages: Pages,
    growth: Growth,
    /// Why the tables are smaller than usual.
    crowded: Option<String>,
    /// When memory is read.
    pulse: Ticks,
    /// Times that it was not, since it was.
    glances: usize,
    /// Where others ask for the profile meanwhile.
    asked: Option<Asked>,
}

impl Session {
    /// Loads the kernel side and begins to count a target.
    ///
    /// Must be called inside a tokio runtime with I/O and time, after [`check_privilege`](super::check_privilege).
    ///
    /// # Errors
    ///
    /// No privilege, no allocator that can be probed, or a refusal by the kernel. Nothing is left
    /// in the target then.
    pub fn start(target: Target, options: &Options) -> Result<Self, SessionError> {
        let begun = Instant::now();
        let (who, foreseen) = match target {
            Target::Running(who) => (who, None),
            Target::Waiting { who, foreseen } => (who, Some(*foreseen)),
        };
        let mode = if foreseen.is_some() { "run" } else { "attach" };
        let exited = pidfd(&who)?;
        // Before the mappings are read, so that none falls between.
        let sideband = Sideband::open()?;
        let namespace = pid_namespace()
            .map_err(|error| ProcessError::unreadable("/proc/self/ns/pid", error))?;
        if options.follow_forks && namespace.is_some() {
            return Err(SessionError::Privilege(
                "children can only be followed from the machine's own pid namespace: \
                 run tracer outside the container"
                    .to_owned(),
            ));
        }
        let process = NonZeroU32::new(who.pid).ok_or(ProcessError::PidZero)?;
        let reach = Reach::of(process, options);
        let limit = match (options.max_overhead, reach) {
            (Some(limit), Reach::Process(_)) => Some(limit),
            (Some(Limit { is_asked: true, .. }), _) => return Err(SessionError::NoWindows),
            _ => None,
        };
        let kind = match (options.source, reach) {
            (Source::Growth, _) => Some(ProbeKind::Faults),
            (Source::Probes, Reach::Heirs(_)) => Some(ProbeKind::Inherited),
            (Source::Probes, Reach::Process(_)) => options.probes,
        };
        let mut heap_at_start = HeapUse::of(who.pid).ok();
        table_sizes::be_the_first_to_go();
        let group = LimitedGroup::shared_with(who.pid);
        let (limits, crowded) = table_sizes::limits(options, heap_at_start, group.as_ref())?;
        let loaded = LoadOptions {
            tgid: who.pid,
            limits,
            follow_forks: options.follow_forks,
            pidns: namespace,
            kind,
            windows: match limit {
                None => MayWindow::No,
                Some(Limit { is_asked: true, .. }) => MayWindow::Must,
                Some(_) => MayWindow::If,
            },
            unwinding: options.unwinding,
            audit: options.audit_stacks,
            by_thread: options.label_threads,
            log: options.log,
        };
        let (subject, kernel) = thread::scope(|threads| {
            // The tables take as long as the target's files.
            let kernel = threads.spawn(|| Kernel::new(&loaded));
            let subject = match foreseen {
                None => Subject::running(&who, options),
                Some(foreseen) => Subject::waiting(&who, foreseen, options),
            };
            (
                subject,
                kernel.join().unwrap_or_else(|panic| resume_unwind(panic)),
            )
        });
        let Subject {
            mut processes,
            found,
            searched,
            foreseen,
        } = subject?;
        for allocator in &found.allocators {
            allocator.check_harmless(&who)?;
        }
        let mut kernel = kernel.map_err(table_sizes::explain)?;
        let mut unwinder = Unwinder::new(options.unwinding);
        if options.copy_stacks {
            unwinder.leave_spaces_unpublished();
        }
        let pid = who.pid;
        let list = move || threads_of(&[pid]);
        place(&mut kernel, &found.allocators, reach.scope(&list), |maps| {
            if let Some(files) = foreseen {
                maps.await_program();
                unwinder.foresee(&files);
            }
            if let Some(address) = stack_start(who.pid) {
                maps.set_stack_start(FIRST_HEAP, address);
            }
            for traced in processes.take_unpublished() {
                unwinder.publish(maps, traced.heap, &traced.space);
            }
        })?;
        let wake = watch(&kernel, &sideband)?;
        // Before the next, which its thread would inherit.
        let costs = match options.source {
            Source::Probes => Costs::measure(kind, options, kernel.probes().run_times()),
            Source::Growth => Costs::default(),
        };
        ask_for_short_slices();
        let pages = Pages::before(options.source, who.pid)?;
        if options.source == Source::Growth {
            // As near to the first fault as can be.
            heap_at_start = HeapUse::of(who.pid).ok();
        }
        kernel.start()?;
        let limit = limit.filter(|_| kernel.can_window());
        let effort = limit.map(|limit| Effort::new(process, limit));
        let mut growth = Growth::default();
        if let (Some(had), "attach") = (heap_at_start, mode) {
            growth.begin(FIRST_IMAGE, had);
        }
        let mut session = Self {
            heap_at_start,
            source: options.source,
            pages,
            growth,
            crowded,
            pulse: Ticks::new(Some(memory::INTERVAL)),
            glances: 0,
            asked: None,
            kernel,
            sideband,
            processes,
            searched,
            found,
            reach,
            who,
            mode,
            exited,
            wake,
            stacks: Arrived::new(),
            label_threads: options.label_threads,
            snapshots: Snapshots::labelled(options.labels.clone(), options.label_pids),
            new_modules: Vec::new(),
            copies: VecDeque::new(),
            waiting_words: 0,
            cut_here: HashMap::new(),
            mapping_records_lost: 0,
            children: 0,
            ended: Vec::new(),
            seen: HashMap::new(),
            drained_ns: 0,
            later: Vec::new(),
            changes: Vec::new(),
            not_probed: Vec::new(),
            probed_late: Vec::new(),
            follow_forks: options.follow_forks,
            is_series: options.series,
            has_ended: false,
            kept_ns: None,
            had_first_thread_gone: reach == Reach::Heirs(Heirs::Threads),
            made_way: None,
            execs_by_other_threads: 0,
            probes_missing: 0,
            not_retired: None,
            started: Instant::now(),
            started_ns: monotonic_ns(),
            attach_time: begun.elapsed(),
            costs,
            effort,
            windows: None,
            survivors: Survivors::default(),
            unwinder,
        };
        session.begin_with_windows()?;
        Ok(session)
    }

    /// The target.
    #[must_use]
    pub fn target(&self) -> &Identity {
        &self.who
    }

    /// The modules that are probed, and how.
    #[must_use]
    pub fn describe_probes(&self) -> String {
        if self.source == Source::Growth {
            return format!("{}, nothing is placed into it", self.kernel.probe_kind());
        }
        let when = match &self.effort {
            Some(_) if self.is_in_windows() => ", in windows",
            Some(effort) if effort.is_asked() => ", exactly or in windows",
            _ => "",
        };
        let modules: Vec<_> = self
            .found
            .allocators
            .iter()
            .map(|allocator| {
                format!(
                    "{} functions of {}",
                    allocator.plan.len(),
                    allocator.path.shown()
                )
            })
            .collect();
        format!(
            "{} ({}{when})",
            modules.join(", "),
            self.kernel.probe_kind()
        )
    }

    /// Modules that define `malloc` before the allocators that are probed: they serve the target, or hand
    /// its calls on.
    pub fn other_allocators(&self) -> impl Iterator<Item = &Path> {
        self.found.serving()
    }

    /// Listens until the target ends or `until` resolves, calling `tick` with the status at each
    /// `interval`.
    ///
    /// # Errors
    ///
    /// The kernel side failed.
    pub async fn record(
        &mut self,
        until: impl Future<Output = Ended>,
        interval: Option<Duration>,
        mut tick: impl FnMut(&Status),
    ) -> Result<Ended, SessionError> {
        tokio::pin!(until);
        let mut ticks = Ticks::new(interval);
        let mut never = Ticks::new(None);
        loop {
            match self.wait(until.as_mut(), &mut ticks, &mut never).await? {
                Wake::Events => self.take_events(),
                Wake::Memory => self.glance_at_memory(),
                Wake::Status => tick(&self.status()?),
                Wake::Window => {}
                Wake::Step(step) => self.step(step)?,
                Wake::Cost => self.look_at_cost()?,
                Wake::Ask(ask) => self.answer_ask(ask)?,
                Wake::End(ended) => return Ok(ended),
            }
            if let Some(ended) = self.is_over() {
                return Ok(ended);
            }
        }
    }

    async fn wait(
        &mut self,
        until: Pin<&mut impl Future<Output = Ended>>,
        status: &mut Ticks,
        window: &mut Ticks,
    ) -> Result<Wake, SessionError> {
        let wake = tokio::select! {
            biased;
            ended = until => Wake::End(ended),
            () = self.pulse.next(), if self.reads_memory() => Wake::Memory,
            guard = self.wake.readable() => { guard?.clear_ready(); Wake::Events }
            guard = self.exited.readable(), if !self.has_ended => {
                guard?.retain_ready();
                self.has_ended = true;
                Wake::Events
            }
            () = window.next() => Wake::Window,
            step = next_step(&mut self.windows) => Wake::Step(step),
            () = next_look(&mut self.effort) => Wake::Cost,
            ask = next_ask(&mut self.asked) => Wake::Ask(ask),
            () = status.next() => Wake::Status,
        };
        self.kernel.tell()?;
        Ok(wake)
    }

    /// Whether there is nothing more to come.
    fn is_over(&self) -> Option<Ended> {
        if self.made_way.is_some() {
            Some(Ended::MadeWay)
        } else if self.has_ended && !(self.follow_forks && self.kernel.has_targets()) {
            Some(Ended::TargetExited)
        } else {
            None
        }
    }

    fn status(&mut self) -> Result<Status, SessionError> {
        self.take_events();
        let mut counters = self.kernel.counters()?;
        if self.windows.is_some() {
            without_unseen(&mut counters);
        }
        let value = |wanted| {
            counters
                .iter()
                .find_map(|&(counter, value)| (counter == wanted).then_some(value))
                .unwrap_or(0)
        };
        use tracer_common::CounterKind::{self, AmountLoss, AttributionLoss, Cut};
        let sum = |kinds: &[CounterKind]| {
            let wanted = counters.iter().filter(|(counter, _)| {
                kinds.contains(&counter.kind()) && !counter.name().ends_with("_bytes")
            });
            wanted.map(|(_, value)| value).sum()
        };
        let elapsed = self.started.elapsed();
        let events = Events::of(&counters);
        let live_bytes = match self.source {
            Source::Probes => value(Counter::AllocBytes).saturating_sub(value(Counter::FreeBytes)),
            // What is given back is not seen.
            Source::Growth => self.grown(),
        };
        Ok(Status {
            source: self.source,
            elapsed,
            cost: self
                .costs
                .of_events()
                .map(|costs| costs.share(events, elapsed)),
            alloc_objects: value(Counter::AllocObjects),
            live_objects: value(Counter::AllocObjects).saturating_sub(value(Counter::FreeObjects)),
            live_bytes,
            peak_bytes: self.kernel.peak()?.bytes,
            stacks: self.stacks.len(),
            losses: sum(&[AmountLoss, AttributionLoss]),
            cut: sum(&[Cut]),
            windows: self.windows.as_ref().map(Windows::status),
        })
    }
}

/// `CLOCK_MONOTONIC` in nanoseconds, as the kernel side has it.
fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let part = |part: i64| u64::try_from(part).unwrap_or(0);
    part(now.tv_sec) * 1_000_000_000 + part(now.tv_nsec)
}

/// What woke the session.
enum Wake {
    Memory,
    Events,
    Status,
    Window,
    Step(Step),
    Cost,
    Ask(Ask),
    End(Ended),
}

/// A clock that ticks at an interval, or never.
struct Ticks(Option<Interval>);

impl Ticks {
    /// The first tick is one interval from now.
    fn new(every: Option<Duration>) -> Self {
        Self(every.map(|every| {
            let mut interval = interval_at(tokio::time::Instant::now() + every, every);
            interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
            interval
        }))
    }

    async fn next(&mut self) {
        match &mut self.0 {
            Some(interval) => drop(interval.tick().await),
            None => std::future::pending().await,
        }
    }
}
