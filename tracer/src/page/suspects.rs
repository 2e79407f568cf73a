//! Who may leak: the judgement of `tracer check` over the moments that are kept, and what grew most by site.
//!
//! The judgement decides who is called a leak, here as everywhere. Where it can't tell yet, the page says why, and shows
//! growth as what it is.

use std::cmp::Reverse;
use std::collections::HashMap;

use serde::Serialize;

use super::Kept;
use super::points::MILLISECOND;
use crate::check::leaks::Confidence;
use crate::check::report::{said, said_of_all};
use crate::check::{Finding, Judgement, Policy, Recorded, SavedSeries, What, judge};
use crate::export::ReadError;
use crate::names::NameStyle;
use crate::printable::printable;
use crate::profile::{Fingerprint, Profile, ValueKind};
use crate::report::{Cells, SiteMarks, names};
use crate::sites::{Rules, Sites};

/// Sites that grew and are shown.
const GROWING: usize = 5;
/// Suspects that are shown; the surest come first.
const SUSPECTS: usize = 20;

/// Who may leak.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Suspects {
    /// How the judgement ends: `1 leak found`.
    pub outcome: String,
    /// What was looked at.
    pub evidence: String,
    /// Why there is no judgement, or not of everything; one sentence each.
    pub reasons: Vec<String>,
    /// What speaks against those that were found, and other remarks; one sentence each.
    pub remarks: Vec<String>,
    /// The times of all trends, in milliseconds since the Unix epoch.
    pub times_ms: Vec<i64>,
    /// Who may leak, the surest first.
    pub suspects: Vec<Suspect>,
    /// The sites that grew most in bytes, whatever the judgement says of them.
    pub growing: Vec<GrowingSite>,
}

/// A site that may leak.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Suspect {
    /// `leak`, `possible` or `undecided`.
    pub grade: &'static str,
    /// What it is: `leak of 47 kB/s, confidence high`.
    pub headline: String,
    /// Where it is.
    pub site: String,
    /// What else there is to say, one sentence each.
    pub details: Vec<String>,
    /// Bytes live at its site, at each of the times; empty where that is not known.
    pub trend: Vec<i64>,
}

/// A site that holds more at the end than at the beginning.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GrowingSite {
    /// Where memory is asked for, the line, what for, and what is allocated.
    pub cells: Cells,
    /// Steps in which it grew.
    pub rises: usize,
    /// Steps in which it shrank.
    pub falls: usize,
    /// Bytes live, at each of the times.
    pub trend: Vec<i64>,
}

/// What tells sites apart.
type Key = (String, String, String);

/// The sites over time.
#[derive(Default)]
struct Trends {
    times_ms: Vec<i64>,
    sites: HashMap<Key, (SiteMarks, Vec<i64>)>,
    /// Sites of the stacks.
    site_of: HashMap<Fingerprint, Key>,
}

impl Trends {
    fn push(&mut self, profile: &Profile) {
        let at = self.times_ms.len();
        self.times_ms
            .push(profile.metadata.time_nanos / MILLISECOND);
        let fingerprints = profile.fingerprints();
        let is_known = |one: &Fingerprint| self.site_of.contains_key(one);
        // It takes a look at every function, and most profiles have no stack that those before have not.
        let sites =
            (!fingerprints.iter().all(is_known)).then(|| Sites::new(profile, &Rules::default()));
        for (sample, fingerprint) in profile.samples.iter().zip(fingerprints) {
            if let (Some(sites), None) = (&sites, self.site_of.get(&fingerprint)) {
                let marks = SiteMarks::of(sites, &sites.marks(sample));
                let key = marks.key();
                self.sites.entry(key.clone()).or_insert((marks, Vec::new()));
                self.site_of.insert(fingerprint, key);
            }
            let key = self.site_of.get(&fingerprint);
            let Some((_, trend)) = key.and_then(|key| self.sites.get_mut(key)) else {
                continue;
            };
            trend.resize(at + 1, 0);
            if let Some(sum) = trend.last_mut() {
                *sum = sum.saturating_add(sample.values.get(ValueKind::InuseSpace));
            }
        }
    }

