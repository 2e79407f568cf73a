//! How amounts went: of each site over the last minute, of all together over the whole recording.

use std::collections::{HashMap, VecDeque};

use crate::profile::Values;
use crate::report::LiveSite;

/// Seconds that one cell of a trend stands for.
const CELL: f64 = 4.0;
/// Cells that are kept: a little more than a minute.
pub(super) const CELLS: usize = 16;
/// Seconds over which a rate is taken.
const RATE: f64 = 5.0;
/// Points of the whole recording that are kept at most.
const POINTS: usize = 2048;
/// Seconds that the chart shows at least.
const CHART: f64 = 60.0;

/// How the amounts of a site went.
#[derive(Clone, Debug)]
pub(super) struct Course {
    /// Live bytes at the end of each cell, the last one not over yet.
    cells: VecDeque<i64>,
    /// Which the last one is, since the beginning.
    last: u64,
    /// What was live before the first cell.
    before: i64,
    /// Seconds since the beginning, and what was allocated then.
    recent: VecDeque<(f64, Values)>,
}

impl Course {
    /// A site that held nothing at that time, in seconds since the beginning.
    fn new(seconds: f64) -> Self {
        Self {
            cells: VecDeque::from([0]),
            last: cell(seconds),
            before: 0,
            recent: VecDeque::from([(seconds, Values::default())]),
        }
    }

    fn add(&mut self, seconds: f64, values: Values) {
        let now = cell(seconds);
        let missed = now.saturating_sub(self.last).min(CELLS as u64 + 1);
        let held = self.cells.back().copied().unwrap_or(0);
        self.cells
            .extend(std::iter::repeat_n(held, missed as usize));
        if let Some(last) = self.cells.back_mut() {
            *last = values.inuse_space;
        }
        while self.cells.len() > CELLS {
            self.before = self.cells.pop_front().unwrap_or(0);
        }
        self.last = self.last.max(now);
        self.recent.push_back((seconds, values));
        while self.recent.len() > 2
            && self
                .recent
                .get(1)
                .is_some_and(|(at, _)| *at <= seconds - RATE)
        {
            self.recent.pop_front();
        }
    }

    /// Live bytes over the last minute, the oldest first.
    pub(super) fn trend(&self) -> Vec<i64> {
        self.cells.iter().copied().collect()
    }

    /// How many live bytes more there are than a minute ago.
    pub(super) fn change(&self) -> i64 {
        let now = self.cells.back().copied().unwrap_or(0);
        now.saturating_sub(self.before)
    }

    /// What was allocated a second, over the last few: bytes and objects.
    pub(super) fn rate(&self) -> (i64, i64) {
        let (Some((from, before)), Some((to, after))) = (self.recent.front(), self.recent.back())
        else {
            return (0, 0);
        };
        let seconds = to - from;
        if seconds <= 0.0 {
            return (0, 0);
        }
        // Estimates from windows may fall.
        let rate = |before: i64, after: i64| {
            (after.saturating_sub(before).max(0) as f64 / seconds).round() as i64
        };
        (
            rate(before.alloc_space, after.alloc_space),
            rate(before.alloc_objects, after.alloc_objects),
        )
    }
}

fn cell(seconds: f64) -> u64 {
    (seconds / CELL) as u64
}

/// The courses of a recording.
#[derive(Clone, Debug)]
pub(super) struct Courses {
    sites: HashMap<String, Course>,
    total: Course,
    /// Of the whole recording, seconds and the most that was live from then to the next; fewer where it is long.
    points: Vec<(f64, i64)>,
    /// Snapshots that a point stands for.
    every: usize,
    /// Snapshots so far.
    snapshots: usize,
    seconds: f64,
}

impl Default for Courses {
    fn default() -> Self {
        Self {
            sites: HashMap::new(),
            total: Course::new(0.0),
            points: Vec::new(),
            every: 1,
            snapshots: 0,
            seconds: 0.0,
        }
    }
}

impl Courses {
    /// Adds what a snapshot says, of a time in seconds since the beginning.
    pub(super) fn add(&mut self, seconds: f64, total: Values, sites: &[LiveSite]) {
        let before = self.seconds;
        for site in sites {
            let course = match self.sites.get_mut(&site.key) {
                Some(course) => course,
                // Nothing was counted before the beginning.
                None => self
                    .sites
                    .entry(site.key.clone())
                    .or_insert_with(|| Course::new(before)),
            };
            course.add(seconds, site.values);
        }
        self.total.add(seconds, total);
        match self.points.last_mut() {
            Some((_, most)) if !self.snapshots.is_multiple_of(self.every) => {
                *most = total.inuse_space.max(*most);
            }
            _ => self.points.push((seconds, total.inuse_space)),
        }
        self.snapshots += 1;
        if self.points.len() > POINTS {
            let pairs = self.points.chunks(2).filter_map(|pair| {
                let most = pair.iter().map(|(_, live)| *live).max()?;
                Some((pair.first()?.0, most))
            });
            self.points = pairs.collect();
            self.every *= 2;
        }
        self.seconds = seconds;
    }

