//! Traces every program of the gallery of leaks, again and again: too long for every test run, which
//! takes some of them.

use std::num::NonZeroU32;

use anyhow::Result;
use anyhow::bail;
use clap::Args;

use crate::test;
use crate::workspace::Workspace;
use crate::workspace::step;

/// Tells the test that all programs are wanted.
const ALL_VARIABLE: &str = "TRACER_GALLERY";

/// All programs by the detector itself, and some as `tracer check` sees them.
const TRIALS: [&str; 4] = [
    "gallery::all",
    "check::gallery",
    "check::patched_service",
    "check::gallery_in_windows",
];

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// How often
    #[arg(long, value_name = "N", default_value = "5")]
    times: NonZeroU32,
}

/// Runs all programs as often as asked, also where some of them are misjudged.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let binaries = workspace.build_release()?;
    let mut failed = 0;
    for time in 1..=options.times.get() {
        step(&format!("all programs, {time} of {}", options.times));
        let mut misjudged = false;
        for trial in TRIALS {
            misjudged |= !test::passes(workspace, &binaries, trial, (ALL_VARIABLE, "1"))?;
        }
        failed += u32::from(misjudged);
    }
    if failed > 0 {
        bail!(
            "programs were misjudged in {failed} of {} rounds",
            options.times
        );
    }
    Ok(())
}
