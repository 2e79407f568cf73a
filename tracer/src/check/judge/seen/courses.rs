//! How candidates go on: how fast those of each stack become more, and whether old ones die.

use std::collections::{BTreeMap, HashMap};

use crate::estimate::expected;
use crate::profile::series::{Series, StackHistory, StackId};

/// How many times as long as the recording blocks live that outlive it: what lives as long is a leak to exact ones, too.
const LONGER: f64 = 1.0;
/// Windows of a series after which a generation is old, as a part of all.
const AGE_SHARE: usize = 8;

/// The courses of all stacks.
pub(super) struct Courses {
    growth: HashMap<StackId, Course>,
    /// Bytes a second by which those of all stacks become more.
    total: f64,
}

/// How the candidates of a stack go.
#[derive(Clone, Copy, Debug, Default)]
struct Course {
    /// By so many bytes a second they become more.
    growth: f64,
    /// Old ones, times the seconds of the target's work in which each could have been seen to die.
    watched: f64,
    /// Of these, died.
    died: f64,
}

impl Courses {
    /// Of a series by exposure. Growth is that of the later half of what comes after a warm-up of so many seconds by that
    /// clock, `times` over: in a second of exposure the target does 1 / `times` of a second's work.
    pub(super) fn of(series: &Series, warm_up: f64, times: f64) -> Self {
        let marks = series.marks();
        let ends: Vec<f64> = marks.iter().map(|mark| mark.seconds).collect();
        let end = ends.last().copied().unwrap_or(0.0);
        // The later half: candidates that survive falsely become more until all their places are known, and ever slower.
        let from = f64::midpoint(warm_up, end);
        let first = ends.iter().rposition(|&at| at <= from).unwrap_or(0);
        let begin = ends.get(first).copied().unwrap_or(0.0);
        let width = (end - begin).max(f64::MIN_POSITIVE);
        let oldest = (series.exact_generations() as usize)
            .saturating_sub(1)
            .max(1);
        let age = (marks.len() / AGE_SHARE).clamp(1, oldest);
        let growth: HashMap<_, _> = series
            .stacks()
            .map(|(stack, history)| {
                let points = history.points().iter();
                let before = points.rev().find(|point| point.window as usize <= first);
                let before = before.map_or(0, |point| point.counters.live_bytes());
                let more = history.counters().live_bytes() as f64 - before as f64;
                let (watched, died) = watch(history, &ends, age);
                let course = Course {
                    growth: (more / width * times).max(0.0),
                    // By what the target did meanwhile at its own speed.
                    watched: watched / times.max(f64::MIN_POSITIVE),
                    died,
                };
                (stack, course)
            })
            .collect();
        let total = growth.values().map(|course| course.growth).sum();
        Self { growth, total }
    }

    /// What all candidates become more by, in bytes a second.
    pub(super) const fn all(&self) -> f64 {
        self.total
    }

    /// What the others' candidates become more by, in bytes a second: that much can be explained without the stack.
    pub(super) fn without(&self, stack: StackId) -> f64 {
        let own = self.growth.get(&stack).map_or(0.0, |course| course.growth);
        (self.total - own).max(0.0)
    }

    /// Whether the old ones of a stack live longer than a recording of so many seconds, as seldom as they were seen to
    /// die; with a probability of 95%.
    pub(super) fn outlives(&self, stack: StackId, seconds: f64) -> bool {
        let course = self.growth.get(&stack).copied().unwrap_or_default();
        course.watched >= LONGER * seconds * most(course.died)
    }
}

/// The most deaths that must be reckoned with where so many were seen.
fn most(died: f64) -> f64 {
    let more = (died as u32).saturating_add(1);
    expected(more)
}

/// Old candidates times the exposure in which they were there, and how many of them died.
fn watch(history: &StackHistory, ends: &[f64], age: usize) -> (f64, f64) {
    let mut changes = history.changes().iter().peekable();
    let mut row: BTreeMap<u32, u64> = BTreeMap::new();
    let (mut watched, mut died) = (0.0, 0.0);
    let mut before = 0.0;
    for (window, &end) in ends.iter().enumerate() {
        let limit = window.checked_sub(age);
        let old = |row: &BTreeMap<u32, u64>| match limit {
            Some(limit) => row
                .range(..=limit as u32)
                .map(|(_, objects)| *objects)
                .sum::<u64>(),
            None => 0,
        };
        // Those that have come of age by now.
        let were = old(&row);
        while let Some(change) = changes.next_if(|change| change.window as usize <= window) {
            row.insert(change.survivors.generation, change.survivors.objects);
        }
        let are = old(&row);
        watched += were as f64 * (end - before);
        died += were.saturating_sub(are) as f64;
        before = end;
    }
    (watched, died)
}
