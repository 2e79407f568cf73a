//! The rules in force: the policy file, the command line over it, and the files both name.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

use super::super::read::read;
use super::args::RuleArgs;
use crate::check::policy::{Baseline, MaxGrowth};
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

/// Reads the rules. `to_write` is the file that gets a new baseline.
pub(super) fn rules(args: &RuleArgs, to_write: Option<&Path>) -> anyhow::Result<Rules> {
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
        let text = fs::read_to_string(&file).with_context(|| {
            format!(
                "the suppressions {} could not be read: correct the name in --suppressions or in the policy",
                file.shown()
            )
        })?;
        let more = Suppressions::parse(&text).with_context(|| format!("in {}", file.shown()))?;
        policy.suppressions.leaks.extend(more);
    }
    let baseline = match &mut policy.baseline {
        Some(baseline) => read_baseline(baseline, to_write)?,
        None => None,
    };
    Ok(Rules {
        policy,
        baseline,
        file,
    })
}

/// The baseline's profile; `None` where this very check writes the first one.
fn read_baseline(
    baseline: &mut Baseline,
    to_write: Option<&Path>,
) -> anyhow::Result<Option<Profile>> {
    let file = &baseline.file;
    if file.exists() {
        let contents = read(file).context("the baseline could not be used")?;
        return Ok(Some(contents.profile));
    }
    if to_write.is_some_and(|written| is_same_place(written, file)) {
        baseline.is_first = true;
        return Ok(None);
    }
    bail!(
        "there is no baseline {0} yet: write the first with --write-baseline {0}",
        file.shown()
    );
}

/// Whether two paths name one place, where there is no file yet.
fn is_same_place(one: &Path, other: &Path) -> bool {
    let folder = |path: &Path| {
        let folder = path.parent().filter(|folder| *folder != Path::new(""));
        fs::canonicalize(folder.unwrap_or(Path::new("."))).ok()
    };
    one.file_name() == other.file_name() && folder(one).is_some_and(|at| Some(at) == folder(other))
}

fn read_policy(file: &Path) -> anyhow::Result<Policy> {
    let text = fs::read_to_string(file).with_context(|| {
        format!(
            "the policy {} could not be read: correct the name, or leave --policy out",
            file.shown()
        )
    })?;
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
    policy.sites = args.sites.add_to(&policy.sites);
    policy.warm_up = args.warm_up.or(policy.warm_up);
    growth(args, policy);
    if args.max_peak.is_some() || args.max_peak_objects.is_some() {
        let peak = policy.peak.get_or_insert_default();
        peak.max_live = args.max_peak.or(peak.max_live);
        peak.max_live_objects = args.max_peak_objects.or(peak.max_live_objects);
    }
    if let Some(file) = &args.baseline {
        let known = policy.baseline.take();
        let known = known.unwrap_or_else(|| Baseline {
            tolerance: policy.tolerance.unwrap_or_default(),
            min_growth: policy.min_growth.unwrap_or_default(),
            ..Baseline::of(file.clone())
        });
        policy.baseline = Some(Baseline {
            file: file.clone(),
            ..known
        });
    }
    let tolerance = args.tolerance.or(policy.tolerance);
    let min_growth = args.min_growth.or(policy.min_growth);
    match &mut policy.baseline {
        Some(baseline) => {
            baseline.tolerance = tolerance.unwrap_or(baseline.tolerance);
            baseline.min_growth = min_growth.unwrap_or(baseline.min_growth);
        }
        None => ensure!(
            tolerance.is_none() && min_growth.is_none(),
            "tolerance and min-growth are those of a baseline: name one with --baseline, or in the policy"
        ),
    }
    policy.memory_limit = args.memory_limit.or(policy.memory_limit);
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
    let mut growth = policy.growth.unwrap_or_default();
    for limit in &args.max_growth {
        MaxGrowth::apply(*limit, &mut growth);
    }
    growth.operations_per_second = args.operations_per_second.or(growth.operations_per_second);
    // The rate alone is no rule, but good for the amounts that a leak is reported with.
    if growth.is_limited() || growth.operations_per_second.is_some() {
        policy.growth = Some(growth);
    }
}
