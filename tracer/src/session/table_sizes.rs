//! How much room the kernel's tables get.
//!
//! Their memory is charged to the control group that the tracer is in. Where the target is in it, too, the
//! tracer takes what is not missed there, or nothing.

use std::fs;

use tracer_common::limits::{LIVE_SLOTS_PER_ALLOCATION, RING_BYTES};
use tracer_common::{GENERATION_CELLS, GenerationCell, LIVE_SLOTS, LiveBucket, StackCounters};

use super::{Options, SessionError};
use crate::bpf::{BpfError, Limits, MAX_TABLE_BYTES};
use crate::printable::Shown as _;
use crate::process::{HeapUse, LimitedGroup, available_memory};

/// The live table may have this part of the machine's available memory; and all that the tracer takes this
/// part of what a control group that it shares with the target has left.
const SHARE: u64 = 8;
/// Where that can't be read.
const FALLBACK: u32 = 1 << 20;

/// What the tracer takes whatever it records: tables of a fixed size, its own memory, the measurement of what
/// a call costs. 41 MiB were measured.
const FIXED_BYTES: u64 = 56 << 20;
/// The tracer is not started where what it takes at least is more than this part of what is left.
const LEAST_SHARE: u64 = 4;
/// Kernel memory of a stack beside its counters: an entry of a hash table.
const STACK_ENTRY_BYTES: u64 = 88;

/// The smallest tables: live allocations, stacks, the ring, unwind tables.
const LEAST_LIVE: u32 = 1 << 16;
const LEAST_STACKS: u32 = 1 << 13;
const LEAST_RING: u32 = 2 << 20;
const LEAST_TABLES: u64 = 8 << 20;

/// Bytes of an allocation in the live table.
const LIVE_BYTES: u64 = LIVE_SLOTS_PER_ALLOCATION * (size_of::<LiveBucket>() / LIVE_SLOTS) as u64;

/// The tables for a target with so much heap, with what there is to say about them.
///
/// # Errors
///
/// The target's control group, which is the tracer's, too, has no room for them.
pub(super) fn limits(
    options: &Options,
    heap: Option<HeapUse>,
    group: Option<&LimitedGroup>,
) -> Result<(Limits, Option<String>), SessionError> {
    let wanted = Limits {
        live: options.max_live.unwrap_or_else(default_max_live),
        heap_bytes: heap.map_or(0, |heap| heap.resident),
        stacks: options.max_stacks,
        generations: options.series,
        ring: RING_BYTES,
        unwind_bytes: MAX_TABLE_BYTES,
    };
    let Some(group) = group else {
        return Ok((wanted, None));
    };
    let limits = fit(wanted, group.room()).ok_or_else(|| SessionError::Crowded {
        group: group.folder.clone(),
        limit: group.limit >> 20,
        used: group.used.saturating_sub(group.reclaimable) >> 20,
        least: least_bytes(wanted.generations) >> 20,
        share: LEAST_SHARE,
    })?;
    let note = (limits != wanted).then(|| {
        format!(
            "the tracer is in the target's control group ({}), which has {} MB left of {}: its tables were \
             made smaller, {} live allocations and {} stacks at most; run it outside for more",
            group.folder.shown(),
            group.room() >> 20,
            group.limit >> 20,
            limits.live,
            limits.stacks,
        )
    });
    Ok((limits, note))
}

/// What the tracer takes at least, in bytes.
pub(super) const fn least_bytes(generations: bool) -> u64 {
    FIXED_BYTES
        + LEAST_LIVE as u64 * LIVE_BYTES
        + LEAST_STACKS as u64 * stack_bytes(generations)
        + LEAST_RING as u64
        + LEAST_TABLES
}

/// Whether the tracer would start where so many bytes are left.
pub(super) const fn is_enough(room: u64, generations: bool) -> bool {
    least_bytes(generations) <= room / LEAST_SHARE
}

const fn stack_bytes(generations: bool) -> u64 {
    let cells = if generations {
        GENERATION_CELLS as u64 * size_of::<GenerationCell>() as u64
    } else {
        0
    };
    STACK_ENTRY_BYTES + size_of::<StackCounters>() as u64 + cells
}

