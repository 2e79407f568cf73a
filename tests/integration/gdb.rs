//! gdb, stopped at an allocation, sees the same frames: those that the tracer recorded of an identical run,
//! and those that the walk in user space finds in the registers and the stack of the very same stop.
//!
//! gdb has an unwinder of its own and reads `.eh_frame` by itself.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs::File;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use object::ReadCache;
use tests::binaries::Build;
use tests::gdb::{Allocations, Gdb, Stop};
use tests::programs::{Load, SCRIPTED, Scripted};
use tests::tracing::Tracing;
use tests::trial;
use tests::workload::Workload;
use tracer::profile::Profile;
use tracer::unwind::UnwindTable;
use tracer::unwind::walk::{self, Lookup, walk};
use tracer_common::{Registers, StackEnd};

use crate::programs::ALL;

/// On CI; the others need servers' packages.
const SOME: [&str; 3] = ["perl", "python3", "sqlite3"];
/// Stops that a program must have for its agreement to say something.
const LEAST_STOPS: usize = 200;
/// More than any of these stacks has.
const MAX_FRAMES: usize = 1_000;

/// A frame: the file it is in, and the offset there of the byte before the return address.
type Frame<'a> = (&'a str, u64);
/// How often each stack allocated.
type Stacks<'a> = BTreeMap<Vec<Frame<'a>>, i64>;

pub(crate) fn trials() -> Vec<Trial> {
    if std::env::var_os(ALL).is_some() {
        return vec![trial::heavy("gdb::all", || agree(|_| true))];
    }
    vec![
        trial::heavy("gdb::stacks_agree", || agree(|name| SOME.contains(&name))),
        trial::root(
            "gdb::differs_along_frame_pointers",
            differs_along_frame_pointers,
        ),
    ]
}

fn agree(wanted: impl Fn(&str) -> bool) -> Result<()> {
    for program in SCRIPTED.iter().filter(|program| wanted(program.name)) {
        check(program).with_context(|| program.name)?;
    }
    Ok(())
}

fn check(program: &Scripted) -> Result<()> {
    let seen = by_gdb(program)?;
    ensure!(
        seen.stops.len() >= LEAST_STOPS,
        "only {} stops",
        seen.stops.len()
    );
    let frames: usize = seen.stops.iter().map(|stop| stop.frames.len()).sum();
    let profile = by_tracer(program)?;
    tests::profile::check_complete(&profile)?;
    let (theirs, ours) = (stacks_of_gdb(&seen)?, stacks_of_profile(&profile)?);
    println!(
        "{}: {} stops, {frames} frames, {} stacks",
        program.name,
        seen.stops.len(),
        theirs.len()
    );
    walks_agree(&seen)?;
    ensure!(theirs == ours, "{}", difference(&theirs, &ours));
    Ok(())
}

/// A comparison that cannot fail would prove nothing: along frame pointers, which this program has not, the
/// stacks are others.
fn differs_along_frame_pointers() -> Result<()> {
    let program = Build::new("unwind", "pie", &["-pie", "-fPIE"]).program()?;
    let start = || Workload::start_command(Command::new(&program).args(["plain", "20"]));
    let mut workload = start()?;
    let gdb = Gdb::attach(workload.pid())?;
    workload.open_gate()?;
    workload.finish()?;
    let seen = gdb.finish()?;
    let theirs = stacks_of_gdb(&seen)?;
    for (mode, agrees) in [("auto", true), ("cfi", true), ("fp", false)] {
        let mut workload = start()?;
        let mut tracing = Tracing::attach_with(workload.pid(), &["--unwind", mode])?;
        workload.open_gate()?;
        workload.finish()?;
        let (profile, _) = tracing.finish_with(0)?;
        let ours = stacks_of_profile(&profile)?;
        ensure!(
            (theirs == ours) == agrees,
            "{mode}: {}",
            difference(&theirs, &ours)
        );
    }
    Ok(())
}

fn by_gdb(program: &Scripted) -> Result<Allocations> {
    let waiting = program.start(Load::Few)?;
    let gdb = Gdb::attach(waiting.pid())?;
    waiting.finish()?;
    gdb.finish()
}

fn by_tracer(program: &Scripted) -> Result<Profile> {
    let waiting = program.start(Load::Few)?;
    let mut tracing = Tracing::attach(waiting.pid())?;
    waiting.finish()?;
    Ok(tracing.finish_with(0)?.0)
}

