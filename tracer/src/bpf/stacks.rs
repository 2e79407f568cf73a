//! The stacks' counters as user space reads them: without a call for each.

use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

use aya::maps::{Array, HashMap, MapData, MapError, Queue};
use tracer_common::{PeakMark, PeakWord, StackCounters, StackKey};

use super::BpfError;
use super::error::map_error;
use super::view::View;

/// The counters of all stacks.
pub(super) struct Stacks {
    /// Where each stack's counters are.
    index: HashMap<MapData, StackKey, u32>,
    /// How many entries were given out.
    used: Array<MapData, u64>,
    /// Entries that may be used again.
    free: Queue<MapData, u32>,
    /// Holds the counters.
    _counters: MapData,
    view: View<StackCounters>,
    peak: Array<MapData, PeakMark>,
}

/// The most that was live at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelPeak {
    /// Most bytes.
    pub bytes: u64,
    /// When they were, `CLOCK_MONOTONIC` in nanoseconds.
    pub time_ns: u64,
    /// Most objects, at whatever time.
    pub objects: u64,
    /// Its number, see [`PeakWord::epoch`].
    pub epoch: u32,
}

/// What a stack holds at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Objects.
    pub objects: u64,
    /// Bytes.
    pub bytes: u64,
}

/// A stack as it was read.
pub(super) struct StackReading {
    /// Its number.
    pub(super) index: u32,
    pub(super) counters: StackCounters,
    /// What it held of the last peak.
    pub(super) at_peak: Held,
    /// What it holds now.
    pub(super) now: Held,
}

impl StackReading {
    /// A stack that was read after `peak` was the last one.
    fn new(index: u32, counters: StackCounters, peak: PeakWord) -> Self {
        let now = if counters.released == 0 {
            Held {
                objects: counters
                    .alloc_objects
                    .saturating_sub(counters.freed_objects),
                bytes: counters.alloc_bytes.saturating_sub(counters.freed_bytes),
            }
        } else {
            Held::default()
        };
        let kept = Held {
            objects: counters.peak_objects,
            bytes: counters.peak_bytes,
        };
        Self {
            index,
            // What is kept of a later one is as good.
            at_peak: if counters.peak_epoch >= peak.epoch() {
                kept
            } else {
                now
            },
            now,
            counters,
        }
    }
}

impl Stacks {
    /// The tables that the loader has made; `capacity` is that of the counters.
    pub(super) fn new(
        index: HashMap<MapData, StackKey, u32>,
        used: Array<MapData, u64>,
        free: Queue<MapData, u32>,
        counters: MapData,
        capacity: u32,
        peak: Array<MapData, PeakMark>,
    ) -> Result<Self, BpfError> {
        let view = View::new("STACK_COUNTERS", counters.fd().as_fd(), capacity as usize)?;
        Ok(Self {
            index,
            used,
            free,
            _counters: counters,
            view,
            peak,
        })
    }

    /// The most that was live at once.
    pub(super) fn peak(&self) -> Result<KernelPeak, BpfError> {
        let PeakMark {
            word,
            time_ns,
            objects,
            step: _,
        } = self.mark()?;
        Ok(KernelPeak {
            bytes: PeakWord(word).bytes(),
            time_ns,
            objects,
            epoch: PeakWord(word).epoch(),
        })
    }

    fn mark(&self) -> Result<PeakMark, BpfError> {
        self.peak
            .get(&0, 0)
            .map_err(|error| map_error("PEAK", "read", &error))
    }

    /// Makes the first entry, before anything is counted.
    pub(super) fn add_first(&mut self, key: StackKey) -> Result<(), BpfError> {
        if let Some(entry) = self.view.iter().next() {
            // SAFETY: nobody counts yet, so that nobody else reads or writes the entry.
            unsafe { (*entry).key = key };
        }
        self.used
            .set(0, &1, 0)
            .map_err(|error| map_error("STACKS_USED", "written", &error))?;
        self.index
            .insert(&key, &0, 0)
            .map_err(|error| map_error("STACKS", "written", &error))
    }

