//! Proofs of death for what windows saw allocated and not freed: `docs/design/0035-survivors.md`.

use std::io;

use super::Session;
use crate::bpf::StackAmounts;
use crate::probe::AllocatorKind;
use crate::process::{HeapStarts, HeapUse, Words};
use crate::profile::series::Seen;
use crate::survivors::{Candidate, Heap, Keys, Memory, Proofs, State, Unread};

/// Candidates that are looked at one time: each takes two or three short reads, some 2 us.
const AT_ONE_TIME: usize = 20_000;

/// What is known of the dead.
#[derive(Debug, Default)]
pub(super) struct Survivors {
    proofs: Proofs,
    keys: Keys,
    /// Anonymous memory of the target when it could last be read, in bytes.
    anonymous: Option<u64>,
    /// Frees of older memory that were told so far.
    unknown_frees: u64,
}

impl Memory for Words {
    fn words(&self, address: u64, into: &mut [u64]) -> Result<(), Unread> {
        self.read(address, into)
            .map_err(|error| match error.raw_os_error() {
                Some(libc::EIO) => Unread::Unmapped,
                _ => Unread::Unknown,
            })
    }
}

impl Survivors {
    /// Frees of memory from before the recording, which only grow: in windows they can't be told from frees of what was
    /// allocated between two.
    pub(super) fn unknown_frees(&mut self, now: u64) -> u64 {
        self.unknown_frees = self.unknown_frees.max(now);
        self.unknown_frees
    }

    /// Learns what blocks are known by that lie in a cache.
    fn learn(&mut self, pid: u32, words: &Words) -> io::Result<()> {
        let starts = HeapStarts::of(pid)?;
        if let Some(first) = starts.first {
            self.keys.learn(words, first);
        }
        for start in starts.others {
            self.keys.learn_of_arena(words, start);
        }
        Ok(())
    }
}

impl Session {
    /// What was seen of the target until now, where that may not be all.
    pub(super) fn seen(&mut self) -> Option<Seen> {
        let effort = self.effort.as_ref()?;
        let status = self.windows.as_ref().map(|windows| windows.status());
        let exact = effort.exact_since().map(|since| since.elapsed());
        let exposure = exact.unwrap_or_default()
            + status.map_or_else(Default::default, |status| status.exposure + status.exact);
        if let Ok(has) = HeapUse::of(self.who.pid) {
            self.survivors.anonymous = Some(has.anonymous());
        }
        Some(Seen {
            exposure: exposure.as_secs_f64(),
            anonymous: self.survivors.anonymous,
        })
    }

    /// Takes what is proved dead from the amounts of each stack, where the target was seen in windows.
    pub(super) fn take_the_dead(&mut self, amounts: &mut [StackAmounts]) {
        if self.windows.is_none() {
            return;
        }
        self.look_for_the_dead();
        for amount in amounts {
            let counters = &mut amount.counters;
            let ([objects, bytes], survivors) = self.survivors.proofs.settle(
                amount.index,
                counters.key,
                [counters.alloc_objects, counters.alloc_bytes],
                [counters.freed_objects, counters.freed_bytes],
                amount.survivors.take(),
            );
            (counters.freed_objects, counters.freed_bytes) = (objects, bytes);
            amount.survivors = survivors;
        }
    }

    /// Looks at the allocator's memory, where it is one whose memory tells.
    fn look_for_the_dead(&mut self) {
        let mut kinds = self.found.allocators.iter().flat_map(|one| &one.kinds);
        let is_glibc = kinds.all(|&kind| kind == AllocatorKind::Glibc);
        let Some((_, traced)) = self.processes.latest(self.who.pid) else {
            return;
        };
        let candidates: Vec<_> = self
            .kernel
            .live(traced.heap)
            .map(|(address, record)| Candidate {
                address,
                size: record.size,
                stack: record.stack,
                generation: record.generation,
            })
            .collect();
        let words = Words::of(self.who.pid).ok().filter(|_| is_glibc);
        if let Some(words) = &words {
            // Without a key, blocks in caches look as if they were in use.
            let _ = self.survivors.learn(self.who.pid, words);
        }
        let Survivors { proofs, keys, .. } = &mut self.survivors;
        proofs.look(&candidates, AT_ONE_TIME, |one| match &words {
            Some(memory) => Heap { memory, keys }.state(one.address, one.size),
            None => State::Unknown,
        });
    }

    /// What there is to say of it.
    pub(super) fn deaths(&self) -> Option<String> {
        let deaths = self.survivors.proofs.deaths();
        (self.windows.is_some() && deaths.candidates > 0).then(|| {
            format!(
                "of {} objects that windows saw allocated and not freed the allocator's memory says that {} are free: \
                 they do not count as live",
                deaths.candidates, deaths.dead
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes that lie in caches when they are freed, in bins, and in mappings of their own.
    const SIZES: [usize; 5] = [24, 100, 1_000, 5_000, 300_000];

    /// This process's own heap: none that is in use is taken for dead, and most of those that were freed are known.
    #[test]
    fn the_heap_of_a_real_allocator() -> io::Result<()> {
        let pid = std::process::id();
        let words = Words::of(pid)?;
        let blocks: Vec<(u64, usize)> = (0..2_000)
            .map(|nth| {
                let size = SIZES[nth % SIZES.len()];
                // SAFETY: it is freed once, below, or not at all.
                (unsafe { libc::malloc(size) } as u64, size)
            })
            .collect();
        let numbered = blocks.into_iter().enumerate();
        let (freed, used): (Vec<_>, Vec<_>) = numbered.partition(|(nth, _)| nth % 40 < 5);
        let free = |blocks: &[(usize, (u64, usize))]| {
            for (_, (block, _)) in blocks {
                // SAFETY: allocated above, freed once, and not used any more.
                unsafe { libc::free(*block as *mut libc::c_void) };
            }
        };
        free(&freed);
        let mut survivors = Survivors::default();
        survivors.learn(pid, &words)?;
        let heap = Heap {
            memory: &words,
            keys: &survivors.keys,
        };
        let dead = |blocks: &[(usize, (u64, usize))]| {
            let states = blocks
                .iter()
                .map(|(_, (block, size))| heap.state(*block, *size as u64));
            states.filter(|state| state.is_death()).count()
        };
        assert_eq!(dead(&used), 0);
        let known = dead(&freed);
        // Those of fastbins are not, and other threads may have taken a few.
        assert!(known * 10 > freed.len() * 6, "{known} of {}", freed.len());
        free(&used);
        Ok(())
    }
}
