//! The rows of the table: sites with how they went, filtered and sorted.

use std::cmp::Reverse;

use crate::profile::ValueKind;
use crate::report::LiveSite;
use crate::top::course::Course;

/// A site, and how it went.
#[derive(Clone, Debug)]
pub(in crate::top) struct Row {
    pub(in crate::top) site: LiveSite,
    /// Bytes and objects that were allocated a second.
    pub(in crate::top) rate: (i64, i64),
    /// Live bytes over the last minute.
    pub(in crate::top) trend: Vec<i64>,
    /// Live bytes that there are more than a minute ago.
    pub(in crate::top) change: i64,
}

impl Row {
    pub(super) fn of(site: &LiveSite, course: Option<&Course>) -> Self {
        Self {
            site: site.clone(),
            rate: course.map_or((0, 0), Course::rate),
            trend: course.map(Course::trend).unwrap_or_default(),
            change: course.map_or(0, Course::change),
        }
    }

    /// Whether one of its texts holds this one, which is in lower case.
    pub(super) fn matches(&self, wanted: &str) -> bool {
        let site = &self.site;
        let texts = [&site.place, &site.line, &site.purpose, &site.what];
        wanted.is_empty()
            || texts
                .into_iter()
                .any(|text| text.to_lowercase().contains(wanted))
    }

    /// What was allocated a second, in the unit of a value.
    pub(in crate::top) fn rate_of(&self, by: ValueKind) -> i64 {
        let (bytes, objects) = self.rate;
        match by.unit() {
            "bytes" => bytes,
            _ => objects,
        }
    }
}

/// By which column rows are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::top) enum Sort {
    /// The value that is shown.
    Value,
    /// Live bytes.
    Live,
    /// Live objects.
    Objects,
    /// What is allocated a second.
    Rate,
    /// How many live bytes there are more than a minute ago.
    Change,
    /// Where memory is asked for.
    Place,
}

impl Sort {
    /// The columns that are not that of the value itself.
    fn all(by: ValueKind) -> impl DoubleEndedIterator<Item = Self> + Clone {
        let all = [
            Self::Value,
            Self::Live,
            Self::Objects,
            Self::Rate,
            Self::Change,
            Self::Place,
        ];
        all.into_iter().filter(move |sort| match sort {
            Self::Live => by != ValueKind::InuseSpace,
            Self::Objects => by != ValueKind::InuseObjects,
            _ => true,
        })
    }

    /// The next column to the right.
    pub(super) fn next(self, by: ValueKind) -> Self {
        let mut all = Self::all(by).skip_while(|sort| *sort != self);
        all.nth(1).unwrap_or(Self::Value)
    }

    /// The next column to the left.
    pub(super) fn previous(self, by: ValueKind) -> Self {
        let mut all = Self::all(by).rev().skip_while(|sort| *sort != self);
        all.nth(1).unwrap_or(match self {
            Self::Value => Self::Place,
            _ => Self::Value,
        })
    }

    /// The largest first; names in their order.
    pub(super) fn sort(self, rows: &mut [Row], by: ValueKind) {
        let amount = |row: &Row| match self {
            Self::Value => row.site.values.get(by),
            Self::Live => row.site.values.inuse_space,
            Self::Objects => row.site.values.inuse_objects,
            Self::Rate => row.rate_of(by),
            Self::Change => row.change,
            Self::Place => 0,
        };
        rows.sort_by(|one, other| {
            let key = |row: &Row| Reverse((amount(row), row.site.values.get(by)));
            let texts = [one, other].map(|row| (&row.site.place, &row.site.key));
            let by_text = texts[0].cmp(&texts[1]);
            match self {
                Self::Place => by_text,
                _ => key(one).cmp(&key(other)).then(by_text),
            }
        });
    }
}
