//! `tracer check`

mod args;
mod reports;
mod rules;
mod saved;

use anyhow::{Context as _, bail};

pub(super) use args::CheckArgs;

use super::exit::Exit;
use crate::check::leaks::MemoryLimit;
use crate::check::{Outcome, Recorded, judge};
use reports::Reports;
use rules::{Rules, rules};

/// Records or reads, judges, reports.
pub(super) fn check(args: &CheckArgs) -> anyhow::Result<Exit> {
    let rules = rules(&args.rules)?;
    let reports = Reports::prepare(&args.reports)?;
    if args.profiles.is_empty() {
        bail!("recording is not built in yet: name saved profiles");
    }
    let recorded = saved::saved(&args.profiles)?;
    let limit = args.rules.memory_limit.map(|limit| MemoryLimit {
        limit_bytes: limit.0.unsigned_abs(),
        used_bytes: live_bytes(&recorded),
    });
    finish(&recorded, &rules, limit, reports)
}

/// Judges a recording and reports.
fn finish(
    recorded: &Recorded,
    rules: &Rules,
    limit: Option<MemoryLimit>,
    reports: Reports,
) -> anyhow::Result<Exit> {
    let baseline = rules.baseline.as_ref();
    let mut judgement = judge(recorded, &rules.policy, baseline, limit)
        .context("the recording and the baseline cannot be compared")?;
    if let Some(file) = &rules.file {
        let note = format!("rules of {}", file.display());
        judgement.notes.push(note);
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
