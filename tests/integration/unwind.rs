//! Stacks of programs without frame pointers are whole, whatever lies on them.

mod brief;
mod replaced;
mod sibling;
mod switches;

use std::fmt::Write as _;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use rustix::process::Signal;
use tests::binaries::{self, Build};
use tests::process::Child;
use tests::tracing::Tracing;
use tests::unwind::{BUILDS, CPP, GAP, MOVED, PLUGIN, RETURN_PROBE};
use tests::workload::Workload;
use tests::{profile, trial, wait};
use tracer::profile::Profile;

/// Blocks that each program allocates under `deeper`.
const BLOCKS: i64 = 100;
pub(crate) const DEPTHS: [u32; 4] = [5, 20, 60, 120];
/// What C programs have on their stacks beside the recursion.
const KINDS: [&str; 7] = [
    "plain",
    "variable",
    "signal",
    "altstack",
    "coroutine",
    "thread",
    "library",
];
pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial::root("unwind::kinds", kinds),
        trial::root("unwind::cpp", cpp),
        trial::root("unwind::rust", rust),
        trial::root("unwind::plugin", plugin),
        trial::root("unwind::vdso", vdso),
        trial::root("unwind::return_probes", return_probes),
        trial::root("unwind::copies", copies),
        trial::root("unwind::recognised", recognised),
        trial::root("unwind::processes_share_tables", processes_share_tables),
        trial::root("unwind::a_gap_is_no_root", a_gap_is_no_root),
        trial::root("unwind::guesses_are_said", guesses_are_said),
        trial::root(
            "unwind::a_fiber_has_no_callers",
            switches::a_fiber_has_no_callers,
        ),
        trial::root("unwind::cgo", switches::cgo),
        trial::root("unwind::brief", brief::brief),
        trial::root("unwind::sibling", sibling::sibling),
        trial::root("unwind::replaced", || replaced::replaced(&[])),
        trial::root("unwind::replaced_frame_pointers", || {
            replaced::replaced(&["--unwind", "fp"])
        }),
        trial::root("unwind::frame_pointers_lose_them", frame_pointers_lose_them),
    ];
    for rung in ["multi", "perf"] {
        let name = format!("unwind::lower_rung_{rung}");
        trials.push(trial::root(&name, move || lower_rung(rung)));
    }
    trials.extend(BUILDS.map(|build| {
        trial::root(&format!("unwind::build_{}", build.name), move || {
            depths(&build)
        })
    }));
    trials
}

/// Every depth in one way of building.
fn depths(build: &Build) -> Result<()> {
    let program = build.program()?;
    for depth in DEPTHS {
        let profile = record(
            Command::new(&program).args(["plain", &depth.to_string()]),
            &[],
        )?;
        check_whole(&profile)?;
        if build.name == "stripped" {
            // Nothing is named, but the frames are there: the recursion, `main`, and what called it.
            let longest = profile
                .samples
                .iter()
                .filter(|sample| sample.values.alloc_objects == BLOCKS)
                .map(|sample| sample.locations.len())
                .max();
            ensure!(
                longest.is_some_and(|frames| frames >= depth as usize + 3),
                "{longest:?} frames at depth {depth}"
            );
        } else {
            check_recursion(&profile, depth, "main")?;
        }
    }
    Ok(())
}

fn kinds() -> Result<()> {
    let program = BUILDS[0].program()?;
    for kind in KINDS {
        let profile = record(Command::new(&program).args([kind, "20"]), &[])?;
        check_whole(&profile).context(kind)?;
        let root = match kind {
            "coroutine" => "coroutine_main",
            "thread" => "thread_main",
            _ => "main",
        };
        check_recursion(&profile, 20, root).context(kind)?;
    }
    Ok(())
}

fn cpp() -> Result<()> {
    let program = CPP.program()?;
    for kind in ["new", "throw"] {
        let profile = record(Command::new(&program).args([kind, "20"]), &[])?;
        check_whole(&profile).context(kind)?;
        let wanted = match kind {
            // The text of what is thrown, allocated by its constructor.
            "throw" => "Thrown::Thrown",
            _ => "deeper",
        };
        let found = profile.samples.iter().any(|sample| {
            let names: Vec<_> = profile::stack(&profile, sample).collect();
            names.iter().any(|name| name.contains(wanted))
                && names.iter().filter(|name| name.contains("deeper")).count() == 20
                && names.contains(&"main")
        });
        ensure!(found, "{kind}:\n{}", stacks(&profile));
    }
    Ok(())
}

