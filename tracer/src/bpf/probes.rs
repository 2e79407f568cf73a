//! The probes: their programs, and where they are placed.

use std::fs::File;
use std::num::NonZeroU32;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;

use aya::Ebpf;
use aya::maps::Map;
use aya::programs::uprobe::{
    UProbeAttachLocation, UProbeAttachPoint, UProbeLink, UProbeLinkId, UProbeScope,
};
use aya::programs::{PerfEvent, ProgramFd, RawTracePoint, UProbe};

use super::BpfError;
use super::copies;
use super::error::{attach_error, load_error, map_error};
use super::faults::FaultEvents;
use super::holder::Holder;
use super::inherited::{InheritedProbe, InheritedProbes, LeftEvents, Threads};
use super::ladder::{MayWindow, ProbeKind, Programs};
use super::log::KernelLog;
use super::run_time::RunTimes;
use super::to_the_end::to_the_end;
use super::uprobe_session::{LaterProgram, SessionProgram};
use crate::probe::{AttachPlan, Probe};

/// Which processes a probe fires for. The probes of other processes are not touched.
#[derive(Clone, Copy)]
pub enum Scope<'a> {
    /// One process, told by its first thread.
    Process(NonZeroU32),
    /// Threads, and what they start.
    Threads(Threads<'a>),
}

/// A file whose functions are probed.
#[derive(Clone, Copy)]
pub struct Probed<'a> {
    /// The module itself, so that a deleted file or one in another mount namespace is probed all the same.
    pub file: &'a File,
    /// What the messages call it.
    pub path: &'a Path,
    /// Where the probes go.
    pub plan: &'a AttachPlan,
}

/// The program that takes the place of `alloc_entry` and `alloc_return`.
const ALLOC_SESSION: &str = "alloc_session";
/// The one for windows, which is in place of those that free, too.
const WINDOW_SESSION: &str = "window_session";
/// The program that runs at page faults.
const PAGE_FAULT: &str = "page_fault";
/// The program that does nothing.
const KEEP: &str = "keep";

/// Probes in place.
enum Link {
    Aya(&'static str, UProbeLinkId),
    /// Out when it is dropped.
    Session(OwnedFd),
}

/// A link that nobody else knows of. Dropping it takes its probes out.
#[expect(dead_code, reason = "held for the probes")]
enum Taken {
    Aya(UProbeLink),
    Session(OwnedFd),
}

/// The programs, and the probes that run them, of one kind.
pub struct Probes {
    ebpf: Ebpf,
    kind: ProbeKind,
    follow_forks: bool,
    /// Nothing is placed: the target is seen in [`Windows`](super::Windows).
    in_windows: bool,
    /// Where the kind is [`ProbeKind::Session`].
    session: Option<SessionProgram>,
    /// The program of windows, where they were asked for, until it is loaded.
    later: Option<LaterProgram>,
    /// The same from then on.
    window: Option<SessionProgram>,
    links: Vec<Link>,
    /// Where the kind is [`ProbeKind::Inherited`], and where breakpoints need keeping.
    inherited: Option<InheritedProbes>,
    /// Where the kind is [`ProbeKind::Faults`].
    faults: Option<FaultEvents>,
}

impl Probes {
    /// The programs of an object whose maps exist; all of them must still be there. Begins to load the largest.
    pub(super) fn new(
        ebpf: Ebpf,
        object: &'static [u8],
        kind: ProbeKind,
        follow_forks: bool,
        windows: MayWindow,
    ) -> Result<Self, BpfError> {
        if windows == MayWindow::Must && kind != ProbeKind::Session {
            return Err(BpfError::NoWindows(kind.name()));
        }
        let mut probes = Self {
            ebpf,
            kind,
            follow_forks,
            in_windows: false,
            session: None,
            later: None,
            window: None,
            links: Vec::new(),
            inherited: None,
            faults: None,
        };
        probes.load_uprobe(KEEP)?;
        if kind == ProbeKind::Session {
            let btf = probes
                .uprobe(KEEP)?
                .info()
                .map_err(|error| load_error(KEEP, &error))?
                .btf_id()
                .unwrap_or(0);
            let maps = map_fds(&probes.ebpf);
            probes.session = Some(SessionProgram::begin(object, ALLOC_SESSION, btf, maps)?);
            if windows != MayWindow::No {
                let maps = map_fds(&probes.ebpf);
                let later = LaterProgram::new(object, WINDOW_SESSION, btf, maps)
                    .map_err(|error| map_error("the maps", "shared", &error))?;
                probes.later = Some(later);
                if windows == MayWindow::Must {
                    // Somebody asked for a limit: soon it may be needed, and it takes as long as the other.
                    probes.prepare_windows();
                }
            }
        }
        Ok(probes)
    }

