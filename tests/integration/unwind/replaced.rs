//! Libraries that are closed, and others that take their place.

use std::process::Command;

use anyhow::{Result, anyhow, ensure};
use tempfile::TempDir;
use tests::profile;
use tests::unwind::{RELOAD, RELOADED};

use super::{record_ending, stacks};

/// Rounds of loading one library at the other's place.
const ROUNDS: u32 = 40;

/// What one library allocates is never named after the other, which had its place before, whether each has a
/// path of its own or both are one after the other at the same path. That it has no whole stack is said.
pub(super) fn replaced(options: &[&str]) -> Result<()> {
    let program = RELOAD.program()?;
    let libraries = RELOADED.map(|library| library.program());
    let folder = TempDir::new()?;
    for renamed in [false, true] {
        let mut command = Command::new(&program);
        for library in &libraries {
            command.arg(library.as_ref().map_err(|error| anyhow!("{error:#}"))?);
        }
        command.arg(ROUNDS.to_string());
        if renamed {
            command.arg(folder.path());
        }
        // Nothing can be concluded where nearly all stacks are cut.
        let profile = record_ending(&mut command, options, 3)?;
        let objects = profile::counter(&profile, "objects_replaced")?;
        ensure!(
            objects == u64::from(ROUNDS) * 40 && profile.verdict.name() != "complete",
            "{objects} objects:\n{}",
            profile::summary(&profile)
        );
        let mut cut = 0;
        for sample in &profile.samples {
            let names: Vec<_> = profile::stack(&profile, sample).collect();
            ensure!(
                !names.iter().any(|name| name.starts_with("inner_")),
                "named after either library: {names:?}"
            );
            if names.contains(&"[stack cut: code was replaced]") {
                cut += sample.values.alloc_objects;
            }
        }
        ensure!(
            u64::try_from(cut)? == objects,
            "{cut} cut:\n{}",
            stacks(&profile)
        );
    }
    Ok(())
}
