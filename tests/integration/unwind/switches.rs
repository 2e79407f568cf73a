//! Stacks that programs leave for others, of which call frame information says nothing.

use std::process::Command;

use anyhow::{Result, ensure};
use tests::unwind::FIBER;
use tests::{binaries, profile};

use super::{BLOCKS, check_no_cuts, record, stacks};

/// Behind a switch of stacks the walk ends and says so: what lies there has called nothing.
pub(super) fn a_fiber_has_no_callers() -> Result<()> {
    let program = FIBER.program()?;
    for options in [&[][..], &["--copy-stacks"]] {
        let profile = record(&mut Command::new(&program), options)?;
        let all = profile::check_complete_but_cut(&profile)?;
        let cut = profile::counter(&profile, "cut_switched")?;
        let expected = [
            "[stack cut: switch to another stack]",
            "fiber_switch",
            "in_fiber",
        ];
        let whole = profile.samples.iter().all(|sample| {
            let mut names: Vec<_> = profile::stack(&profile, sample).collect();
            names.reverse();
            names.starts_with(&expected)
        });
        ensure!(
            whole && cut == 100 && all == cut,
            "{cut} of 100 cut, {}:\n{}",
            profile.verdict.name(),
            stacks(&profile)
        );
    }
    Ok(())
}

/// Go's runtime calls C on a stack of its own, and what C calls back runs on the goroutine's: each
/// caller on the way is named, up to the goroutine's beginning, and nothing that did not call.
pub(super) fn cgo() -> Result<()> {
    let program = binaries::go("cgo")?;
    let profile = record(&mut Command::new(&program), &[])?;
    check_no_cuts(&profile)?;
    for (size, callers) in [
        (
            1_000,
            &["main.main", "main.serve", "main.handleRequest"][..],
        ),
        (
            3_000,
            &["main.main", "main.callBack", "crosscall2", "main.answer"],
        ),
    ] {
        let mut blocks = 0;
        for sample in &profile.samples {
            let values = sample.values;
            if values.alloc_space != values.alloc_objects * size {
                continue;
            }
            blocks += values.alloc_objects;
            let names: Vec<_> = profile::stack(&profile, sample).collect();
            let mut outwards = names.iter().rev();
            let all = callers
                .iter()
                .all(|caller| outwards.any(|name| name == caller));
            // What a stale word of the other stack would name.
            let is_stray = |name: &&&str| name.starts_with("runtime.") && !RUNTIME.contains(*name);
            let stray: Vec<_> = names.iter().filter(is_stray).collect();
            ensure!(
                all && stray.is_empty(),
                "{stray:?} besides {callers:?}:\n{}",
                stacks(&profile)
            );
        }
        ensure!(blocks == BLOCKS, "{blocks}:\n{}", stacks(&profile));
    }
    Ok(())
}

/// What there is of Go's runtime between a goroutine and C, in either direction.
const RUNTIME: [&str; 11] = [
    "runtime.asmcgocall",
    "runtime.asmcgocall.abi0",
    "runtime.cgocall",
    "runtime.cgocallback",
    "runtime.cgocallback.abi0",
    "runtime.cgocallbackg",
    "runtime.cgocallbackg.abi0",
    "runtime.cgocallbackg1",
    "runtime.main",
    "runtime.goexit",
    "runtime.goexit.abi0",
];
