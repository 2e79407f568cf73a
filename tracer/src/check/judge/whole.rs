//! How the target's memory goes as a whole, which is known whatever is known of its stacks.

use tracer_common::limits::PAGE_BYTES;

use crate::check::leaks::{self, Class, Confidence, Lack, Options};
use crate::check::report::bytes;
use crate::profile::series::{Counters, Mark, Series, StackId, StackWindow, Window};

/// How the target's memory goes as a whole, after the warm-up.
pub(super) enum Whole {
    /// Nobody has written down.
    Unknown,
    /// There are so many steps between snapshots, and so many are needed.
    TooShort { have: usize, need: usize },
    /// It grows and goes on growing, by so many bytes a second.
    Grows(f64),
    /// It grew, and nobody can tell whether that goes on.
    Undecided,
    /// It does not grow, or comes to an end with it.
    Steady,
}

impl Whole {
    /// Judges it as if it were one stack.
    pub(super) fn of(series: &Series, options: &Options) -> Self {
        let Some(whole) = as_one_stack(series) else {
            return Self::Unknown;
        };
        let report = leaks::leaks(&whole, options);
        match report.assessments.into_iter().next().map(|one| one.class) {
            None => Self::Unknown,
            Some(Class::Leak(leak)) if leak.confidence >= Confidence::Medium => {
                Self::Grows(leak.bytes_per_second)
            }
            Some(Class::TooLittleData {
                lack: Lack::Windows { have, need },
            }) => Self::TooShort { have, need },
            Some(Class::Leak(_) | Class::TooLittleData { .. }) => Self::Undecided,
            Some(
                Class::BoundedFilling { .. }
                | Class::Sawtooth { .. }
                | Class::OneOff { .. }
                | Class::Churn
                | Class::Flat,
            ) => Self::Steady,
        }
    }

    pub(super) const fn grows(&self) -> bool {
        matches!(self, Self::Grows(_))
    }

    pub(super) const fn is_steady(&self) -> bool {
        matches!(self, Self::Steady)
    }

    /// What is missing for a judgement over any stack.
    pub(super) fn too_little(&self) -> Option<String> {
        match self {
            Self::Unknown => Some(
                "growth could not be judged: these profiles count pages, and how the target's memory went as a \
                 whole is only in a series: record with --every, and judge its folder"
                    .to_owned(),
            ),
            Self::TooShort { have, need } => Some(format!(
                "growth of the target's memory could not be judged: it takes {need} steps between snapshots after the warm-up, and there \
                 are {have}: record longer, or more often"
            )),
            Self::Grows(_) | Self::Undecided | Self::Steady => None,
        }
    }

    /// What stays open where stacks that grow by so many bytes a second are known.
    pub(super) fn unexplained(&self, explained: f64) -> Option<String> {
        match self {
            Self::Grows(rate) if explained < rate / 2.0 => Some(format!(
                "the target's memory grows by {}/s, and the stacks that are known to grow make up for {}/s of that: \
                 record longer, or probe its allocator",
                bytes(*rate),
                bytes(explained)
            )),
            Self::Undecided => Some(
                "the target's memory grew as a whole, and it can't be told whether that goes on: record longer, or \
                 under an even load, or pass over it with --allow-undecided"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

/// The memory of the target as the series of one stack; `None` where it is not known.
fn as_one_stack(series: &Series) -> Option<Series> {
    let mut whole = Series::new(0);
    let (mut came, mut gone) = (0_u64, 0_u64);
    for mark in series.marks() {
        let had = came - gone;
        let seen = mark.seen.and_then(|seen| seen.anonymous);
        let has = mark.resident.or(seen)?;
        came = came.saturating_add(has.saturating_sub(had));
        gone = gone.saturating_add(had.saturating_sub(has));
        let window = Window {
            mark: Mark {
                seconds: mark.seconds,
                ..Mark::default()
            },
            stacks: vec![StackWindow {
                stack: StackId(0),
                counters: Counters {
                    alloc_objects: came / PAGE_BYTES,
                    alloc_bytes: came,
                    freed_objects: gone / PAGE_BYTES,
                    freed_bytes: gone,
                },
                survivors: Vec::new(),
            }],
        };
        whole.push(window).ok()?;
    }
    Some(whole)
}
