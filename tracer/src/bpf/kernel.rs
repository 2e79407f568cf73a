//! The loaded programs, their links and their maps.

use std::collections::HashMap as StdHashMap;
use std::fs::File;
use std::num::NonZeroU32;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::path::{Path, PathBuf};

use aya::maps::{HashMap, MapData, MapError, PerCpuArray, RingBuf};
use aya::programs::uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLinkId, UProbeScope};
use aya::programs::{ProgramError, RawTracePoint, UProbe};
use aya::sys::{UProbeMultiFeature, is_uprobe_multi_supported};
use aya::{Ebpf, EbpfLoader};
use tracer_common::{Config, Counter, LiveKey, LiveRecord, StackCounters, StackKey, TargetInfo};

use super::error::chain;
use super::{BpfError, KernelEvent, btf, events};
use crate::probe::{AttachPlan, Probe};

/// The object that `build.rs` embedded.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tracer-ebpf.o"));

/// Capacities of the kernel tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Live allocations.
    pub live: u32,
    /// Distinct stacks.
    pub stacks: u32,
}

/// Which processes a probe fires for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One process.
    Process(NonZeroU32),
    /// Every process that runs the probed file: the kernel copies a parent's breakpoints into its
    /// children, and this alone keeps them there. Other processes are told apart in BPF, and pay
    /// the trap.
    Everything,
}

/// What one stack of one life of a process allocated and freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackAmounts {
    /// Which stack.
    pub key: StackKey,
    /// Its counters.
    pub counters: StackCounters,
}

/// Names of the programs for one way of attaching.
struct Programs {
    kind: &'static str,
    alloc_entry: &'static str,
    alloc_return: &'static str,
    free_entry: &'static str,
    sized_free_entry: &'static str,
}

static MULTI: Programs = Programs {
    kind: "uprobe_multi",
    alloc_entry: "alloc_entry_multi",
    alloc_return: "alloc_return_multi",
    free_entry: "free_entry_multi",
    sized_free_entry: "sized_free_entry_multi",
};

static SINGLE: Programs = Programs {
    kind: "perf-event uprobes",
    alloc_entry: "alloc_entry",
    alloc_return: "alloc_return",
    free_entry: "free_entry",
    sized_free_entry: "sized_free_entry",
};

/// The eBPF side, loaded. Dropping it detaches everything; so does the end of the process,
/// however it ends, because nothing is pinned.
pub struct Kernel {
    ebpf: Ebpf,
    programs: &'static Programs,
    links: Vec<(&'static str, UProbeLinkId)>,
    targets: HashMap<MapData, u32, TargetInfo>,
    live: HashMap<MapData, LiveKey, LiveRecord>,
    stacks: HashMap<MapData, StackKey, StackCounters>,
    counters: PerCpuArray<MapData, u64>,
    ring: RingBuf<MapData>,
}

impl Kernel {
    /// Loads the programs and hooks exec and exit; no probe is attached and nothing is counted
    /// yet.
    ///
    /// # Errors
    ///
    /// Whatever the kernel refuses, with its reason.
    pub fn load(
        limits: Limits,
        follow_forks: bool,
        pidns: Option<(u64, u64)>,
    ) -> Result<Self, BpfError> {
        if OBJECT.is_empty() {
            return Err(BpfError::NoObject);
        }
        let (pidns_dev, pidns_ino) = pidns.unwrap_or((0, 0));
        let config = Config {
            pidns_dev,
            pidns_ino,
            task_tgid_offset: if follow_forks {
                btf::task_tgid_offset()?
            } else {
                0
            },
            reserved: 0,
        };
        let mut ebpf = EbpfLoader::new()
            .override_global("CONFIG", &config, true)
            .map_max_entries("LIVE", limits.live)
            .map_max_entries("STACKS", limits.stacks)
            .load(OBJECT)
            .map_err(|error| BpfError::Load(chain(&error)))?;

        // A pid that selects the whole process and not one thread came with 6.10.
        let multi =
            is_uprobe_multi_supported(UProbeMultiFeature::ProcessScopedPidFilter).unwrap_or(false);
        let programs = if multi { &MULTI } else { &SINGLE };
        for name in [
            programs.alloc_entry,
            programs.alloc_return,
            programs.free_entry,
            programs.sized_free_entry,
        ] {
            uprobe(&mut ebpf, name)?
                .load()
                .map_err(|error| load_error(name, &error))?;
        }
        for (name, tracepoint) in [
            ("process_exec", Some("sched_process_exec")),
            ("process_exit", Some("sched_process_exit")),
            ("process_fork", follow_forks.then_some("sched_process_fork")),
        ] {
            let Some(tracepoint) = tracepoint else {
                continue;
            };
            let program: &mut RawTracePoint = ebpf
                .program_mut(name)
                .and_then(|program| program.try_into().ok())
                .ok_or(BpfError::Missing(name))?;
            program.load().map_err(|error| load_error(name, &error))?;
            program
                .attach(tracepoint)
                .map_err(|error| BpfError::Attach {
                    program: name,
                    module: PathBuf::from(tracepoint),
                    reason: chain(&error),
                })?;
        }
        Ok(Self {
            targets: take(&mut ebpf, "TARGETS")?,
            live: take(&mut ebpf, "LIVE")?,
            stacks: take(&mut ebpf, "STACKS")?,
            counters: take(&mut ebpf, "COUNTERS")?,
            ring: take(&mut ebpf, "EVENTS")?,
            programs,
            links: Vec::new(),
            ebpf,
        })
    }

