//! Growth that was not seen: the memory that processes gained against what their allocators were seen to
//! hand out.
//!
//! Pure: readings in, finding out. Why the bounds are what they are: `docs/design/0024-unseen.md`.

use std::collections::HashMap;

use crate::process::HeapUse;

/// Anonymous memory that a process may gain beside its allocator: static data, stacks, the loader's.
const SLACK: u64 = 8 << 20;
/// And for each thread that it gains: its stack, and an arena of its own.
const SLACK_PER_THREAD: u64 = 1 << 20;
/// And where a garbage collector works, whose heap swings.
const SLACK_COLLECTED: u64 = 64 << 20;
/// What an allocator needs for a block beside what was asked for.
const OVERHEAD: u64 = 16;
/// Readings that are kept, to tell what goes on growing from what has settled.
const MAX_READINGS: usize = 256;
/// Before there are so many, that can't be told.
const MIN_READINGS: usize = 6;

/// One process at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Memory {
    /// The number of its image.
    pub(super) image: u32,
    /// It began with an exec while it was recorded, so that all it has is growth.
    pub(super) is_fresh: bool,
    /// What it has.
    pub(super) has: HeapUse,
}

/// What was counted of all of them by then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// Bytes that are live.
    pub(super) live_bytes: u64,
    /// Objects that are live.
    pub(super) live_objects: u64,
    /// Bytes that were allocated so far.
    pub(super) alloc_bytes: u64,
}

/// What the growth that was not seen amounts to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Unseen {
    /// Nothing that the allocators do not explain.
    #[default]
    Nothing,
    /// So many bytes, and there are not more and more of them.
    Settled(u64),
    /// So many bytes, a good part of them beyond the most of the recording's first half.
    Growing(u64),
}

/// The readings of a recording, summed up.
#[derive(Debug, Default)]
pub(super) struct Growth {
    /// What each image had at first.
    first: HashMap<u32, HeapUse>,
    /// The most that was live at once, with what the allocator needs for it.
    seen: u64,
    counted: Counted,
    grown: u64,
    /// Growth that needs no explanation at the last reading.
    allowed: u64,
    /// Bytes not seen at the readings, evenly over the recording.
    unseen: Vec<u64>,
    /// Readings for each that is kept, less 1; and those since the last one.
    skip: u32,
    skipped: u32,
}

impl Growth {
    /// What a process had when the recording began.
    pub(super) fn begin(&mut self, image: u32, had: HeapUse) {
        self.first.insert(image, had);
    }

    /// Takes a reading of those that are alive. Where none is, the last reading holds.
    pub(super) fn take(&mut self, processes: &[Memory], counted: Counted, is_collected: bool) {
        let held = |counted: Counted| {
            let overhead = counted.live_objects.saturating_mul(OVERHEAD);
            counted.live_bytes.saturating_add(overhead)
        };
        self.seen = self.seen.max(held(counted));
        if processes.is_empty() {
            return;
        }
        let (mut grown, mut allowed) = (0, 0);
        for process in processes {
            let first = *self.first.entry(process.image).or_insert_with(|| {
                if process.is_fresh {
                    HeapUse::default()
                } else {
                    process.has
                }
            });
            // Memory that was mapped before and is touched now is in the one, memory that is mapped and not
            // touched in the other.
            let resident = process.has.anonymous().saturating_sub(first.anonymous());
            grown += resident.min(process.has.data.saturating_sub(first.data));
            let threads = process.has.threads.saturating_sub(first.threads);
            let slack = if is_collected { SLACK_COLLECTED } else { SLACK };
            allowed += slack + threads * SLACK_PER_THREAD;
        }
        // Between two readings more may have been live: at most what was allocated meanwhile, and it
        // explains no more than what was gained meanwhile.
        let allocated = counted.alloc_bytes.saturating_sub(self.counted.alloc_bytes);
        let between = allocated.min(grown.saturating_sub(self.grown));
        self.seen = self.seen.max(held(self.counted).saturating_add(between));
        (self.counted, self.grown, self.allowed) = (counted, grown, allowed);
        self.keep(grown.saturating_sub(self.seen));
    }

    fn keep(&mut self, unseen: u64) {
        self.skipped += 1;
        if self.skipped <= self.skip {
            return;
        }
        self.skipped = 0;
        self.unseen.push(unseen);
        if self.unseen.len() == MAX_READINGS {
            let mut number = 0;
            self.unseen.retain(|_| {
                number += 1;
                number % 2 == 0
            });
            self.skip = self.skip * 2 + 1;
        }
    }

