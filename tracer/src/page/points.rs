//! The time line: a few numbers for each point.

use serde::Serialize;

use crate::profile::{Profile, ValueKind};

/// Nanoseconds in a millisecond.
pub(super) const MILLISECOND: i64 = 1_000_000;

/// A point of the time line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// Milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// Bytes live.
    pub live_bytes: i64,
    /// Objects live.
    pub live_objects: i64,
    /// Bytes allocated since the recording began.
    pub alloc_bytes: i64,
    /// Objects allocated since.
    pub alloc_objects: i64,
    /// Resident bytes of the process; `None` where nobody looked.
    pub resident_bytes: Option<u64>,
}

impl Point {
    /// Of a profile, and of what else is known of the process at the same time.
    #[must_use]
    pub fn of(profile: &Profile, resident_bytes: Option<u64>) -> Self {
        let sum = |kind| {
            let samples = profile.samples.iter();
            samples.fold(0_i64, |sum, one| sum.saturating_add(one.values.get(kind)))
        };
        Self {
            time_ms: profile.metadata.time_nanos / MILLISECOND,
            live_bytes: sum(ValueKind::InuseSpace),
            live_objects: sum(ValueKind::InuseObjects),
            alloc_bytes: sum(ValueKind::AllocSpace),
            alloc_objects: sum(ValueKind::AllocObjects),
            resident_bytes,
        }
    }
}

/// The points of the time line, column by column, which takes half as many bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Course {
    /// Milliseconds since the Unix epoch.
    pub time_ms: Vec<i64>,
    /// Bytes live.
    pub live_bytes: Vec<i64>,
    /// Objects live.
    pub live_objects: Vec<i64>,
    /// Bytes allocated since the recording began.
    pub alloc_bytes: Vec<i64>,
    /// Objects allocated since.
    pub alloc_objects: Vec<i64>,
    /// Resident bytes of the process.
    pub resident_bytes: Vec<Option<u64>>,
}