/// What gdb saw, from the allocator's caller on, as the tracer would say it.
fn stacks_of_gdb(seen: &Allocations) -> Result<Stacks<'_>> {
    let mut stacks = Stacks::new();
    for stop in &seen.stops {
        let callers = stop.frames.iter().skip(1);
        let frames = callers.map(|return_address| {
            let address = return_address - 1;
            let code = seen.code_at(address);
            let code = code.with_context(|| format!("{address:#x} is not mapped"))?;
            Ok((code.path.as_str(), address - code.start + code.offset))
        });
        *stacks.entry(frames.collect::<Result<_>>()?).or_default() += 1;
    }
    Ok(stacks)
}

fn stacks_of_profile(profile: &Profile) -> Result<Stacks<'_>> {
    let mut stacks = Stacks::new();
    for sample in &profile.samples {
        let frames = sample.locations.iter().map(|&index| {
            let location = &profile.locations[index.position()];
            let Some(mapping) = location.mapping else {
                let function = location.lines.first().map(|line| line.function);
                let function = function.context("a location without a line")?;
                return Ok((profile.functions[function].name.as_str(), location.address));
            };
            let mapping = &profile.mappings[mapping];
            let offset = location.address - mapping.start + mapping.file_offset;
            Ok((mapping.path.as_str(), offset))
        });
        *stacks.entry(frames.collect::<Result<_>>()?).or_default() += sample.values.alloc_objects;
    }
    Ok(stacks)
}

/// At each stop, from the same registers and the same bytes, gdb and the walk find the same frames.
fn walks_agree(seen: &Allocations) -> Result<()> {
    let mut tables = HashMap::new();
    for code in &seen.code {
        if !tables.contains_key(code.path.as_str()) && code.path.starts_with('/') {
            let table = UnwindTable::from_elf(&ReadCache::new(File::open(&code.path)?))?;
            tables.insert(code.path.as_str(), table);
        }
    }
    let rule_for = |frame: &walk::WalkedFrame| {
        let is_return_address = frame.is_return_address;
        let inside = frame.registers.rule_address(is_return_address);
        let mut code = seen.code.iter();
        let code = code.find(|code| (code.start..code.end).contains(&inside))?;
        let table: &UnwindTable = tables.get(code.path.as_str())?;
        let pc = table.pc_at(inside - code.start + code.offset)?;
        Some(table.rule_for(pc + u32::from(is_return_address), is_return_address))
    };
    let mut look_up =
        |frame: &walk::WalkedFrame| rule_for(frame).map_or(Lookup::Unmapped, Lookup::Rule);
    for (number, stop) in seen.stops.iter().enumerate() {
        let &Stop { rip, rsp, rbp, .. } = stop;
        let registers = Registers {
            ip: rip,
            sp: rsp,
            bp: rbp,
        };
        let first = walk::WalkedFrame {
            registers,
            is_return_address: false,
        };
        let found = walk(first, MAX_FRAMES, false, &mut look_up, &mut |address| {
            stop.read(address)
        });
        let frames: Vec<_> = found
            .frames
            .iter()
            .map(|frame| frame.registers.ip)
            .collect();
        ensure!(
            frames == stop.frames && found.end == StackEnd::Root,
            "stop {number}, at {}: gdb finds {:x?} ({}), the walk {frames:x?} ({:?})",
            stop.function,
            stop.frames,
            stop.end,
            found.end
        );
    }
    Ok(())
}

/// The stacks that one of them has and the other has not, or not as often.
fn difference(theirs: &Stacks<'_>, ours: &Stacks<'_>) -> String {
    let mut text = String::new();
    let all = theirs
        .keys()
        .chain(ours.keys().filter(|stack| !theirs.contains_key(*stack)));
    for stack in all {
        let count = |stacks: &Stacks<'_>| stacks.get(stack).copied().unwrap_or(0);
        let (gdb, tracer) = (count(theirs), count(ours));
        if gdb != tracer {
            let frames: Vec<_> = stack
                .iter()
                .map(|(file, offset)| {
                    format!("{}+{offset:#x}", file.rsplit('/').next().unwrap_or(file))
                })
                .collect();
            let _ = writeln!(text, "gdb {gdb}, tracer {tracer}: {}", frames.join(" < "));
        }
    }
    text
}
