//! What the program had to do, where nobody counts its operations: read off the stacks that take and
//! give back. A load that falls makes all of them fall alike, and with them every leak; a cache that is
//! nearly full makes only itself fall.

use std::cmp::Reverse;

use super::history::Levels;
use super::trend::{Axis, Course, Trend};
use crate::profile::series::{Series, StackHistory};

/// Stacks that are asked at most, those that allocate most: a vote needs no more.
const VOTERS: usize = 500;

/// Objects that a stack has to allocate in an average window to be asked.
const VOTER_EVENTS: f64 = 5.0;

/// Stacks below which they prove nothing: a single one may belong to what fills.
const QUORUM: usize = 2;

/// Share of the stacks that have to fall alike for the load to have fallen.
const MAJORITY: f64 = 0.75;

/// What the last third of the recording may have of the first third's activity for it to have fallen.
const FALLEN: f64 = 0.8;

/// What the growth of the last third is of the first third's, at least, for one that fell with the load to be
/// an accusation: what has come nearly to its end may as well have been filled.
const STILL_GROWING: f64 = 0.26;

/// How the load went.
#[derive(Clone, Debug)]
pub(super) enum Load {
    /// No stack tells.
    Unknown,
    /// It did not fall.
    Held,
    /// It fell.
    Fell {
        /// Blocks of about equal activity, for what is live.
        live: Axis,
        /// The same for what is old.
        old: Axis,
        /// So many stacks fell alike that it was the load, and not something that fills.
        agreed: bool,
    },
}

/// A growth that does not surely go on by the clock, against the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Explained {
    /// It does not go as the load did.
    No,
    /// It may, but that says too little.
    Perhaps,
    /// It goes on by what there was to do.
    Yes,
}

impl Load {
    /// The load after the first `from` windows. `axes` makes the blocks, for what is live and what is old,
    /// of how much was done until the end of each window.
    pub(super) fn after(
        from: usize,
        series: &Series,
        axes: impl FnOnce(&[f64]) -> [Axis; 2],
    ) -> Self {
        let windows = series.marks().len();
        let third = windows.saturating_sub(from) / 3;
        let courses = voters(series, from);
        if courses.is_empty() || third == 0 {
            return Self::Unknown;
        }
        let mut votes = Vec::with_capacity(courses.len());
        let mut typical = Vec::with_capacity(windows);
        for window in 0..windows {
            votes.clear();
            votes.extend(courses.iter().map(|course| course[window]));
            typical.push(median(&mut votes));
        }
        let ratio = |course: &[f64]| {
            let late: f64 = course[windows - third..].iter().sum();
            let early: f64 = course[from..from + third].iter().sum();
            late / early.max(f64::MIN_POSITIVE)
        };
        let fallen = ratio(&typical);
        if fallen > FALLEN {
            return Self::Held;
        }
        // Halfway on a scale of ratios.
        let alike = |course: &&Vec<f64>| ratio(course) < fallen.max(0.01).sqrt();
        let agreeing = courses.iter().filter(alike).count();
        let mut sum = 0.0;
        for rate in &mut typical {
            sum += *rate;
            *rate = sum;
        }
        let [live, old] = axes(&typical);
        Self::Fell {
            live,
            old,
            agreed: courses.len() >= QUORUM && agreeing as f64 >= MAJORITY * courses.len() as f64,
        }
    }

    /// Whether it fell.
    pub(super) const fn fell(&self) -> bool {
        matches!(self, Self::Fell { .. })
    }

    /// Whether what is live grows by what there is to do, so that it can't be coming to an end.
    pub(super) fn carries(&self, levels: &Levels) -> bool {
        let Self::Fell { live, .. } = self else {
            return false;
        };
        Trend::of(&levels.live_objects, live)
            .is_some_and(|trend| trend.is_growth() && trend.goes_on())
    }

    /// Whether the load explains why `levels` grow with this `course` over the blocks of `axis`, in
    /// seconds. `against` is their trend over blocks of equal activity.
    pub(super) fn explains(
        &self,
        course: Course,
        levels: &[f64],
        axis: &Axis,
        seconds: &[f64],
        against: impl FnOnce(&Axis, &Axis) -> Option<Trend>,
    ) -> Explained {
        if course.is_certain() {
            return Explained::No;
        }
        let slower = !matches!(course, Course::On { .. });
        let still_grows = axis.late_share(levels) >= STILL_GROWING;
        match self {
            Self::Held => Explained::No,
            // With nothing to compare: as if the recording had begun halfway.
            Self::Unknown => {
                let half = axis
                    .halves()
                    .filter(|_| slower && still_grows)
                    .map(|[_, middle, _]| Axis::new(seconds, middle));
                match half.and_then(|half| Trend::of(levels, &half)) {
                    Some(half) if half.is_growth() && half.goes_on() => Explained::Perhaps,
                    _ => Explained::No,
                }
            }
            Self::Fell { live, old, agreed } => match against(live, old) {
                Some(trend) if trend.goes_on() && !trend.rising && *agreed && still_grows => {
                    Explained::Yes
                }
                Some(trend) if slower && matches!(trend.course, Course::On { .. }) => {
                    Explained::Perhaps
                }
                _ => Explained::No,
            },
        }
    }
}

/// How the stacks went that may be asked: the objects of each window, as a share of the stack's average after
/// the first `from` windows.
fn voters(series: &Series, from: usize) -> Vec<Vec<f64>> {
    let windows = series.marks().len();
    let stacks = series.stacks().map(|(_, history)| history);
    let mut voters: Vec<_> = stacks
        .filter(|history| comes_and_goes(history, windows))
        .collect();
    voters.sort_by_key(|history| Reverse(history.counters().alloc_objects));
    voters.truncate(VOTERS);
    voters
        .iter()
        .filter_map(|history| activity(history, windows, from))
        .collect()
}

/// Whether a stack gives back at least half of what it takes, and takes enough to be asked.
fn comes_and_goes(history: &StackHistory, windows: usize) -> bool {
    let counters = history.counters();
    counters.freed_objects >= counters.alloc_objects / 2
        && counters.alloc_objects as f64 >= VOTER_EVENTS * windows as f64
}

fn activity(history: &StackHistory, windows: usize, from: usize) -> Option<Vec<f64>> {
    let mut rates = vec![0.0; windows];
    let mut before = 0;
    for point in history.points() {
        if let Some(rate) = rates.get_mut(point.window as usize) {
            *rate = point.counters.alloc_objects.saturating_sub(before) as f64;
        }
        before = point.counters.alloc_objects;
    }
    let average = rates[from..].iter().sum::<f64>() / (windows - from) as f64;
    if average < VOTER_EVENTS {
        return None;
    }
    for rate in &mut rates {
        *rate /= average;
    }
    Some(rates)
}

/// The middle one of some, and the larger of the two of an even number.
fn median(values: &mut [f64]) -> f64 {
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f64::total_cmp).1
}
