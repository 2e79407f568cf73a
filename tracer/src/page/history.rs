//! What a server remembers: points of the time line, which are cheap, and whole profiles, which are not.
//!
//! Both are bounded. What is recent is kept as it came; what is older is kept at even distances, which double whenever
//! there are too many: so the first moment always stays, and a history of any length has the same size.

use std::time::Duration;

use serde::Serialize;

use super::kept::Kept;
use super::points::{Course, MILLISECOND, Point};

/// Bytes that kept profiles may take, packed.
const MOST_BYTES: usize = 64 << 20;

/// The shortest interval, when a recording begins.
const FIRST: Duration = Duration::from_secs(1);
/// The longest that is not due to cost, from ten minutes on.
const LATER: Duration = Duration::from_secs(10);
/// A moment is kept about so often in the time that has passed.
const PER_AGE: u32 = 60;
/// Keeping a moment takes at most one part in so many of a CPU.
const COST: u32 = 100;
/// Nanoseconds in a second.
const SECOND: i64 = 1_000_000_000;

/// How long to wait before the next moment is kept: often when a recording begins, so that there is something to
/// compare, and never so often that keeping, which takes a CPU for `cost`, takes more than 1% of one.
#[must_use]
pub fn interval(age: Duration, cost: Duration) -> Duration {
    (age / PER_AGE).clamp(FIRST, LATER).max(cost * COST)
}

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Moments at even distances.
    pub moments: usize,
    /// Moments before the newest that are all kept.
    pub recent_moments: usize,
    /// Points of the time line at even distances.
    pub points: usize,
    /// Points before the newest that are all kept.
    pub recent_points: usize,
    /// Bytes of packed profiles.
    pub bytes: usize,
}

impl Bounds {
    /// While a process is recorded.
    pub const LIVE: Self = Self {
        moments: 96,
        recent_moments: 32,
        points: 480,
        recent_points: 240,
        bytes: MOST_BYTES,
    };
    /// Of saved profiles: all, as far as memory goes.
    pub const SAVED: Self = Self {
        moments: 4096,
        recent_moments: 0,
        points: 4096,
        recent_points: 0,
        bytes: 4 * MOST_BYTES,
    };
}

/// A moment of which there is a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct KeptTime {
    /// Its number; later ones have higher numbers.
    pub id: u64,
    /// Milliseconds since the Unix epoch.
    pub time_ms: i64,
}

/// What is remembered of a recording.
#[derive(Debug)]
pub struct History {
    bounds: Bounds,
    points: Vec<Point>,
    moments: Vec<(u64, Kept)>,
    next: u64,
}

impl History {
    /// An empty one.
    #[must_use]
    pub const fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            points: Vec::new(),
            moments: Vec::new(),
            next: 0,
        }
    }

    /// Adds a point, unless there is a later one.
    pub fn note(&mut self, point: Point) {
        let last = self.points.last();
        if last.is_none_or(|last| last.time_ms < point.time_ms) {
            self.points.push(point);
            let Bounds {
                points,
                recent_points,
                ..
            } = self.bounds;
            let time = |point: &Point| point.time_ms * MILLISECOND;
            thin(&mut self.points, time, points, recent_points);
        }
    }

    /// Adds a moment, unless there is one of its time, or a later one; says whether it did.
    pub fn keep(&mut self, kept: Kept) -> bool {
        let last = self.moments.last();
        if last.is_some_and(|(_, last)| last.time_nanos() >= kept.time_nanos()) {
            return false;
        }
        self.moments.push((self.next, kept));
        self.next += 1;
        let Bounds {
            mut moments,
            mut recent_moments,
            bytes,
            ..
        } = self.bounds;
        loop {
            let time = |(_, kept): &(u64, Kept)| kept.time_nanos();
            thin(&mut self.moments, time, moments, recent_moments);
            let sizes = self.moments.iter().map(|(_, kept)| kept.size());
            if sizes.sum::<usize>() <= bytes || (moments, recent_moments) == (1, 0) {
                return true;
            }
            (moments, recent_moments) = ((moments / 2).max(1), recent_moments / 2);
        }
    }

    /// Moments that were kept once, also those that are gone.
    #[must_use]
    pub const fn kept_once(&self) -> u64 {
        self.next
    }

    /// The time line.
    #[must_use]
    pub fn course(&self) -> Course {
        let mut course = Course::default();
        for point in &self.points {
            course.time_ms.push(point.time_ms);
            course.live_bytes.push(point.live_bytes);
            course.live_objects.push(point.live_objects);
            course.alloc_bytes.push(point.alloc_bytes);
            course.alloc_objects.push(point.alloc_objects);
            course.resident_bytes.push(point.resident_bytes);
        }
        course
    }

    /// The moments, the oldest first.
    #[must_use]
    pub fn moments(&self) -> Vec<KeptTime> {
        let moments = self.moments.iter();
        let moments = moments.map(|(id, kept)| KeptTime {
            id: *id,
            time_ms: kept.time_nanos() / MILLISECOND,
        });
        moments.collect()
    }

    /// The moment of this number, or the nearest one where it is gone; `None` where there is none at all.
    #[must_use]
    pub fn near(&self, id: u64) -> Option<(u64, Kept)> {
        let moments = self.moments.iter();
        moments.min_by_key(|(own, _)| own.abs_diff(id)).cloned()
    }

    /// The newest moment.
    #[must_use]
    pub fn last(&self) -> Option<(u64, Kept)> {
        self.moments.last().cloned()
    }

    /// About `most` moments at even distances, for whoever judges growth by them; the newest is among them.
    #[must_use]
    pub fn evenly(&self, most: usize) -> Vec<Kept> {
        let all = self.moments.iter().map(|(_, kept)| kept);
        let (Some(first), Some(last)) = (all.clone().next(), all.clone().next_back()) else {
            return Vec::new();
        };
        let stretch =
            (last.time_nanos() - first.time_nanos()) / i64::try_from(most).unwrap_or(1).max(1);
        let mut next = first.time_nanos();
        let mut even = Vec::new();
        for kept in all {
            if kept.time_nanos() >= next || kept.time_nanos() == last.time_nanos() {
                // From where it should have been, so that distances do not add up.
                next += stretch.max(1) * ((kept.time_nanos() - next) / stretch.max(1) + 1).max(1);
                even.push(kept.clone());
            }
        }
        even
    }
}

