//! The rules in force: the policy file, the command line over it, and the files both name.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

use super::super::read::read;
use super::args::{MaxGrowth, RuleArgs};
use crate::check::policy::{Baseline, Growth, Peak};
use crate::check::{Policy, Suppressions};
use crate::printable::Shown as _;
use crate::profile::Profile;

/// The file that is a policy where none is named.
const DEFAULT_POLICY: &str = "tracer.toml";

/// The rules, with everything they name.
pub(super) struct Rules {
    pub(super) policy: Policy,
    pub(super) baseline: Option<Profile>,
    /// The policy file, if there is one.
    pub(super) file: Option<PathBuf>,
}

/// Reads the rules.
pub(super) fn rules(args: &RuleArgs) -> anyhow::Result<Rules> {
    let default = Path::new(DEFAULT_POLICY);
    let file = match &args.policy {
        Some(file) => Some(file.clone()),
        None => default.exists().then(|| default.to_owned()),
    };
    let mut policy = match &file {
        Some(file) => read_policy(file)?,
        None => Policy::default(),
    };
    apply(args, &mut policy)?;
    for file in std::mem::take(&mut policy.suppressions.files) {
        let text = fs::read_to_string(&file)
            .with_context(|| format!("the suppressions {} could not be read", file.shown()))?;
        let more = Suppressions::parse(&text).with_context(|| format!("in {}", file.shown()))?;
        policy.suppressions.leaks.extend(more);
    }
    let baseline = match &policy.baseline {
        Some(baseline) => Some(read(&baseline.file).context("the baseline could not be used")?),
        None => None,
    };
    Ok(Rules {
        policy,
        baseline: baseline.map(|contents| contents.profile),
        file,
    })
}

fn read_policy(file: &Path) -> anyhow::Result<Policy> {
    let text = fs::read_to_string(file)
        .with_context(|| format!("the policy {} could not be read", file.shown()))?;
    let mut policy = Policy::parse(&text).with_context(|| format!("in {}", file.shown()))?;
    // What it names is beside it.
    let folder = file.parent().unwrap_or(Path::new(""));
    for file in &mut policy.suppressions.files {
        *file = folder.join(&*file);
    }
    if let Some(baseline) = &mut policy.baseline {
        baseline.file = folder.join(&baseline.file);
    }
    Ok(policy)
}

/// The command line wins.
fn apply(args: &RuleArgs, policy: &mut Policy) -> anyhow::Result<()> {
    if args.no_leaks || args.allow_leaks {
        policy.no_leaks = Some(args.no_leaks);
    }
    policy.allow_undecided |= args.allow_undecided;
    policy.warm_up = args.warm_up.or(policy.warm_up);
    growth(args, policy);
    if args.max_peak.is_some() || args.max_peak_objects.is_some() {
        let peak = policy.peak.get_or_insert(Peak {
            max_live: None,
            max_live_objects: None,
        });
        peak.max_live = args.max_peak.or(peak.max_live);
        peak.max_live_objects = args.max_peak_objects.or(peak.max_live_objects);
    }
    if let Some(file) = &args.baseline {
        let known = policy.baseline.take();
        policy.baseline = Some(Baseline {
            file: file.clone(),
            tolerance: known.as_ref().map(|b| b.tolerance).unwrap_or_default(),
            min_growth: known.as_ref().map(|b| b.min_growth).unwrap_or_default(),
        });
    }
    match &mut policy.baseline {
        Some(baseline) => {
            baseline.tolerance = args.tolerance.unwrap_or(baseline.tolerance);
            baseline.min_growth = args.min_growth.unwrap_or(baseline.min_growth);
        }
        None => ensure!(
            args.tolerance.is_none() && args.min_growth.is_none(),
            "--tolerance and --min-growth are those of a baseline: name one with --baseline"
        ),
    }
    let files = args.suppressions.iter().cloned();
    policy.suppressions.files.extend(files);
    let per_operation = policy.growth.is_some_and(|g| g.max_per_operation.is_some());
    let rate = policy
        .growth
        .and_then(|growth| growth.operations_per_second);
    if per_operation && rate.is_none() {
        bail!(
            "growth per operation takes their number a second: say it with --operations-per-second"
        );
    }
    Ok(())
}

fn growth(args: &RuleArgs, policy: &mut Policy) {
    let mut growth = policy.growth.unwrap_or(Growth {
        max_per_second: None,
        max_per_operation: None,
        operations_per_second: None,
    });
    for limit in &args.max_growth {
        MaxGrowth::apply(*limit, &mut growth);
    }
    growth.operations_per_second = args.operations_per_second.or(growth.operations_per_second);
    // The rate alone is no rule, but good for the amounts that a leak is reported with.
    if growth.is_limited() || growth.operations_per_second.is_some() {
        policy.growth = Some(growth);
    }
}
