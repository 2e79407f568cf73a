//! A walk at each instruction of a program, held against three things: framehop's walk, the frames
//! that cannot have changed since the last one, and the functions that the program is known to be
//! in.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use object::{Object as _, ObjectSymbol as _};
use tracer_common::{Registers, Rule, RuleKind, StackEnd};

use super::TestResult;
use super::framehop::Oracle;
use super::target::{Code, Files, Stop, Target};
use crate::unwind::UnwindTable;
use crate::unwind::walk::{Lookup, Walk, WalkedFrame, walk};

/// More than any program here takes.
const MAX_STEPS: usize = 100_000;
const MAX_FRAMES: usize = 256;

/// What stepping through a program showed.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Functions of the program's own file in which the first walk was, leaf first.
    pub(super) functions: Vec<String>,
    /// Stops at which a walk was made.
    pub(super) walks: usize,
    /// Frames that framehop confirmed.
    pub(super) confirmed: usize,
    /// Steps by kind of rule.
    pub(super) kinds: BTreeMap<u8, usize>,
    /// Files in which the instruction pointer was.
    pub(super) modules: BTreeSet<String>,
    /// Where and why walks ended without a root.
    pub(super) failures: BTreeSet<String>,
}

impl Report {
    /// Steps made by rules of a kind.
    pub(super) fn steps_by(&self, kind: RuleKind) -> usize {
        self.kinds.get(&(kind as u8)).copied().unwrap_or_default()
    }
}

/// Runs a program up to its first `int3` and steps from there to the second.
pub(super) fn step_through(program: &Path) -> TestResult<Report> {
    let target = Target::start(program)?;
    target.run_to_breakpoint()?;
    let (code, files) = target.code()?;
    let tables = tables(&files)?;
    let mappings = mappings(&code, &tables)?;
    let names = Names::new(&code, &files)?;
    let mut oracle = Oracle::new(&code, &files)?;
    let read = |address| target.read(address);

    let mut report = Report::default();
    let first = walk_from(target.registers()?, &mappings, &read);
    assert_eq!(first.end, StackEnd::Root, "{:x?}", first.frames);
    let own = first.frames.iter().map_while(|frame| names.own(frame));
    report.functions = own.collect();
    // These are the callers of the function that has the breakpoints: as long as it is stepped
    // through, not one of them can change.
    let outer = first.frames.get(1..).unwrap_or_default();

    let mut stop = Stop::Breakpoint;
    for _ in 0..MAX_STEPS {
        stop = target.step(stop)?;
        match stop {
            Stop::Step => {}
            // Delivered with the next step.
            Stop::Signal(_) => continue,
            Stop::Breakpoint => {
                assert!(report.walks > 0);
                return Ok(report);
            }
            Stop::Exit => return Err("the program ended between its breakpoints".into()),
        }
        let found = walk_from(target.registers()?, &mappings, &read);
        report.walks += 1;
        let leaf = names.module(found.frames.first());
        report.modules.insert(leaf.to_owned());
        report.confirmed += confirm(&found, &mappings, &mut oracle, &read);
        for frame in &found.frames {
            let rule = rule_for(&mappings, frame).unwrap_or_default();
            *report.kinds.entry(rule.kind).or_default() += 1;
        }
        if found.end == StackEnd::Root {
            assert!(
                found.frames.ends_with(outer),
                "{:x?} does not end with {outer:x?}",
                found.frames
            );
        } else {
            let module = names.module(found.frames.last());
            let is_leaf = found.frames.len() == 1;
            let place = if is_leaf { "the leaf" } else { "a caller" };
            let failure = format!("{place} in {module}: {:?}", found.end);
            report.failures.insert(failure);
        }
    }
    Err("the program did not come to its second breakpoint".into())
}

fn walk_from(
    registers: Registers,
    mappings: &[Mapping<'_>],
    read: &impl Fn(u64) -> Option<u64>,
) -> Walk {
    let first = WalkedFrame {
        registers,
        is_return_address: false,
    };
    let mut look_up =
        |frame: &WalkedFrame| rule_for(mappings, frame).map_or(Lookup::Unmapped, Lookup::Rule);
    walk(first, MAX_FRAMES, false, &mut look_up, &mut { read })
}

/// A piece of an address space with the table of the module that is mapped there.
#[derive(Clone, Copy, Debug)]
struct Mapping<'a> {
    /// First address.
    start: u64,
    /// First address behind it.
    end: u64,
    /// What `start` is, counted as in the table's rows; see [`UnwindTable::pc_at`].
    pc: u32,
    /// The module's table.
    table: &'a UnwindTable,
}