/// Leaves the `recent` newest, and of those before at most `most`: the first of each stretch of time, where stretches are
/// as long as it takes.
fn thin<T>(list: &mut Vec<T>, time: impl Fn(&T) -> i64, most: usize, recent: usize) {
    let older = list.len().saturating_sub(recent);
    let Some(start) = list.first().map(&time) else {
        return;
    };
    if older <= most {
        return;
    }
    let mut stretch = SECOND;
    let place = |one: &T, stretch: i64| time(one).saturating_sub(start) / stretch;
    let places = |stretch: i64| {
        let places = list.iter().take(older).map(|one| place(one, stretch));
        let mut places: Vec<i64> = places.collect();
        places.dedup();
        places.len()
    };
    while places(stretch) > most && stretch < i64::MAX / 2 {
        stretch *= 2;
    }
    let mut last = None;
    let mut index = 0;
    list.retain(|one| {
        index += 1;
        let own = Some(place(one, stretch));
        let is_first = own != last;
        last = own;
        is_first || index > older
    });
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::export::example::counter_service;
    use crate::profile::{Profile, ValueKind};

    const SMALL: Bounds = Bounds {
        moments: 8,
        recent_moments: 4,
        points: 8,
        recent_points: 4,
        bytes: MOST_BYTES,
    };

    fn at(second: i64) -> Profile {
        let mut profile = counter_service();
        profile.metadata.time_nanos = second * SECOND;
        profile
    }

    fn history(bounds: Bounds, seconds: i64) -> io::Result<History> {
        let mut history = History::new(bounds);
        for second in 0..seconds {
            let profile = at(second);
            history.note(Point::of(&profile, Some(1)));
            history.keep(Kept::of(&profile, &ValueKind::ALL)?);
        }
        Ok(history)
    }

    fn seconds(history: &History) -> Vec<i64> {
        let moments = history.moments();
        moments.iter().map(|one| one.time_ms / 1000).collect()
    }

    #[test]
    fn older_moments_are_thinned_evenly() -> io::Result<()> {
        assert_eq!(seconds(&history(SMALL, 3)?), [0, 1, 2]);
        let long = history(SMALL, 100)?;
        assert_eq!(
            seconds(&long),
            [0, 16, 32, 48, 64, 72, 80, 88, 96, 97, 98, 99]
        );
        assert_eq!(long.kept_once(), 100);
        assert_eq!(long.course().time_ms.len(), 12);
        // Whoever asks for one that is gone gets the next one.
        assert_eq!(long.near(33).map(|(id, _)| id), Some(32));
        assert_eq!(long.last().map(|(id, _)| id), Some(99));
        let even = long.evenly(4).into_iter();
        let times: Vec<_> = even.map(|kept| kept.time_nanos() / SECOND).collect();
        assert_eq!(times, [0, 32, 64, 80, 99]);
        Ok(())
    }

    #[test]
    fn memory_is_bounded() -> io::Result<()> {
        let one = Kept::of(&at(0), &ValueKind::ALL)?.size();
        let bounds = Bounds {
            bytes: 5 * one,
            ..SMALL
        };
        let long = history(bounds, 100)?;
        assert!((2..=5).contains(&long.moments().len()), "{long:?}");
        let none = history(Bounds { bytes: 0, ..SMALL }, 10)?;
        assert_eq!(none.moments().len(), 1);
        Ok(())
    }

    #[test]
    fn a_clock_that_goes_back_adds_nothing() -> io::Result<()> {
        let mut history = history(SMALL, 3)?;
        history.note(Point::of(&at(1), None));
        history.keep(Kept::of(&at(1), &ValueKind::ALL)?);
        assert_eq!(history.moments().len(), 3);
        assert_eq!(history.course().time_ms, [0, 1000, 2000]);
        Ok(())
    }

    #[test]
    fn what_is_kept_comes_back() -> Result<(), Box<dyn std::error::Error>> {
        let kinds = [ValueKind::InuseSpace];
        let contents = Kept::of(&at(5), &kinds)?.contents()?;
        assert_eq!(contents.profile, at(5));
        assert_eq!(contents.kinds, kinds);
        Ok(())
    }

    #[test]
    fn intervals_grow_with_age_and_cost() {
        let second = Duration::from_secs;
        assert_eq!(interval(second(0), Duration::ZERO), second(1));
        assert_eq!(interval(second(300), Duration::ZERO), second(5));
        assert_eq!(interval(second(86_400), Duration::ZERO), second(10));
        assert_eq!(interval(second(86_400), second(1)), second(100));
    }
}
