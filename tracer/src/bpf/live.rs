//! The live table's user side: making its segments, and clearing heaps that are gone.
//!
//! The allocations themselves are the kernel side's; where only they tell what is live, they are read.

use std::collections::HashSet;
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aya::maps::{ArrayOfMaps, MapData};
use tracer_common::limits::{INNER_MAPPABLE, LIVE_SLOTS_PER_ALLOCATION};
use tracer_common::{
    LIVE_SLOTS, LiveBucket, LiveRecord, MAX_LIVE_SEGMENTS, address_of, bucket_of, heap_of,
    live_key, segment_buckets,
};

use super::BpfError;
use super::error::map_error;
use super::sys::create_array;
use super::view::View;

/// Slots of the first segment at least, and at most: 7 MB and 105 MB.
const FIRST_SLOTS: std::ops::RangeInclusive<u64> = 1 << 18..=1 << 22;
/// Bytes of the target's heap for a slot of the first segment. What is live at the attach never
/// enters the table, so that the heap says how fast it may fill, no more.
const HEAP_BYTES_PER_SLOT: u64 = 2048;

/// How long a table that could not grow rests before it tries again.
const PAUSE: Duration = Duration::from_millis(100);

/// How large the table is at first and at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LiveSizes {
    /// Buckets of the first segment.
    pub(super) first: u32,
    /// Segments.
    segments: u32,
}

impl LiveSizes {
    /// Room for `live` allocations, of a target with so many bytes of heap.
    pub(super) fn new(live: u32, heap_bytes: u64) -> Self {
        let wanted = u64::from(live) * LIVE_SLOTS_PER_ALLOCATION;
        let first = (heap_bytes / HEAP_BYTES_PER_SLOT)
            .clamp(*FIRST_SLOTS.start(), *FIRST_SLOTS.end())
            // All segments together have 2^(segments - 1) times as many.
            .max(wanted >> (MAX_LIVE_SEGMENTS - 1))
            .min(wanted.div_ceil(2));
        let buckets = |slots: u64| slots.div_ceil(LIVE_SLOTS as u64);
        // Clamped above, so that it is a u32.
        let first = buckets(first) as u32;
        let mut total = 0;
        let mut segments = 0;
        while segments < MAX_LIVE_SEGMENTS && total < buckets(wanted) {
            total += u64::from(segment_buckets(first, segments));
            segments += 1;
        }
        Self { first, segments }
    }
}

/// The table.
pub(super) struct LiveTable {
    /// Holds the first segment.
    _first: MapData,
    /// The others.
    outer: ArrayOfMaps<MapData, MapData>,
    sizes: LiveSizes,
    segments: Vec<View<LiveBucket>>,
    /// Heaps that are gone, with their allocations perhaps still in the table.
    dead: HashSet<u32>,
    /// The last failure to grow, after which it is tried again.
    failed: Option<Instant>,
    failures: u64,
}

impl LiveTable {
    /// The table, with the first segment that the loader has made.
    pub(super) fn new(
        first: MapData,
        outer: ArrayOfMaps<MapData, MapData>,
        sizes: LiveSizes,
    ) -> Result<Self, BpfError> {
        let view = View::new("LIVE_FIRST", first.fd().as_fd(), sizes.first as usize)?;
        let mut table = Self {
            _first: first,
            outer,
            sizes,
            segments: vec![view],
            dead: HashSet::new(),
            failed: None,
            failures: 0,
        };
        // A small one may fill before anybody hears of it.
        while table.segments.len() < sizes.segments as usize
            && u64::from(sizes.first) * (LIVE_SLOTS as u64) < *FIRST_SLOTS.start()
        {
            table.add_segment()?;
        }
        Ok(table)
    }

    /// The heap is gone: its allocations may be cleared.
    pub(super) fn forget(&mut self, heap: u32) {
        self.dead.insert(heap);
    }

    /// What is live in a heap, by address. What comes and goes meanwhile may be there or not.
    pub(super) fn entries(&self, heap: u32) -> impl Iterator<Item = (u64, LiveRecord)> {
        let buckets = self.segments.iter().flat_map(View::iter);
        buckets.flat_map(move |bucket| {
            (0..LIVE_SLOTS).filter_map(move |slot| {
                // SAFETY: the view's pointers are valid and aligned; the key is read before and after, so that
                // the record is the one that was written under it.
                let (before, record, after) = unsafe {
                    let key = AtomicU64::from_ptr(&raw mut (*bucket).keys[slot]);
                    let before = key.load(Ordering::Acquire);
                    let record = (&raw const (*bucket).records[slot]).read_volatile();
                    (before, record, key.load(Ordering::Acquire))
                };
                let is_whole = before == after && before != 0 && heap_of(before) == heap;
                is_whole.then(|| (address_of(before), record))
            })
        })
    }

