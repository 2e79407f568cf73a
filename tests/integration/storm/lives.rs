//! Threads, forks, execs from any thread, libraries at the place of others, signals, code that changes its
//! protection and exits, in random order, with a ledger, while a second tracer comes and goes.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use tests::profile;
use tests::tracing::{Tracing, others_come_and_go};
use tests::workload::Workload;
use tracer::profile::{Profile, Values, Verdict};

use super::{Length, Random, plugins};

/// How the verdict says that stacks were cut, and that some were where nothing of them is left.
const CUT: [&str; 2] = ["have cut stacks", "objects_replaced_whole"];

/// Storms in a test run.
const STORMS: u32 = 8;
/// What happens in one.
const ROUNDS: &str = "150";

/// Storms and what came of them.
#[derive(Default)]
struct Tally {
    storms: u32,
    complete: u32,
    /// Code was replaced.
    replacing: u32,
    /// Nothing is missing but callers, in stacks that say so.
    whole: u32,
    /// Libraries that came to where the other one was.
    replaced: u64,
    /// Allocations of libraries that have their names.
    named: i64,
    /// Why others are not whole.
    reasons: BTreeMap<String, u32>,
}

/// Amounts are exact, or the verdict says what is missing; names are right, or not there. Every other storm
/// has libraries that replace one another.
pub(super) fn lives() -> Result<()> {
    let length = Length::new(STORMS)?;
    let mut random = Random::new()?;
    let libraries = plugins::paths()?;
    let mut tallies = [Tally::default(), Tally::default()];
    let mut round = 0;
    while length.has(round) {
        let seed = random.below(u64::from(u32::MAX)).to_string();
        let has_libraries = round % 2 == 1;
        let context = || {
            let with = if has_libraries { " A B" } else { "" };
            format!(
                "storm {round} of seed {}: `storm {seed} {ROUNDS}{with}`",
                random.seed
            )
        };
        let mut arguments = vec![seed.as_str(), ROUNDS];
        if has_libraries {
            arguments.extend(libraries.iter().map(String::as_str));
        }
        let tally = &mut tallies[usize::from(has_libraries)];
        storm(&arguments, tally).with_context(context)?;
        round += 1;
    }
    let [without, with] = tallies;
    println!("{round} storms of seed {}", random.seed);
    for (tally, what) in [(&without, "without libraries"), (&with, "with libraries")] {
        println!(
            "{} {what}: {} complete, {} whole but for stacks that are cut; {:?}",
            tally.storms, tally.complete, tally.whole, tally.reasons
        );
        // The verdict is no way out. On a busy machine it is the right one for many.
        ensure!(
            tally.whole * 4 > tally.storms,
            "only {} of {} storms {what} were seen whole (seed {}): {:?}",
            tally.whole,
            tally.storms,
            random.seed,
            tally.reasons
        );
    }
    println!(
        "{} times a library came to where the other one was, {} allocations of libraries have their names",
        with.replaced, with.named
    );
    ensure!(without.replacing == 0, "code was replaced");
    ensure!(
        with.replaced > 0 && with.named > 0,
        "no library was replaced, or none named (seed {})",
        random.seed
    );
    Ok(())
}

fn storm(arguments: &[&str], tally: &mut Tally) -> Result<()> {
    let mut workload = Workload::start("storm", arguments)?;
    let tracing = Tracing::attach_with(workload.pid(), &["--follow-forks"])?;
    workload.open_gate()?;
    others_come_and_go()?;
    let ledger = workload.ledger()?;
    let profile = tracing.stop_with_any_verdict()?;
    workload.finish()?;
    let mut missing = Values::default();
    for (function, amount) in &ledger.parts {
        if !function.starts_with("storm_") {
            continue;
        }
        let expected = allocated(amount.values()?);
        let found = allocated(through(&profile, function));
        // Never too much, and never another's.
        check(
            profile::contains(expected, found),
            function,
            expected,
            found,
            &profile,
        )?;
        missing = missing.plus(expected.minus(found));
    }
    let of_libraries = plugins::check_names(&ledger, &profile)?;
    let reasons = profile.verdict.reasons();
    let others = reasons
        .iter()
        .filter(|reason| !CUT.iter().any(|words| reason.contains(words)));
    let others: Vec<_> = others.cloned().collect();
    let is_replaced = profile::counter(&profile, "stacks_replaced")? > 0;
    if others.is_empty() {
        let cut = allocated(profile::cut(&profile));
        check(
            profile::contains(cut, missing),
            "those cut",
            missing,
            cut,
            &profile,
        )?;
        of_libraries.check_missing(&profile)?;
    }
    tally.storms += 1;
    tally.complete += u32::from(profile.verdict == Verdict::Complete);
    tally.replacing += u32::from(is_replaced);
    tally.whole += u32::from(others.is_empty());
    tally.replaced += ledger.cases.get("replaced").copied().unwrap_or_default();
    tally.named += of_libraries.named;
    for reason in others {
        *tally.reasons.entry(reason).or_default() += 1;
    }
    Ok(())
}

/// What the stacks with a function hold, but for a signal's that interrupted it.
fn through(profile: &Profile, function: &str) -> Values {
    let samples = profile.samples.iter().filter(|sample| {
        let innermost = profile::stack(profile, sample).find(|name| name.starts_with("storm_"));
        innermost == Some(function)
    });
    samples.fold(Values::default(), |sum, sample| sum.plus(sample.values))
}

/// What exec and exit leave alone.
pub(super) fn allocated(values: Values) -> Values {
    Values {
        alloc_objects: values.alloc_objects,
        alloc_space: values.alloc_space,
        ..Values::default()
    }
}

fn check(
    holds: bool,
    what: &str,
    expected: Values,
    found: Values,
    profile: &Profile,
) -> Result<()> {
    ensure!(
        holds,
        "{what}: ledger {} objects, {} bytes; profile {}, {}\n{}",
        expected.alloc_objects,
        expected.alloc_space,
        found.alloc_objects,
        found.alloc_space,
        profile::summary(profile)
    );
    Ok(())
}