    fn of(&self, finding: &Finding) -> Vec<i64> {
        let fingerprint = finding.stack.as_ref().and_then(|stack| stack.fingerprint);
        let key = fingerprint.and_then(|one| self.site_of.get(&one));
        let site = key.and_then(|key| self.sites.get(key));
        site.map_or_else(Vec::new, |(_, trend)| trend.clone())
    }

    /// Says of sites that are gone that they hold nothing.
    fn fill(&mut self) {
        for (_, trend) in self.sites.values_mut() {
            trend.resize(self.times_ms.len(), 0);
        }
    }

    fn growing(self, last: &Profile) -> Vec<GrowingSite> {
        let names = names([last], NameStyle::Short);
        let growth = |trend: &[i64]| match trend {
            [first, .., last] => last.saturating_sub(*first),
            _ => 0,
        };
        let sites = self.sites.into_iter();
        let mut grown: Vec<_> = sites.filter(|(_, (_, trend))| growth(trend) > 0).collect();
        grown.sort_by(|(key, (_, one)), (other_key, (_, other))| {
            (Reverse(growth(one)), key).cmp(&(Reverse(growth(other)), other_key))
        });
        let grown = grown.into_iter().take(GROWING);
        grown
            .map(|(_, (marks, trend))| GrowingSite {
                cells: marks.cells(&names, false),
                rises: trend.windows(2).filter(|pair| pair[1] > pair[0]).count(),
                falls: trend.windows(2).filter(|pair| pair[1] < pair[0]).count(),
                trend,
            })
            .collect()
    }
}

/// Judges moments, the oldest first. `recorded` is what `check` judges where more is known than the moments say, as of a
/// series that was saved with its generations.
///
/// # Errors
/// A moment could not be read.
pub fn suspects(moments: &[Kept], recorded: Option<&Recorded>) -> Result<Suspects, ReadError> {
    let mut trends = Trends::default();
    let mut series = SavedSeries::default();
    let mut no_series = None;
    let mut last = None;
    for kept in moments {
        let contents = kept.contents()?;
        trends.push(&contents.profile);
        if recorded.is_none()
            && no_series.is_none()
            && let Err(error) = series.push(contents.profile.clone(), &contents.kinds)
        {
            no_series = Some(format!("these profiles can't be judged: {error}"));
        }
        last = Some(contents.profile);
    }
    let Some(last) = last else {
        return Ok(Suspects::default());
    };
    trends.fill();
    let own = match (recorded, &no_series) {
        (None, None) => series.finish(),
        _ => None,
    };
    // Each moment is of all that was seen until then: the last one's verdict speaks for those before, which had seen less.
    let own = own.map(|mut own| {
        own.profile.verdict = last.verdict.clone();
        own
    });
    let mut shown = match recorded.or(own.as_ref()) {
        Some(recorded) => judged(recorded, &trends),
        None => Suspects {
            outcome: "inconclusive".to_owned(),
            reasons: no_series.into_iter().collect(),
            ..Suspects::default()
        },
    };
    shown.times_ms.clone_from(&trends.times_ms);
    shown.growing = trends.growing(&last);
    Ok(shown)
}

fn judged(recorded: &Recorded, trends: &Trends) -> Suspects {
    let mut judgement = match judge(recorded, &Policy::default(), None, None) {
        Ok(judgement) => judgement,
        // Only of a baseline.
        Err(error) => {
            return Suspects {
                reasons: vec![error.to_string()],
                ..Suspects::default()
            };
        }
    };
    judgement.name_functions(&recorded.profile, NameStyle::Short);
    let Judgement {
        findings, warnings, ..
    } = &judgement;
    let (outcome, evidence, mut remarks) = said_of_all(&judgement);
    let all = findings.iter().chain(warnings).take(SUSPECTS);
    let suspects = all.map(|finding| suspect(finding, trends)).collect();
    if let more @ 1.. = (findings.len() + warnings.len()).saturating_sub(SUSPECTS) {
        remarks.push(format!("{more} more sites may leak or are undecided."));
    }
    remarks.extend(judgement.notes.iter().cloned());
    let text = |lines: Vec<String>| {
        let lines = lines.iter();
        lines.map(|line| printable(line).into_owned()).collect()
    };
    Suspects {
        outcome,
        evidence,
        reasons: text(judgement.reasons),
        remarks: text(remarks),
        suspects,
        ..Suspects::default()
    }
}

