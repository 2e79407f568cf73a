//! What is said of a stack, and of all of them.

use serde::Serialize;

use crate::profile::series::{Counters, StackId};

/// What the judgement depends on besides the series.
#[derive(Clone, Debug)]
pub struct Options {
    /// Seconds at the start that are not judged; `None` for the first fifth.
    pub warm_up_seconds: Option<f64>,
    /// Accepted probability of at least one false alarm by chance among all stacks together.
    pub false_alarms: f64,
    /// How much memory there is.
    pub limit: Option<MemoryLimit>,
    /// The series goes by another clock than time, and its windows have different lengths by that: blocks of equal length
    /// are made of them.
    pub uneven: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            warm_up_seconds: None,
            false_alarms: 0.01,
            limit: None,
            uneven: false,
        }
    }
}

/// How much memory the target may use, and uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryLimit {
    /// Bytes it may use.
    pub limit_bytes: u64,
    /// Bytes it uses at the end of the series.
    pub used_bytes: u64,
}

impl MemoryLimit {
    /// Seconds until the limit is reached at this growth; `None` without growth.
    fn seconds_left(&self, bytes_per_second: f64) -> Option<f64> {
        let left = self.limit_bytes.saturating_sub(self.used_bytes) as f64;
        (bytes_per_second > 0.0).then(|| left / bytes_per_second)
    }
}

/// One stack's judgement.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Assessment {
    /// The stack.
    pub stack: StackId,
    /// Everything it has allocated and freed: much allocated and little kept, or the reverse.
    pub counters: Counters,
    /// What it is.
    pub class: Class,
}

impl Assessment {
    pub(super) const fn new(stack: StackId, counters: Counters, class: Class) -> Self {
        Self {
            stack,
            counters,
            class,
        }
    }

    /// The leak, where it is one with at least this confidence.
    #[must_use]
    pub fn leak(&self, at_least: Confidence) -> Option<&Leak> {
        match &self.class {
            Class::Leak(leak) if leak.confidence >= at_least => Some(leak),
            _ => None,
        }
    }
}

/// What a stack does with the memory it allocates.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "class", rename_all = "snake_case")]
pub enum Class {
    /// It keeps more and more, and nothing suggests that this ends.
    Leak(Leak),
    /// It keeps more and more, but towards a bound: a cache that fills, a program that warms up.
    BoundedFilling {
        /// What speaks for a bound.
        why: Filling,
    },
    /// What it holds grows and is given back, again and again or once.
    Sawtooth {
        /// Bytes it held at most, after the warm-up.
        peak_bytes: u64,
    },
    /// It grew in one step, or in a few.
    OneOff {
        /// When the largest step ended, in seconds since the recording began.
        seconds: f64,
        /// Bytes it grew by in all, after the warm-up.
        bytes: u64,
    },
    /// Much is allocated and little kept: it costs time, not memory.
    Churn,
    /// Nothing of note happens.
    Flat,
    /// It can't be told. Never the same as "no leak".
    TooLittleData {
        /// What is missing.
        lack: Lack,
    },
}

/// A leak: where the growth leads, and how sure that is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Leak {
    /// How sure it is: the least that the caveats allow.
    pub confidence: Confidence,
    /// What speaks against it.
    pub caveats: Vec<Caveat>,
    /// Probability, at most, that chance makes growth like this somewhere among all stacks tested.
    pub false_alarm: f64,
    /// Growth in bytes.
    pub bytes_per_second: f64,
    /// Growth in objects.
    pub objects_per_second: f64,
    /// Growth in bytes per operation, where operations are counted.
    pub bytes_per_operation: Option<f64>,
    /// The end of the first window that something is still there of, in seconds since the recording
    /// began.
    pub since_seconds: f64,
    /// Time until the memory limit is reached if only this goes on; `None` without a limit.
    pub seconds_to_limit: Option<f64>,
}

impl Leak {
    /// Whether it is growth of pages, and no objects are known to be lost.
    #[must_use]
    pub fn is_of_pages(&self) -> bool {
        self.caveats.contains(&Caveat::FirstTouched)
    }

