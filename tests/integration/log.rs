//! `--log`: rare events told in words, and no trace of that where nobody asks for it.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result, ensure};
use aya::programs::loaded_programs;
use libtest_mimic::Trial;
use rustix::process::Signal;
use tests::process::Ended;
use tests::rung::{self, Rung};
use tests::tracing::{Tracing, tracer};
use tests::workload::Workload;
use tests::{profile, trial};

/// Bytes of an instruction.
const INSTRUCTION: u32 = 8;
/// Instructions of what tells events, at the very least.
const TELLING: u32 = 100;
/// Lines that are told a second.
const EACH_SECOND: f64 = 100.0;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial::root("log::nothing_without", nothing_without),
        trial::root("log::a_level_hides_those_after_it", hides),
        trial::root("log::check_tells", check_tells),
    ];
    for rung in rung::ALL {
        trials.push(trial::root(&rung.trial("log::tells"), move || tells(rung)));
        trials.push(trial::root(
            &rung.trial("log::code_is_removed"),
            move || code_is_removed(rung),
        ));
    }
    trials
}

/// Calls left by longjmp, with further arguments of the tracer: how many were counted, and what was said.
fn jumps(rung: Rung, log: &[&str]) -> Result<(u64, Ended)> {
    let mut workload = Workload::start("jumper", &[])?;
    let mut arguments = rung.arguments();
    arguments.extend(log);
    let mut tracing = Tracing::attach_with(workload.pid(), &arguments)?;
    workload.open_gate()?;
    workload.ledger()?;
    tracing.child().signal(Signal::INT)?;
    let (profile, ended) = tracing.finish_with(0)?;
    workload.finish()?;
    Ok((profile::counter(&profile, "abandoned_calls")?, ended))
}

/// Each event has a line with its values; of a flood it is said how many have none.
fn tells(rung: Rung) -> Result<()> {
    let (abandoned, ended) = jumps(rung, &["--log", "debug"])?;
    let told: Vec<_> = ended
        .stderr
        .lines()
        .filter(|line| line.contains("] call abandoned: function "))
        .collect();
    ensure!(!told.is_empty(), "nothing was told:\n{}", ended.stderr);
    for line in &told {
        let (time, rest) = line.split_once(' ').context("no time")?;
        ensure!(time.parse::<f64>().is_ok(), "no time: {line}");
        ensure!(rest.starts_with("debug: ["), "no level or process: {line}");
        ensure!(rest.contains(", sp 7f"), "no place on the stack: {line}");
    }
    let suppressed: u64 = ended
        .stderr
        .lines()
        .filter_map(|line| line.split_once(" events suppressed: "))
        .filter_map(|(line, _)| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum();
    ensure!(
        told.len() as u64 + suppressed >= abandoned,
        "{} of {abandoned} told, {suppressed} suppressed",
        told.len()
    );
    let last = told.last().and_then(|line| line.split_once(' '));
    let seconds: f64 = last.context("no time")?.0.parse()?;
    ensure!(
        told.len() as f64 <= EACH_SECOND * (seconds + 2.0),
        "a flood was not bounded: {} lines in {seconds} s",
        told.len()
    );
    Ok(())
}

fn nothing_without() -> Result<()> {
    let (abandoned, ended) = jumps(rung::ALL[0], &[])?;
    ensure!(abandoned > 0, "the workload did nothing");
    ensure!(
        !ended.stderr.contains("abandoned: ") && !ended.stderr.contains("suppressed"),
        "told without being asked:\n{}",
        ended.stderr
    );
    Ok(())
}

fn hides() -> Result<()> {
    let (abandoned, ended) = jumps(rung::ALL[0], &["--log", "warn"])?;
    ensure!(abandoned > 0, "the workload did nothing");
    ensure!(!ended.stderr.contains("debug: "), "{}", ended.stderr);
    Ok(())
}

/// A child that ends, as `check` sees it.
fn check_tells() -> Result<()> {
    let mut command = tracer(["check", "--log", "info", "--follow-forks", "--", "sh", "-c"])?;
    command.arg("/bin/true; /bin/true");
    let ended = tests::process::run(&mut command, &[])?;
    ensure!(
        ended.stderr.contains("] exec: image ") && ended.stderr.contains("] end: image "),
        "{}",
        ended.stderr
    );
    Ok(())
}

/// Instructions of the programs that a tracer has loaded, after the verifier.
fn programs(tracing: &mut Tracing) -> Result<BTreeMap<String, u32>> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(format!("/proc/{}/fdinfo", tracing.child().pid()))? {
        let text = fs::read_to_string(entry?.path()).unwrap_or_default();
        let id = text.lines().find_map(|line| line.strip_prefix("prog_id:"));
        ids.extend(id.and_then(|id| id.trim().parse::<u32>().ok()));
    }
    let mut sizes = BTreeMap::new();
    for program in loaded_programs() {
        // Others' may go meanwhile.
        let Ok(program) = program else { continue };
        if ids.contains(&program.id()) {
            // One that asks whether the kernel has sessions has none.
            let Some(name) = program.name_as_str().filter(|name| !name.is_empty()) else {
                continue;
            };
            let bytes = program.size_translated().context("no size")?;
            // The tracer measures its costs with the same programs, and without a log.
            let size = sizes.entry(name.to_owned()).or_default();
            *size = bytes.div_euclid(INSTRUCTION).max(*size);
        }
    }
    Ok(sizes)
}

fn loaded(rung: Rung, log: &[&str]) -> Result<BTreeMap<String, u32>> {
    let workload = Workload::start("jumper", &[])?;
    let mut arguments = rung.arguments();
    arguments.extend(log);
    let mut tracing = Tracing::attach_with(workload.pid(), &arguments)?;
    let programs = programs(&mut tracing)?;
    tracing.record(workload)?;
    Ok(programs)
}

/// Without the option the verifier has removed what tells of events, for each level that is off.
fn code_is_removed(rung: Rung) -> Result<()> {
    let off = loaded(rung, &[])?;
    let [error, debug] = [
        loaded(rung, &["--log", "error"])?,
        loaded(rung, &["--log", "debug"])?,
    ];
    println!("off {off:?}\nerror {error:?}\ndebug {debug:?}");
    // One to allocate, one to free, `keep`, exec and exit.
    ensure!(off.len() >= 5, "only {} programs: {off:?}", off.len());
    ensure!(off.keys().eq(debug.keys()), "others: {off:?}, {debug:?}");
    let allocating = if off.contains_key("alloc_session") {
        "alloc_session"
    } else {
        "alloc_return"
    };
    for (name, &without) in &off {
        let [some, all] = [&error, &debug].map(|sizes| sizes[name]);
        ensure!(
            without <= some && some <= all,
            "{name}: {without} instructions, {some} for errors, {all} for all"
        );
        if name.starts_with(allocating) {
            ensure!(
                without + TELLING < some && some < all,
                "{name}: {without} instructions, {some} for errors, {all} for all"
            );
        }
    }
    Ok(())
}
