//! The types of a profile.

use std::fmt;
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use super::{Errors, Labels, Peak, Sampled};

/// A heap profile: who allocated, who still holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Where the profile comes from.
    pub metadata: Metadata,
    /// Mapped files; the main binary is the first.
    pub mappings: Vec<Mapping>,
    /// Functions that locations name.
    pub functions: Vec<Function>,
    /// Places in the code.
    pub locations: Vec<Location>,
    /// Amounts per call stack.
    pub samples: Vec<Sample>,
    /// The most that was live at once; `None` where that was not kept, and then no sample has a value for
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak: Option<Peak>,
    /// Where what was allocated is estimated, from what and how well; `None` where every amount was counted, or
    /// nothing could be estimated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampled: Option<Sampled>,
    /// Named counters of everything seen and everything missed.
    pub counters: Vec<CounterValue>,
    /// What the counters mean for the profile as a whole.
    pub verdict: Verdict,
}

/// Where a profile comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metadata {
    /// End of the recording, nanoseconds since the Unix epoch.
    pub time_nanos: i64,
    /// Length of the window the profile is a delta over, in nanoseconds; `None` for totals since
    /// tracing began.
    pub duration_nanos: Option<i64>,
    /// Mean sampling interval in bytes; 1 when every allocation was counted.
    pub period: i64,
    /// How it was recorded, for people: `attach to counter-service (pid 4711) for 30.0 s`.
    pub source: String,
    /// Process ids of the target, the root process first.
    pub pids: Vec<u32>,
    /// Anything else worth saying to whoever opens the profile, one sentence each.
    pub notes: Vec<String>,
}

/// Index into [`Profile::mappings`].
pub type MappingIndex = usize;
/// Index into [`Profile::functions`].
pub type FunctionIndex = usize;

/// Index into [`Profile::locations`]. Half as wide as the others, since a profile has one for each frame
/// of each stack: of a hundred thousand stacks of 20 frames they are most of the memory.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct LocationIndex(u32);

impl LocationIndex {
    /// The index of the location at this position. A profile of more than 2³² locations would have to be
    /// larger than 300 GB; positions from there on become the largest index, which stands for none of
    /// them, and [`Profile::validate`] says so.
    #[must_use]
    pub fn new(position: usize) -> Self {
        Self(u32::try_from(position).unwrap_or(u32::MAX))
    }

    /// Position in [`Profile::locations`].
    #[must_use]
    pub const fn position(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for LocationIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A file mapped executable into the target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// First address past the end.
    pub limit: u64,
    /// Offset in the file of `start`.
    pub file_offset: u64,
    /// Path as the target sees it.
    pub path: String,
    /// GNU build id in lower-case hex, or empty.
    pub build_id: String,
    /// Function names of this mapping are resolved.
    pub has_functions: bool,
    /// File names are.
    pub has_filenames: bool,
    /// Line numbers are.
    pub has_line_numbers: bool,
    /// Inlined frames are.
    pub has_inline_frames: bool,
}

/// A function.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Function {
    /// Demangled name; `module+0xoffset` where nothing names it.
    pub name: String,
    /// Name as in the object file, or the same as `name`.
    pub system_name: String,
    /// Source file, or empty.
    pub file: String,
    /// Line the function starts on, or 0.
    pub start_line: u32,
}

/// A place in the code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Location {
    /// Mapping it lies in, if any.
    pub mapping: Option<MappingIndex>,
    /// Return address minus one, as pprof wants it; 0 for pseudo-frames.
    pub address: u64,
    /// Frames at this place, the innermost inlined one first. Never empty.
    pub lines: Vec<Line>,
    /// Why nothing names it, where nothing does.
    pub unknown: Option<String>,
}

/// One frame at a location.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Line {
    /// Its function.
    pub function: FunctionIndex,
    /// Source line, or 0.
    pub line: u32,
}

impl Profile {
    /// Whether memory was told from page faults: objects are pages then, by who touched them first.
    #[must_use]
    pub fn counts_pages(&self) -> bool {
        let mut counters = self.counters.iter();
        counters.any(|counter| counter.name == PAGES_COUNTED && counter.value > 0)
    }

    /// The location of this index, if there is one.
    #[must_use]
    pub fn location(&self, index: LocationIndex) -> Option<&Location> {
        self.locations.get(index.position())
    }

    /// Adds a location.
    pub(crate) fn add_location(&mut self, location: Location) -> LocationIndex {
        let index = LocationIndex::new(self.locations.len());
        self.locations.push(location);
        index
    }
}

/// The amounts of one call stack.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Frames, leaf first.
    pub locations: Vec<LocationIndex>,
    /// Amounts.
    pub values: Values,
    /// Process, where the profile has several.
    pub pid: Option<u32>,
    /// What else it is told apart by.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// How wrong what was allocated may be; nothing where [`Profile::sampled`] is none.
    #[serde(default, skip_serializing_if = "Errors::is_none")]
    pub errors: Errors,
}

/// Go's four values, and what was held at the peak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Values {
    /// Objects allocated.
    pub alloc_objects: i64,
    /// Bytes allocated.
    pub alloc_space: i64,
    /// Objects live at the end.
    pub inuse_objects: i64,
    /// Bytes live at the end.
    pub inuse_space: i64,
    /// Objects live when most bytes were; 0 where [`Profile::peak`] is none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub peak_objects: i64,
    /// Bytes live when most were; 0 where [`Profile::peak`] is none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub peak_space: i64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
