//! The eBPF side as a whole: loaded programs, probes, and maps.

use std::num::NonZeroU32;
use std::os::fd::{AsFd as _, BorrowedFd};

use aya::EbpfLoader;
use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, Queue, RingBuf};
use aya::util::nr_cpus;
use tracer_common::limits::SPARE_STACKS;
use tracer_common::{
    Amount, Config, Counter, Flow, GENERATION_CELLS, LiveRecord, StackCounters, StackKey,
    THREAD_NAME_WORDS, TargetInfo, TaskOffsets, Unwinding, peak_shift,
};

use super::btf::Offsets;
use super::calls::PendingCalls;
use super::error::{chain, map_error};
use super::events::Received;
use super::generations::Generations;
use super::ladder::{MayWindow, ProbeKind};
use super::live::{LiveSizes, LiveTable};
use super::log::{KernelLog, LogOptions};
use super::probes::Probes;
use super::stacks::{Held, KernelPeak, StackReading, Stacks};
use super::unwind::UnwindMaps;
use super::view::View;
use super::window::Windows;
use super::work::Gauge;
use super::{BpfError, KernelEvent, events, inherited};
use crate::profile::series::Survivors;

/// The object that `build.rs` embedded.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tracer-ebpf.o"));

/// Events taken out of the ring at once. A copied stack is up to 64 KiB, and takes 10 us.
const MAX_DRAINED: usize = 64;

/// Capacities of the kernel tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Live allocations.
    pub live: u32,
    /// Bytes of the target's heap, for the live table's size at first.
    pub heap_bytes: u64,
    /// Distinct stacks.
    pub stacks: u32,
    /// Count by generation, too, see [`Kernel::end_window`].
    pub generations: bool,
    /// Bytes of the event ring, a power of two.
    pub ring: u32,
    /// Bytes of the unwind tables.
    pub unwind_bytes: usize,
}

/// What a stack has allocated and freed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackAmounts {
    /// Number of the stack, the same in each reading.
    pub index: u32,
    /// Which stack, and its counters.
    pub counters: StackCounters,
    /// What it held of the last peak.
    pub at_peak: Held,
    /// What it holds now: nothing where its image is gone.
    pub now: Held,
    /// Its generations that live, the oldest first. `None` where they are not counted, and where the
    /// stack rests since the window before.
    pub survivors: Option<Vec<Survivors>>,
}

impl StackAmounts {
    fn new(stack: StackReading, survivors: Option<Vec<Survivors>>) -> Self {
        let StackReading {
            index,
            counters,
            at_peak,
            now,
        } = stack;
        Self {
            index,
            counters,
            at_peak,
            now,
            survivors,
        }
    }
}

/// What the programs are loaded for.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions {
    /// The process that the session begins with.
    pub tgid: u32,
    /// Capacities of the kernel tables.
    pub limits: Limits,
    /// Count the children of the process, too.
    pub follow_forks: bool,
    /// Device and inode of the pid namespace that `tgid` is told in; `None` for the machine's own.
    pub pidns: Option<(u64, u64)>,
    /// How the probes are placed, where not as the kernel does best.
    pub kind: Option<ProbeKind>,
    /// Whether windows may be wanted: see [`Kernel::windows`].
    pub windows: MayWindow,
    /// How stacks are walked.
    pub unwinding: Unwinding,
    /// Whether stacks that are recognised are walked as well.
    pub audit: bool,
    /// Whether stacks are told apart by the names of their threads.
    pub by_thread: bool,
    /// What is told of rare events; without, the verifier removes the code for it.
    pub log: Option<LogOptions>,
}

/// Image that the process is in which a session begins with.
pub const FIRST_IMAGE: u32 = 1;
/// Heap of the process that a session begins with.
pub const FIRST_HEAP: u32 = 1;

/// The eBPF side. Dropping it detaches everything; so does the end of the process, however it ends,
/// because nothing is pinned.
pub struct Kernel {
    probes: Probes,
    main: Array<MapData, TargetInfo>,
    targets: HashMap<MapData, u32, TargetInfo>,
    live: LiveTable,
    stacks: Stacks,
    threads: HashMap<MapData, u32, [u64; THREAD_NAME_WORDS]>,
    generations: Option<Generations>,
    images: Array<MapData, u64>,
    heaps: Array<MapData, u64>,
    free_heaps: Queue<MapData, u32>,
    counters: PerCpuArray<MapData, u64>,
    /// Holds what is mapped.
    _flows: MapData,
    flows: View<Flow>,
    ring: RingBuf<MapData>,
    unwind: UnwindMaps,
    /// What windows are opened by, and counted in.
    gate: Option<(MapData, PerCpuArray<MapData, u64>)>,
    calls: PendingCalls,
    log: Option<KernelLog>,
}