fn suspect(finding: &Finding, trends: &Trends) -> Suspect {
    let said = said(finding);
    let text = |text: &str| printable(text).into_owned();
    Suspect {
        grade: match &finding.what {
            What::Leak(leak) if leak.confidence > Confidence::Low => "leak",
            What::Leak(_) => "possible",
            What::Undecided(_) | What::Growth { .. } | What::Breach(_) => "undecided",
        },
        headline: text(&said.headline),
        site: said
            .site
            .as_deref()
            .map_or_else(|| "[no stack]".to_owned(), text),
        details: said.details.iter().map(|line| text(line)).collect(),
        trend: trends.of(finding),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::export::example::counter_service;
    use crate::profile::Verdict;

    fn kept(second: i64, grown: i64) -> io::Result<Kept> {
        let mut profile = counter_service();
        profile.metadata.time_nanos += second * 1_000_000_000;
        profile.verdict = match second {
            0 => Verdict::Inconclusive {
                reasons: vec!["nothing was seen".to_owned()],
            },
            _ => Verdict::Complete,
        };
        for sample in &mut profile.samples {
            sample.values.alloc_objects += second;
            sample.values.alloc_space += second * 64;
        }
        let values = &mut profile.samples[0].values;
        values.inuse_objects += grown;
        values.inuse_space += grown * 64;
        values.alloc_objects += grown;
        values.alloc_space += grown * 64;
        Kept::of(&profile, &ValueKind::ALL)
    }

    fn of(growth: impl Fn(i64) -> i64) -> Result<Suspects, Box<dyn std::error::Error>> {
        let moments: io::Result<Vec<_>> = (0..40).map(|at| kept(at, growth(at))).collect();
        Ok(suspects(&moments?, None)?)
    }

    #[test]
    fn steady_growth_is_a_suspect() -> Result<(), Box<dyn std::error::Error>> {
        let shown = of(|second| second * 100)?;
        let [suspect] = shown.suspects.as_slice() else {
            panic!("{shown:?}");
        };
        assert_ne!(suspect.grade, "undecided");
        assert_eq!(suspect.trend.len(), 40);
        assert_eq!(shown.times_ms.len(), 40);
        let [growing] = shown.growing.as_slice() else {
            panic!("{shown:?}");
        };
        assert_eq!((growing.rises, growing.falls), (39, 0));
        assert_eq!(growing.trend, suspect.trend);
        Ok(())
    }

    #[test]
    fn what_stays_is_none() -> Result<(), Box<dyn std::error::Error>> {
        let shown = of(|_| 0)?;
        assert_eq!((shown.suspects, shown.growing), (vec![], vec![]));
        assert_eq!(shown.outcome, "nothing found");
        Ok(())
    }

    #[test]
    fn too_little_is_said() -> Result<(), Box<dyn std::error::Error>> {
        assert_eq!(suspects(&[], None)?, Suspects::default());
        let shown = suspects(&[kept(1, 0)?], None)?;
        assert_eq!(shown.outcome, "inconclusive");
        assert!(!shown.reasons.is_empty());
        // Two recordings are no series, and what grew can be shown nevertheless.
        let shown = suspects(&[kept(9, 9)?, kept(1, 20)?], None)?;
        assert_eq!(
            (shown.outcome.as_str(), shown.growing.len()),
            ("inconclusive", 1)
        );
        assert!(shown.reasons[0].contains("less was allocated"), "{shown:?}");
        Ok(())
    }
}
