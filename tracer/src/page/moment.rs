//! One moment: what the head and the table of sites of a report say, for each of the four values.

use serde::Serialize;

use super::points::MILLISECOND;
use super::{Flame, KINDS};
use crate::printable::printable;
use crate::profile::{CounterClass, Profile, ValueKind};
use crate::report::{Cells, SitesOptions, show_error, sites};
use crate::sites::Kind;

/// Rows of a table of sites: more than anybody reads, and few enough to be sent every few seconds.
const ROWS: usize = 200;

/// A profile as the page shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Moment {
    /// Milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// How it was recorded.
    pub source: String,
    /// `complete`, `degraded`, `sampled` or `inconclusive`.
    pub verdict: String,
    /// What the verdict rests on, one sentence each.
    pub reasons: Vec<String>,
    /// Counters of losses that are not 0.
    pub losses: Vec<Loss>,
    /// What else is worth saying, one sentence each.
    pub notes: Vec<String>,
    /// Objects are pages, by who touched them first.
    pub counts_pages: bool,
    /// The values, in the order of [`KINDS`].
    pub values: Vec<ValueOfMoment>,
    /// The flame graph.
    pub flame: Flame,
}

/// A counter of losses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// Its name, as in every output.
    pub name: String,
    /// Its value.
    pub value: u64,
    /// One sentence for people.
    pub help: String,
}

/// One of the four values.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ValueOfMoment {
    /// Which one.
    pub kind: ValueKind,
    /// `bytes` or `count`.
    pub unit: &'static str,
    /// The file has it; where not, it is unknown and not 0.
    pub is_known: bool,
    /// Sum over all stacks.
    pub total: i64,
    /// How wrong that may be, as reports write it; empty where it was counted.
    pub error: String,
    /// What else there is to know of it, each with a word for it.
    pub remarks: Vec<(&'static str, String)>,
    /// Sites there are, shown or not.
    pub sites: usize,
    /// Those shown, the largest first.
    pub rows: Vec<SiteOfMoment>,
}

/// A site.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SiteOfMoment {
    /// What its stacks hold.
    pub value: i64,
    /// How wrong that may be, as reports write it.
    pub error: String,
    /// That, in percent of the total.
    pub percent: f64,
    /// Where memory is asked for, the line, what for, and what is allocated.
    pub cells: Cells,
    /// Whose code asks for it.
    pub kind: Option<Kind>,
}

/// A profile, of which `kinds` are known.
#[must_use]
pub fn moment(profile: &Profile, kinds: &[ValueKind]) -> Moment {
    let text = |text: &String| printable(text).into_owned();
    Moment {
        time_ms: profile.metadata.time_nanos / MILLISECOND,
        source: text(&profile.metadata.source),
        verdict: profile.verdict.name().to_owned(),
        reasons: profile.verdict.reasons().iter().map(text).collect(),
        losses: losses(profile),
        notes: profile.metadata.notes.iter().map(text).collect(),
        counts_pages: profile.counts_pages(),
        values: KINDS
            .iter()
            .map(|&kind| value(profile, kind, kinds))
            .collect(),
        flame: Flame::of(profile),
    }
}

fn losses(profile: &Profile) -> Vec<Loss> {
    let is_loss = |class| {
        matches!(
            class,
            CounterClass::AmountLoss | CounterClass::AttributionLoss
        )
    };
    let counters = profile.counters.iter();
    let losses = counters.filter(|one| one.value > 0 && is_loss(one.class));
    losses
        .map(|one| Loss {
            name: printable(&one.name).into_owned(),
            value: one.value,
            help: printable(&one.help).into_owned(),
        })
        .collect()
}

fn value(profile: &Profile, kind: ValueKind, known: &[ValueKind]) -> ValueOfMoment {
    let table = sites(
        profile,
        &SitesOptions {
            by: kind,
            limit: Some(ROWS),
            ..SitesOptions::default()
        },
    );
    let rows = table.rows.iter().zip(table.texts());
    let rows = rows.map(|(row, cells)| SiteOfMoment {
        value: row.value,
        error: row
            .error
            .as_ref()
            .map_or_else(String::new, |error| show_error(error, row.value)),
        percent: row.percent,
        cells,
        kind: row.place.as_ref().map(|place| place.kind),
    });
    let header = &table.header;
    let error = header.total_error.as_ref();
    ValueOfMoment {
        kind,
        unit: kind.unit(),
        is_known: known.contains(&kind),
        total: header.total,
        error: error.map_or_else(String::new, |error| show_error(error, header.total)),
        remarks: header.remarks().collect(),
        sites: table.sites,
        rows: rows.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::example::{counter_service, estimated};

    #[test]
    fn amounts_and_names_are_those_of_the_report() {
        let profile = counter_service();
        let shown = moment(&profile, &ValueKind::ALL);
        assert_eq!(shown.values.len(), KINDS.len());
        for (value, kind) in shown.values.iter().zip(KINDS) {
            let options = SitesOptions {
                by: kind,
                ..SitesOptions::default()
            };
            let table = sites(&profile, &options);
            assert_eq!((value.kind, value.total), (kind, table.header.total));
            assert!(value.is_known);
            let text = table.to_string();
            for row in &value.rows {
                assert!(text.contains(&row.cells[0]), "{row:?}\n{text}");
            }
            let amounts: Vec<_> = table.rows.iter().map(|row| row.value).collect();
            let shown: Vec<_> = value.rows.iter().map(|row| row.value).collect();
            assert_eq!(shown, amounts);
        }
        assert_eq!(shown.verdict, "degraded");
        assert!(!shown.reasons.is_empty() && !shown.losses.is_empty());
        assert!(shown.losses.iter().all(|loss| loss.value > 0));
        assert_eq!(shown.notes, ["The target exited before the end."]);
    }

    #[test]
    fn estimates_say_how_wrong_they_may_be() {
        let shown = moment(&estimated(), &[ValueKind::InuseSpace]);
        let is = |kind| shown.values.iter().find(|value| value.kind == kind);
        let allocated = is(ValueKind::AllocSpace).map(|value| (value.is_known, &value.error));
        assert!(allocated.is_some_and(|(known, error)| !known && error.contains('±')));
        let live = is(ValueKind::InuseSpace).map(|value| &value.remarks);
        assert!(live.is_some_and(|remarks| remarks.iter().any(|(word, _)| *word == "Sampled")));
    }

    #[test]
    fn names_from_outside_stay_text() {
        let mut profile = counter_service();
        for function in &mut profile.functions {
            function.name = "<img src=x onerror=alert(1)>\u{1b}[2J\u{202e}".to_owned();
        }
        let shown = moment(&profile, &ValueKind::ALL);
        let text = serde_json::to_string(&shown).unwrap_or_default();
        assert!(text.contains("<img src=x onerror=alert(1)>"));
        assert!(
            !text.contains('\u{202e}') && !text.contains("\\u001b"),
            "{text}"
        );
    }
}