    /// Has one more caveat, and no more confidence than that leaves.
    pub(in crate::check) fn add(&mut self, caveat: Caveat) {
        self.confidence = self.confidence.min(caveat.leaves());
        self.caveats.push(caveat);
    }

    /// Takes it for growth of pages; `is_whole` says whether the target's memory grows as a whole.
    pub(in crate::check) fn of_pages(mut self, is_whole: bool) -> Self {
        // The first of these says that as well.
        self.caveats
            .retain(|caveat| *caveat != Caveat::NothingFreed);
        self.caveats.insert(0, Caveat::FirstTouched);
        if !is_whole {
            self.caveats.insert(1, Caveat::NotAsAWhole);
        }
        let allowed = self.caveats.iter().map(|caveat| caveat.leaves());
        self.confidence = allowed
            .min()
            .map_or(self.confidence, |least| least.min(self.confidence));
        self
    }
}

/// How sure a leak is. What is at least [`Confidence::Medium`] is an accusation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// It may be one; something else explains it as well. Worth showing, not worth failing for.
    Low,
    /// It behaves as a leak does in every way that could be seen.
    Medium,
    /// Besides, of the same stack's objects the others die: only some are never freed.
    High,
}

/// What speaks against a leak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Caveat {
    /// Nothing allocated here was freed.
    NothingFreed,
    /// Fewer than a dozen blocks of time show growth.
    FewEvents,
    /// Old objects are freed too, at a rate that does not follow their number.
    Backlog,
    /// No objects are added, but those that are there get larger.
    GrowingBlock,
    /// Which generations survive is not known.
    GenerationsUnknown,
    /// Memory from before the recording is freed at a rate that may make up for the growth.
    OlderMemoryFreed,
    /// Many old objects are freed, and little stays.
    OldOnesTurnOver,
    /// More is live all the time, but none of it is old.
    OnlyYoung,
    /// Whether the growth slows down can't be told yet.
    MaySlowDown,
    /// Pages were counted, by who touched them first, and no objects.
    FirstTouched,
    /// The target's memory as a whole does not grow for sure.
    NotAsAWhole,
    /// Only windows of the target were seen: what survives may have been freed between two of them.
    SeenInWindows,
    /// The target's memory as a whole does not grow by as much.
    MoreThanGrew,
    /// Others explain the growth as well, and these objects may be replaced unseen.
    MayTurnOver,
    /// It grew more and more slowly, as the whole program did less and less.
    LoadFell,
    /// Among so many stacks, chance may do this.
    ChanceNotExcluded,
}

impl Caveat {
    /// The confidence it leaves.
    #[must_use]
    pub const fn leaves(self) -> Confidence {
        match self {
            Self::NothingFreed
            | Self::FewEvents
            | Self::Backlog
            | Self::GrowingBlock
            | Self::LoadFell
            | Self::FirstTouched
            | Self::SeenInWindows
            | Self::GenerationsUnknown => Confidence::Medium,
            Self::OlderMemoryFreed
            | Self::OldOnesTurnOver
            | Self::OnlyYoung
            | Self::MaySlowDown
            | Self::NotAsAWhole
            | Self::MoreThanGrew
            | Self::MayTurnOver
            | Self::ChanceNotExcluded => Confidence::Low,
        }
    }

    /// One sentence for people.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::NothingFreed => {
                "Nothing allocated here was freed: a cache that still fills at a constant rate looks the same."
            }
            Self::FewEvents => "It grew only a few times.",
            Self::Backlog => "Old objects are freed too, but fewer than are added.",
            Self::GrowingBlock => {
                "No objects are added, but they get larger each time they are reallocated."
            }
            Self::GenerationsUnknown => {
                "Which generations survive is not known, only how much is live."
            }
            Self::OlderMemoryFreed => {
                "Memory from before the recording is freed at the same time: old objects may only be replaced by new ones."
            }
            Self::OldOnesTurnOver => "Many old objects are freed, and only a small share stays.",
            Self::OnlyYoung => {
                "More is live all the time, but none of it is old: the load may be rising."
            }
            Self::FirstTouched => {
                "Who touched memory first need not be who keeps it; a cache that still fills at a constant rate looks the same."
            }
            Self::NotAsAWhole => {
                "The target's memory as a whole does not go on growing: it may only have changed hands."
            }
            Self::SeenInWindows => {
                "Only windows of the target were seen; nothing has proved these objects freed."
            }
            Self::MoreThanGrew => {
                "The target's memory does not grow by as much: what survives may have been freed between two windows."
            }
            Self::MayTurnOver => {
                "Others explain the growth as well: these objects may have been replaced by others between two windows."
            }
            Self::LoadFell => {
                "It grew more slowly towards the end, but so did all that the program does: the load fell."
            }
            Self::MaySlowDown => "Whether the growth slows down can't be told yet.",
            Self::ChanceNotExcluded => "Among so many stacks, chance may do this.",
        }
    }
}