    /// What there is to say so far.
    pub(super) fn finding(&self) -> Unseen {
        let unseen = self.grown.saturating_sub(self.seen);
        // Memory that is freed stays with the allocator in part, and in pieces.
        let explained = self
            .allowed
            .saturating_add(self.seen)
            .saturating_add(self.seen / 2);
        if self.grown <= explained {
            return Unseen::Nothing;
        }
        // The most of the first half: a heap that swings is no larger for being read at its peak.
        let half = self.unseen.len() / 2;
        let before = self.unseen.iter().take(half + 1).max();
        match before {
            Some(&before)
                if self.unseen.len() >= MIN_READINGS
                    && unseen.saturating_sub(before) <= unseen / 4 =>
            {
                Unseen::Settled(unseen)
            }
            _ => Unseen::Growing(unseen),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn memory(resident: u64, data: u64) -> Memory {
        Memory {
            image: 1,
            is_fresh: false,
            has: HeapUse {
                data: data * MIB,
                resident: resident * MIB,
                ..HeapUse::default()
            },
        }
    }

    fn live(mib: u64) -> Counted {
        Counted {
            live_bytes: mib * MIB,
            live_objects: 1,
            alloc_bytes: mib * MIB,
        }
    }

    /// The finding after readings of (resident, data, live), in MiB; the first is the start.
    fn after(readings: impl IntoIterator<Item = (u64, u64, u64)>) -> Unseen {
        let mut growth = Growth::default();
        for (resident, data, seen) in readings {
            growth.take(&[memory(resident, data)], live(seen), false);
        }
        growth.finding()
    }

    #[test]
    fn what_is_live_explains_growth() {
        assert_eq!(after((0..50).map(|i| (20 + i, 20 + i, i))), Unseen::Nothing);
        // Fragments, too.
        assert_eq!(
            after((0..50).map(|i| (20 + i * 3 / 2, 20 + 2 * i, i))),
            Unseen::Nothing
        );
        assert_eq!(after((0..7).map(|i| (20 + i, 20 + i, 0))), Unseen::Nothing);
    }

    #[test]
    fn a_leak_in_arenas_is_growth_that_goes_on() {
        let found = after((0..50).map(|i| (20 + 3 * i, 40 + 3 * i, 1)));
        assert!(matches!(found, Unseen::Growing(bytes) if bytes.abs_diff(146 * MIB) < MIB));
    }

    #[test]
    fn a_cache_that_is_full_has_settled() {
        let found = after((0..50).map(|i| (20 + 10 * i.min(10), 40 + 10 * i.min(10), 1)));
        assert!(matches!(found, Unseen::Settled(bytes) if bytes.abs_diff(99 * MIB) < MIB));
    }

    #[test]
    fn a_heap_that_swings_has_settled_wherever_it_ends() {
        // Four rounds of growing size, over and over: the middle of the recording is in a small one.
        let swing = |i: u64| [40, 70, 100, 130][(i as usize / 2) % 4];
        for readings in 24..80 {
            let found = after(
                [(20, 20, 1)]
                    .into_iter()
                    .chain((0..readings).map(|i| (20 + swing(i), 20 + swing(i), 1))),
            );
            assert!(
                matches!(found, Unseen::Settled(_)),
                "{readings} readings: {found:?}"
            );
        }
        // A leak beside it raises its peaks.
        let found = after((0..80).map(|i| (20 + swing(i) + 4 * i, 20 + swing(i) + 4 * i, 1)));
        assert!(matches!(found, Unseen::Growing(_)));
    }

    #[test]
    fn memory_that_was_mapped_before_or_is_not_touched_is_no_growth() {
        assert_eq!(
            after((0..50).map(|i| (20 + 3 * i, 400, 0))),
            Unseen::Nothing
        );
        assert_eq!(after((0..50).map(|i| (20, 20 + 3 * i, 0))), Unseen::Nothing);
    }

    #[test]
    fn what_was_freed_again_explains_growth_as_well() {
        // The heap stays as large as it was.
        let found = after((0..50).map(|i| {
            (
                20 + 2 * i.min(20),
                20 + 2 * i.min(20),
                if i < 25 { 2 * i.min(20) } else { 0 },
            )
        }));
        assert_eq!(found, Unseen::Nothing);
    }

    #[test]
    fn a_wave_between_two_readings_is_taken_into_account() {
        let mut growth = Growth::default();
        let counted = |alloc_bytes| Counted {
            alloc_bytes,
            ..Counted::default()
        };
        growth.take(&[memory(20, 20)], counted(0), false);
        growth.take(&[memory(320, 320)], counted(400 * MIB), false);
        assert_eq!(growth.finding(), Unseen::Nothing);
        // But only once: what is allocated all the time does not explain what grows all the time.
        for i in 0..50 {
            growth.take(
                &[memory(320 + 10 * i, 320 + 10 * i)],
                counted(400 * MIB + 20 * i * MIB),
                false,
            );
        }
        assert!(matches!(growth.finding(), Unseen::Growing(_)));
    }

    #[test]
    fn a_fresh_image_has_gained_all_it_has() {
        let mut growth = Growth::default();
        let fresh = Memory {
            image: 2,
            is_fresh: true,
            ..memory(100, 100)
        };
        growth.take(&[fresh], live(1), false);
        growth.take(&[], live(1), false);
        assert!(matches!(growth.finding(), Unseen::Growing(_)));
    }

    #[test]
    fn threads_and_collectors_need_room() {
        let with = |threads, is_collected| {
            let mut growth = Growth::default();
            growth.begin(1, HeapUse::default());
            let mut memory = memory(50, 50);
            memory.has.threads = threads;
            growth.take(&[memory], Counted::default(), is_collected);
            growth.finding()
        };
        assert_eq!(with(64, false), Unseen::Nothing);
        assert_eq!(with(1, true), Unseen::Nothing);
        assert_eq!(with(1, false), Unseen::Growing(50 * MIB));
    }

    #[test]
    fn a_long_recording_keeps_few_readings() {
        let mut growth = Growth::default();
        for i in 0..100_000 {
            growth.take(&[memory(20 + i, 20 + i)], live(0), false);
        }
        assert!(growth.unseen.len() < MAX_READINGS);
        assert!(matches!(growth.finding(), Unseen::Growing(_)));
    }
}