fn rust() -> Result<()> {
    let program = binaries::plain_rust("unwind")?;
    for depth in DEPTHS {
        let profile = record(
            Command::new(&program).args(["plain", &depth.to_string()]),
            &[],
        )?;
        check_whole(&profile)?;
        let found = profile.samples.iter().any(|sample| {
            let names: Vec<_> = profile::stack(&profile, sample).collect();
            names
                .iter()
                .filter(|name| name.ends_with("::deeper"))
                .count()
                == depth as usize
                && names.contains(&"main")
        });
        ensure!(found, "depth {depth}:\n{}", stacks(&profile));
    }
    Ok(())
}

/// A library loaded in mid-run is walked through like all others.
fn plugin() -> Result<()> {
    let program = BUILDS[0].program()?;
    let plugin = PLUGIN.program()?;
    let plugin = plugin.to_str().context("path")?;
    let profile = record(Command::new(&program).args(["plugin", "20", plugin]), &[])?;
    check_recursion(&profile, 20, "main")?;
    let through = profile::through(&profile, "plugin_inner");
    ensure!(
        through.alloc_objects == BLOCKS,
        "{through:?}\n{}",
        stacks(&profile)
    );
    Ok(())
}

/// A handler that interrupts the kernel's own code in the process is walked out of, by that code's rules.
fn vdso() -> Result<()> {
    let program = BUILDS[0].program()?;
    let profile = record(Command::new(&program).args(["vdso", "20"]), &[])?;
    check_whole(&profile)?;
    let blocks = |function| profile::through(&profile, function).alloc_objects;
    ensure!(
        blocks("on_tick") >= 200 * BLOCKS && blocks("on_tick") == blocks("in_vdso"),
        "{}",
        stacks(&profile)
    );
    ensure!(
        blocks("__vdso_clock_gettime") >= BLOCKS,
        "{}",
        stacks(&profile)
    );
    Ok(())
}

/// A return probe further up has replaced a return address: the stack goes on behind it, whether the process had
/// return probes when the tracer came or not.
fn return_probes() -> Result<()> {
    let program = RETURN_PROBE.program()?;
    let mut workload = Workload::start_command(Command::new(&program).arg("20"))?;
    for line in ["once", "done"] {
        let tracing = Tracing::attach(workload.pid())?;
        workload.open_gate()?;
        workload
            .child()
            .wait_line(|child| &child.stdout, line, |said| said == line)?;
        let profile = tracing.stop()?;
        check_whole(&profile).context(line)?;
        check_recursion(&profile, 20, "caller").context(line)?;
        ensure!(
            profile::through(&profile, "je_malloc").alloc_objects == BLOCKS,
            "{line}: {}",
            stacks(&profile)
        );
    }
    workload.finish()?;
    Ok(())
}

/// Stacks whose code was mapped a moment before are walked in user space, from a copy: here all of them.
fn copies() -> Result<()> {
    let program = BUILDS[0].program()?;
    let cases = [
        ("plain", 120, "main"),
        ("variable", 20, "main"),
        ("signal", 20, "main"),
        ("coroutine", 20, "coroutine_main"),
        ("thread", 20, "thread_main"),
    ];
    for (kind, depth, root) in cases {
        let mut command = Command::new(&program);
        let command = command.args([kind, &depth.to_string()]);
        let profile = record(command, &["--copy-stacks"])?;
        let context = || format!("{kind}:\n{}", stacks(&profile));
        check_no_cuts(&profile).with_context(context)?;
        check_recursion(&profile, depth, root).with_context(context)?;
        let copied = profile::counter(&profile, "copied_stacks")?;
        ensure!(copied >= BLOCKS as u64, "{copied} copies, {}", context());
        // Equal stacks are told once.
        ensure!(profile.samples.len() < BLOCKS as usize, "{}", context());
    }
    // Of two stacks, the one that a handler left for its own is not copied: that is said.
    let mut command = Command::new(&program);
    let profile = record(command.args(["altstack", "20"]), &["--copy-stacks"])?;
    let cut = profile::counter(&profile, "cut_unreadable")?;
    ensure!(cut == BLOCKS as u64, "{cut}: {}", stacks(&profile));
    profile::check_complete_but_cut(&profile)?;
    check_recursion(&profile, 20, "handler")
}

