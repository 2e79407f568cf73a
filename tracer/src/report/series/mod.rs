//! Profiles of one target over time: what is live, how much is allocated, and which stacks grow.
//!
//! This shows; whether growth is a leak is for the room of verdicts to say. Profiles come one by
//! one, so that a long series takes no more memory than two of its profiles.

mod text;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;

use super::compare::Change;
use super::filters::ActiveFilter;
use super::sites::SiteMarks;
use super::stacks::{StackFrame, frames};
use super::{names, view};
use crate::names::{NameStyle, Names};
use crate::profile::{Filter, Fingerprint, Incompatible, Profile, ValueKind, Values, Verdict};
use crate::sites::{Rules, Sites};

/// What to show.
#[derive(Clone, Debug, Default)]
pub struct SeriesOptions {
    /// The value by which stacks grow.
    pub by: ValueKind,
    /// Most stacks shown; `None` for all.
    pub limit: Option<usize>,
    /// Which stacks and frames to look at.
    pub filter: Filter,
    /// How the text shows names.
    pub names: NameStyle,
    /// Whose code is what, beyond the built-in table.
    pub rules: Rules,
    /// Columns of the text; longer names lose their middle. `None` for as many as it takes.
    pub max_width: Option<usize>,
}

/// A series. As JSON: `{"report": "series", "verdict": …, "rows": […], "stacks": …, "growing": […]}`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "report", rename = "series")]
pub struct Series {
    /// The worst verdict of all profiles.
    pub verdict: String,
    /// What it rests on, one sentence each.
    pub reasons: Vec<String>,
    /// What everything is limited to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<ActiveFilter>,
    /// A row per profile, the oldest first.
    pub rows: Vec<SeriesRow>,
    /// The value by which stacks grow.
    pub sample_type: ValueKind,
    /// Its unit.
    pub unit: String,
    /// Stacks that hold more in the last profile than in the first, shown or not.
    pub stacks: usize,
    /// Those shown, the largest growth first.
    pub growing: Vec<GrowingStack>,
    #[serde(skip)]
    names: Names,
    #[serde(skip)]
    max_width: Option<usize>,
}

/// A profile of a series.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SeriesRow {
    /// Its file.
    pub file: String,
    /// End of its recording, nanoseconds since the Unix epoch.
    pub time_nanos: i64,
    /// `complete`, `degraded` or `inconclusive`.
    pub verdict: String,
    /// Bytes live.
    pub live_bytes: i64,
    /// Objects live.
    pub live_objects: i64,
    /// Bytes allocated per second since the profile before, or over the window of a profile that
    /// is one; `null` where that cannot be said.
    pub alloc_bytes_per_second: Option<f64>,
    /// Objects allocated per second, likewise.
    pub alloc_objects_per_second: Option<f64>,
    /// Live bytes more than in the profile before.
    pub step_bytes: i64,
    /// Live bytes more than in the first profile.
    pub growth_bytes: i64,
}

/// A stack that holds more at the end.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GrowingStack {
    /// What it was followed by.
    pub fingerprint: Fingerprint,
    /// From the first profile to the last.
    #[serde(flatten)]
    pub change: Change,
    /// Steps from one profile to the next in which it grew.
    pub grew: usize,
    /// Steps in which it shrank.
    pub shrank: usize,
    /// Where it asks for memory, what for, and what is allocated.
    #[serde(flatten)]
    pub site: SiteMarks,
    /// Its frames, leaf first.
    pub frames: Vec<StackFrame>,
}

/// How a stack has come along so far.
#[derive(Clone, Copy, Default)]
struct Course {
    first: i64,
    last: i64,
    /// Its place in the series at which `last` was seen.
    seen: usize,
    grew: usize,
    shrank: usize,
}

impl Course {
    /// Goes on to the amount at a place of the series; it is 0 where the stack was not seen.
    fn advance(&mut self, amount: i64, seen: usize) {
        if seen == 0 {
            self.first = amount;
        } else {
            if seen > self.seen + 1 && self.last != 0 {
                self.step(0);
            }
            self.step(amount);
        }
        self.last = amount;
        self.seen = seen;
    }

    fn step(&mut self, amount: i64) {
        self.grew += usize::from(amount > self.last);
        self.shrank += usize::from(amount < self.last);
        self.last = amount;
    }
}

/// Takes the profiles of a series, the oldest first.
pub struct SeriesBuilder {
    options: SeriesOptions,
    rows: Vec<SeriesRow>,
    verdict: Verdict,
    filters: Vec<ActiveFilter>,
    courses: HashMap<Fingerprint, Course>,
    /// The last profile as shown, with its fingerprints and totals.
    last: Option<(Profile, Vec<Fingerprint>, Values)>,
}

impl SeriesBuilder {
    /// A series without profiles.
    #[must_use]
    pub fn new(options: SeriesOptions) -> Self {
        Self {
            options,
            rows: Vec::new(),
            verdict: Verdict::Complete,
            filters: Vec::new(),
            courses: HashMap::new(),
            last: None,
        }
    }

