//! Threads, forks, execs from any thread, signals, code that changes its protection and exits, in random
//! order, with a ledger, while a second tracer comes and goes.

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use tests::profile;
use tests::tracing::Tracing;
use tests::workload::Workload;
use tracer::profile::{Profile, Values, Verdict};

use super::{Length, Random};

/// Storms in a test run.
const STORMS: u32 = 3;
/// What happens in one.
const ROUNDS: &str = "150";

/// Amounts are exact, or the verdict says what is missing.
pub(super) fn lives() -> Result<()> {
    let length = Length::new(STORMS)?;
    let mut random = Random::new()?;
    let mut round = 0;
    let mut complete = 0;
    while length.has(round) {
        let seed = random.below(u64::from(u32::MAX)).to_string();
        let context = || {
            format!(
                "storm {round} of seed {}: `storm {seed} {ROUNDS}`",
                random.seed
            )
        };
        complete += u32::from(storm(&seed).with_context(context)?);
        round += 1;
    }
    println!("{round} storms, {complete} of them complete");
    // The verdict is no way out.
    ensure!(
        complete * 2 > round,
        "only {complete} of {round} storms were seen whole (seed {})",
        random.seed
    );
    Ok(())
}

/// Returns whether the verdict was `complete`.
fn storm(seed: &str) -> Result<bool> {
    let mut workload = Workload::start("storm", &[seed, ROUNDS])?;
    let tracing = Tracing::attach_with(workload.pid(), &["--follow-forks"])?;
    workload.open_gate()?;
    // Each of them puts probes into the same libc, and takes them out.
    for _ in 0..2 {
        let mut other = Workload::start("steady", &[])?;
        let beside = Tracing::attach(other.pid())?;
        other.open_gate()?;
        let _ = beside.stop()?;
        other.child().signal(Signal::KILL)?;
        other.child().wait()?;
    }
    let ledger = workload.ledger()?;
    let profile = tracing.stop()?;
    workload.finish()?;
    let is_complete = matches!(profile.verdict, Verdict::Complete);
    let mut missing = Values::default();
    for (function, amount) in &ledger.parts {
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
    if is_complete {
        let cut = allocated(profile::cut(&profile));
        check(
            profile::contains(cut, missing),
            "those cut",
            missing,
            cut,
            &profile,
        )?;
    }
    Ok(is_complete)
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
fn allocated(values: Values) -> Values {
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