/// Stacks that were walked before are recognised, and for none that is another's.
fn recognised() -> Result<()> {
    let program = BUILDS[0].program()?;
    for kind in KINDS {
        let counts = |options: &[&str]| -> Result<_> {
            let profile = record(Command::new(&program).args([kind, "20"]), options)?;
            // Complete: no stack was mistaken for another.
            check_whole(&profile).context(kind)?;
            let counter = |name| profile::counter(&profile, name);
            Ok((counter("alloc_objects")?, counter("unwound_stacks")?))
        };
        let (all, walked) = counts(&[])?;
        // What the kernel put on the stack for a signal is not gone by, and so the handler's stack not
        // remembered.
        let is_remembered = !matches!(kind, "signal" | "altstack");
        ensure!(
            is_remembered == (walked < all / 2),
            "{kind}: {walked} of {all} stacks walked"
        );
        let (all, walked) = counts(&["--audit-stacks"])?;
        ensure!(all == walked, "{kind}: {walked} of {all} stacks walked");
    }
    Ok(())
}

/// However many processes map the same files, their tables are loaded once.
fn processes_share_tables() -> Result<()> {
    const CHILDREN: u64 = 6;
    let program = BUILDS[0].program()?;
    let loaded = |children: u64| -> Result<_> {
        let numbers: Vec<_> = (1..=children).map(|number| number.to_string()).collect();
        // They wait at their gates until standard input ends. Nothing that ends sooner may be started: its
        // files may be read, or not.
        let script = format!(
            "echo up; read go; exec 3<&0; for child in {}; do \"$0\" plain 20 <&3 & done; wait",
            numbers.join(" ")
        );
        let mut shell = Child::spawn(Command::new("sh").args(["-c", &script]).arg(&program))?;
        shell.wait_line(|child| &child.stdout, "the shell", |line| line == "up")?;
        let tracing = Tracing::attach_with(shell.pid(), &["--follow-forks"])?;
        shell.write(b"\n")?;
        wait::until("all children at their gates", || {
            let ready = shell.stdout.text().matches("ready").count() as u64;
            Ok((ready == children).then_some(()))
        })?;
        let profile = tracing.stop()?;
        shell.close_stdin();
        shell.wait()?;
        profile::check_complete_but_unsure(&profile)?;
        let counter = |name| profile::counter(&profile, name);
        ensure!(counter("mappings_not_published")? == 0);
        let spaces = counter("unwind_spaces")?;
        ensure!(
            spaces > children,
            "{spaces} address spaces of {children} children"
        );
        Ok((counter("unwind_tables")?, counter("unwind_table_bytes")?))
    };
    let (one, many) = (loaded(1)?, loaded(CHILDREN)?);
    ensure!(one == many, "one child {one:?}, {CHILDREN} {many:?}");
    // The shell, the program, the C library, the loader.
    ensure!(one.0 >= 4 && one.1 > 0, "{one:?}");
    Ok(())
}

/// The walk is the same program on each rung of the ladder.
fn lower_rung(rung: &str) -> Result<()> {
    let mut command = Command::new(BUILDS[0].program()?);
    let profile = record(command.args(["plain", "60"]), &["--probes", rung])?;
    check_whole(&profile)?;
    check_recursion(&profile, 60, "main")
}

/// In code without rules, `rbp` = 0 does not make a stack whole, wherever it is walked.
fn a_gap_is_no_root() -> Result<()> {
    let program = GAP.program()?;
    for options in [&[][..], &["--copy-stacks"]] {
        let profile = record(&mut Command::new(&program), options)?;
        let all = profile::check_complete_but_cut(&profile)?;
        let cut = profile::counter(&profile, "cut_no_rule")?;
        ensure!(
            cut == 100 && all == cut,
            "{cut} of 100:\n{}",
            stacks(&profile)
        );
    }
    Ok(())
}