    /// Profiles so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether too much is missing in one of them to say anything.
    #[must_use]
    pub const fn is_inconclusive(&self) -> bool {
        matches!(
            self.verdict,
            Verdict::Inconclusive { .. } | Verdict::Sampled { .. }
        )
    }

    /// Takes the next profile.
    ///
    /// # Errors
    /// When its amounts cannot be compared with those before.
    pub fn push(&mut self, file: &str, profile: &Profile) -> Result<(), Incompatible> {
        let (header, shown) = view(profile, self.options.by, false, &self.options.filter);
        if let Some((last, ..)) = &self.last {
            Incompatible::check(last, profile)?;
        }
        for (nth, filter) in header.filters.into_iter().enumerate() {
            match self.filters.get_mut(nth) {
                Some(known) => known.matched |= filter.matched,
                None => self.filters.push(filter),
            }
        }
        let nth = self.rows.len();
        let fingerprints = shown.fingerprints();
        let mut total = Values::default();
        let mut amounts: HashMap<Fingerprint, i64> = HashMap::new();
        for (sample, &fingerprint) in shown.samples.iter().zip(&fingerprints) {
            total += sample.values;
            let amount = amounts.entry(fingerprint).or_default();
            *amount = amount.saturating_add(sample.values.get(self.options.by));
        }
        for (fingerprint, amount) in amounts {
            self.courses
                .entry(fingerprint)
                .or_default()
                .advance(amount, nth);
        }
        let verdict = std::mem::take(&mut self.verdict);
        self.verdict = verdict.worse_of(profile.verdict.clone());
        self.rows.push(self.row(file, profile, total));
        self.last = Some((shown.into_owned(), fingerprints, total));
        Ok(())
    }

    fn row(&self, file: &str, profile: &Profile, total: Values) -> SeriesRow {
        let time_nanos = profile.metadata.time_nanos;
        let (allocated, nanos) = match (profile.metadata.duration_nanos, &self.last) {
            (Some(window), _) => (Some(total), window),
            (None, Some((last, _, before))) => {
                // Counters that went back are those of another recording.
                let same = total.alloc_objects >= before.alloc_objects
                    && total.alloc_space >= before.alloc_space
                    && last.metadata.duration_nanos.is_none();
                let nanos = time_nanos.saturating_sub(last.metadata.time_nanos);
                (same.then(|| total.minus(*before)), nanos)
            }
            (None, None) => (None, 0),
        };
        let rate = |kind: ValueKind| {
            let allocated = allocated.filter(|_| nanos > 0)?.get(kind);
            Some(allocated as f64 / Duration::from_nanos(nanos.unsigned_abs()).as_secs_f64())
        };
        let before = self
            .rows
            .last()
            .map_or(total.inuse_space, |row| row.live_bytes);
        let first = self
            .rows
            .first()
            .map_or(total.inuse_space, |row| row.live_bytes);
        SeriesRow {
            file: file.to_owned(),
            time_nanos,
            verdict: profile.verdict.name().to_owned(),
            live_bytes: total.inuse_space,
            live_objects: total.inuse_objects,
            alloc_bytes_per_second: rate(ValueKind::AllocSpace),
            alloc_objects_per_second: rate(ValueKind::AllocObjects),
            step_bytes: total.inuse_space.saturating_sub(before),
            growth_bytes: total.inuse_space.saturating_sub(first),
        }
    }

