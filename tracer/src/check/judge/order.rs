//! Findings put together by site, and in the order of the reports.

use crate::check::finding::{Finding, RuleId, What};

/// By rule, leaks by their rate, the undecided behind them; those alike as they were.
pub(super) fn sort(findings: &mut [Finding]) {
    let rule = |finding: &Finding| RuleId::ALL.iter().position(|&rule| rule == finding.rule());
    let is_undecided = |finding: &Finding| matches!(finding.what, What::Undecided(_));
    findings.sort_by(|one, other| {
        let by_rule = rule(one).cmp(&rule(other));
        by_rule
            .then_with(|| is_undecided(one).cmp(&is_undecided(other)))
            .then_with(|| other.rate().total_cmp(&one.rate()))
    });
}

/// Adds a leak to that of the same site, or as another one.
pub(super) fn add(findings: &mut Vec<Finding>, finding: Finding) {
    let mut left = Some(finding);
    for known in findings.iter_mut() {
        left = left.and_then(|finding| known.take_in(finding));
    }
    findings.extend(left);
}