impl Kernel {
    /// Makes the maps, and begins to load the programs; for the probes see [`Self::parts`].
    ///
    /// # Errors
    ///
    /// Whatever the kernel refuses, with its reason.
    pub fn new(options: &LoadOptions) -> Result<Self, BpfError> {
        let &LoadOptions {
            tgid,
            limits,
            follow_forks,
            pidns,
            kind,
            windows,
            unwinding,
            audit,
            by_thread,
            log,
        } = options;
        if OBJECT.is_empty() {
            return Err(BpfError::NoObject);
        }
        let stack_counters = limits.stacks.saturating_add(SPARE_STACKS);
        let cells = if limits.generations {
            stack_counters.saturating_mul(GENERATION_CELLS)
        } else {
            1
        };
        let live = LiveSizes::new(limits.live, limits.heap_bytes);
        let (pidns_dev, pidns_ino) = pidns.unwrap_or((0, 0));
        let offsets = Offsets::get();
        let task = if follow_forks {
            offsets.task()?
        } else {
            TaskOffsets::default()
        };
        let vm_file = if kind == Some(ProbeKind::Faults) {
            let missing = || BpfError::Btf("vm_area_struct.vm_file was not found".to_owned());
            offsets.vm_file.ok_or_else(missing)?
        } else {
            0
        };
        let cpus = nr_cpus().map_err(|(path, error)| BpfError::Btf(format!("{path}: {error}")))?;
        let config = Config {
            pidns_dev,
            pidns_ino,
            task,
            live_buckets: live.first,
            main_tgid: tgid,
            unwinding: unwinding as u32,
            generations: u32::from(limits.generations),
            audit: u32::from(audit),
            // Without, a stack ends at a replaced return address, and says so.
            return_probes: offsets.return_probes.unwrap_or_default(),
            alternate_stack: offsets.alternate_stack.unwrap_or_default(),
            peak_shift: peak_shift(cpus.get()),
            vm_file,
            by_thread: u32::from(by_thread),
            reserved: 0,
        };
        let log_level = log.map_or(0, |log| log.level as u8);
        let mut loader = EbpfLoader::new();
        if log.is_none() {
            // The least there is.
            loader.map_max_entries("AYA_LOGS", rustix::param::page_size() as u32);
        }
        let ebpf = loader
            .override_global("CONFIG", &config, true)
            .override_global(aya_log::LEVEL, &log_level, true)
            .map_max_entries("LIVE_FIRST", live.first)
            .map_max_entries("STACKS", limits.stacks)
            .map_max_entries("STACK_COUNTERS", stack_counters)
            .map_max_entries("GENERATIONS", cells)
            .map_max_entries("FREE_STACKS", stack_counters)
            .map_max_entries("EVENTS", limits.ring)
            .map_max_entries("FLOWS", cpus.get())
            .load(OBJECT)
            .map_err(|error| BpfError::Load(chain(&error)))?;

        let kind = kind.unwrap_or_else(ProbeKind::best);
        let mut probes = Probes::new(ebpf, OBJECT, kind, follow_forks, windows)?;
        let log = log.map(|log| probes.take_log(log.say)).transpose()?;
        let tables = take(&mut probes, "TABLES")?;
        let flows = take_array(&mut probes, "FLOWS")?;
        Ok(Self {
            main: take(&mut probes, "MAIN_TARGET")?,
            targets: take(&mut probes, "TARGETS")?,
            live: LiveTable::new(
                take_array(&mut probes, "LIVE_FIRST")?,
                take(&mut probes, "LIVE")?,
                live,
            )?,
            stacks: Stacks::new(
                take(&mut probes, "STACKS")?,
                take(&mut probes, "STACKS_USED")?,
                take(&mut probes, "FREE_STACKS")?,
                take_array(&mut probes, "STACK_COUNTERS")?,
                stack_counters,
                take(&mut probes, "PEAK")?,
            )?,
            threads: take(&mut probes, "THREAD_NAMES")?,
            generations: if limits.generations {
                Some(Generations::new(
                    take_array(&mut probes, "GENERATIONS")?,
                    take(&mut probes, "GENERATION")?,
                    stack_counters,
                )?)
            } else {
                None
            },
            images: take(&mut probes, "IMAGES")?,
            heaps: take(&mut probes, "HEAPS")?,
            free_heaps: take(&mut probes, "FREE_HEAPS")?,
            counters: take(&mut probes, "COUNTERS")?,
            flows: View::new("FLOWS", flows.fd().as_fd(), cpus.get() as usize)?,
            _flows: flows,
            ring: take(&mut probes, "EVENTS")?,
            unwind: UnwindMaps::new(
                |name| take_array(&mut probes, name),
                tables,
                limits.unwind_bytes,
            )?,
            gate: Some((
                take_array(&mut probes, "GATE")?,
                take(&mut probes, "WINDOW")?,
            )),
            calls: PendingCalls::new(
                take(&mut probes, "PENDING")?,
                take(&mut probes, "SUSPENDED")?,
            ),
            log,
            probes,
        })
    }

