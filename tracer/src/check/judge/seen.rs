//! What is different where the target was seen in windows: `docs/design/0035-survivors.md`.
//!
//! What a stack has live are candidates then, blocks that a window saw allocated and that nothing has proved dead.
//! They are tested as what is live is otherwise, by the time that was seen as the clock. What survives falsely, since
//! its place is in use again, can't be told from what leaks by that alone. But leaks show as growth of the target's
//! memory, which is known exactly: no growth, no accusation, and what is accused is no more than what grew.

mod courses;

use std::time::Duration;

use self::courses::Courses;
use super::whole::Whole;
use crate::check::leaks::{Caveat, Class, Confidence, Leaks, Options};
use crate::estimate::Sensitivity;
use crate::profile::series::Series;

/// How much more than grew may be accused: objects are smaller than their chunks, rates are estimates, and memory that
/// was free before is used up first.
const SLACK: f64 = 1.5;
/// What explains so much of the growth explains it.
const ENOUGH: f64 = 0.5;
/// What is less of the growth than this may be what is left behind in memory that others have taken for good.
const NOTICED: f64 = 0.2;
/// Survivors that a leak must show to be found.
const SURVIVORS: u32 = 20;
/// Leaks that are to be found for a target to have none, in objects a second: what a minute of exact recording shows, less
/// its warm-up (note 10). A target that loses one object in two seconds passed at 5.
const SMALLEST: f64 = 0.6;

/// A recording that saw the target in windows.
pub(super) struct Seen {
    /// By the time that was seen.
    series: Series,
    /// The ends of the windows of the series in seconds of time and in seconds that were seen.
    ends: Vec<[f64; 2]>,
    /// The part of what the target did that was seen.
    share: f64,
}

impl Seen {
    /// `None` where the series was recorded otherwise. `share` of what the target did was seen.
    pub(super) fn of(series: &Series, share: f64) -> Option<Self> {
        let marks = series.marks().iter();
        let ends: Option<Vec<_>> = marks
            .map(|mark| {
                let seen = mark.seen.filter(|seen| seen.anonymous.is_some())?;
                Some([mark.seconds, seen.exposure])
            })
            .collect();
        let ends = ends.filter(|ends| !ends.is_empty())?;
        let is_sane = share > 0.0 && share <= 1.0;
        let by_exposure = series.by(|mark| {
            mark.seen
                .map_or(0.0, |seen| clock(seen.exposure, mark.seconds))
        });
        is_sane.then_some(Self {
            series: by_exposure,
            ends,
            share,
        })
    }

    /// The series to be tested, and the options for it: its clock is another one.
    pub(super) fn by_exposure(&self, options: &Options) -> (&Series, Options) {
        let until = options.warm_up_seconds;
        let warm_up = until.map(|until| {
            let before = self.ends.iter().rfind(|[seconds, _]| *seconds <= until);
            before.map_or(0.0, |&[seconds, exposure]| clock(exposure, seconds))
        });
        let options = Options {
            warm_up_seconds: warm_up,
            uneven: true,
            ..options.clone()
        };
        (&self.series, options)
    }

    /// From what a test by exposure says to what it means: rates in time and for all that the target did, and no
    /// accusation that the growth of the `whole` does not bear out.
    pub(super) fn interpret(&self, report: &mut Leaks, whole: &Whole) {
        let grows = match whole {
            Whole::Grows(rate) => Some(*rate),
            _ => None,
        };
        let times = self.times();
        let courses = Courses::of(&self.series, report.warm_up_seconds, times);
        let mut suspects: Vec<_> = report
            .assessments
            .iter_mut()
            .filter_map(|one| match &mut one.class {
                Class::Leak(leak) => Some((one.stack, leak)),
                _ => None,
            })
            .collect();
        // The surest first, since what is accused is bounded.
        suspects.sort_by(|(_, a), (_, b)| {
            b.confidence
                .cmp(&a.confidence)
                .then(a.false_alarm.total_cmp(&b.false_alarm))
                .then(b.bytes_per_second.total_cmp(&a.bytes_per_second))
        });
        let mut accused = 0.0;
        for (stack, leak) in suspects {
            leak.bytes_per_second *= times;
            leak.objects_per_second *= times;
            leak.seconds_to_limit = leak.seconds_to_limit.map(|seconds| seconds / times);
            leak.since_seconds = self.time_of(leak.since_seconds);
            leak.add(Caveat::SeenInWindows);
            let Some(rate) = grows else {
                leak.add(Caveat::MoreThanGrew);
                continue;
            };
            if leak.confidence < Confidence::Medium {
                continue;
            }
            let [all, others] = [courses.all(), courses.without(stack)];
            let is_needed = all >= ENOUGH * rate && others < ENOUGH * rate;
            let is_noticed = leak.bytes_per_second >= NOTICED * rate;
            if accused + leak.bytes_per_second > SLACK * rate {
                leak.add(Caveat::MoreThanGrew);
            } else if is_noticed && (is_needed || courses.outlives(stack, self.seconds())) {
                accused += leak.bytes_per_second;
            } else {
                leak.add(Caveat::MayTurnOver);
            }
        }
    }

    /// How long the recording was.
    fn seconds(&self) -> f64 {
        self.ends.last().map_or(0.0, |[seconds, _]| *seconds)
    }

    /// Growth a second of time for all, by that a second of exposure for what was seen.
    fn times(&self) -> f64 {
        let [seconds, exposure] = self.ends.last().copied().unwrap_or_default();
        if seconds > 0.0 {
            exposure / (self.share * seconds)
        } else {
            0.0
        }
    }

    /// The time at which so much had been seen.
    fn time_of(&self, exposure: f64) -> f64 {
        let at = self
            .ends
            .iter()
            .find(|[seconds, seen]| clock(*seen, *seconds) >= exposure);
        at.or(self.ends.last()).map_or(0.0, |[seconds, _]| *seconds)
    }

    /// The smallest leak that would have been found, in objects a second. `after` is the time at which the warm-up
    /// ended.
    pub(super) fn smallest_leak(&self, after: f64) -> Option<f64> {
        let [seconds, _] = self.ends.last().copied()?;
        let elapsed = Duration::try_from_secs_f64(seconds - after).ok()?;
        Sensitivity::new(self.share)?.smallest_leak(SURVIVORS, elapsed)
    }

    /// What to say of that, and whether it is small enough for a target to pass.
    pub(super) fn sensitivity(&self, after: f64) -> (String, bool) {
        let smallest = self.smallest_leak(after).unwrap_or(f64::INFINITY);
        let time = Sensitivity::new(self.share)
            .and_then(|sensitivity| sensitivity.time_to_catch(SURVIVORS, SMALLEST));
        let time = time.map_or_else(String::new, |time| {
            format!("; one of {SMALLEST} a second takes {}", minutes(time))
        });
        let words = format!(
            "windows saw {:.2}% of what the target did: a leak of {smallest:.1} objects a second or more would have shown \
             {SURVIVORS} survivors, with 95% probability{time}",
            self.share * 100.0
        );
        (words, smallest <= SMALLEST)
    }
}

/// Time that was seen, as a clock that never stands still.
fn clock(exposure: f64, seconds: f64) -> f64 {
    exposure + seconds * 1e-6
}

fn minutes(time: Duration) -> String {
    let seconds = time.as_secs_f64().ceil();
    if seconds < 120.0 {
        format!("{seconds} s")
    } else {
        format!("{:.0} min", (seconds / 60.0).ceil())
    }
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "tests")]
mod tests;