/// The rule for a frame, if its code is in a mapping. `mappings` must be sorted and disjoint.
fn rule_for(mappings: &[Mapping<'_>], frame: &WalkedFrame) -> Option<Rule> {
    let address = frame.registers.ip;
    // A return address may be the first one behind its mapping.
    let inside = frame.registers.rule_address(frame.is_return_address);
    let next = mappings.partition_point(|mapping| mapping.start <= inside);
    let mapping = mappings.get(next.checked_sub(1)?)?;
    if inside >= mapping.end {
        return None;
    }
    let pc = u64::from(mapping.pc) + (address - mapping.start);
    Some(match u32::try_from(pc) {
        Ok(pc) => mapping.table.rule_for(pc, frame.is_return_address),
        Err(_) => Rule::NONE,
    })
}

/// Compares each step with framehop's, and returns how many could be.
fn confirm(
    found: &Walk,
    mappings: &[Mapping<'_>],
    oracle: &mut Oracle,
    read: &impl Fn(u64) -> Option<u64>,
) -> usize {
    let mut confirmed = 0;
    for pair in found.frames.windows(2) {
        let [callee, caller] = pair else { continue };
        let rule = rule_for(mappings, callee).unwrap_or_default();
        // framehop reads no memory while it evaluates an expression, and guesses then.
        let has_guessed = [
            RuleKind::CfaDerefSp as u8,
            RuleKind::CfaDerefBp as u8,
            RuleKind::Signal as u8,
        ]
        .contains(&rule.kind);
        if has_guessed {
            continue;
        }
        let theirs = oracle.caller(callee.registers, callee.is_return_address, read);
        assert_eq!(
            theirs,
            Some(caller.registers),
            "from {callee:x?} by {rule:?}"
        );
        confirmed += 1;
    }
    if found.end == StackEnd::Root
        && let Some(root) = found.frames.last()
    {
        let theirs = oracle.caller(root.registers, root.is_return_address, read);
        assert_eq!(theirs, None, "{root:x?} is a root here");
        confirmed += 1;
    }
    confirmed
}

fn tables(files: &Files) -> TestResult<HashMap<String, UnwindTable>> {
    let mut tables = HashMap::new();
    for (name, bytes) in files {
        tables.insert(name.clone(), UnwindTable::from_elf(bytes.as_slice())?);
    }
    Ok(tables)
}

fn mappings<'a>(
    code: &[Code],
    tables: &'a HashMap<String, UnwindTable>,
) -> TestResult<Vec<Mapping<'a>>> {
    let mut mappings = Vec::new();
    for code in code {
        let table = tables.get(&code.name).ok_or("no such table")?;
        mappings.push(Mapping {
            start: code.start,
            end: code.end,
            pc: table.pc_at(code.file_offset).ok_or("not executable")?,
            table,
        });
    }
    Ok(mappings)
}

/// Functions by address.
struct Names {
    code: Vec<(u64, u64, String)>,
    /// Start, end and name of the functions of the program's own file.
    own: Vec<(u64, u64, String)>,
}

impl Names {
    fn new(code: &[Code], files: &Files) -> TestResult<Self> {
        let main = code.first().ok_or("no code")?;
        let file = files.get(&main.name).ok_or("no such file")?;
        let table = UnwindTable::from_elf(file.as_slice())?;
        let file = object::File::parse(file.as_slice())?;
        let pc = table.pc_at(main.file_offset).ok_or("not executable")?;
        let base = main
            .start
            .wrapping_sub(u64::from(pc) + table.base_address());
        let own = file
            .symbols()
            .filter(|symbol| symbol.kind() == object::SymbolKind::Text && symbol.size() > 0)
            .filter_map(|symbol| {
                let start = symbol.address().wrapping_add(base);
                Some((start, start + symbol.size(), symbol.name().ok()?.to_owned()))
            })
            .collect();
        let code = code
            .iter()
            .map(|code| (code.start, code.end, code.name.clone()))
            .collect();
        Ok(Self { code, own })
    }

    /// The name of a frame's function, if it is one of the program's own.
    fn own(&self, frame: &WalkedFrame) -> Option<String> {
        let address = frame.registers.rule_address(frame.is_return_address);
        let own = self.own.iter();
        own.filter(|(start, end, _)| (*start..*end).contains(&address))
            .map(|(_, _, name)| name.clone())
            .next()
    }

    /// The file that a frame's code is in.
    fn module(&self, frame: Option<&WalkedFrame>) -> &str {
        let address = frame.map(|frame| frame.registers.rule_address(frame.is_return_address));
        let address = address.unwrap_or_default();
        let mut code = self.code.iter();
        code.find(|(start, end, _)| (*start..*end).contains(&address))
            .and_then(|(_, _, name)| name.rsplit('/').next())
            .unwrap_or("nowhere")
    }
}