    /// Puts a block back that was taken out, while the kernel side takes none out and puts none in; not, where
    /// there is no room in its buckets.
    pub(super) fn put_back(&self, address: u64, heap: u32, record: &LiveRecord) {
        let Some(key) = live_key(address, heap) else {
            return;
        };
        for (segment, view) in self.segments.iter().enumerate() {
            let bucket = bucket_of(key, self.sizes.first, segment as u32);
            let Some(bucket) = view.get(bucket as usize) else {
                continue;
            };
            // SAFETY: the view's pointers are valid and aligned, and all access is atomic but for the record,
            // which is nobody else's once its slot is claimed.
            unsafe {
                let claimed = AtomicU64::from_ptr(&raw mut (*bucket).claimed);
                let taken = claimed.load(Ordering::SeqCst);
                let Some(slot) = (0..LIVE_SLOTS).find(|slot| taken & (1 << slot) == 0) else {
                    continue;
                };
                claimed.fetch_or(1 << slot, Ordering::SeqCst);
                (&raw mut (*bucket).records[slot]).write_volatile(*record);
                AtomicU64::from_ptr(&raw mut (*bucket).keys[slot]).store(key, Ordering::SeqCst);
            }
            return;
        }
    }

    /// Makes room: the kernel side has begun to use the last segment, and asks only once. Where that fails
    /// (there is no memory, or no descriptor), the table works on with what it has, and
    /// [`Self::try_again`] is to be called now and then.
    pub(super) fn grow(&mut self) {
        self.failed = match self.try_to_grow() {
            Ok(()) => None,
            Err(_) => {
                self.failures += 1;
                Some(Instant::now())
            }
        };
    }

    /// Makes the room that could not be made before.
    pub(super) fn try_again(&mut self) {
        if self.failed.is_some_and(|at| at.elapsed() >= PAUSE) {
            self.grow();
        }
    }

    /// How often it could not grow.
    pub(super) const fn failures(&self) -> u64 {
        self.failures
    }

    fn try_to_grow(&mut self) -> Result<(), BpfError> {
        self.clear_forgotten();
        if self.segments.len() < self.sizes.segments as usize {
            self.add_segment()?;
        }
        Ok(())
    }

    /// Clears the allocations of heaps that are gone.
    pub(super) fn clear_forgotten(&mut self) {
        if !self.dead.is_empty() {
            for segment in &self.segments {
                clear(segment, &self.dead);
            }
            self.dead.clear();
        }
    }

    fn add_segment(&mut self) -> Result<(), BpfError> {
        let number = self.segments.len() as u32;
        let buckets = segment_buckets(self.sizes.first, number);
        let fd = create_array(buckets, size_of::<LiveBucket>() as u32, INNER_MAPPABLE)
            .map_err(|error| map_error("LIVE", "enlarged", &error))?;
        let view = View::new("LIVE", fd.as_fd(), buckets as usize)?;
        let segment =
            MapData::from_fd(fd).map_err(|error| map_error("LIVE", "enlarged", &error))?;
        self.outer
            .set(number - 1, &segment, 0)
            .map_err(|error| map_error("LIVE", "enlarged", &error))?;
        self.segments.push(view);
        Ok(())
    }
}

/// Gives back the slots of heaps that are gone. The kernel side leaves those alone, and works on the
/// others meanwhile.
fn clear(segment: &View<LiveBucket>, dead: &HashSet<u32>) {
    for bucket in segment.iter() {
        // SAFETY: the view's pointers are valid and aligned, and all access is atomic.
        let claimed = unsafe { AtomicU64::from_ptr(&raw mut (*bucket).claimed) };
        for slot in 0..LIVE_SLOTS {
            // SAFETY: as above.
            let key = unsafe { AtomicU64::from_ptr(&raw mut (*bucket).keys[slot]) };
            let found = key.load(Ordering::Relaxed);
            if found != 0
                && dead.contains(&heap_of(found))
                && key
                    .compare_exchange(found, 0, Ordering::SeqCst, Ordering::Relaxed)
                    .is_ok()
            {
                claimed.fetch_and(!(1 << slot), Ordering::SeqCst);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(sizes: LiveSizes) -> u64 {
        (0..sizes.segments)
            .map(|segment| u64::from(segment_buckets(sizes.first, segment)) * LIVE_SLOTS as u64)
            .sum()
    }

    #[test]
    fn there_is_room_for_what_was_asked_and_little_more() {
        for live in [1, 7, 1_000, 1 << 20, 10_000_000, 1 << 28] {
            for heap in [0, 1 << 30, 1 << 40] {
                let sizes = LiveSizes::new(live, heap);
                let wanted = u64::from(live) * LIVE_SLOTS_PER_ALLOCATION;
                let slots = slots(sizes);
                assert!(
                    slots >= wanted && slots <= wanted * 2 + 28,
                    "{live} {heap}: {slots}"
                );
            }
        }
    }

    #[test]
    fn a_large_target_has_a_large_first_segment() {
        let small = LiveSizes::new(10_000_000, 0);
        let large = LiveSizes::new(10_000_000, 4 << 30);
        assert!(large.first > 4 * small.first);
        assert!(large.segments < small.segments);
    }
}
