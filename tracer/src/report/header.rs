//! What stands above every report: where the amounts come from and whether to believe them.

use std::fmt;

use serde::Serialize;

use super::errors::{AmountError, Doubts, show};
use super::filters::{ActiveFilter, fmt_filters};
use super::format::show_alone;
use crate::printable::printable;
use crate::profile::{Peak, Profile, Sampled, ValueKind, Verdict};

/// The head of a report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Header {
    /// How the profile was recorded.
    pub source: String,
    /// `complete`, `degraded` or `inconclusive`.
    pub verdict: String,
    /// What the verdict rests on, one sentence each.
    pub reasons: Vec<String>,
    /// The value that is shown: `inuse_space` and so on.
    pub sample_type: ValueKind,
    /// Its unit, `bytes` or `count`; every amount of the report is in it.
    pub unit: String,
    /// Sum over all stacks, the reference of all percentages; of a difference, the sum of the
    /// absolute amounts, as pprof has it.
    pub total: i64,
    /// How wrong that may be, where it is estimated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_error: Option<AmountError>,
    /// What estimates rest on, where there are some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampled: Option<Sampled>,
    /// The most that was live at once, where that was kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak: Option<Peak>,
    /// What the report is limited to; percentages are of the whole nevertheless.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<ActiveFilter>,
    /// What is shown is what may be live: only windows were seen.
    #[serde(skip)]
    is_candidates: bool,
}

impl Header {
    pub(super) fn new(profile: &Profile, by: ValueKind) -> Self {
        let total = profile.samples.iter().fold(0_i64, |total, sample| {
            total.saturating_add(sample.values.get(by).saturating_abs())
        });
        let squares = profile.samples.iter().map(|sample| {
            let own = sample.errors.get(by).unwrap_or(0.0);
            own * own
        });
        let is_sampled =
            profile.sampled.is_some() || matches!(profile.verdict, Verdict::Sampled { .. });
        Self {
            total_error: Doubts::new(profile, by).of(total, squares.sum()),
            sampled: profile.sampled,
            is_candidates: is_sampled
                && matches!(by, ValueKind::InuseObjects | ValueKind::InuseSpace),
            source: profile.metadata.source.clone(),
            verdict: profile.verdict.name().to_owned(),
            reasons: profile.verdict.reasons().to_vec(),
            sample_type: by,
            unit: by.unit().to_owned(),
            total,
            peak: profile.peak,
            filters: Vec::new(),
        }
    }
}

impl Header {
    /// What else there is to know of the amounts, each with a word for it.
    pub(crate) fn remarks(&self) -> impl Iterator<Item = (&'static str, String)> {
        let sampled = self.sampled.as_ref();
        let candidates = self.is_candidates.then(|| {
            let what = "candidates seen in windows, at most: they may have been freed between two";
            ("Live", what.to_owned())
        });
        let peak = self.peak.as_ref();
        let sampled = sampled.map(|sampled| ("Sampled", sampled.to_string()));
        let peak = peak.map(|peak| ("Peak", peak.to_string()));
        [sampled, candidates, peak].into_iter().flatten()
    }
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.source.is_empty() {
            writeln!(f, "Source:  {}", printable(&self.source))?;
        }
        writeln!(f, "Verdict: {}", printable(&self.verdict))?;
        for reason in &self.reasons {
            writeln!(f, "         {}", printable(reason))?;
        }
        let total = show_alone(self.total, &self.unit);
        let error = self.total_error.as_ref();
        let error = error.map_or_else(String::new, |error| show(error, self.total));
        writeln!(
            f,
            "Type:    {}, total {total}{error}",
            self.sample_type.name()
        )?;
        for (word, remark) in self.remarks() {
            writeln!(f, "{:<9}{remark}", format!("{word}:"))?;
        }
        fmt_filters(&self.filters, f)
    }
}
