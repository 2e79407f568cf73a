//! How much room the kernel's tables get.

use tracer_common::limits::LIVE_SLOTS_PER_ALLOCATION;
use tracer_common::{LIVE_SLOTS, LiveBucket};

use super::Options;
use crate::bpf::Limits;
use crate::process::{HeapUse, available_memory};

/// The live table may have this part of the machine's available memory.
const SHARE: u64 = 8;
/// Where that can't be read.
const FALLBACK: u32 = 1 << 20;

/// The tables for a target with so much heap.
pub(super) fn limits(options: &Options, heap: Option<HeapUse>) -> Limits {
    Limits {
        live: options.max_live.unwrap_or_else(default_max_live),
        heap_bytes: heap.map_or(0, |heap| heap.resident),
        stacks: options.max_stacks,
        generations: options.series,
    }
}

fn default_max_live() -> u32 {
    let allocation = LIVE_SLOTS_PER_ALLOCATION * (size_of::<LiveBucket>() / LIVE_SLOTS) as u64;
    available_memory().map_or(FALLBACK, |bytes| {
        u32::try_from(bytes / SHARE / allocation).unwrap_or(u32::MAX)
    })
}
