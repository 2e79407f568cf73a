//! A recording under a policy: what was found, what is known, and whether anything can be said.
//!
//! Three things are kept apart: what was found, what was looked for and not found, and what could not
//! be told. The last is never the second.

mod amounts;
mod grouping;
mod open;
mod order;
mod pages;
mod seen;
mod stacks;
#[cfg(test)]
pub(crate) mod tests;
mod whole;
mod windows;

use std::collections::HashMap;

use super::finding::{Finding, Judgement, Outcome, Per, RuleId, Stack, What};
use super::growth;
use super::leaks::{self, Class, Confidence, Lack, Leaks, MemoryLimit, Options};
use super::policy::{Growth, Policy};
use crate::profile::series::{Series, StackId};
use crate::profile::{Fingerprint, Incompatible, Profile, Verdict};
use crate::sites::Sites;
use open::Open;
use order::{add, sort};
use pages::is_by_pages;
pub use pages::unjudgeable_by_pages;
use seen::Seen;
use stacks::label;
use whole::Whole;

/// A recording to judge.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Its snapshots; one is enough where nothing is judged over time.
    pub series: Series,
    /// The profile at its end, with the verdict over all of it.
    pub profile: Profile,
    /// The samples of the profile that are a stack of the series.
    pub samples: HashMap<StackId, Vec<usize>>,
}

impl Recorded {
    /// A recording in which each stack's id is the index of its sample.
    #[must_use]
    pub fn by_sample(series: Series, profile: Profile) -> Self {
        let samples = 0..profile.samples.len();
        Self {
            samples: samples
                .map(|index| (StackId(index as u64), vec![index]))
                .collect(),
            series,
            profile,
        }
    }
}

/// Judges a recording. `baseline` is the profile that the policy's baseline names; without it that
/// rule is inconclusive.
///
/// # Errors
/// When the baseline cannot be compared.
pub fn judge(
    recorded: &Recorded,
    policy: &Policy,
    baseline: Option<&Profile>,
    limit: Option<MemoryLimit>,
) -> Result<Judgement, Incompatible> {
    let are_windows = windows::are_seen(&recorded.profile);
    let recorded = &*if are_windows {
        grouping::by_site(recorded, policy)
    } else {
        grouping::without_nameless(recorded)
    };
    let mut judge = Judge::new(recorded, policy);
    judge.check_evidence();
    if are_windows {
        judge.in_windows(limit);
        return Ok(judge.finish());
    }
    judge.leaks(limit);
    if let Some(growth) = policy.growth.as_ref().filter(|growth| growth.is_limited()) {
        judge.growth(growth);
    }
    if judge.by_pages {
        judge.say_unjudgeable();
    } else {
        judge.amounts();
        judge.baseline(baseline)?;
    }
    Ok(judge.finish())
}

struct Judge<'a> {
    recorded: &'a Recorded,
    policy: &'a Policy,
    fingerprints: Vec<Fingerprint>,
    sites: Sites<'a>,
    /// Memory was told from page faults: objects are pages.
    by_pages: bool,
    /// The target was seen in windows: what is live are candidates.
    seen: Option<Seen>,
    /// Stacks of which ever more survived such windows, and more and more slowly.
    filling: usize,
    /// Of each suppression whether it matched something found.
    used: Vec<bool>,
    /// Something that can be suppressed was judged.
    suppressible: bool,
    over_time: bool,
    rules: Vec<RuleId>,
    findings: Vec<Finding>,
    warnings: Vec<Finding>,
    suppressed: Vec<Finding>,
    reasons: Vec<String>,
    notes: Vec<String>,
}

