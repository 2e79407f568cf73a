//! Those rules of a policy that one or two profiles decide: peak, budgets, baseline.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::policy::{Baseline, Budget, Peak};
use super::suppressions::{Suppressions, frames};
use super::units::{Bytes, Tolerance};
use crate::profile::{Fingerprint, Incompatible, Profile, ValueKind, diff};

/// A limit that was exceeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// Which limit.
    pub rule: Rule,
    /// What it is about; amounts are in its unit.
    pub value: ValueKind,
    /// The amount found.
    pub amount: i64,
    /// The most that would have been allowed.
    pub limit: i64,
    /// What the baseline holds, where there is one.
    pub before: Option<i64>,
    /// The samples of the profile that make up the amount, the largest first; none where it is all
    /// of them.
    pub samples: Vec<usize>,
    /// The suppression, by its place in the list, that it is known by.
    pub suppression: Option<usize>,
}

/// How much is live at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// Bytes.
    pub bytes: i64,
    /// Objects.
    pub objects: i64,
}

/// A limit of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Most live at once.
    Peak,
    /// A function's budget, by its regular expression.
    Budget(String),
    /// Everything, against the baseline.
    BaselineTotal,
    /// A stack, against the baseline.
    BaselineStack(Fingerprint),
}

/// The most that was live at once, against its limits. `kinds` say which values of a profile tell who held
/// it: bytes, then objects.
#[must_use]
pub fn peak(peak: &Peak, most: Live, kinds: [ValueKind; 2]) -> Vec<Breach> {
    let Live { bytes, objects } = most;
    let [space, count] = kinds;
    [
        (space, bytes, in_bytes(peak.max_live)),
        (count, objects, in_objects(peak.max_live_objects)),
    ]
    .into_iter()
    .filter_map(|(value, amount, limit)| {
        let limit = limit.filter(|&limit| amount > limit)?;
        Some(Breach {
            rule: Rule::Peak,
            value,
            amount,
            limit,
            before: None,
            samples: Vec::new(),
            suppression: None,
        })
    })
    .collect()
}

/// What functions and all they call hold and have allocated, against their budgets.
#[must_use]
pub fn budgets(budgets: &[Budget], profile: &Profile) -> Vec<Breach> {
    budgets
        .iter()
        .flat_map(|budget| exceeded(budget, profile))
        .collect()
}

fn exceeded(budget: &Budget, profile: &Profile) -> Vec<Breach> {
    let functions = profile.functions.iter();
    let named: Vec<bool> = functions
        .map(|f| budget.function.is_match(&f.name))
        .collect();
    let samples = profile.samples.iter().enumerate();
    let through: Vec<usize> = samples
        .filter(|(_, sample)| {
            let mut frames = profile.frames(sample);
            frames.any(|frame| named.get(frame.function).is_some_and(|&named| named))
        })
        .map(|(index, _)| index)
        .collect();
    let amount = |index: usize, kind: ValueKind| {
        let sample = profile.samples.get(index);
        sample.map_or(0, |sample| sample.values.get(kind))
    };
    [
        (ValueKind::InuseSpace, in_bytes(budget.max_live)),
        (ValueKind::InuseObjects, in_objects(budget.max_live_objects)),
        (ValueKind::AllocSpace, in_bytes(budget.max_allocated)),
        (
            ValueKind::AllocObjects,
            in_objects(budget.max_allocated_objects),
        ),
    ]
    .into_iter()
    .filter_map(|(value, limit)| {
        let sum = through.iter().fold(0_i64, |sum, &index| {
            sum.saturating_add(amount(index, value))
        });
        let limit = limit.filter(|&limit| sum > limit)?;
        let mut samples = through.clone();
        samples.retain(|&index| amount(index, value) != 0);
        samples.sort_by_key(|&index| Reverse(amount(index, value)));
        Some(Breach {
            rule: Rule::Budget(budget.function.as_str().to_owned()),
            value,
            amount: sum,
            limit,
            before: None,
            samples,
            suppression: None,
        })
    })
    .collect()
}