/// Tables that take their share of what is left, none of them larger than wanted. `None` where not even the
/// smallest do.
fn fit(wanted: Limits, room: u64) -> Option<Limits> {
    if !is_enough(room, wanted.generations) {
        return None;
    }
    let share = (room / SHARE).saturating_sub(FIXED_BYTES);
    // The live table in full, the others by their worth.
    let count = |bytes: u64, each: u64, least: u32, wanted: u32| {
        let affordable = u32::try_from(bytes / each).unwrap_or(u32::MAX);
        affordable.max(least).min(wanted)
    };
    let ring = count(share / 8, 1, LEAST_RING, wanted.ring);
    Some(Limits {
        live: count(share / 2, LIVE_BYTES, LEAST_LIVE, wanted.live),
        // It is at first what it may be at most, or grows to that.
        heap_bytes: wanted.heap_bytes.min(share),
        stacks: count(
            share / 4,
            stack_bytes(wanted.generations),
            LEAST_STACKS,
            wanted.stacks,
        ),
        generations: wanted.generations,
        // A power of two.
        ring: 1 << ring.ilog2(),
        unwind_bytes: wanted.unwind_bytes.min(
            (share / 8)
                .max(LEAST_TABLES)
                .try_into()
                .unwrap_or(usize::MAX),
        ),
    })
}

/// Says of a refusal for want of memory whose memory it is.
pub(super) fn explain(error: BpfError) -> SessionError {
    let is_memory = error
        .to_string()
        .contains(&format!("os error {}", libc::ENOMEM));
    match LimitedGroup::shared_with(std::process::id()) {
        Some(group) if is_memory => SessionError::NoMemory {
            error,
            room: group.room() >> 20,
            limit: group.limit >> 20,
            group: group.folder,
        },
        _ => error.into(),
    }
}

/// Has the kernel end the tracer before all others where memory runs out, so that the target gets back what
/// it took.
pub(super) fn be_the_first_to_go() {
    // Where that is not allowed, the tables are small all the same.
    drop(fs::write("/proc/self/oom_score_adj", "1000"));
}

fn default_max_live() -> u32 {
    available_memory().map_or(FALLBACK, |bytes| {
        u32::try_from(bytes / SHARE / LIVE_BYTES).unwrap_or(u32::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    const fn wanted(generations: bool) -> Limits {
        Limits {
            live: 100_000_000,
            heap_bytes: 1 << 40,
            stacks: 1 << 18,
            generations,
            ring: RING_BYTES,
            unwind_bytes: MAX_TABLE_BYTES,
        }
    }

    fn bytes(limits: &Limits) -> u64 {
        FIXED_BYTES
            + u64::from(limits.live) * LIVE_BYTES
            + u64::from(limits.stacks) * stack_bytes(limits.generations)
            + u64::from(limits.ring)
            + limits.unwind_bytes as u64
    }

    #[test]
    fn tables_take_their_share_or_the_least() {
        for generations in [false, true] {
            for room in (0..64 * 1024).step_by(64).map(|room| room * MIB) {
                let Some(limits) = fit(wanted(generations), room) else {
                    assert!(room / LEAST_SHARE < least_bytes(generations));
                    continue;
                };
                let most = (room / SHARE).max(least_bytes(generations));
                // Each of the tables has its least beside the others' shares.
                assert!(
                    bytes(&limits) <= most + least_bytes(generations) - FIXED_BYTES,
                    "{limits:?} of {} MB",
                    room / MIB
                );
                assert!(limits.ring.is_power_of_two());
            }
        }
    }

    #[test]
    fn with_much_room_nothing_is_smaller() {
        assert_eq!(
            fit(wanted(true), 1 << 50).map(|limits| Limits { ..limits }),
            Some(wanted(true))
        );
    }

    #[test]
    fn what_is_wanted_small_stays_small() {
        let small = Limits {
            live: 10,
            stacks: 10,
            ..wanted(false)
        };
        let limits = fit(small, 1 << 34).map(|limits| (limits.live, limits.stacks));
        assert_eq!(limits, Some((10, 10)));
    }
}