/// What speaks for a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Filling {
    /// The growth slows down.
    Slowing,
    /// The growth has stopped.
    Stopped,
    /// Old objects are freed as new ones come, or in step with their number.
    Evicting,
}

/// What is missing for a judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "lack", rename_all = "snake_case")]
pub enum Lack {
    /// The recording has too few windows after the warm-up.
    Windows {
        /// Windows there are.
        have: usize,
        /// Windows it takes.
        need: usize,
    },
    /// The stack grew a few times: too often for a one-off, too rarely for a leak.
    Events {
        /// Blocks of time with growth.
        have: u32,
        /// Bytes it grew by.
        bytes: u64,
    },
    /// The stack grew more and more slowly or no longer, and so did what the program does: a leak under a
    /// load that fell, or something that fills.
    Load {
        /// Bytes it grew by.
        bytes: u64,
    },
}

impl Lack {
    /// Takes in that of another stack of the same site, if it lacks the same: how often the one that grew most often
    /// did, and what both grew by.
    pub(in crate::check) fn take_in(&mut self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Events { have, bytes },
                Self::Events {
                    have: more,
                    bytes: added,
                },
            ) => {
                *have = (*have).max(*more);
                *bytes = bytes.saturating_add(*added);
                true
            }
            (Self::Load { bytes }, Self::Load { bytes: added }) => {
                *bytes = bytes.saturating_add(*added);
                true
            }
            _ => false,
        }
    }
}

/// The judgement over a series.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Leaks {
    /// Every stack, leaks first, the surest and fastest at the front.
    pub assessments: Vec<Assessment>,
    /// Stacks that had enough data to be accused.
    pub tested: usize,
    /// Length of the warm-up in seconds.
    pub warm_up_seconds: f64,
    /// Growth by all leaks of at least [`Confidence::Medium`], in bytes.
    pub bytes_per_second: f64,
    /// Time until the memory limit is reached at that growth; `None` without a limit or a leak.
    pub seconds_to_limit: Option<f64>,
}

impl Leaks {
    pub(super) fn new(
        mut assessments: Vec<Assessment>,
        tested: usize,
        warm_up_seconds: f64,
        limit: Option<MemoryLimit>,
    ) -> Self {
        for assessment in &mut assessments {
            if let Class::Leak(leak) = &mut assessment.class {
                leak.seconds_to_limit =
                    limit.and_then(|limit| limit.seconds_left(leak.bytes_per_second));
            }
        }
        // Stable, so that equals stay in the order of their ids.
        assessments.sort_by(|a, b| {
            let key = |one: &Assessment| {
                one.leak(Confidence::Low)
                    .map(|leak| (leak.confidence, leak.bytes_per_second))
            };
            key(b)
                .partial_cmp(&key(a))
                .unwrap_or(std::cmp::Ordering::Equal)
        });
        let accused = assessments
            .iter()
            .filter_map(|one| one.leak(Confidence::Medium));
        let bytes_per_second = accused.map(|leak| leak.bytes_per_second).sum();
        Self {
            assessments,
            tested,
            warm_up_seconds,
            bytes_per_second,
            seconds_to_limit: limit.and_then(|limit| limit.seconds_left(bytes_per_second)),
        }
    }

    /// The leaks with at least this confidence.
    pub fn leaks(&self, at_least: Confidence) -> impl Iterator<Item = (&Assessment, &Leak)> {
        self.assessments
            .iter()
            .filter_map(move |one| one.leak(at_least).map(|leak| (one, leak)))
    }
}
