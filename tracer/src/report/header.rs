//! What stands above every report: where the amounts come from and whether to believe them.

use std::fmt;

use serde::Serialize;

use super::filters::{ActiveFilter, fmt_filters};
use super::format::show_alone;
use crate::printable::printable;
use crate::profile::{Peak, Profile, ValueKind};

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
    /// The most that was live at once, where that was kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak: Option<Peak>,
    /// What the report is limited to; percentages are of the whole nevertheless.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<ActiveFilter>,
}

impl Header {
    pub(super) fn new(profile: &Profile, by: ValueKind) -> Self {
        Self {
            source: profile.metadata.source.clone(),
            verdict: profile.verdict.name().to_owned(),
            reasons: profile.verdict.reasons().to_vec(),
            sample_type: by,
            unit: by.unit().to_owned(),
            total: profile.samples.iter().fold(0_i64, |total, sample| {
                total.saturating_add(sample.values.get(by).saturating_abs())
            }),
            peak: profile.peak,
            filters: Vec::new(),
        }
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
        writeln!(f, "Type:    {}, total {total}", self.sample_type.name())?;
        if let Some(peak) = &self.peak {
            writeln!(f, "Peak:    {peak}")?;
        }
        fmt_filters(&self.filters, f)
    }
}
