//! The live table: how both sides find a live allocation in it.
//!
//! It is a hash table of our own in plain array maps, because the kernel's took 250 to 320 ns a pair
//! of allocation and free and 106 bytes a live allocation, and made two CPUs wait for each other.
//! An address belongs to one thread at a time (whoever was given it and has not freed it), so that
//! a slot needs no lock: it is claimed by setting its bit and given back by clearing key and bit.
//!
//! It grows by segments. A key has one bucket in each; it is put into the first with a free slot and
//! looked for in all. When a bucket of the last segment is more than half full, which is when a few
//! percent of its slots are taken, user space adds another as large as all before. See `docs/design/0011-live-table.md`.

use crate::LiveRecord;
use crate::hash::mix;

/// Slots of a bucket: their keys and the word of claims are one cache line.
pub const LIVE_SLOTS: usize = 7;

/// The slot of a bucket that calls for another segment. From there to a full bucket of the last
/// segment, three more keys have to meet: more time than user space needs.
pub const LIVE_CROWDED: usize = 4;

/// Most segments that the table can have.
pub const MAX_LIVE_SEGMENTS: u32 = 10;

/// A bucket of the live table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct LiveBucket {
    /// A bit for each slot that is taken. It is set before the slot's record and key are written,
    /// and cleared after the key was.
    pub claimed: u64,
    /// Keys, see [`live_key`]; 0 where the slot has no record.
    pub keys: [u64; LIVE_SLOTS],
    /// What was allocated there.
    pub records: [LiveRecord; LIVE_SLOTS],
}

const _: () = assert!(size_of::<LiveBucket>() == 176);

/// Key of an address in a heap, see [`TargetInfo::heap`](crate::TargetInfo::heap). User space ends at
/// 2^47 unless it asks for more by a hint to mmap, which allocators do not; `None` for such an address.
#[inline(always)]
#[must_use]
pub const fn live_key(address: u64, heap: u32) -> Option<u64> {
    if address >> 48 != 0 {
        return None;
    }
    Some((address << 16) | (heap & 0xffff) as u64)
}

/// The heap a key belongs to.
#[must_use]
pub const fn heap_of(key: u64) -> u32 {
    (key & 0xffff) as u32
}

/// The address in a key.
#[must_use]
pub const fn address_of(key: u64) -> u64 {
    key >> 16
}

/// Buckets of a segment where the first one has `first`: 1, 1, 2, 4, 8… times that.
#[inline(always)]
#[must_use]
pub const fn segment_buckets(first: u32, segment: u32) -> u32 {
    if segment < 2 {
        first
    } else {
        first << (segment - 1)
    }
}

/// The key's bucket in a segment. Each segment scatters keys its own way, so that those that met in
/// a full bucket part in the next.
#[inline(always)]
#[must_use]
pub const fn bucket_of(key: u64, first: u32, segment: u32) -> u32 {
    let hash = mix(key ^ ((segment as u64) << 32)) >> 32;
    ((hash * segment_buckets(first, segment) as u64) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tell_addresses_and_heaps_apart() {
        let key = live_key(0x7fff_ffff_fff0, 0xffff).unwrap_or(0);
        assert_eq!(heap_of(key), 0xffff);
        assert_eq!(address_of(key), 0x7fff_ffff_fff0);
        assert_ne!(live_key(0x1000, 1), live_key(0x1000, 2));
        assert_ne!(live_key(0x1000, 1), live_key(0x1010, 1));
        assert_eq!(live_key(1 << 48, 1), None);
    }

    #[test]
    fn segments_double_the_table_from_the_third_on() {
        let mut total = 0;
        for segment in 0..MAX_LIVE_SEGMENTS {
            let buckets = segment_buckets(3, segment);
            assert_eq!(buckets, if total == 0 { 3 } else { total });
            total += buckets;
        }
    }

    /// Neighbours in memory must not be neighbours in the table, in any segment.
    #[test]
    fn buckets_are_in_range_and_evenly_used() {
        const FIRST: u32 = 1_000;
        for segment in [0, 1, 4] {
            let buckets = segment_buckets(FIRST, segment);
            let mut used = [0_u8; 8_000];
            for block in 0..u64::from(buckets) * 4 {
                let key = live_key(0x5555_0000_0000 + block * 32, 1).unwrap_or(0);
                let bucket = bucket_of(key, FIRST, segment);
                assert!(bucket < buckets);
                used[bucket as usize] += 1;
            }
            // 4 on average; by Poisson about one bucket in 20 has more than 7.
            let crowded = used.iter().filter(|&&count| count > 7).count();
            assert!(crowded < buckets as usize / 15, "{crowded} of {buckets}");
        }
    }
}