    /// Every stack that has any counters, in the order in which the stacks were
    /// first seen.
    ///
    /// While probes run, each counter is read as it stands at its moment, the freed side of a stack
    /// before the allocated one.
    pub(super) fn read(&self) -> Result<impl Iterator<Item = StackReading>, BpfError> {
        // Before the stacks: until they are read there may be another, of which they keep less.
        let peak = PeakWord(self.mark()?.word);
        let used = self
            .used
            .get(&0, 0)
            .map_err(|error| map_error("STACKS_USED", "read", &error))?;
        let used = usize::try_from(used)
            .unwrap_or(usize::MAX)
            .min(self.view.len());
        let entries = (0..).zip(self.view.iter().take(used));
        Ok(entries
            // SAFETY: the view hands out valid pointers.
            .map(|(index, entry)| (index, unsafe { load(entry) }))
            .filter(|(_, counters)| counters.alloc_objects != 0)
            .map(move |(index, counters)| StackReading::new(index, counters, peak)))
    }

    /// Takes the stacks of images that have ended out of the tables, and returns their counters with their
    /// index. From then on the index may be another stack's.
    pub(super) fn take(
        &mut self,
        has_ended: impl Fn(u32) -> bool,
    ) -> Result<Vec<StackReading>, BpfError> {
        // The first entry also takes what finds no room of its own.
        let ended: Vec<_> = self
            .read()?
            .filter(|stack| stack.index != 0 && has_ended(stack.counters.key.image))
            .collect();
        for StackReading {
            index, counters, ..
        } in &ended
        {
            match self.index.remove(&counters.key) {
                Ok(()) | Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(map_error("STACKS", "written", &error)),
            }
            if let Some(entry) = self.view.get(*index as usize) {
                // SAFETY: the view hands out valid pointers.
                unsafe { clear(entry) };
            }
            self.free
                .push(index, 0)
                .map_err(|error| map_error("FREE_STACKS", "written", &error))?;
        }
        Ok(ended)
    }
}

/// Clears an entry that the kernel side uses no more.
///
/// # Safety
///
/// The pointer is valid and aligned.
unsafe fn clear(entry: *mut StackCounters) {
    // SAFETY: the caller's promise; all accesses are atomic.
    let (long, short, half) = (
        |field: *mut u64| unsafe { AtomicU64::from_ptr(field) }.store(0, Ordering::Release),
        |field: *mut u32| unsafe { AtomicU32::from_ptr(field) }.store(0, Ordering::Release),
        |field: *mut u16| unsafe { AtomicU16::from_ptr(field) }.store(0, Ordering::Release),
    );
    // SAFETY: as above.
    unsafe {
        long(&raw mut (*entry).alloc_objects);
        long(&raw mut (*entry).alloc_bytes);
        long(&raw mut (*entry).freed_objects);
        long(&raw mut (*entry).freed_bytes);
        long(&raw mut (*entry).peak_objects);
        long(&raw mut (*entry).peak_bytes);
        short(&raw mut (*entry).peak_epoch);
        half(&raw mut (*entry).sent);
        half(&raw mut (*entry).released);
        long(&raw mut (*entry).key.stack);
        short(&raw mut (*entry).key.image);
    }
}

/// Reads an entry that the kernel side may be writing.
///
/// # Safety
///
/// The pointer is valid and aligned.
unsafe fn load(entry: *mut StackCounters) -> StackCounters {
    // SAFETY: the caller's promise; all accesses to fields that change are atomic.
    let (long, short, half) = (
        |field: *mut u64| unsafe { AtomicU64::from_ptr(field) }.load(Ordering::Acquire),
        |field: *mut u32| unsafe { AtomicU32::from_ptr(field) }.load(Ordering::Acquire),
        |field: *mut u16| unsafe { AtomicU16::from_ptr(field) }.load(Ordering::Acquire),
    );
    // SAFETY: as above. Fields are evaluated in the order in which they are written here.
    unsafe {
        StackCounters {
            freed_objects: long(&raw mut (*entry).freed_objects),
            freed_bytes: long(&raw mut (*entry).freed_bytes),
            alloc_objects: long(&raw mut (*entry).alloc_objects),
            alloc_bytes: long(&raw mut (*entry).alloc_bytes),
            peak_epoch: short(&raw mut (*entry).peak_epoch),
            peak_objects: long(&raw mut (*entry).peak_objects),
            peak_bytes: long(&raw mut (*entry).peak_bytes),
            sent: half(&raw mut (*entry).sent),
            released: half(&raw mut (*entry).released),
            key: StackKey {
                stack: long(&raw mut (*entry).key.stack),
                image: short(&raw mut (*entry).key.image),
                thread: short(&raw mut (*entry).key.thread),
            },
        }
    }
}