    /// `uprobe_multi` or `perf-event uprobes`.
    #[must_use]
    pub fn probe_kind(&self) -> &'static str {
        self.programs.kind
    }

    /// Places the probes of a plan into a module. They stay silent for a process until
    /// [`Self::start`].
    ///
    /// `file` is the module itself, so that a deleted file or one in another mount namespace is
    /// probed all the same; `path` is what the messages call it.
    ///
    /// # Errors
    ///
    /// The kernel refused a probe; those of this plan already placed stay until the tracer ends.
    pub fn attach(
        &mut self,
        file: &File,
        path: &Path,
        plan: &AttachPlan,
        scope: Scope,
    ) -> Result<(), BpfError> {
        let target = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let scope = match scope {
            Scope::Process(pid) => UProbeScope::OneProcess(pid),
            Scope::Everything => UProbeScope::AllProcesses,
        };
        let (sized, plain): (Vec<_>, Vec<_>) = plan
            .freeing
            .iter()
            .partition(|probe| probe.function.is_sized_free());
        let allocating: Vec<_> = plan.allocating.iter().collect();
        for (name, probes) in [
            (self.programs.alloc_return, &allocating),
            (self.programs.free_entry, &plain),
            (self.programs.sized_free_entry, &sized),
            (self.programs.alloc_entry, &allocating),
        ] {
            if probes.is_empty() {
                continue;
            }
            let points = probes.iter().map(|probe| attach_point(probe));
            let link = uprobe(&mut self.ebpf, name)?
                .attach(points, &target, scope)
                .map_err(|error| BpfError::Attach {
                    program: name,
                    module: path.to_owned(),
                    reason: chain(&error),
                })?;
            self.links.push((name, link));
        }
        Ok(())
    }

    /// Takes every probe out of the target.
    ///
    /// # Errors
    ///
    /// The kernel refused; the end of the process will take them out.
    pub fn detach(&mut self) -> Result<(), BpfError> {
        // Entries first, so that no call begins whose return would not be seen.
        for (name, link) in std::mem::take(&mut self.links).into_iter().rev() {
            uprobe(&mut self.ebpf, name)?
                .detach(link)
                .map_err(|error| BpfError::Attach {
                    program: name,
                    module: PathBuf::from("(detaching)"),
                    reason: chain(&error),
                })?;
        }
        Ok(())
    }

    /// Starts counting a process, for all probes at one instant.
    ///
    /// # Errors
    ///
    /// A map could not be written.
    pub fn start(&mut self, tgid: u32) -> Result<(), BpfError> {
        let unknown = StackKey {
            stack: 0,
            tgid,
            life: 0,
        };
        self.stacks
            .insert(&unknown, &StackCounters::default(), 0)
            .map_err(|error| map_error("STACKS", "written", &error))?;
        self.targets
            .insert(&tgid, &TargetInfo::default(), 0)
            .map_err(|error| map_error("TARGETS", "written", &error))
    }

