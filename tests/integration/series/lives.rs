//! A series over the lives of its target: a fork in the middle of it, and an exec after which the heap
//! begins anew.

use anyhow::{Result, ensure};
use tests::ledger::Ledger;
use tests::profile;
use tests::series::{Recorded, SeriesTracing, at, sum};
use tests::workload::Workload;
use tracer::profile::Values;

/// As in `workloads/c/lives.c`.
const FUNCTIONS: [&str; 3] = ["lives_first", "lives_child", "lives_second"];

/// What the child of `lives.c` has allocated, and keeps to its end.
fn child() -> Values {
    let all = 300..1_300;
    let kept = all.clone().filter(|size| (size - 300) % 5 != 0);
    Values {
        alloc_objects: 1_000,
        alloc_space: all.sum(),
        inuse_objects: 800,
        inuse_space: kept.sum(),
        ..Values::default()
    }
}

/// What was gone with its image: allocated, and not live.
fn released(values: Values) -> Values {
    Values {
        inuse_objects: 0,
        inuse_space: 0,
        ..values
    }
}

/// What the series has of a function at the end of a window in which the target rested: the generations
/// add up to it.
fn at_rest(recorded: &Recorded, function: &str, window: usize) -> Result<Values> {
    let mut all = Values::default();
    for history in recorded.stacks_through(function) {
        let (counters, row) = at(history, window);
        let live = (counters.live_objects(), counters.live_bytes());
        ensure!(
            sum(&row) == live,
            "{function}, window {window}: {live:?} live, {row:?} in its generations"
        );
        all += Values {
            alloc_objects: counters.alloc_objects.try_into()?,
            alloc_space: counters.alloc_bytes.try_into()?,
            inuse_objects: live.0.try_into()?,
            inuse_space: live.1.try_into()?,
            ..Values::default()
        };
    }
    Ok(all)
}

/// Every window has what each life holds then, and nothing comes back from a life that is over.
pub(super) fn lives(follow_forks: bool) -> Result<()> {
    let arguments: &[&str] = if follow_forks {
        &["--follow-forks"]
    } else {
        &[]
    };
    let mut workload = Workload::start("lives", &[])?;
    let mut tracing = SeriesTracing::attach(workload.pid(), "100ms", arguments)?;
    let mut rests = Vec::new();
    let mut said = Vec::new();
    for (begin, until) in [("", "lives_first"), ("f", "forked"), ("e", "lives_second")] {
        match begin {
            "" => workload.open_gate()?,
            byte => workload.child().write(byte.as_bytes())?,
        }
        let line = workload.child().wait_line(
            |child| &child.stdout,
            until,
            |line| line.contains(until),
        )?;
        said.push(line);
        // One window may have ended without its profile, and one is under way.
        let now = tracing.windows()?;
        tracing.wait_windows(now + 4)?;
        rests.push(now + 2);
    }
    let recorded = tracing.stop()?;
    workload.finish()?;
    profile::check_complete(&recorded.profile)?;
    recorded.check_end()?;

    let first = Ledger::parse(&said[0])?.total.values()?;
    let second = Ledger::parse(&said[2])?.total.values()?;
    let none = Values::default();
    let child = if follow_forks { child() } else { none };
    let expected = [
        [first, none, none],
        [first, child, none],
        [released(first), child, second],
    ];
    for (&window, expected) in rests.iter().zip(expected) {
        for (function, expected) in FUNCTIONS.into_iter().zip(expected) {
            let found = at_rest(&recorded, function, window)?;
            ensure!(
                found == expected,
                "{function}, window {window} of {rests:?}: {found:?}, not {expected:?}"
            );
        }
    }
    for (function, expected) in FUNCTIONS.into_iter().zip(expected[2]) {
        let found = profile::through(&recorded.profile, function);
        ensure!(found == expected, "{function}: {found:?}, not {expected:?}");
    }
    // The second life's heap is a new one: nothing in it is older than the exec.
    // Stacks from before the news of the exec are told one by one, also those of what was freed.
    let mut lives = false;
    for history in recorded.stacks_through("lives_second") {
        let Some(oldest) = history.survivors().first() else {
            continue;
        };
        lives = true;
        ensure!(
            oldest.generation as usize >= rests[1],
            "{oldest:?}, and the exec came after window {}",
            rests[1]
        );
    }
    ensure!(lives, "nothing lives");
    Ok(())
}
