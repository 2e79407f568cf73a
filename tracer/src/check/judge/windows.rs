//! The rules where the target was seen in windows: what can be judged, and what is never nothing.

use super::Judge;
use super::seen::Seen;
use crate::check::finding::What;
use crate::check::leaks::MemoryLimit;
use crate::check::policy::Policy;
use crate::profile::series::Series;
use crate::profile::{Profile, Verdict};

/// Why a recording is not judged that has no survivors.
const UNKNOWN: &str = "only windows of the target were seen (--max-overhead), and these profiles do not say what of \
     that survived: record and judge it with `tracer check --max-overhead`, or record it exactly";

/// Whether a profile is of a target that was seen in windows.
pub(super) fn are_seen(profile: &Profile) -> bool {
    let mut counters = profile.counters.iter();
    matches!(profile.verdict, Verdict::Sampled { .. })
        || counters.any(|counter| counter.name == "windows" && counter.value > 0)
}

/// The part of what the target allocated that was seen, whether in windows or while it was traced exactly: what is told
/// of it (`Sampled::share_seen`) is that of windows alone.
fn share_seen(series: &Series, profile: &Profile) -> f64 {
    let stacks = series.stacks();
    let seen: u64 = stacks
        .map(|(_, stack)| stack.counters().alloc_objects)
        .sum();
    let samples = profile.samples.iter();
    let all: f64 = samples
        .map(|sample| sample.values.alloc_objects as f64)
        .sum();
    match profile.sampled {
        Some(_) if all > 0.0 => (seen as f64 / all).min(1.0),
        _ => 0.0,
    }
}

impl Judge<'_> {
    /// Judges a recording that saw the target in windows. What is not found there is never nothing: that also takes
    /// that a leak would have shown.
    pub(super) fn in_windows(&mut self, limit: Option<MemoryLimit>) {
        let series = &self.recorded.series;
        if matches!(self.recorded.profile.verdict, Verdict::Inconclusive { .. }) {
            // That has been said.
            return;
        }
        self.seen = Seen::of(series, share_seen(series, &self.recorded.profile));
        if self.seen.is_none() {
            self.reasons.push(UNKNOWN.to_owned());
            return;
        }
        self.leaks(limit);
        if let (Some(seen), true) = (&self.seen, self.over_time) {
            let after = series
                .marks()
                .get(self.warm_up())
                .map_or(0.0, |mark| mark.seconds);
            let (words, is_enough) = seen.sensitivity(after);
            if is_enough {
                self.notes.push(words);
            } else {
                self.reasons.push(words);
            }
        }
        let survive = |what: &What| matches!(what, What::Leak(_));
        let warnings = self.warnings.iter();
        // What fills looks as if it came to an end where survivors that are none die.
        let open = self.filling + warnings.filter(|finding| survive(&finding.what)).count();
        if open > 0 && !self.policy.allow_undecided {
            self.reasons.push(format!(
                "of {open} stack(s) ever more survives, and the target's memory does not bear out that they leak: record \
                 longer, or exactly, or pass over it with --allow-undecided"
            ));
        }
        for rule in unjudgeable(self.policy) {
            self.reasons.push(format!(
                "{rule} can't be judged by windows (--max-overhead): record exactly"
            ));
        }
    }
}

/// The rules of a policy that go by what is live at a time, which windows don't tell.
fn unjudgeable(policy: &Policy) -> impl Iterator<Item = &'static str> {
    let growth = policy
        .growth
        .as_ref()
        .is_some_and(|growth| growth.is_limited());
    [
        (growth, "growth"),
        (policy.peak.is_some(), "the peak"),
        (!policy.budgets.is_empty(), "a budget"),
        (policy.baseline.is_some(), "a baseline"),
    ]
    .into_iter()
    .filter_map(|(is_asked, name)| is_asked.then_some(name))
}