    /// Takes a map out of the object.
    pub(super) fn take_map(&mut self, name: &'static str) -> Result<Map, BpfError> {
        self.ebpf.take_map(name).ok_or(BpfError::Missing(name))
    }

    /// Takes what the log needs out of the object.
    pub(super) fn take_log(&mut self, say: fn(&str)) -> Result<KernelLog, BpfError> {
        KernelLog::new(&mut self.ebpf, say)
    }

    /// Loads the programs, hooks exec and exit, and places the probes of modules.
    ///
    /// # Errors
    ///
    /// As for [`Self::attach`], and the kernel refused a program.
    pub fn load(&mut self, modules: &[Probed<'_>], scope: Scope<'_>) -> Result<(), BpfError> {
        if self.kind == ProbeKind::Faults {
            self.follow_faults(scope)?;
        } else {
            self.load_uprobes()?;
        }
        self.hook("process_exec", "sched_process_exec")?;
        self.hook("process_exit", "sched_process_exit")?;
        if self.follow_forks {
            self.hook("process_fork", "sched_process_fork")?;
        }
        // The kernel waits at the first probe until every CPU knows, ten milliseconds. The largest program
        // is being loaded meanwhile.
        for &module in modules {
            self.place_first(module, scope)?;
        }
        if let Some(session) = &mut self.session {
            session.wait()?;
        }
        for &module in modules {
            self.place_last(module, scope)?;
        }
        Ok(())
    }

    fn load_uprobes(&mut self) -> Result<(), BpfError> {
        let programs = self.kind.programs();
        self.load_uprobe(programs.free_entry)?;
        if self.kind != ProbeKind::Session {
            self.load_uprobe(programs.alloc_entry)?;
            self.load_uprobe(programs.alloc_return)?;
        }
        Ok(())
    }

    /// Runs a program at the page faults of threads.
    fn follow_faults(&mut self, scope: Scope<'_>) -> Result<(), BpfError> {
        let Scope::Threads(threads) = scope else {
            return Err(BpfError::Missing("the threads to be followed"));
        };
        let program: &mut PerfEvent = self
            .ebpf
            .program_mut(PAGE_FAULT)
            .and_then(|program| program.try_into().ok())
            .ok_or(BpfError::Missing(PAGE_FAULT))?;
        program
            .load()
            .map_err(|error| load_error(PAGE_FAULT, &error))?;
        let fd = program
            .fd()
            .map_err(|error| load_error(PAGE_FAULT, &error))?;
        let faults = FaultEvents::open(fd.as_fd(), threads)
            .map_err(|error| attach_error(PAGE_FAULT, Path::new("page faults"), &error))?;
        self.faults = Some(faults);
        Ok(())
    }

    /// Threads that began while page faults were about to be followed, and may have been missed.
    pub(super) fn unsure_threads(&self) -> u64 {
        self.faults.as_ref().map_or(0, |faults| faults.unsure)
    }

    fn hook(&mut self, name: &'static str, tracepoint: &'static str) -> Result<(), BpfError> {
        let program: &mut RawTracePoint = self
            .ebpf
            .program_mut(name)
            .and_then(|program| program.try_into().ok())
            .ok_or(BpfError::Missing(name))?;
        program.load().map_err(|error| load_error(name, &error))?;
        program
            .attach(tracepoint)
            .map_err(|error| attach_error(name, Path::new(tracepoint), &error))?;
        Ok(())
    }

    /// What runs when the target allocates or frees; `None` where no probes do that, or they are not loaded.
    #[must_use]
    pub fn run_times(&self) -> Option<RunTimes> {
        let programs = self.kind.programs();
        let allocation = match &self.session {
            Some(session) => vec![session.fd()?],
            None => vec![
                program_fd(&self.ebpf, programs.alloc_entry).ok()?,
                program_fd(&self.ebpf, programs.alloc_return).ok()?,
            ],
        };
        let free = program_fd(&self.ebpf, programs.free_entry).ok()?;
        let own = |fd: BorrowedFd<'_>| fd.try_clone_to_owned().ok();
        Some(RunTimes::new(
            allocation.into_iter().map(own).collect::<Option<_>>()?,
            own(free)?,
        ))
    }

    /// How they are placed.
    pub(super) const fn kind(&self) -> ProbeKind {
        self.kind
    }

    /// Places the probes of a module. They stay silent for a process until
    /// [`Kernel::start`](super::Kernel::start).
    ///
    /// # Errors
    ///
    /// The kernel refused a probe; those already placed stay until the tracer ends.
    pub fn attach(&mut self, module: Probed<'_>, scope: Scope<'_>) -> Result<(), BpfError> {
        self.place_first(module, scope)?;
        self.place_last(module, scope)
    }

    /// Whether there can be windows.
    pub(super) const fn can_window(&self) -> bool {
        self.later.is_some() || self.window.is_some()
    }

    /// Begins to load the program of windows, where they were asked for.
    pub fn prepare_windows(&mut self) {
        if let Some(later) = self.later.take() {
            self.window = Some(later.begin());
        }
    }

    /// The program of windows.
    ///
    /// # Errors
    ///
    /// They were not asked for, or the kernel refused it.
    pub(super) fn window_program(&mut self) -> Result<BorrowedFd<'_>, BpfError> {
        self.prepare_windows();
        let window = self.window.as_mut();
        let window = window.ok_or(BpfError::Missing(WINDOW_SESSION))?;
        window.wait()?;
        window.fd().ok_or(BpfError::Missing(WINDOW_SESSION))
    }