    /// The series.
    #[must_use]
    pub fn finish(self) -> Series {
        let end = self.rows.len().saturating_sub(1);
        let last = self.last;
        // A stack that is no longer there holds nothing and has not grown.
        let mut growing: Vec<(Fingerprint, Course)> = self
            .courses
            .into_iter()
            .filter(|(_, course)| course.seen == end && course.last > course.first)
            .collect();
        growing.sort_by_key(|(fingerprint, course)| {
            (
                Reverse(course.last.saturating_sub(course.first)),
                *fingerprint,
            )
        });
        let stacks = growing.len();
        growing.truncate(self.options.limit.unwrap_or(usize::MAX));
        let sites = last
            .as_ref()
            .map(|(profile, ..)| Sites::new(profile, &self.options.rules));
        Series {
            verdict: self.verdict.name().to_owned(),
            reasons: self.verdict.reasons().to_vec(),
            filters: self.filters,
            rows: self.rows,
            sample_type: self.options.by,
            unit: self.options.by.unit().to_owned(),
            stacks,
            growing: growing
                .into_iter()
                .map(|(fingerprint, course)| {
                    let sample = last.as_ref().and_then(|(profile, fingerprints, _)| {
                        let index = fingerprints.iter().position(|&f| f == fingerprint)?;
                        Some((profile, profile.samples.get(index)?))
                    });
                    let marks = sample.zip(sites.as_ref());
                    GrowingStack {
                        fingerprint,
                        change: Change::new(course.first, course.last),
                        grew: course.grew,
                        shrank: course.shrank,
                        site: marks.map_or_else(SiteMarks::default, |((_, sample), sites)| {
                            SiteMarks::of(sites, &sites.marks(sample))
                        }),
                        frames: sample
                            .map(|(profile, sample)| frames(profile, sample))
                            .unwrap_or_default(),
                    }
                })
                .collect(),
            names: names(
                last.as_ref().map(|(profile, ..)| profile),
                self.options.names,
            ),
            max_width: self.options.max_width,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Course, SeriesBuilder, SeriesOptions};
    use crate::export::example::counter_service;
    use crate::profile::{Incompatible, Profile, Verdict};

    /// The example, some steps of ten seconds later.
    fn step(nth: i64) -> Profile {
        let mut profile = counter_service();
        profile.metadata.time_nanos += nth * 10_000_000_000;
        for sample in &mut profile.samples {
            sample.values.alloc_objects += nth * 100;
            sample.values.alloc_space += nth * 10_240;
        }
        profile.samples[0].values.inuse_space += nth * 1_024;
        profile.samples[0].values.inuse_objects += nth;
        // Up and down again.
        profile.samples[1].values.inuse_space += (nth % 2) * 100;
        profile
    }

    #[test]
    fn a_series_shows_rates_and_what_grows() -> Result<(), Incompatible> {
        let mut builder = SeriesBuilder::new(SeriesOptions::default());
        for nth in 0..4 {
            builder.push(&format!("heap-{nth}.pb.gz"), &step(nth))?;
        }
        insta::assert_snapshot!(builder.finish(), @"
        Verdict: degraded
                 2 of 3048 allocations have no stack.
        Times:   since 2023-11-14T22:13:20Z

              time        live     objects   allocated/s     objects/s        step since first
             0.0 s      2.95MB        2011             -             -           0           0  heap-0.pb.gz
            10.0 s      2.96MB        2012           4kB            40     +1.10kB     +1.10kB  heap-1.pb.gz
            20.0 s      2.96MB        2013           4kB            40       +924B        +2kB  heap-2.pb.gz
            30.0 s      2.96MB        2014           4kB            40     +1.10kB     +3.10kB  heap-3.pb.gz

        Showing 2 of 2 stacks that have more inuse_space at the end

              +3072B    +0.15%  grew in 3 of 3 steps, shrank in 0
              counter::Cache::insert  src/cache.rs:9
                counter::Cache::insert  src/cache.rs:9
                counter::handle  src/main.rs:44
                main  src/main.rs:12

               +100B   +10.00%  grew in 2 of 3 steps, shrank in 1
              counter::walk  src/walk.rs:3
                counter::walk  src/walk.rs:3
                counter::walk  src/walk.rs:3
                counter::walk  src/walk.rs:3
                main  src/main.rs:12
        ");
        Ok(())
    }

    #[test]
    fn a_window_knows_its_own_rate_and_a_restart_none() -> Result<(), Incompatible> {
        let mut builder = SeriesBuilder::new(SeriesOptions::default());
        let mut window = step(0);
        window.metadata.duration_nanos = Some(2_000_000_000);
        builder.push("window", &window)?;
        builder.push("total", &step(1))?;
        builder.push("restarted", &{
            let mut restarted = step(2);
            restarted.samples.truncate(1);
            restarted
        })?;
        let rates: Vec<_> = builder
            .rows
            .iter()
            .map(|row| row.alloc_objects_per_second)
            .collect();
        assert_eq!(rates, [Some(1_524.0), None, None]);
        Ok(())
    }

    #[test]
    fn a_stack_that_comes_and_goes_has_shrunk() {
        let course = |amounts: &[(usize, i64)]| {
            let mut course = Course::default();
            for &(nth, amount) in amounts {
                course.advance(amount, nth);
            }
            (course.first, course.last, course.grew, course.shrank)
        };
        assert_eq!(course(&[(0, 5), (1, 5), (2, 7), (3, 6)]), (5, 6, 1, 1));
        assert_eq!(course(&[(2, 7), (3, 9)]), (0, 9, 2, 0));
        assert_eq!(course(&[(0, 5), (3, 5)]), (5, 5, 1, 1));
    }

    #[test]
    fn the_worst_verdict_is_the_series() -> Result<(), Incompatible> {
        let mut builder = SeriesBuilder::new(SeriesOptions::default());
        builder.push("a", &step(0))?;
        assert!(!builder.is_inconclusive());
        let mut lossy = step(1);
        lossy.verdict = Verdict::Inconclusive {
            reasons: vec!["Nothing fired.".to_owned()],
        };
        builder.push("b", &lossy)?;
        assert!(builder.is_inconclusive());
        let text = builder.finish().to_string();
        assert!(text.contains("b (inconclusive)"), "{text}");
        Ok(())
    }

    #[test]
    fn other_sampling_does_not_belong() -> Result<(), Incompatible> {
        let mut builder = SeriesBuilder::new(SeriesOptions::default());
        builder.push("a", &step(0))?;
        let mut sampled = step(1);
        sampled.metadata.period = 4_096;
        assert!(builder.push("b", &sampled).is_err());
        Ok(())
    }
}
