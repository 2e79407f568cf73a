//! Questions that tests ask of a profile.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail, ensure};
use tracer::profile::{
    CounterClass, Errors, Location, Profile, Sample, ValueKind, Values, Verdict,
};
use tracer_common::StackEnd;

/// Reads a profile the tracer wrote with `--format json`: by the documented form of the file, not
/// by the tracer's own reader.
///
/// # Errors
/// The file is something else.
pub fn read_json(bytes: &[u8]) -> Result<Profile> {
    let mut value: serde_json::Value = serde_json::from_slice(bytes).context("not JSON")?;
    ensure!(
        value["format"] == "tracer-profile",
        "not a profile: {}",
        value["format"]
    );
    ensure!(
        value["version"] == 1,
        "version {} of the format",
        value["version"]
    );
    serde_json::from_value(value["profile"].take()).context("not the shape of a profile")
}

/// Sum over all samples.
#[must_use]
pub fn total(profile: &Profile) -> Values {
    sum(profile.samples.iter())
}

/// Sum over the samples whose stack goes through a function, named with or without the parameter
/// list of C++.
#[must_use]
pub fn through(profile: &Profile, function: &str) -> Values {
    sum(profile.samples.iter().filter(|sample| {
        functions(profile, sample).any(|name| name == function || bare(name) == function)
    }))
}

/// The same, with the error of the sum, without what all samples share.
#[must_use]
pub fn estimated_through(profile: &Profile, function: &str) -> (Values, Errors) {
    let samples = profile.samples.iter().filter(|sample| {
        functions(profile, sample).any(|name| name == function || bare(name) == function)
    });
    let errors = samples.fold(Errors::default(), |sum, sample| sum.plus(sample.errors));
    (through(profile, function), errors)
}

/// Sum over the samples whose stack says that callers are missing.
#[must_use]
pub fn cut(profile: &Profile) -> Values {
    sum(profile.samples.iter().filter(|sample| {
        functions(profile, sample)
            .any(|name| StackEnd::ALL.iter().any(|end| end.frame() == Some(name)))
    }))
}

/// Whether none of a part's values is above the whole's.
#[must_use]
pub fn contains(whole: Values, part: Values) -> bool {
    ValueKind::ALL
        .iter()
        .all(|&kind| part.get(kind) <= whole.get(kind))
}

/// Without what was held at the peak, which ledgers do not know.
fn sum<'a>(samples: impl Iterator<Item = &'a Sample>) -> Values {
    samples.fold(Values::default(), |sum, sample| {
        sum.plus(sample.values.without_peak())
    })
}

/// The names on a sample's stack, leaf first, inlined frames included, without parameters.
pub fn stack<'a>(profile: &'a Profile, sample: &'a Sample) -> impl Iterator<Item = &'a str> {
    functions(profile, sample).map(bare)
}

fn functions<'a>(profile: &'a Profile, sample: &'a Sample) -> impl Iterator<Item = &'a str> {
    sample
        .locations
        .iter()
        .filter_map(|&index| profile.location(index))
        .flat_map(|location: &Location| &location.lines)
        .filter_map(|line| profile.functions.get(line.function))
        .map(|function| function.name.as_str())
}

/// A demangled name without the parameter list of C++.
fn bare(name: &str) -> &str {
    name.split_once('(')
        .filter(|(bare, _)| !bare.is_empty())
        .map_or(name, |(bare, _)| bare)
}

/// A counter's value.
///
/// # Errors
/// The profile does not carry it.
pub fn counter(profile: &Profile, name: &str) -> Result<u64> {
    let found = profile.counters.iter().find(|counter| counter.name == name);
    Ok(found
        .with_context(|| format!("the profile has no counter {name}"))?
        .value)
}

/// Checks that nothing was lost and that the profile says so.
///
/// # Errors
/// Names the losses, or the verdict where it does not fit.
pub fn check_complete(profile: &Profile) -> Result<()> {
    ensure!(
        !profile.counters.is_empty(),
        "the profile carries no counters"
    );
    if losses(profile).next().is_some() || profile.verdict != Verdict::Complete {
        bail!("not complete\n{}", summary(profile));
    }
    Ok(())
}

