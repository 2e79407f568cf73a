//! The rules about amounts at one time: the peak, budgets, the baseline.

use super::Judge;
use super::stacks::label;
use crate::check::evaluate::{self, Live, Rule};
use crate::check::finding::{Finding, RuleId};
use crate::check::growth;
use crate::check::policy::Peak;
use crate::profile::{Incompatible, Profile, ValueKind, Verdict};

impl Judge<'_> {
    /// The rules about amounts at one time.
    pub(super) fn amounts(&mut self) {
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

    pub(super) fn baseline(&mut self, before: Option<&Profile>) -> Result<(), Incompatible> {
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
}