/// A stack that leads through code nobody knows of is followed along frame pointers, and said to be a guess: in
/// user space as long as there are copies, in the kernel beyond them. Where frame pointers are not trusted it ends.
fn guesses_are_said() -> Result<()> {
    let program = MOVED.program()?;
    for blocks in [100, 6_000] {
        let count = |options: &[&str]| -> Result<_> {
            let mut command = Command::new(&program);
            let profile = record(command.arg(blocks.to_string()), options)?;
            ensure!(
                profile.verdict.name() == "degraded",
                "{}",
                profile::summary(&profile)
            );
            let counter = |name| profile::counter(&profile, name);
            let to_main = profile.samples.iter().filter(|sample| {
                let names: Vec<_> = profile::stack(&profile, sample).collect();
                names.contains(&"moved_allocate") && names.contains(&"main")
            });
            let to_main: i64 = to_main.map(|sample| sample.values.alloc_objects).sum();
            Ok((
                counter("guessed_stacks")?,
                counter("cut_unmapped")?,
                u64::try_from(to_main)?,
            ))
        };
        let (guessed, cut, to_main) = count(&[])?;
        // Copies may fill the ring for a moment: then a stack is cut.
        ensure!(
            guessed > blocks / 2 && guessed + cut == blocks && to_main == guessed,
            "of {blocks} {guessed} guessed, {cut} cut, {to_main} up to main"
        );
        let found = count(&["--unwind", "cfi"])?;
        ensure!(found == (0, blocks, 0), "of {blocks} {found:?}");
    }
    Ok(())
}

/// What this is good for: along frame pointers the same stacks are lost, and that is said. Were it not so, these
/// tests would prove nothing.
fn frame_pointers_lose_them() -> Result<()> {
    let program = BUILDS[0].program()?;
    let mut command = Command::new(&program);
    let profile = record(command.args(["plain", "20"]), &["--unwind", "fp"])?;
    ensure!(
        check_recursion(&profile, 20, "main").is_err(),
        "{}",
        stacks(&profile)
    );
    let cut = profile::counter(&profile, "cut_frame_pointers")?;
    ensure!(
        cut > 0 && profile.verdict.name() == "degraded",
        "{cut} cut\n{}",
        profile::summary(&profile)
    );
    Ok(())
}

pub(crate) fn record(command: &mut Command, options: &[&str]) -> Result<Profile> {
    record_ending(command, options, 0)
}

/// The same where the tracer ends with this code.
fn record_ending(command: &mut Command, options: &[&str], code: i32) -> Result<Profile> {
    let mut workload = Workload::start_command(command)?;
    let mut tracing = Tracing::attach_with(workload.pid(), options)?;
    workload.open_gate()?;
    workload
        .child()
        .wait_line(|child| &child.stdout, "`done`", |line| line == "done")?;
    tracing.child().signal(Signal::INT)?;
    let (profile, _) = tracing.finish_with(code)?;
    workload.finish()?;
    Ok(profile)
}

/// No stack was cut, and all end where their process or thread began.
pub(crate) fn check_whole(profile: &Profile) -> Result<()> {
    check_no_cuts(profile)?;
    ensure!(
        profile::counter(profile, "unwound_frames")? > 0,
        "no table was used"
    );
    Ok(())
}

fn check_no_cuts(profile: &Profile) -> Result<()> {
    profile::check_complete(profile)?;
    for counter in &profile.counters {
        let is_cut = counter.name.starts_with("cut_") || counter.name == "stacks_ended_early";
        ensure!(
            !is_cut || counter.value == 0,
            "{} = {}:\n{}",
            counter.name,
            counter.value,
            stacks(profile)
        );
    }
    Ok(())
}

/// The blocks were allocated under so many frames of `deeper`, called from `root`.
pub(crate) fn check_recursion(profile: &Profile, depth: u32, root: &str) -> Result<()> {
    let blocks: i64 = profile
        .samples
        .iter()
        .filter(|sample| {
            let names: Vec<_> = profile::stack(profile, sample).collect();
            names.iter().filter(|&&name| name == "deeper").count() == depth as usize
                && names.contains(&root)
        })
        .map(|sample| sample.values.alloc_objects)
        .sum();
    ensure!(
        blocks == BLOCKS,
        "{blocks} of {BLOCKS} blocks under {depth} frames and {root}:\n{}",
        stacks(profile)
    );
    Ok(())
}

pub(crate) fn stacks(profile: &Profile) -> String {
    let mut text = String::new();
    for sample in &profile.samples {
        let names: Vec<_> = profile::stack(profile, sample).collect();
        let _ = writeln!(
            text,
            "{:>6} {}",
            sample.values.alloc_objects,
            names.join(" < ")
        );
    }
    text
}
