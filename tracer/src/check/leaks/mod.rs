//! Judgements over a series of snapshots: which stacks leak, and how sure that is.
//!
//! Pure: no I/O, no clocks, no kernel; the same series gives the same report. How it decides, and
//! what it cannot know, is in `docs/design/0010-leak-verdict.md`.

mod classify;
mod history;
mod load;
#[cfg(test)]
#[expect(clippy::expect_used, reason = "tests")]
mod tests;
mod trend;
mod verdict;

pub use verdict::{
    Assessment, Caveat, Class, Confidence, Filling, Lack, Leak, Leaks, MemoryLimit, Options,
};

use classify::{Draft, Judge};
use history::Levels;
use load::Load;
use trend::{Axis, MIN_BLOCKS};

use crate::profile::series::Series;

/// Windows are old after this share of the recording.
const AGE_SHARE: usize = 8;

/// Judges every stack of a series.
///
/// Time and memory go with the number of stacks and, for each, with what changed in it.
#[must_use]
pub fn leaks(series: &Series, options: &Options) -> Leaks {
    let plan = Plan::new(series, options);
    let judge = plan.judge(series);
    let mut levels = Levels::default();
    let mut drafts = Vec::with_capacity(series.stacks().len());
    for (stack, history) in series.stacks() {
        levels.fill(history, series.marks().len(), plan.age);
        let draft = match &judge {
            Some(judge) => judge.draft(&levels),
            None => Draft::too_few_windows(plan.blocks()),
        };
        drafts.push((stack, history.counters(), draft));
    }
    // Every stack that could have been accused counts, so that a hundred thousand healthy ones
    // yield no more false alarms than one.
    let tested = drafts.iter().filter(|(_, _, draft)| draft.tested).count();
    let assessments = drafts.into_iter().map(|(stack, counters, draft)| {
        let class = draft.decide(tested, options);
        Assessment::new(stack, counters, class)
    });
    Leaks::new(
        assessments.collect(),
        tested,
        plan.warm_up_seconds(series),
        options.limit,
    )
}

/// Windows of the warm-up, which ends after so many seconds; after the first fifth of the recording
/// where nobody says.
pub(super) fn warm_up_windows(series: &Series, seconds: Option<f64>) -> usize {
    let marks = series.marks();
    let end = marks.last().map_or(0.0, |mark| mark.seconds);
    let until = seconds.unwrap_or(end * 0.2);
    // At least the first window: it holds whatever was under way at the start.
    let windows = marks.iter().filter(|mark| mark.seconds <= until);
    windows.count().max(1)
}

/// The course of the judgement, the same for all stacks.
struct Plan {
    /// Windows of the warm-up.
    warm_up: usize,
    /// Windows after which a generation is old; `None` where generations are not known.
    age: Option<usize>,
    /// Blocks over which what is live is judged, in seconds.
    live: Axis,
    /// Blocks over which what is old is judged: later, as nothing gets old at once.
    old: Axis,
    /// The last, in operations, where they are counted in every block.
    old_by_operation: Option<Axis>,
    /// The one before, likewise.
    live_by_operation: Option<Axis>,
    /// How the load went where operations are not counted.
    load: Load,
}

impl Plan {
    fn new(series: &Series, options: &Options) -> Self {
        let marks = series.marks();
        let seconds: Vec<_> = marks.iter().map(|mark| mark.seconds).collect();
        let warm_up = warm_up_windows(series, options.warm_up_seconds);
        let exact = series.exact_generations() as usize;
        let age = exact
            .checked_sub(1)
            .filter(|&oldest| oldest > 0)
            .map(|oldest| (marks.len() / AGE_SHARE).clamp(1, oldest));
        let from_live = warm_up - 1;
        let from_old = from_live + age.unwrap_or(0);
        let operations: Option<Vec<_>> = marks
            .iter()
            .map(|mark| mark.operations.map(|operations| operations as f64))
            .collect();
        // What gets old now was allocated earlier, by the operations of that time.
        let delayed = |at: &[f64], delay: usize| {
            let mut delayed = vec![0.0; delay.min(at.len())];
            delayed.extend_from_slice(&at[..at.len() - delayed.len()]);
            delayed
        };
        let by_operation = |from: usize, delay: usize| {
            let at = delayed(operations.as_ref()?, delay);
            Some(Axis::new(&at, from)).filter(Axis::is_usable)
        };
        let old_by_operation = by_operation(from_old, age.unwrap_or(0));
        let load = match &old_by_operation {
            None => Load::after(warm_up, series, |done| {
                [
                    Axis::even(done, from_live),
                    Axis::even(&delayed(done, age.unwrap_or(0)), from_old),
                ]
            }),
            Some(_) => Load::Held,
        };
        // What gets old now was allocated earlier, and by that time's length of a window.
        let (live, old) = if options.uneven {
            let by_age = delayed(&seconds, age.unwrap_or(0));
            (
                Axis::even(&seconds, from_live),
                Axis::even(&by_age, from_old),
            )
        } else {
            (
                Axis::new(&seconds, from_live),
                Axis::new(&seconds, from_old),
            )
        };
        Self {
            warm_up,
            age,
            live,
            old,
            old_by_operation,
            load,
            live_by_operation: by_operation(from_live, 0),
        }
    }

    fn blocks(&self) -> usize {
        self.old.blocks()
    }

    /// `None` where there are too few windows.
    fn judge<'a>(&'a self, series: &Series) -> Option<Judge<'a>> {
        if self.blocks() < MIN_BLOCKS {
            return None;
        }
        let halves = self.old.halves()?;
        let marks = series.marks();
        let frees = |window: usize| marks[window].unknown_frees;
        let older_frees = (frees(halves[2]) - frees(halves[0])) as f64;
        Some(Judge {
            age: self.age,
            live: &self.live,
            old: &self.old,
            live_course: self.live_by_operation.as_ref().unwrap_or(&self.live),
            old_course: self.old_by_operation.as_ref().unwrap_or(&self.old),
            load: &self.load,
            operations: self.old_by_operation.as_ref().map(Axis::width),
            older_frees,
            seconds: marks.iter().map(|mark| mark.seconds).collect(),
        })
    }

    fn warm_up_seconds(&self, series: &Series) -> f64 {
        let last = series.marks().get(self.warm_up.saturating_sub(1));
        last.map_or(0.0, |mark| mark.seconds)
    }
}