/// What is live, as a whole and stack by stack, against an earlier profile. Suppressed stacks do not
/// count in the whole; by themselves they are returned with their suppression.
///
/// Stacks are matched by fingerprint, so the earlier profile may be of another build. The largest
/// breach comes first, after that of the whole.
///
/// # Errors
/// When the two cannot be compared.
pub fn baseline(
    rule: &Baseline,
    before: &Profile,
    after: &Profile,
    suppressions: &Suppressions,
) -> Result<Vec<Breach>, Incompatible> {
    const VALUE: ValueKind = ValueKind::InuseSpace;
    let breach = |name: Rule, held: i64, holds: i64| {
        let limit = held.saturating_add(allowed_growth(rule, held));
        (holds > limit).then(|| Breach {
            rule: name,
            value: VALUE,
            amount: holds,
            limit,
            before: Some(held),
            samples: Vec::new(),
            suppression: None,
        })
    };
    let diff = diff(before, after)?;
    let (mut held, mut holds) = (0_i64, 0_i64);
    let mut stacks: Vec<(Fingerprint, Breach)> = Vec::new();
    for (stack, sample) in diff.stacks.iter().zip(&diff.profile.samples) {
        let suppression = suppressions.position(&frames(&diff.profile, sample));
        let (before, after) = (stack.before.get(VALUE), stack.after.get(VALUE));
        if suppression.is_none() {
            held = held.saturating_add(before);
            holds = holds.saturating_add(after);
        }
        let name = Rule::BaselineStack(stack.fingerprint);
        stacks.extend(breach(name, before, after).map(|breach| {
            let breach = Breach {
                suppression,
                ..breach
            };
            (stack.fingerprint, breach)
        }));
    }
    stacks.sort_by_key(|(fingerprint, breach)| {
        let growth = breach.amount.saturating_sub(breach.before.unwrap_or(0));
        (Reverse(growth), *fingerprint)
    });
    let mut breaches: Vec<Breach> = breach(Rule::BaselineTotal, held, holds)
        .into_iter()
        .collect();
    if !stacks.is_empty() {
        let mut samples: HashMap<Fingerprint, Vec<usize>> = HashMap::new();
        for (index, fingerprint) in after.fingerprints().into_iter().enumerate() {
            samples.entry(fingerprint).or_default().push(index);
        }
        breaches.extend(stacks.into_iter().map(|(fingerprint, breach)| Breach {
            samples: samples.remove(&fingerprint).unwrap_or_default(),
            ..breach
        }));
    }
    Ok(breaches)
}

/// A share of what was held, or what counts as none where that is more.
fn allowed_growth(rule: &Baseline, held: i64) -> i64 {
    let (Tolerance(share), Bytes(least)) = (rule.tolerance, rule.min_growth);
    // Floats saturate on their way to an integer.
    ((held.max(0) as f64 * share) as i64).max(least)
}

fn in_bytes(limit: Option<Bytes>) -> Option<i64> {
    limit.map(|Bytes(bytes)| bytes)
}

fn in_objects(limit: Option<u32>) -> Option<i64> {
    limit.map(i64::from)
}

#[cfg(test)]
mod tests {
    use super::{Breach, Live, Rule, baseline, budgets, peak};
    use crate::check::Policy;
    use crate::export::example::counter_service;
    use crate::profile::{Profile, ValueKind};

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    fn summary(breaches: &[Breach]) -> Vec<(&Rule, ValueKind, i64, i64)> {
        let breaches = breaches.iter();
        breaches
            .map(|b| (&b.rule, b.value, b.amount, b.limit))
            .collect()
    }

    #[test]
    fn the_peak_has_two_limits() -> Outcome {
        let most = Live {
            bytes: 3_097_576,
            objects: 2_011,
        };
        let limits = |text: &str| -> Result<Vec<Breach>, Box<dyn std::error::Error>> {
            let policy = Policy::parse(&format!("[peak]\n{text}"))?;
            let kinds = [ValueKind::InuseSpace, ValueKind::InuseObjects];
            Ok(peak(&policy.peak.ok_or("no peak")?, most, kinds))
        };
        assert_eq!(
            summary(&limits("max-live = 3097575\nmax-live-objects = 2010")?),
            [
                (&Rule::Peak, ValueKind::InuseSpace, 3_097_576, 3_097_575),
                (&Rule::Peak, ValueKind::InuseObjects, 2_011, 2_010)
            ]
        );
        assert_eq!(limits("max-live = 3097576\nmax-live-objects = 2011")?, []);
        Ok(())
    }