impl<'a> Judge<'a> {
    fn new(recorded: &'a Recorded, policy: &'a Policy) -> Self {
        Self {
            recorded,
            policy,
            fingerprints: recorded.profile.fingerprints(),
            sites: Sites::new(&recorded.profile, &policy.sites),
            by_pages: is_by_pages(recorded),
            seen: None,
            filling: 0,
            used: vec![false; policy.suppressions.leaks.list().len()],
            suppressible: false,
            over_time: false,
            rules: Vec::new(),
            findings: Vec::new(),
            warnings: Vec::new(),
            suppressed: Vec::new(),
            reasons: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Whether there is anything to judge at all.
    fn check_evidence(&mut self) {
        if let Verdict::Inconclusive { reasons } = &self.recorded.profile.verdict {
            self.reasons.push(format!(
                "too much was missed to say anything: {}",
                reasons.join("; ")
            ));
        }
        if self.by_pages {
            self.check_pages();
            return;
        }
        let mut stacks = self.recorded.series.stacks();
        if !stacks.any(|(_, history)| history.counters().alloc_objects > 0) {
            self.reasons
                .push("no allocation was seen, so nothing can be said".to_owned());
        }
    }

    fn leaks(&mut self, limit: Option<MemoryLimit>) {
        let series = &self.recorded.series;
        let alone = series.marks().len() < 2;
        let asked = self
            .policy
            .no_leaks
            .unwrap_or(!(alone && self.policy.has_other_rules()));
        if !asked {
            if self.policy.no_leaks.is_none() {
                self.notes
                    .push("leaks were not judged: that takes a series of profiles".to_owned());
            }
            return;
        }
        self.rules.push(RuleId::Leak);
        let options = Options {
            warm_up_seconds: self.policy.warm_up.map(|time| time.as_secs_f64()),
            limit,
            ..Options::default()
        };
        let (report, whole) = self.tested(&options);
        self.over_time = true;
        let too_little = match &whole {
            Some(whole) => whole.too_little(),
            None => None,
        };
        let too_little = too_little.or_else(|| {
            let by_stacks = !self.by_pages;
            by_stacks
                .then(|| self.too_little_for_leaks(&report))
                .flatten()
        });
        if let Some(reason) = too_little {
            self.reasons.push(reason);
            return;
        }
        self.suppressible = true;
        let rate = self.policy.growth.and_then(|g| g.operations_per_second);
        let mut open = Open::default();
        let mut explained = 0.0;
        for assessment in report.assessments {
            let stack = assessment.stack;
            let what = match assessment.class {
                Class::Leak(mut leak) => {
                    if let Some(whole) = whole.as_ref().filter(|_| self.by_pages) {
                        leak = leak.of_pages(whole.grows());
                    }
                    let rate = rate.filter(|_| leak.bytes_per_operation.is_none());
                    let by_rate = rate.map(|rate| leak.bytes_per_second / rate);
                    leak.bytes_per_operation = leak.bytes_per_operation.or(by_rate);
                    What::Leak(leak)
                }
                // Where memory does not grow as a whole, it has only changed hands.
                Class::TooLittleData { .. }
                    if self.by_pages && whole.as_ref().is_some_and(Whole::is_steady) =>
                {
                    continue;
                }
                Class::TooLittleData {
                    lack: lack @ (Lack::Events { .. } | Lack::Load { .. }),
                } => What::Undecided(lack),
                Class::BoundedFilling { .. } if self.seen.is_some() => {
                    self.filling += 1;
                    continue;
                }
                _ => continue,
            };
            let accused =
                matches!(&what, What::Leak(leak) if leak.confidence >= Confidence::Medium);
            if let (What::Leak(leak), true) = (&what, accused) {
                explained += leak.bytes_per_second;
            }
            let suppression = self.suppression_of(stack);
            let finding = self.finding(what, stack, assessment.counters, suppression);
            if suppression.is_some() {
                if accused {
                    add(&mut self.suppressed, finding);
                }
            } else if accused {
                add(&mut self.findings, finding);
            } else {
                open.add(&finding.what);
                add(&mut self.warnings, finding);
            }
        }
        if self.policy.allow_undecided {
            return;
        }
        self.reasons
            .extend(whole.and_then(|whole| whole.unexplained(explained)));
        self.reasons.extend(open.reasons());
    }

    /// What the tests say of each stack, and how the target's memory goes as a whole, where that counts.
    fn tested(&self, options: &Options) -> (Leaks, Option<Whole>) {
        let series = &self.recorded.series;
        if let Some(seen) = &self.seen {
            let (by_exposure, adapted) = seen.by_exposure(options);
            let mut report = leaks::leaks(by_exposure, &adapted);
            let whole = Whole::of(series, options);
            seen.interpret(&mut report, &whole);
            return (report, Some(whole));
        }
        let whole = self.by_pages.then(|| Whole::of(series, options));
        (leaks::leaks(series, options), whole)
    }

    /// What is missing for a judgement over any stack.
    fn too_little_for_leaks(&self, report: &Leaks) -> Option<String> {
        let series = &self.recorded.series;
        if series.marks().len() < 2 {
            return Some(
                "leaks could not be judged: one profile does not tell what grows, a series does"
                    .to_owned(),
            );
        }
        let windows = report.assessments.iter().find_map(|one| match one.class {
            Class::TooLittleData {
                lack: Lack::Windows { have, need },
            } => Some((have, need)),
            _ => None,
        });
        if let Some((have, need)) = windows {
            return Some(format!(
                "leaks could not be judged: it takes {need} steps between snapshots after the \
                 warm-up, and there are {have}: record longer, or more often"
            ));
        }
        let allocated = growth::allocated_after(series, self.warm_up());
        (allocated == 0).then(|| {
            "leaks could not be judged: nothing was allocated after the warm-up".to_owned()
        })
    }

    /// The window with which the warm-up ends.
    fn warm_up(&self) -> usize {
        let seconds = self.policy.warm_up.map(|time| time.as_secs_f64());
        leaks::warm_up_windows(&self.recorded.series, seconds) - 1
    }

    fn growth(&mut self, rule: &Growth) {
        self.rules.push(RuleId::Growth);
        self.over_time = true;
        let series = &self.recorded.series;
        let from = self.warm_up();
        // A stack that is known to leak is not to be reported this way either.
        let mut known = HashMap::new();
        for (stack, bytes) in growth::growing(series, from) {
            if let Some(suppression) = self.suppression_of(stack) {
                known.insert(stack, (suppression, bytes));
            }
        }
        self.suppressible = true;
        let totals = if self.by_pages {
            pages::totals(
                series,
                &growth::totals(series, |stack| known.contains_key(&stack)),
            )
        } else {
            growth::totals(series, |stack| !known.contains_key(&stack))
        };
        let Some(slope) = growth::bytes_per_second(series, &totals, from) else {
            self.reasons.push(
                "growth could not be judged: it takes two snapshots after the warm-up".to_owned(),
            );
            return;
        };
        let mut grown = growth::growing(series, from).into_iter();
        let largest = grown.find(|(stack, _)| !known.contains_key(stack));
        let mut limits = Vec::new();
        if let Some(limit) = rule.max_per_second {
            limits.push((slope, limit.0, Per::Second));
        }
        if let Some(limit) = rule.max_per_operation {
            match rule.operations_per_second {
                Some(rate) => limits.push((slope / rate, limit.0, Per::Operation)),
                None => self.reasons.push(
                    "growth per operation could not be judged: say how many operations there are a \
                     second with operations-per-second"
                        .to_owned(),
                ),
            }
        }
        for (bytes, limit, per) in limits {
            if bytes > limit as f64 {
                let stack = largest.map(|(stack, _)| Stack {
                    only_largest: true,
                    ..self.stack(stack, None)
                });
                self.findings.push(Finding {
                    what: What::Growth { bytes, limit, per },
                    stack,
                    others: Vec::new(),
                    suppression: None,
                    blame: None,
                });
            }
        }
    }

    fn finish(mut self) -> Judgement {
        let Recorded {
            series, profile, ..
        } = self.recorded;
        let unproven = matches!(profile.verdict, Verdict::Inconclusive { .. });
        let outcome = if !self.findings.is_empty() && !unproven {
            Outcome::Found
        } else if !self.reasons.is_empty() {
            Outcome::Inconclusive
        } else {
            Outcome::NothingFound
        };
        let judged = self.suppressible && outcome != Outcome::Inconclusive;
        let list = self.policy.suppressions.leaks.list().iter();
        let unused = list.zip(&self.used).filter(|(_, used)| judged && !**used);
        let last = |windows: usize| series.marks().get(windows).map(|mark| mark.seconds);
        let warm_up = self.warm_up();
        sort(&mut self.findings);
        sort(&mut self.warnings);
        Judgement {
            outcome,
            source: profile.metadata.source.clone(),
            snapshots: series.marks().len(),
            seconds: series.marks().last().map_or(0.0, |mark| mark.seconds),
            warm_up_seconds: last(warm_up).filter(|_| self.over_time),
            stacks: series.stacks().len(),
            peak: profile.peak,
            verdict: profile.verdict.clone(),
            rules: self.rules,
            unused_suppressions: unused.map(|(one, _)| label(one)).collect(),
            findings: self.findings,
            warnings: self.warnings,
            suppressed: self.suppressed,
            reasons: self.reasons,
            notes: self.notes,
        }
    }
}
