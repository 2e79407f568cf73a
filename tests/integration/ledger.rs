//! The amounts: more than 10 million allocator calls in C, C++ and Rust, from several threads,
//! each program keeping its own ledger. Exact to the byte, with nothing lost.

use std::path::Path;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tests::ledger::Ledger;
use tests::rung::{self, Rung};
use tests::tracing::{self, Tracing};
use tests::workload::Workload;
use tests::{binaries, profile, trial};
use tracer::profile::Profile;

/// Allocator calls for the rungs that the kernel would not choose, and for slow machines: enough for every
/// case.
const FEW: &str = "200000";

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![trial::root("ledger::best_rung", best_rung)];
    for language in ["c", "cpp", "rust"] {
        let workload = format!("ledger_{language}");
        for rung in rung::ALL {
            let many = rung.is_default() && !trial::emulated();
            let arguments: &[&str] = if many { &[] } else { &[FEW] };
            let (name, workload) = (format!("ledger::attach_{language}"), workload.clone());
            trials.push(trial::heavy(&rung.trial(&name), move || {
                attach(Workload::start(&workload, arguments)?, rung).map(drop)
            }));
        }
        trials.push(trial::heavy(
            &format!("ledger::run_{language}"),
            move || run(&binaries::workload(&workload)?, FEW),
        ));
    }
    trials
}

/// The kernel decides by what it has. Where that fails, everything still works, and nothing else
/// would tell.
fn best_rung() -> Result<()> {
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next(), numbers.next());
    let expected = if version >= (Some(6), Some(13)) {
        "uprobe_session"
    } else if version >= (Some(6), Some(10)) {
        "uprobe_multi"
    } else {
        // Either, since distributions carry features back.
        "probes: "
    };
    let output = tracing::tracer(["doctor"])?.output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(
        said.contains(expected),
        "no {expected} on {release}: {said}"
    );
    Ok(())
}

/// Between the gate and the ledger nothing but the ledger's calls happens: all of it must agree.
pub(crate) fn attach(workload: Workload, rung: Rung) -> Result<(Ledger, Profile)> {
    let tracing = rung.attach(workload.pid())?;
    let (ledger, profile) = tracing.record(workload)?;
    ledger.check_cases()?;
    profile::check_complete(&profile)?;
    ledger.check_totals(&profile)?;
    ledger.check_parts(&profile)?;
    Ok((ledger, profile))
}

/// From the first allocation to the last, those of the C library's own start and end included:
/// what was allocated below the ledger's functions must agree.
pub(crate) fn run(program: &Path, calls: &str) -> Result<()> {
    let mut tracing = Tracing::run([program.as_os_str(), calls.as_ref()])?;
    let child = tracing.child();
    child.wait_line(|child| &child.stdout, "`ready`", |line| line == "ready")?;
    child.write(b"\n")?;
    let line = child.wait_line(
        |child| &child.stdout,
        "the ledger",
        |line| line.starts_with('{'),
    )?;
    child.close_stdin();
    let ledger = Ledger::parse(&line)?;
    let (profile, _) = tracing.finish_with(0)?;
    profile::check_complete_but_cut(&profile)?;
    ledger.check_parts_or_cut(&profile)?;
    // When the tracer gets its turn is not its own: some may be cut, most never are.
    let (cut, total) = (profile::cut(&profile), ledger.total.values()?);
    ensure!(
        cut.alloc_objects < total.alloc_objects / 2,
        "of {total:?} were cut {cut:?}"
    );
    Ok(())
}

/// Nothing was counted that should not happen, in an allocator whose functions enter each other in ways of
/// its own.
pub(crate) fn check_never(profile: &Profile, counters: &[&str]) -> Result<()> {
    for name in counters {
        let value = profile::counter(profile, name)?;
        ensure!(value == 0, "{name} = {value}");
    }
    Ok(())
}
