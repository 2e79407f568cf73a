//! The live table's kernel side. Its layout, and why it needs no lock: `tracer_common::LiveBucket`.

use core::ptr::copy_nonoverlapping;

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use tracer_common::{
    Counter, EventHeader, EventKind, LIVE_CROWDED, LIVE_SLOTS, LiveBucket, LiveRecord,
    MAX_LIVE_SEGMENTS, bucket_of,
};

use crate::count::{atomic_clear, atomic_set, atomic_swap, bump};
use crate::maps::{EVENTS, LIVE, LIVE_ASKED, LIVE_FIRST, config, live_bucket};

/// How often a slot of a bucket is tried for before the next segment is. A try fails where another CPU
/// takes the slot in between.
const TRIES: u32 = 3;

/// Puts a record under a key that is not there; `false` where no segment has room.
#[inline(always)]
pub(crate) fn insert(key: u64, record: &LiveRecord) -> bool {
    live_insert(key, record.size, record.place()) != 0
}

/// As [`insert`]; 0 for `false`.
///
/// A global function: the verifier looks at it once, and not again on each path to it. Plain numbers only,
/// as it knows nothing of the pointers that a global function is given.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn live_insert(key: u64, size: u64, place: u64) -> u64 {
    let record = LiveRecord::new(size, place);
    let mut segment = 0;
    while segment < MAX_LIVE_SEGMENTS {
        let Some(bucket) = bucket(key, segment) else {
            return 0;
        };
        let mut tries = 0;
        while tries < TRIES {
            // SAFETY: a valid map value. Whoever sets the bit has the slot to itself, and nobody
            // looks for the key before the allocation has returned.
            unsafe {
                let claimed = &raw mut (*bucket).claimed;
                let Some((slot, bit)) = first_free(*claimed) else {
                    break;
                };
                if atomic_set(claimed, bit) & bit == 0 {
                    (*bucket).records[slot] = record;
                    atomic_swap(&raw mut (*bucket).keys[slot], key);
                    if slot >= LIVE_CROWDED {
                        ask_for(segment + 1);
                    }
                    return 1;
                }
            }
            tries += 1;
        }
        segment += 1;
    }
    0
}

/// The first slot that is not claimed, and its bit. Computed, not searched: each branch of a search
/// would be a path of its own to the verifier.
#[inline(always)]
const fn first_free(claimed: u64) -> Option<(usize, u64)> {
    let bit = !claimed & (claimed + 1);
    // A de Bruijn product: its top three bits differ for each power of two up to 128.
    let place = ((bit * 0x17) & 0xff) >> 5;
    // Their exponents, four bits each, by those three bits. 15 for 2^7, which is no slot: were it 7,
    // LLVM would test for that alone, and Linux 6.1 learns no bound from such a test.
    let slot = ((0x563f_4210_u64 >> (place * 4)) & 15) as usize;
    if slot < LIVE_SLOTS {
        Some((slot, bit))
    } else {
        None
    }
}

/// Takes the record under a key out. Writes to `record` where there is one.
#[inline(never)]
pub(crate) fn take(key: u64, record: *mut LiveRecord) -> bool {
    let mut segment = 0;
    while segment < MAX_LIVE_SEGMENTS {
        let Some(bucket) = bucket(key, segment) else {
            return false;
        };
        let mut slot = 0;
        while slot < LIVE_SLOTS {
            // SAFETY: a valid map value.
            unsafe {
                let place = &raw mut (*bucket).keys[slot];
                if *place == key {
                    // An assignment between two pointers becomes a loop over bytes.
                    copy_nonoverlapping(&raw const (*bucket).records[slot], record, 1);
                    // Two frees of one address may meet here: one of them gets it.
                    let mine = atomic_swap(place, 0) == key;
                    if mine {
                        atomic_clear(&raw mut (*bucket).claimed, 1 << slot);
                    }
                    return mine;
                }
            }
            slot += 1;
        }
        segment += 1;
    }
    false
}

/// The key's bucket in a segment; `None` where there is no such segment.
#[inline(always)]
fn bucket(key: u64, segment: u32) -> Option<*mut LiveBucket> {
    let index = bucket_of(key, config!(live_buckets), segment);
    if segment == 0 {
        // The kernel turns this into plain instructions, the other into two calls.
        return LIVE_FIRST.get_ptr_mut(index);
    }
    live_bucket(segment - 1, index)
}

/// Asks user space for a segment, once, unless it is there.
#[inline(always)]
fn ask_for(segment: u32) {
    if segment >= MAX_LIVE_SEGMENTS || LIVE.get(segment - 1).is_some() {
        return;
    }
    let Some(asked) = LIVE_ASKED.get_ptr_mut(0) else {
        return;
    };
    let segment = u64::from(segment);
    // SAFETY: a valid map value.
    if unsafe { *asked } == segment || atomic_swap(asked, segment) == segment {
        return;
    }
    let header = EventHeader {
        kind: EventKind::LiveTableFilling as u32,
        frames: 0,
        tgid: 0,
        image: 0,
        // SAFETY: no arguments.
        time_ns: unsafe { bpf_ktime_get_ns() },
        value: segment,
        end: 0,
        thread: 0,
    };
    if EVENTS.output(&header, 0).is_err() {
        // Asked again by the next one.
        let _ = atomic_swap(asked, 0);
        bump(Counter::ProcessEventDropped);
    }
}