    /// Takes the probes out of the target, which is seen in windows from now on. Calls that are under way are not
    /// seen to return.
    ///
    /// # Errors
    ///
    /// As for [`Self::detach`].
    pub fn make_room_for_windows(&mut self) -> Result<(), BpfError> {
        self.in_windows = true;
        let mut links = Vec::new();
        for link in std::mem::take(&mut self.links) {
            links.push(match link {
                Link::Aya(program, id) => {
                    let link = self.uprobe(program)?.take_link(id);
                    let link = link
                        .map_err(|error| attach_error(program, Path::new("(detaching)"), &error))?;
                    Taken::Aya(link)
                }
                Link::Session(link) => Taken::Session(link),
            });
        }
        // Side by side: each waits until none of its programs runs, and the next would trap meanwhile.
        thread::scope(|threads| {
            for link in links {
                threads.spawn(|| to_the_end(move || drop(link)));
            }
        });
        Ok(())
    }

    /// Places the probes of modules again.
    ///
    /// # Errors
    ///
    /// As for [`Self::attach`].
    pub fn end_windows(
        &mut self,
        modules: &[Probed<'_>],
        scope: Scope<'_>,
    ) -> Result<(), BpfError> {
        self.in_windows = false;
        for &module in modules {
            self.attach(module, scope)?;
        }
        Ok(())
    }

    /// The part of [`Self::attach`] that needs no session.
    fn place_first(&mut self, module: Probed<'_>, scope: Scope<'_>) -> Result<(), BpfError> {
        if self.in_windows {
            return Ok(());
        }
        let process = match scope {
            Scope::Process(process) => process,
            Scope::Threads(threads) => return self.attach_inherited(module, threads),
        };
        let AttachPlan {
            allocating,
            freeing,
            throwing,
            ..
        } = module.plan;
        let programs = self.kind.programs();
        let (sized, plain) = by_size(freeing);
        if self.kind != ProbeKind::Session {
            self.place(programs.alloc_return, allocating, module, process)?;
        }
        self.place(programs.free_entry, plain, module, process)?;
        self.place(programs.sized_free_entry, sized, module, process)?;
        self.place(programs.throwing_entry, throwing, module, process)
    }

    /// The entries of allocating functions: last, because what they give out must be seen freed.
    fn place_last(&mut self, module: Probed<'_>, scope: Scope<'_>) -> Result<(), BpfError> {
        if self.in_windows {
            return Ok(());
        }
        let Scope::Process(process) = scope else {
            return Ok(());
        };
        let allocating = &module.plan.allocating;
        if self.kind != ProbeKind::Session {
            let program = self.kind.programs().alloc_entry;
            return self.place(program, allocating, module, process);
        }
        if allocating.is_empty() {
            return Ok(());
        }
        let session = self.session.as_ref();
        let session = session.ok_or(BpfError::Missing(ALLOC_SESSION))?;
        let points = allocating.iter().map(attach_point);
        let file = path_of(module.file);
        let link = to_the_end(|| session.attach(&file, points, Some(process)))
            .map_err(|error| attach_error(ALLOC_SESSION, module.path, &error))?;
        self.links.push(Link::Session(link));
        Ok(())
    }

    /// Places one of aya's programs, and loads it if it is not there yet: few allocators have functions that throw, or
    /// that are told the size of what they free, and each attach would wait for the verifier.
    fn place<'p>(
        &mut self,
        program: &'static str,
        probes: impl IntoIterator<Item = &'p Probe>,
        module: Probed<'_>,
        process: NonZeroU32,
    ) -> Result<(), BpfError> {
        let mut points = probes.into_iter().map(attach_point).peekable();
        if points.peek().is_none() {
            return Ok(());
        }
        let scope = UProbeScope::OneProcess(process);
        self.load_uprobe(program)?;
        let uprobe = self.uprobe(program)?;
        let link = to_the_end(|| uprobe.attach(points, path_of(module.file), scope))
            .map_err(|error| attach_error(program, module.path, &error))?;
        self.links.push(Link::Aya(program, link));
        Ok(())
    }

