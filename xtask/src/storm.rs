//! Storms, each of which a test run has a short form of: what can happen at any moment does, in random
//! order, for as long as asked for.

use std::num::NonZeroU32;

use anyhow::Result;
use anyhow::bail;
use clap::Args;
use clap::ValueEnum;

use crate::test;
use crate::workspace::Workspace;
use crate::workspace::step;

/// Tells the test how many seconds it takes.
const SECONDS_VARIABLE: &str = "TRACER_STORM";

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// How long each part goes on
    #[arg(long, value_name = "N", default_value = "600")]
    seconds: NonZeroU32,
    /// Only this one
    #[arg(long)]
    part: Option<Part>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Part {
    /// The tracer is killed, whatever it is at
    Kills,
    /// Processes, threads, programs and libraries come and go
    Lives,
}

impl Part {
    const fn trial(self) -> &'static str {
        match self {
            Self::Kills => "storm::kills",
            Self::Lives => "storm::lives",
        }
    }
}

/// Runs every part, also where one of them fails.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let binaries = workspace.build_release()?;
    let parts = match &options.part {
        Some(part) => std::slice::from_ref(part),
        None => Part::value_variants(),
    };
    let seconds = options.seconds.to_string();
    let mut failed = 0;
    for part in parts {
        step(&format!("{} for {seconds} s", part.trial()));
        let length = (SECONDS_VARIABLE, seconds.as_str());
        failed += u32::from(!test::passes(workspace, &binaries, part.trial(), length)?);
    }
    if failed > 0 {
        bail!("{failed} of {} parts failed", parts.len());
    }
    Ok(())
}