    #[test]
    fn a_budget_is_for_a_function_and_all_it_calls() -> Outcome {
        let profile = counter_service();
        let limits = |text: &str| -> Result<Vec<Breach>, Box<dyn std::error::Error>> {
            Ok(budgets(&Policy::parse(text)?.budgets, &profile))
        };
        let rule = Rule::Budget("handle$".to_owned());
        let breaches = limits(
            "[[budget]]\nfunction = \"handle$\"\nmax-live = \"2000000B\"\n\
             max-live-objects = 2000\nmax-allocated = \"1MB\"\nmax-allocated-objects = 3006\n\
             [[budget]]\nfunction = \"nobody\"\nmax-live = 0\n",
        )?;
        assert_eq!(
            summary(&breaches),
            [
                (&rule, ValueKind::InuseSpace, 2_048_000, 2_000_000),
                (&rule, ValueKind::AllocSpace, 3_072_700, 1 << 20),
                (&rule, ValueKind::AllocObjects, 3_007, 3_006)
            ]
        );
        assert_eq!(breaches[0].samples, [0], "the other holds nothing");
        assert_eq!(breaches[1].samples, [0, 2]);
        // Recursion counts once.
        let walk = limits("[[budget]]\nfunction = \"walk\"\nmax-live = 0\n")?;
        assert_eq!(walk[0].amount, 1_000);
        Ok(())
    }

    fn compared(
        policy: &str,
        before: &Profile,
        after: &Profile,
    ) -> Result<Vec<Breach>, Box<dyn std::error::Error>> {
        let policy = Policy::parse(&format!("[baseline]\nfile = \"x\"\n{policy}"))?;
        let rule = policy.baseline.ok_or("no baseline")?;
        Ok(baseline(&rule, before, after, &policy.suppressions.leaks)?)
    }

    /// The example after a rebuild that moved everything, with more in two stacks.
    fn rebuilt() -> Profile {
        let mut profile = counter_service();
        profile.mappings[0].build_id = "77aa".to_owned();
        for location in &mut profile.locations[..4] {
            location.address += 0x123;
            location.lines[0].line += 5;
        }
        profile.samples[0].values.inuse_space += 20_480;
        profile.samples[1].values.inuse_space += 500;
        profile
    }

    #[test]
    fn a_rebuild_alone_is_no_growth() -> Outcome {
        let mut same = rebuilt();
        same.samples = counter_service().samples;
        assert_eq!(compared("", &counter_service(), &same)?, []);
        Ok(())
    }

    #[test]
    fn growth_beyond_the_tolerance_is_found_stack_by_stack() -> Outcome {
        let (before, after) = (counter_service(), rebuilt());
        let print = after.fingerprints();
        let (cache, walk) = (Rule::BaselineStack(print[0]), Rule::BaselineStack(print[1]));
        let space = ValueKind::InuseSpace;

        let breaches = compared("", &before, &after)?;
        assert_eq!(
            summary(&breaches),
            [
                (&Rule::BaselineTotal, space, 3_118_556, 3_097_576),
                (&cache, space, 2_068_480, 2_048_000),
                (&walk, space, 1_500, 1_000)
            ]
        );
        assert_eq!(breaches[1].before, Some(2_048_000));
        assert_eq!(breaches[1].samples, [0]);

        // One in a hundred, and 1.5 times.
        let breaches = compared("tolerance = \"1%\"", &before, &after)?;
        assert_eq!(summary(&breaches), [(&walk, space, 1_500, 1_010)]);
        let breaches = compared(
            "min-growth = \"1kB\"\ntolerance = \"0.5%\"",
            &before,
            &after,
        )?;
        assert_eq!(breaches.len(), 2);
        assert_eq!(breaches[1].rule, cache);
        let breaches = compared("tolerance = \"1%\"\nmin-growth = \"500B\"", &before, &after)?;
        assert_eq!(breaches, []);
        Ok(())
    }

    #[test]
    fn a_new_stack_has_only_the_least_growth() -> Outcome {
        let mut before = counter_service();
        before.samples.remove(1);
        let found = compared("tolerance = \"1000%\"", &before, &counter_service())?;
        assert_eq!(
            (found.len(), found[0].before, found[0].limit),
            (1, Some(0), 0)
        );
        assert_eq!(
            compared("min-growth = \"1000B\"", &before, &counter_service())?,
            []
        );
        Ok(())
    }

    #[test]
    fn suppressed_stacks_do_not_count() -> Outcome {
        let policy = "[suppressions]\nleaks = [\"Cache::insert\", \"walk.rs\"]\n";
        let breaches = compared(policy, &counter_service(), &rebuilt())?;
        let by: Vec<_> = breaches.iter().map(|breach| breach.suppression).collect();
        assert_eq!(by, [Some(0), Some(1)], "and the whole is none");
        Ok(())
    }

    #[test]
    fn other_sampling_is_refused() {
        let mut sampled = counter_service();
        sampled.metadata.period = 4_096;
        assert!(compared("", &counter_service(), &sampled).is_err());
    }
}