    /// How the probes are placed: `uprobe_session`, `uprobe_multi` or `perf-event uprobes`.
    #[must_use]
    pub const fn probe_kind(&self) -> &'static str {
        self.probes.kind().name()
    }

    /// Whether a call can do without its return probe.
    #[must_use]
    pub fn has_sessions(&self) -> bool {
        self.probes.kind() == ProbeKind::Session
    }

    /// The programs with their probes, and the unwind tables: two threads may prepare them at the same
    /// time.
    pub const fn parts(&mut self) -> (&mut Probes, &mut UnwindMaps) {
        (&mut self.probes, &mut self.unwind)
    }

    /// The programs with their probes.
    pub const fn probes(&mut self) -> &mut Probes {
        &mut self.probes
    }

    /// The unwind tables.
    pub const fn unwind_maps(&mut self) -> &mut UnwindMaps {
        &mut self.unwind
    }

    /// Names of threads by their numbers, where stacks are told apart by them: see
    /// [`StackKey::thread`](tracer_common::StackKey::thread).
    ///
    /// # Errors
    ///
    /// The map could not be read.
    pub fn thread_names(&self) -> Result<std::collections::HashMap<u32, String>, BpfError> {
        let names = self.threads.iter().map(|entry| {
            let (thread, words) = entry?;
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
            let end = memchr::memchr(0, &bytes).unwrap_or(bytes.len());
            Ok((thread, String::from_utf8_lossy(&bytes[..end]).into_owned()))
        });
        let names = names.collect::<Result<_, MapError>>();
        names.map_err(|error| map_error("THREAD_NAMES", "read", &error))
    }

    /// Whether there can be windows.
    #[must_use]
    pub const fn can_window(&self) -> bool {
        self.probes.can_window()
    }

    /// What holds windows on a process.
    ///
    /// # Errors
    ///
    /// Windows were not asked for, or this was called before; or the kernel refused their program.
    pub fn windows(&mut self, process: NonZeroU32, gauge: Gauge) -> Result<Windows, BpfError> {
        let (gate, words) = self.gate.take().ok_or(BpfError::Missing("GATE"))?;
        let program = self.probes.window_program()?;
        Windows::new(program, process, gauge, gate, words)
    }

    /// Forgets the calls that have not returned: after a window, when its links are closed. The blocks that they
    /// were about to resize are held to be live as before. Returns how many calls there were.
    ///
    /// # Errors
    ///
    /// A map could not be read or written.
    pub fn forget_calls(&mut self) -> Result<u64, BpfError> {
        let left = self.calls.take()?;
        let heap = self.main.get(&0, 0).map_or(0, |info| info.heap);
        for call in &left {
            if call.old_known != 0 {
                self.live.put_back(call.old_address, heap, &call.old);
            }
        }
        Ok(left.len() as u64)
    }

    /// Starts counting the process, for all probes at one instant.
    ///
    /// # Errors
    ///
    /// A map could not be written.
    pub fn start(&mut self) -> Result<(), BpfError> {
        self.stacks.add_first(StackKey {
            stack: 0,
            image: FIRST_IMAGE,
            thread: 0,
        })?;
        let first = TargetInfo {
            image: FIRST_IMAGE,
            heap: FIRST_HEAP,
            space: FIRST_HEAP,
            borrowed: 0,
        };
        self.images
            .set(0, &u64::from(first.image), 0)
            .map_err(|error| map_error("IMAGES", "written", &error))?;
        self.heaps
            .set(0, &u64::from(first.heap), 0)
            .map_err(|error| map_error("HEAPS", "written", &error))?;
        self.main
            .set(0, &first, 0)
            .map_err(|error| map_error("MAIN_TARGET", "written", &error))
    }

    /// Stops counting every process, at one instant each.
    ///
    /// # Errors
    ///
    /// A map could not be written.
    pub fn stop(&mut self) -> Result<(), BpfError> {
        self.main
            .set(0, &TargetInfo::default(), 0)
            .map_err(|error| map_error("MAIN_TARGET", "written", &error))?;
        let children: Vec<u32> = self.targets.keys().filter_map(Result::ok).collect();
        for tgid in children {
            match self.targets.remove(&tgid) {
                Ok(()) | Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(map_error("TARGETS", "written", &error)),
            }
        }
        Ok(())
    }

    /// A heap is gone with its image: what is live in it may be forgotten, to make room. Its
    /// counters stay.
    pub fn forget_heap(&mut self, heap: u32) {
        self.live.forget(heap);
        self.unwind.forget(heap);
    }

    /// What is live in a heap: address, size, and the number of the stack.
    pub fn live(&self, heap: u32) -> impl Iterator<Item = (u64, LiveRecord)> {
        self.live.entries(heap)
    }

    /// Threads that began while page faults were about to be followed, and may have been missed.
    #[must_use]
    pub fn unsure_threads(&self) -> u64 {
        self.probes.unsure_threads()
    }

    /// Takes what the tables hold of images that have ended, by their number, and of their heaps: nothing is
    /// allocated or freed in them any more. Their numbers are used again, and those of their stacks.
    ///
    /// # Errors
    ///
    /// A map could not be read or written.
    pub fn retire(
        &mut self,
        has_ended: impl Fn(u32) -> bool,
        heaps: impl IntoIterator<Item = u32>,
    ) -> Result<Vec<StackAmounts>, BpfError> {
        let stacks = self.stacks.take(has_ended)?;
        self.live.clear_forgotten();
        for heap in heaps {
            self.free_heaps
                .push(&heap, 0)
                .map_err(|error| map_error("FREE_HEAPS", "written", &error))?;
        }
        let amounts = stacks.into_iter();
        Ok(amounts
            .map(|stack| StackAmounts::new(stack, None))
            .collect())
    }

    /// Whether probes may be lost that children have inherited: the kernel exchanges those of two tasks.
    #[must_use]
    pub fn may_lose_inherited(&self) -> bool {
        self.probes.kind() == ProbeKind::Inherited && !inherited::stay_with_their_task()
    }

    /// Whether any process is still counted.
    #[must_use]
    pub fn has_targets(&self) -> bool {
        self.main.get(&0, 0).is_ok_and(|info| info.heap != 0)
            || self.targets.keys().next().is_some()
    }

    /// How often the live table could not be enlarged when that was due. It was tried again later; what
    /// found no room meanwhile is in [`Counter::LiveTableFull`].
    #[must_use]
    pub const fn live_table_growth_failures(&self) -> u64 {
        self.live.failures()
    }

    /// Kernel memory of the unwind tables, bytes.
    #[must_use]
    pub fn table_bytes(&self) -> usize {
        self.unwind.table_bytes()
    }

    /// Become readable when there are events.
    pub fn event_fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let log = self.log.as_ref().map(KernelLog::fd);
        [self.ring.as_fd()].into_iter().chain(log)
    }

    /// Tells what there is to tell of rare events.
    ///
    /// # Errors
    ///
    /// A map could not be read or written.
    pub fn tell(&mut self) -> Result<(), BpfError> {
        self.log.as_mut().map_or(Ok(()), KernelLog::tell)
    }

    /// The same at the end.
    ///
    /// # Errors
    ///
    /// As for [`Self::tell`].
    pub fn finish_log(&mut self) -> Result<(), BpfError> {
        self.log.as_mut().map_or(Ok(()), KernelLog::finish)
    }

    /// Takes events out of the ring, some of them at most: a target can fill it as fast as it is emptied.
    /// Returns whether there may be more.
    pub fn drain(&mut self, mut each: impl FnMut(KernelEvent)) -> bool {
        self.live.try_again();
        for _ in 0..MAX_DRAINED {
            let Some(item) = self.ring.next() else {
                return false;
            };
            match events::decode(&item) {
                Some(Received::Session(event)) => each(event),
                Some(Received::LiveTableFilling) => self.live.grow(),
                None => {}
            }
        }
        true
    }

    /// Every stack's amounts, in the order in which the stacks were first seen.
    ///
    /// # Errors
    ///
    /// The map could not be read.
    pub fn stacks(&self) -> Result<Vec<StackAmounts>, BpfError> {
        let stacks = self.stacks.read()?;
        let amounts = stacks.map(|stack| StackAmounts::new(stack, None));
        Ok(amounts.collect())
    }

    /// Ends a window of a series and begins the next: as [`Self::stacks`], with the generations.
    ///
    /// # Errors
    ///
    /// A map could not be read or written.
    pub fn end_window(&mut self) -> Result<Vec<StackAmounts>, BpfError> {
        let Some(generations) = &mut self.generations else {
            return self.stacks();
        };
        let stacks = self.stacks.read()?;
        // Room for all at once: growing would take up to three times as much.
        let mut amounts = Vec::with_capacity(stacks.size_hint().1.unwrap_or(0));
        amounts.extend(stacks.map(|stack| {
            let survivors = generations.read(stack.index, &stack.counters);
            StackAmounts::new(stack, survivors)
        }));
        generations.advance()?;
        Ok(amounts)
    }

    /// The most that was live at once so far.
    ///
    /// # Errors
    ///
    /// The map could not be read.
    pub fn peak(&self) -> Result<KernelPeak, BpfError> {
        self.stacks.peak()
    }

    /// Every counter, summed over CPUs.
    ///
    /// # Errors
    ///
    /// The map could not be read.
    pub fn counters(&self) -> Result<Vec<(Counter, u64)>, BpfError> {
        self.counters_of(Counter::ALL)
    }

    /// Some counters, summed over CPUs. Each is a system call.
    ///
    /// # Errors
    ///
    /// The map could not be read.
    pub fn counters_of(&self, wanted: &[Counter]) -> Result<Vec<(Counter, u64)>, BpfError> {
        wanted
            .iter()
            .map(|&counter| Ok((counter, self.counter(counter)?)))
            .collect()
    }

    /// One counter, summed over CPUs.
    ///
    /// # Errors
    ///
    /// The map could not be read.
    pub fn counter(&self, counter: Counter) -> Result<u64, BpfError> {
        let handed_on: u64 = self
            .counters
            .get(&(counter as u32), 0)
            .map(|values| values.iter().sum())
            .map_err(|error| map_error("COUNTERS", "read", &error))?;
        // After them: what is handed on meanwhile is missing then, and not there twice.
        Ok(handed_on + self.kept(counter))
    }

    /// What CPUs have counted and not handed on.
    fn kept(&self, counter: Counter) -> u64 {
        let of = |flow: Flow| match counter {
            Counter::AllocObjects => Amount(flow.came).objects(),
            Counter::AllocBytes => Amount(flow.came).bytes(),
            Counter::FreeObjects => Amount(flow.went).objects(),
            Counter::FreeBytes => Amount(flow.went).bytes(),
            _ => 0,
        };
        // SAFETY: valid and aligned entries; volatile, since the kernel side writes them at any time.
        let flows = self
            .flows
            .iter()
            .map(|flow| unsafe { flow.read_volatile() });
        flows.map(of).sum()
    }
}

fn take<M: TryFrom<Map>>(probes: &mut Probes, name: &'static str) -> Result<M, BpfError> {
    M::try_from(probes.take_map(name)?).map_err(|_| BpfError::Missing(name))
}

/// An array as plain data, to be mapped.
fn take_array(probes: &mut Probes, name: &'static str) -> Result<MapData, BpfError> {
    match probes.take_map(name)? {
        Map::Array(data) => Ok(data),
        _ => Err(BpfError::Missing(name)),
    }
}
