//! A recording under a policy: what was found, what is known, and whether anything can be said.
//!
//! Three things are kept apart: what was found, what was looked for and not found, and what could not
//! be told. The last is never the second.

mod open;
mod pages;
mod stacks;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::HashMap;

use super::evaluate::{self, Live, Rule};
use super::finding::{Finding, Judgement, Outcome, Per, RuleId, Stack, What};
use super::growth;
use super::leaks::{self, Class, Confidence, Lack, MemoryLimit, Options};
use super::policy::{Growth, Peak, Policy};
use crate::profile::series::{Series, StackId};
use crate::profile::{Fingerprint, Incompatible, Profile, ValueKind, Verdict};
use open::Open;
pub use pages::unjudgeable_by_pages;
use pages::{Whole, is_by_pages};
use stacks::label;

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
    let mut judge = Judge::new(recorded, policy);
    judge.check_evidence();
    if matches!(recorded.profile.verdict, Verdict::Sampled { .. }) {
        // Every rule goes by what is live.
        judge.reasons.push(SAMPLED.to_owned());
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

/// Why a sampled recording is not judged.
const SAMPLED: &str = "only windows of the target were seen (--max-overhead), and what is live can't be told from \
     these: what is held to be live may have been freed between two of them; record it exactly";

struct Judge<'a> {
    recorded: &'a Recorded,
    policy: &'a Policy,
    fingerprints: Vec<Fingerprint>,
    /// Memory was told from page faults: objects are pages.
    by_pages: bool,
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
            by_pages: is_by_pages(recorded),
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
        let report = leaks::leaks(series, &options);
        let whole = self.by_pages.then(|| Whole::of(series, &options));
        self.over_time = true;
        let too_little = match &whole {
            Some(whole) => whole.too_little(),
            None => self.too_little_for_leaks(&report),
        };
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
                    if let Some(whole) = &whole {
                        leak = leak.of_pages(whole.grows());
                    }
                    let rate = rate.filter(|_| leak.bytes_per_operation.is_none());
                    let by_rate = rate.map(|rate| leak.bytes_per_second / rate);
                    leak.bytes_per_operation = leak.bytes_per_operation.or(by_rate);
                    What::Leak(leak)
                }
                // Where memory does not grow as a whole, it has only changed hands.
                Class::TooLittleData { .. } if whole.as_ref().is_some_and(Whole::is_steady) => {
                    continue;
                }
                Class::TooLittleData {
                    lack: lack @ (Lack::Events { .. } | Lack::Load { .. }),
                } => What::Undecided(lack),
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
                self.warnings.push(finding);
            }
        }
        if self.policy.allow_undecided {
            return;
        }
        self.reasons
            .extend(whole.and_then(|whole| whole.unexplained(explained)));
        self.reasons.extend(open.reasons());
    }

    /// What is missing for a judgement over any stack.
    fn too_little_for_leaks(&self, report: &leaks::Leaks) -> Option<String> {
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

    /// The rules about amounts at one time.
    fn amounts(&mut self) {
        let profile = &self.recorded.profile;
        if let Some(rule) = &self.policy.peak {
            self.rules.push(RuleId::Peak);
            self.peak(rule);
        }
        if !self.policy.budgets.is_empty() {
            self.rules.push(RuleId::Budget);
            for breach in evaluate::budgets(&self.policy.budgets, profile) {
                let finding = self.about_everything(breach);
                self.findings.push(finding);
            }
        }
    }

    /// The most that was live at once: the high-water mark where it was kept. Snapshots alone can show that
    /// a limit was exceeded, never that it was not.
    fn peak(&mut self, rule: &Peak) {
        let totals = growth::totals(&self.recorded.series, |_| true);
        let seen = growth::peak(&totals);
        let Some(peak) = self.recorded.profile.peak else {
            let kinds = [ValueKind::InuseSpace, ValueKind::InuseObjects];
            let breaches = evaluate::peak(rule, seen, kinds);
            let limits =
                usize::from(rule.max_live.is_some()) + usize::from(rule.max_live_objects.is_some());
            if breaches.len() < limits {
                self.reasons.push(
                    "the peak could not be judged: it was not kept in what was read, and snapshots show \
                     only what was live at their moments. Record with this version of tracer, or limit \
                     what they show with a [[budget]]"
                        .to_owned(),
                );
            }
            for breach in breaches {
                let finding = self.about_snapshot(breach, &totals);
                self.findings.push(finding);
            }
            return;
        };
        // A snapshot may have seen a little more: the mark is within 1%.
        let most = Live {
            bytes: seen.bytes.max(peak.bytes),
            objects: seen.objects.max(peak.objects),
        };
        for breach in evaluate::peak(rule, most, [ValueKind::PeakSpace, ValueKind::PeakObjects]) {
            let finding = self.about_peak(breach);
            self.findings.push(finding);
        }
    }

    fn baseline(&mut self, before: Option<&Profile>) -> Result<(), Incompatible> {
        let Some(rule) = &self.policy.baseline else {
            return Ok(());
        };
        if rule.is_first {
            self.notes.push(
                "there was no baseline to compare with: this check writes the first one".to_owned(),
            );
            return Ok(());
        }
        self.rules.push(RuleId::Baseline);
        let Some(before) = before else {
            self.reasons.push("there is no baseline".to_owned());
            return Ok(());
        };
        if matches!(before.verdict, Verdict::Inconclusive { .. }) {
            self.reasons.push(
                "the baseline missed too much to compare with: record another one".to_owned(),
            );
        }
        if matches!(before.verdict, Verdict::Sampled { .. }) {
            self.reasons.push(
                "of the baseline only windows were seen, so that it does not tell what was live: \
                 record one exactly"
                    .to_owned(),
            );
            return Ok(());
        }
        if before.counts_pages() {
            self.reasons
                .push("the baseline counts pages, which can't be compared with objects".to_owned());
            return Ok(());
        }
        self.suppressible = true;
        let suppressions = &self.policy.suppressions.leaks;
        let breaches = evaluate::baseline(rule, before, &self.recorded.profile, suppressions)?;
        for breach in breaches {
            let suppression = breach.suppression;
            for &sample in breach.samples.iter().filter(|_| suppression.is_some()) {
                self.suppression_of_sample(sample);
            }
            let finding = Finding {
                suppression: self.suppression(suppression).map(label),
                ..match breach.rule {
                    Rule::BaselineStack(_) => self.about_samples(breach),
                    _ => self.about_everything(breach),
                }
            };
            if suppression.is_some() {
                self.suppressed.push(finding);
            } else {
                self.findings.push(finding);
            }
        }
        Ok(())
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
        self.findings
            .sort_by_key(|finding| RuleId::ALL.iter().position(|&rule| rule == finding.rule()));
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

/// Adds a leak to that at the same place, or as another one.
fn add(findings: &mut Vec<Finding>, finding: Finding) {
    let mut left = Some(finding);
    for known in findings.iter_mut() {
        left = left.and_then(|finding| known.take_in(finding));
    }
    findings.extend(left);
}