/// The same where processes are followed: before 6.12 the kernel may lose their probes, which is said of each.
///
/// # Errors
/// Something else was lost.
pub fn check_complete_but_unsure(profile: &Profile) -> Result<()> {
    if counter(profile, "children_unsure").unwrap_or(0) == 0 {
        return check_complete(profile);
    }
    if losses(profile).any(|name| name != "children_unsure") {
        bail!("not complete\n{}", summary(profile));
    }
    Ok(())
}

/// Counters of stacks that were cut by a known reason: of these each allocation ends in a frame that says so.
const CUT: [&str; 7] = [
    "cut_too_deep",
    "cut_no_rule",
    "cut_unsupported_rule",
    "cut_unreadable",
    "cut_not_rising",
    "cut_unmapped",
    "cut_switched",
];

/// Checks that nothing was lost but callers of stacks that say so, in as many allocations as the counters, and
/// that the verdict says no more and no less. Returns their number.
///
/// # Errors
/// Names the losses, or the verdict where it does not fit.
pub fn check_complete_but_cut(profile: &Profile) -> Result<u64> {
    let counted: u64 = CUT
        .into_iter()
        .map(|name| counter(profile, name))
        .sum::<Result<_>>()?;
    let shown = u64::try_from(cut(profile).alloc_objects)?;
    if counted == 0 && shown == 0 {
        check_complete(profile)?;
        return Ok(0);
    }
    let others = losses(profile).any(|name| !CUT.contains(&name) && name != "stacks_ended_early");
    let is_said = match &profile.verdict {
        Verdict::Degraded { reasons } => {
            reasons.len() == 1 && reasons[0].starts_with(&format!("{counted} allocations"))
        }
        _ => false,
    };
    if others || counted != shown || !is_said {
        bail!(
            "not complete: {shown} allocations have a cut stack, the counters say {counted}\n{}",
            summary(profile)
        );
    }
    Ok(counted)
}

fn losses(profile: &Profile) -> impl Iterator<Item = &str> {
    let losses = profile.counters.iter().filter(|counter| {
        let loss = matches!(
            counter.class,
            CounterClass::AmountLoss | CounterClass::AttributionLoss
        );
        loss && counter.value > 0
    });
    losses.map(|counter| counter.name.as_str())
}

/// Checks that no stack holds less than nothing, or more than it ever allocated.
///
/// # Errors
/// Names the first such stack.
pub fn check_sane(profile: &Profile) -> Result<()> {
    for sample in &profile.samples {
        let Values {
            alloc_objects,
            alloc_space,
            inuse_objects,
            inuse_space,
            ..
        } = sample.values;
        if !(0..=alloc_objects).contains(&inuse_objects)
            || !(0..=alloc_space).contains(&inuse_space)
        {
            let stack: Vec<_> = stack(profile, sample).collect();
            bail!("{:?} in {}", sample.values, stack.join(" < "));
        }
    }
    Ok(())
}

/// Verdict, counters and the largest stacks, for error messages.
#[must_use]
pub fn summary(profile: &Profile) -> String {
    let mut text = format!(
        "verdict {} {:?}\n",
        profile.verdict.name(),
        profile.verdict.reasons()
    );
    for counter in profile.counters.iter().filter(|counter| counter.value > 0) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:>12} {}", counter.value, counter.name);
    }
    let _ = writeln!(
        text,
        "{} stacks, the largest of them:",
        profile.samples.len()
    );
    let mut samples: Vec<_> = profile.samples.iter().collect();
    samples.sort_by_key(|sample| std::cmp::Reverse(sample.values.alloc_objects));
    for sample in samples.iter().take(20) {
        let stack: Vec<_> = stack(profile, sample).take(8).collect();
        let _ = writeln!(
            text,
            "{:>12} {}",
            sample.values.alloc_objects,
            stack.join(" < ")
        );
    }
    text
}
