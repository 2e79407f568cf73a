//! `tracer check`

mod args;
mod live;
mod reports;
mod rules;
mod saved;
mod summary;

use anyhow::{Context as _, ensure};

pub(super) use args::CheckArgs;

pub(super) use saved::with_generations;

use super::exit::Exit;
use super::say::say;
use super::signals::Signals;
use crate::check::leaks::MemoryLimit;
use crate::check::{Outcome, Recorded, judge, unjudgeable_by_pages};
use crate::printable::Shown as _;
use crate::session::Source;
use live::Live;
use reports::Reports;
use rules::{Rules, rules};

/// Records or reads, judges, reports.
pub(super) fn check(args: &CheckArgs, signals: &Signals) -> anyhow::Result<Exit> {
    let rules = rules(&args.rules, args.reports.write_baseline.as_deref())?;
    if Source::from(args.recording.source) == Source::Growth {
        check_growth(args, &rules)?;
    }
    let reports = Reports::prepare(&args.reports)?;
    let live = match args.pid {
        Some(pid) => live::process(pid, args, signals)?,
        None if !args.command.is_empty() => live::command(args, signals)?,
        None => Live {
            recorded: saved::saved(&args.profiles)?,
            memory: None,
            failed: None,
            notes: Vec::new(),
        },
    };
    signals.end();
    let exit = finish(&live, &rules, limit(&rules, &live), reports)?;
    if let Some(status) = live.failed {
        say(format_args!("tracer: the command itself failed ({status})"));
        // What it did not come to may leak.
        return Ok(match exit {
            Exit::Done => Exit::Failed,
            exit => exit,
        });
    }
    Ok(exit)
}

/// Refuses what page faults can't judge, before anything is done.
fn check_growth(args: &CheckArgs, rules: &Rules) -> anyhow::Result<()> {
    ensure!(
        args.profiles.is_empty(),
        "--source growth says how to record: saved profiles know what they were told from"
    );
    let mut cannot = unjudgeable_by_pages(&rules.policy);
    if args.reports.write_baseline.is_some() {
        cannot.push("a baseline");
    }
    ensure!(
        cannot.is_empty(),
        "{} can't be judged with --source growth, which tells who first touches pages that become resident, and \
         not what is live: leave it out, or record with --source probes",
        cannot.join(" and ")
    );
    Ok(())
}

/// The memory that was said, or that the target may use.
fn limit(rules: &Rules, live: &Live) -> Option<MemoryLimit> {
    match (rules.policy.memory_limit, live.memory) {
        (Some(limit), memory) => Some(MemoryLimit {
            limit_bytes: limit.0.unsigned_abs(),
            used_bytes: memory.map_or_else(|| live_bytes(&live.recorded), |memory| memory.resident),
        }),
        (None, memory) => memory.map(|memory| MemoryLimit {
            limit_bytes: memory.limit,
            used_bytes: memory.used,
        }),
    }
}

/// Judges a recording and reports.
fn finish(
    live: &Live,
    rules: &Rules,
    limit: Option<MemoryLimit>,
    reports: Reports,
) -> anyhow::Result<Exit> {
    let recorded = &live.recorded;
    let baseline = rules.baseline.as_ref();
    let mut judgement = judge(recorded, &rules.policy, baseline, limit)
        .context("the recording and the baseline cannot be compared")?;
    judgement.notes.extend(live.notes.iter().cloned());
    if let Some(file) = &rules.file {
        let note = format!("rules of {}", file.shown());
        judgement.notes.push(note);
        let said = rules.policy.notes.iter();
        judgement
            .notes
            .extend(said.map(|note| format!("{}: {note}", file.shown())));
    }
    reports.write(&mut judgement, &recorded.profile)?;
    Ok(match judgement.outcome {
        Outcome::NothingFound => Exit::Done,
        Outcome::Found => Exit::Found,
        Outcome::Inconclusive => Exit::Inconclusive,
    })
}

fn live_bytes(recorded: &Recorded) -> u64 {
    let samples = recorded.profile.samples.iter();
    let live = samples.map(|sample| sample.values.inuse_space.max(0).unsigned_abs());
    live.fold(0, u64::saturating_add)
}