const fn is_zero(amount: &i64) -> bool {
    *amount == 0
}

/// Names one of the values; the order is the order in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueKind {
    /// Objects allocated.
    AllocObjects,
    /// Bytes allocated.
    AllocSpace,
    /// Objects live at the end.
    InuseObjects,
    /// Bytes live at the end.
    #[default]
    InuseSpace,
    /// Objects live when most bytes were.
    PeakObjects,
    /// Bytes live when most were.
    PeakSpace,
}

impl ValueKind {
    /// Those that every profile has, in file order.
    pub const ALL: [Self; 4] = [
        Self::AllocObjects,
        Self::AllocSpace,
        Self::InuseObjects,
        Self::InuseSpace,
    ];
    /// Those that a profile has whose [`peak`](Profile::peak) was kept.
    pub const PEAK: [Self; 2] = [Self::PeakObjects, Self::PeakSpace];

    /// Whether it is one of [`Self::PEAK`].
    #[must_use]
    pub const fn is_peak(self) -> bool {
        matches!(self, Self::PeakObjects | Self::PeakSpace)
    }

    /// The sample type's name in pprof.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AllocObjects => "alloc_objects",
            Self::AllocSpace => "alloc_space",
            Self::InuseObjects => "inuse_objects",
            Self::InuseSpace => "inuse_space",
            Self::PeakObjects => "peak_objects",
            Self::PeakSpace => "peak_space",
        }
    }

    /// The sample type's unit in pprof.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        match self {
            Self::AllocObjects | Self::InuseObjects | Self::PeakObjects => "count",
            Self::AllocSpace | Self::InuseSpace | Self::PeakSpace => "bytes",
        }
    }
}

impl Values {
    /// The value of one kind.
    #[must_use]
    pub const fn get(&self, kind: ValueKind) -> i64 {
        match kind {
            ValueKind::AllocObjects => self.alloc_objects,
            ValueKind::AllocSpace => self.alloc_space,
            ValueKind::InuseObjects => self.inuse_objects,
            ValueKind::InuseSpace => self.inuse_space,
            ValueKind::PeakObjects => self.peak_objects,
            ValueKind::PeakSpace => self.peak_space,
        }
    }

    /// Sum, saturating.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            alloc_objects: self.alloc_objects.saturating_add(other.alloc_objects),
            alloc_space: self.alloc_space.saturating_add(other.alloc_space),
            inuse_objects: self.inuse_objects.saturating_add(other.inuse_objects),
            inuse_space: self.inuse_space.saturating_add(other.inuse_space),
            peak_objects: self.peak_objects.saturating_add(other.peak_objects),
            peak_space: self.peak_space.saturating_add(other.peak_space),
        }
    }

    /// Difference, saturating.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self {
            alloc_objects: self.alloc_objects.saturating_sub(other.alloc_objects),
            alloc_space: self.alloc_space.saturating_sub(other.alloc_space),
            inuse_objects: self.inuse_objects.saturating_sub(other.inuse_objects),
            inuse_space: self.inuse_space.saturating_sub(other.inuse_space),
            peak_objects: self.peak_objects.saturating_sub(other.peak_objects),
            peak_space: self.peak_space.saturating_sub(other.peak_space),
        }
    }

    /// The same without what was held at the peak.
    #[must_use]
    pub const fn without_peak(self) -> Self {
        Self {
            peak_objects: 0,
            peak_space: 0,
            ..self
        }
    }
}

impl AddAssign for Values {
    /// As [`Values::plus`].
    fn add_assign(&mut self, other: Self) {
        *self = self.plus(other);
    }
}

/// The counter by which a profile is known to count pages: only there it is above 0.
pub const PAGES_COUNTED: &str = "pages_counted";

/// A named counter's value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CounterValue {
    /// Name, the same in every output.
    pub name: String,
    /// Value.
    pub value: u64,
    /// What it says about the profile.
    pub class: CounterClass,
    /// One sentence for people.
    pub help: String,
}

/// What a counter says about the profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CounterClass {
    /// Normal traffic.
    Traffic,
    /// Unusual, harmless to the amounts.
    Note,
    /// Amounts right, part of them in no stack.
    AttributionLoss,
    /// Amounts missing.
    AmountLoss,
}

/// The one judgement over a profile.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// Everything between attach and end was counted and given to its stack.
    #[default]
    Complete,
    /// Usable, with known losses.
    Degraded {
        /// What was lost and how much, one sentence each.
        reasons: Vec<String>,
    },
    /// Only windows of the recording were seen: what was allocated is estimated from them, and what is live may
    /// have been freed between them.
    Sampled {
        /// What was seen, and what was lost of that, one sentence each.
        reasons: Vec<String>,
    },
    /// Too much is missing to conclude anything.
    Inconclusive {
        /// What is missing, one sentence each.
        reasons: Vec<String>,
    },
}

impl Verdict {
    /// All of them.
    pub const NAMES: [&'static str; 4] = ["complete", "sampled", "degraded", "inconclusive"];

    /// `complete`, `degraded`, `sampled` or `inconclusive`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Degraded { .. } => "degraded",
            Self::Sampled { .. } => "sampled",
            Self::Inconclusive { .. } => "inconclusive",
        }
    }

    /// The reasons; empty for `complete`.
    #[must_use]
    pub fn reasons(&self) -> &[String] {
        match self {
            Self::Complete => &[],
            Self::Degraded { reasons }
            | Self::Sampled { reasons }
            | Self::Inconclusive { reasons } => reasons,
        }
    }
}