    /// The course of a site.
    pub(super) fn of(&self, key: &str) -> Option<&Course> {
        self.sites.get(key)
    }

    /// That of all sites together.
    pub(super) const fn total(&self) -> &Course {
        &self.total
    }

    /// The whole recording.
    pub(super) fn chart(&self) -> Chart {
        Chart {
            points: self.points.clone(),
            seconds: self.seconds,
        }
    }
}

/// Live bytes over a whole recording.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Chart {
    points: Vec<(f64, i64)>,
    /// How long the recording is.
    pub(super) seconds: f64,
}

impl Chart {
    /// The most that was live.
    pub(super) fn most(&self) -> i64 {
        self.points.iter().map(|(_, live)| *live).max().unwrap_or(0)
    }

    /// Seconds that the columns stand for together.
    pub(super) fn span(&self) -> f64 {
        self.seconds.max(CHART)
    }

    /// The most that was live in the time of each column; as before where no point is of that time. Columns that
    /// are still to come are missing.
    pub(super) fn columns(&self, columns: usize) -> Vec<u64> {
        let span = self.span();
        let column = |at: f64| ((at / span * columns as f64) as usize).min(columns - 1);
        let mut bars: Vec<u64> = Vec::with_capacity(columns);
        if columns == 0 {
            return bars;
        }
        for (at, live) in &self.points {
            let (at, live) = (column(*at), u64::try_from(*live).unwrap_or(0));
            if let Some(bar) = bars.get_mut(at) {
                *bar = live.max(*bar);
            } else {
                let before = bars.last().copied().unwrap_or(0);
                bars.resize(at, before);
                bars.push(live);
            }
        }
        bars
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(bytes: i64) -> Values {
        Values {
            inuse_space: bytes,
            alloc_space: bytes * 2,
            alloc_objects: bytes,
            ..Values::default()
        }
    }

    #[test]
    fn a_rate_is_of_the_last_seconds() {
        let mut course = Course::new(0.0);
        course.add(2.0, live(100));
        assert_eq!(course.rate(), (100, 50));
        for second in 3..=60 {
            course.add(f64::from(second), live(100));
        }
        assert_eq!(course.rate(), (0, 0));
        course.add(61.0, live(150));
        assert_eq!(course.rate(), (20, 10));
        // An estimate that falls is no negative rate.
        course.add(62.0, live(10));
        assert_eq!(course.rate(), (0, 0));
    }

    #[test]
    fn a_trend_is_of_the_last_minute() {
        let mut course = Course::new(0.0);
        course.add(1.0, live(5));
        course.add(2.0, live(7));
        assert_eq!((course.trend(), course.change()), (vec![7], 7));
        course.add(9.0, live(9));
        assert_eq!((course.trend(), course.change()), (vec![7, 7, 9], 9));
        for second in 10..=100 {
            course.add(f64::from(second), live(9));
        }
        assert_eq!((course.trend(), course.change()), (vec![9; CELLS], 0));
        course.add(1e6, live(1));
        assert_eq!(course.trend().len(), CELLS);
        assert_eq!(course.change(), -8);
    }

    #[test]
    fn a_site_that_comes_later_held_nothing_before() {
        let site = |bytes| LiveSite {
            key: "late".to_owned(),
            values: live(bytes),
            ..LiveSite::default()
        };
        let mut courses = Courses::default();
        courses.add(10.0, live(0), &[]);
        courses.add(12.0, live(100), &[site(100)]);
        let course = courses.of("late");
        assert_eq!(course.map(Course::rate), Some((100, 50)));
        assert_eq!(course.map(Course::change), Some(100));
    }

    #[test]
    fn a_chart_has_the_whole_recording() {
        let mut courses = Courses::default();
        assert_eq!(courses.chart().columns(10), [0; 0]);
        courses.add(5.0, live(3), &[]);
        courses.add(29.0, live(8), &[]);
        courses.add(30.0, live(4), &[]);
        assert_eq!(courses.chart().columns(0), [0; 0]);
        assert_eq!(courses.chart().columns(4), [3, 8, 4]);
        for second in 31..=10_000 {
            courses.add(f64::from(second), live(4), &[]);
        }
        let chart = courses.chart();
        assert!(chart.points.len() <= POINTS);
        assert_eq!(chart.columns(200).len(), 200);
        assert_eq!(chart.most(), 8);
    }
}