    /// Stops counting every process, at one instant each.
    ///
    /// # Errors
    ///
    /// A map could not be written.
    pub fn stop(&mut self) -> Result<(), BpfError> {
        let targets: Vec<u32> = self.targets.keys().filter_map(Result::ok).collect();
        for tgid in targets {
            match self.targets.remove(&tgid) {
                Ok(()) | Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(map_error("TARGETS", "written", &error)),
            }
        }
        Ok(())
    }

    /// Forgets the live allocations of the lives of a process before `life`, to make room: their
    /// memory went with their image. Their counters stay.
    ///
    /// # Errors
    ///
    /// The live table could not be read.
    pub fn forget_lives_before(&mut self, tgid: u32, life: u32) -> Result<(), BpfError> {
        // Removing while iterating restarts the kernel's walk, so collect first.
        let mut gone = Vec::new();
        for key in self.live.keys() {
            let key = key.map_err(|error| map_error("LIVE", "read", &error))?;
            if key.tgid == tgid && key.life < life {
                gone.push(key);
            }
        }
        for key in gone {
            match self.live.remove(&key) {
                Ok(()) | Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(map_error("LIVE", "written", &error)),
            }
        }
        Ok(())
    }

    /// Becomes readable when there are events.
    #[must_use]
    pub fn event_fd(&self) -> BorrowedFd<'_> {
        use std::os::fd::AsFd as _;
        self.ring.as_fd()
    }

    /// Takes the events that are there.
    pub fn drain(&mut self, mut each: impl FnMut(KernelEvent)) {
        while let Some(item) = self.ring.next() {
            if let Some(event) = events::decode(&item) {
                each(event);
            }
        }
    }

    /// Every stack's amounts.
    ///
    /// While probes run, a stack that appears during the walk may be missing or, seldom, come
    /// twice: later entries replace earlier ones.
    ///
    /// # Errors
    ///
    /// The map could not be read.
    pub fn stacks(&self) -> Result<Vec<StackAmounts>, BpfError> {
        let mut found = StdHashMap::new();
        for entry in self.stacks.iter() {
            let (key, counters) = entry.map_err(|error| map_error("STACKS", "read", &error))?;
            found.insert(key, counters);
        }
        Ok(found
            .into_iter()
            .map(|(key, counters)| StackAmounts { key, counters })
            .collect())
    }

    /// Every counter, summed over CPUs.
    ///
    /// # Errors
    ///
    /// The map could not be read.
    pub fn counters(&self) -> Result<Vec<(Counter, u64)>, BpfError> {
        Counter::ALL
            .iter()
            .map(|&counter| {
                self.counters
                    .get(&(counter as u32), 0)
                    .map(|values| (counter, values.iter().sum()))
                    .map_err(|error| map_error("COUNTERS", "read", &error))
            })
            .collect()
    }
}

fn attach_point(probe: &Probe) -> UProbeAttachPoint<'static> {
    UProbeAttachPoint {
        location: UProbeAttachLocation::AbsoluteOffset(probe.point.0),
        cookie: Some(probe.function.cookie()),
    }
}

fn uprobe<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut UProbe, BpfError> {
    ebpf.program_mut(name)
        .and_then(|program| program.try_into().ok())
        .ok_or(BpfError::Missing(name))
}

fn take<M: TryFrom<aya::maps::Map>>(ebpf: &mut Ebpf, name: &'static str) -> Result<M, BpfError> {
    ebpf.take_map(name)
        .and_then(|map| M::try_from(map).ok())
        .ok_or(BpfError::Missing(name))
}

fn load_error(program: &'static str, error: &ProgramError) -> BpfError {
    BpfError::LoadProgram {
        program,
        reason: chain(error),
    }
}

fn map_error(map: &'static str, action: &'static str, error: &MapError) -> BpfError {
    BpfError::Map {
        map,
        action,
        reason: chain(error),
    }
}