    /// As [`Self::attach`], for threads and what they start.
    fn attach_inherited(
        &mut self,
        module: Probed<'_>,
        threads: Threads<'_>,
    ) -> Result<(), BpfError> {
        let Programs {
            alloc_entry,
            alloc_return,
            free_entry,
            sized_free_entry,
            throwing_entry,
        } = ProbeKind::Inherited.programs();
        let plan = module.plan;
        let (sized, plain) = by_size(&plan.freeing);
        // Entries of allocating functions last: what they give out must be seen freed.
        let parts: [(&'static str, Vec<&Probe>); 5] = [
            (alloc_return, plan.allocating.iter().collect()),
            (free_entry, plain),
            (sized_free_entry, sized),
            (throwing_entry, plan.throwing.iter().collect()),
            (alloc_entry, plan.allocating.iter().collect()),
        ];
        for (program, probes) in &parts {
            if !probes.is_empty() {
                self.load_uprobe(program)?;
            }
        }
        let mut places = Vec::new();
        for (program, probes) in &parts {
            if probes.is_empty() {
                continue;
            }
            let fd = program_fd(&self.ebpf, program)?;
            places.extend(probes.iter().map(|probe| InheritedProbe {
                offset: probe.point.0,
                at_return: *program == alloc_return,
                program: fd,
                cookie: probe.function.cookie(),
            }));
        }
        place_inherited(&mut self.inherited, module, &places, threads)
    }

    /// Keeps the breakpoints of a plan in the memory of threads and of what they start, whatever becomes of
    /// the first thread. They are there already, or are put back.
    ///
    /// # Errors
    ///
    /// As for [`Self::attach`].
    pub fn keep(&mut self, module: Probed<'_>, threads: Threads<'_>) -> Result<(), BpfError> {
        if self.kind == ProbeKind::Perf {
            // Its programs do not run for a memory whose first thread is gone, and so not twice.
            return self.attach_inherited(module, threads);
        }
        let plan = module.plan;
        let program = program_fd(&self.ebpf, KEEP)?;
        let probes = plan.allocating.iter().chain(&plan.freeing);
        let places: Vec<_> = probes
            .chain(&plan.throwing)
            .map(|probe| InheritedProbe {
                offset: probe.point.0,
                at_return: false,
                program,
                cookie: 0,
            })
            .collect();
        place_inherited(&mut self.inherited, module, &places, threads)
    }

    /// Takes every probe out of the target.
    ///
    /// # Errors
    ///
    /// The kernel refused; the end of the process will take them out.
    pub fn detach(&mut self) -> Result<(), BpfError> {
        // Those are closed by threads. Where there is no holder, they are closed here.
        let holder = self.inherited.as_ref().and_then(|_| Holder::new().ok());
        let left = self.close()?;
        drop(holder);
        left.remove();
        Ok(())
    }

    /// As [`Self::detach`], as fast as can be: somebody is about to read the breakpoints.
    ///
    /// # Errors
    ///
    /// As for that.
    pub fn detach_at_once(&mut self) -> Result<(), BpfError> {
        self.close()?.remove();
        Ok(())
    }

    /// Closes the probes' links. What is left can be removed when the last copy is closed.
    fn close(&mut self) -> Result<LeftEvents, BpfError> {
        let links = std::mem::take(&mut self.links);
        if !links.is_empty() {
            to_the_end(|| self.close_links(links))?;
        }
        let _no_copies = copies::none();
        self.faults = None;
        Ok(self
            .inherited
            .take()
            .map(InheritedProbes::close)
            .unwrap_or_default())
    }

    fn close_links(&mut self, links: Vec<Link>) -> Result<(), BpfError> {
        // Entries first, so that no call begins whose return would not be seen.
        for link in links.into_iter().rev() {
            match link {
                Link::Aya(program, link) => self
                    .uprobe(program)?
                    .detach(link)
                    .map_err(|error| attach_error(program, Path::new("(detaching)"), &error))?,
                Link::Session(link) => drop(link),
            }
        }
        Ok(())
    }

    fn uprobe(&mut self, name: &'static str) -> Result<&mut UProbe, BpfError> {
        self.ebpf
            .program_mut(name)
            .and_then(|program| program.try_into().ok())
            .ok_or(BpfError::Missing(name))
    }

    /// Loads a program, unless it is loaded.
    fn load_uprobe(&mut self, name: &'static str) -> Result<(), BpfError> {
        let uprobe = self.uprobe(name)?;
        if uprobe.fd().is_ok() {
            return Ok(());
        }
        uprobe.load().map_err(|error| load_error(name, &error))
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        if !self.links.is_empty() || self.inherited.is_some() {
            // What fails here goes with the process.
            let _ = self.detach();
        }
    }
}

/// The file itself, also where it is deleted or in another mount namespace.
pub(super) fn path_of(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

fn program_fd<'a>(ebpf: &'a Ebpf, name: &str) -> Result<BorrowedFd<'a>, BpfError> {
    let program: Option<&UProbe> = ebpf
        .program(name)
        .and_then(|program| program.try_into().ok());
    program
        .and_then(|program| program.fd().ok())
        .map(ProgramFd::as_fd)
        .ok_or(BpfError::Missing("a program that is loaded"))
}

fn place_inherited(
    inherited: &mut Option<InheritedProbes>,
    module: Probed<'_>,
    places: &[InheritedProbe<'_>],
    threads: Threads<'_>,
) -> Result<(), BpfError> {
    let inherited = match inherited {
        Some(inherited) => inherited,
        none => none.insert(InheritedProbes::new().map_err(BpfError::TraceFs)?),
    };
    inherited
        .place(&path_of(module.file), places, threads)
        .map_err(|error| attach_error("inherited probes", module.path, &error))
}

/// The probes that know the size of what is freed, and the others.
fn by_size(freeing: &[Probe]) -> (Vec<&Probe>, Vec<&Probe>) {
    freeing
        .iter()
        .partition(|probe| probe.function.is_sized_free())
}

fn attach_point(probe: &Probe) -> UProbeAttachPoint<'static> {
    UProbeAttachPoint {
        location: UProbeAttachLocation::AbsoluteOffset(probe.point.0),
        cookie: Some(probe.function.cookie()),
    }
}

/// The maps of the kinds that the object has.
fn map_fds(ebpf: &Ebpf) -> impl Iterator<Item = (&str, BorrowedFd<'_>)> {
    ebpf.maps().filter_map(|(name, map)| match map {
        Map::Array(data)
        | Map::ArrayOfMaps(data)
        | Map::HashMap(data)
        | Map::PerCpuArray(data)
        | Map::Queue(data)
        | Map::RingBuf(data) => Some((name, data.fd().as_fd())),
        _ => None,
    })
}
