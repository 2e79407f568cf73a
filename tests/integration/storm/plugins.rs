//! Libraries that come to where another one was: what their stacks may be called, and how much of them is
//! missing.
//!
//! Blocks below a library have a size that nothing else has, so that a wrong name shows.

use anyhow::{Context as _, Result, ensure};
use tests::ledger::Ledger;
use tests::profile;
use tests::unwind::STORM_PLUGINS;
use tracer::profile::{Profile, Sample, Values};
use tracer_common::StackEnd;

use super::lives::allocated;

/// The program's function that a library calls back to allocate.
const BACK: &str = "storm_back";

/// Blocks of one library.
struct Blocks {
    /// In the ledger.
    part: &'static str,
    /// Of each of them.
    bytes: i64,
    /// Of all stacks that say whose they are, innermost first.
    stack: &'static [&'static str],
}

const A: [&str; 5] = [
    BACK,
    "plugin_a_inner",
    "plugin_a_entry",
    "call",
    "storm_call_a",
];
const B: [&str; 5] = [
    BACK,
    "plugin_b_inner",
    "plugin_b_entry",
    "call",
    "storm_call_b",
];

const BLOCKS: [Blocks; 4] = [
    Blocks::new("own_a", 853, A.split_at(1).1),
    Blocks::new("own_b", 907, B.split_at(1).1),
    Blocks::new("back_a", 1013, &A),
    Blocks::new("back_b", 967, &B),
];

impl Blocks {
    const fn new(part: &'static str, bytes: i64, stack: &'static [&'static str]) -> Self {
        Self { part, bytes, stack }
    }

    /// Whether a stack begins as theirs do, until it says that the rest is missing.
    fn is_stack(&self, names: &[&str]) -> bool {
        let same = |(name, own): (&&str, &&str)| name == own || is_cut(name);
        let until = names.iter().position(|name| is_cut(name));
        let until = until.map_or(self.stack.len(), |cut| cut + 1);
        names.len() >= until.min(self.stack.len())
            && names.iter().zip(self.stack).take(until).all(same)
            && !names
                .iter()
                .skip(self.stack.len())
                .any(|name| is_theirs(name))
    }
}

fn is_cut(name: &str) -> bool {
    StackEnd::ALL.iter().any(|end| end.frame() == Some(name))
}

/// Whether a function is a library's, or stands between one and the program.
fn is_theirs(name: &str) -> bool {
    ["plugin_", "storm_call_", BACK]
        .iter()
        .any(|start| name.starts_with(start))
}

/// What was found of the libraries' blocks.
#[derive(Default)]
pub(super) struct Found {
    /// By the ledger and with no name: allocated by a library, or by the program for it.
    missing: [Values; 2],
    /// Cut with nothing before the cut, or behind the program's function.
    cut: [Values; 2],
    /// Allocations with a library's name.
    pub(super) named: i64,
}

impl Found {
    /// What says that callers are missing is all that is missing.
    pub(super) fn check_missing(&self, profile: &Profile) -> Result<()> {
        for (missing, cut) in self.missing.iter().zip(&self.cut) {
            ensure!(
                missing == cut,
                "{missing:?} of libraries have no name, {cut:?} are cut\n{}",
                profile::summary(profile)
            );
        }
        Ok(())
    }
}

/// The libraries' paths, as arguments.
pub(super) fn paths() -> Result<Vec<String>> {
    let path = |build: &tests::binaries::Build| {
        let path = build.program()?.into_os_string();
        path.into_string().ok().context("the path is no UTF-8")
    };
    STORM_PLUGINS.iter().map(path).collect()
}

/// Whether code was replaced is said, and no stack is named after a library whose stack it is not.
pub(super) fn check_names(ledger: &Ledger, profile: &Profile) -> Result<Found> {
    let mut found = Found::default();
    let mut of_parts = [Values::default(); BLOCKS.len()];
    let mut replaced = 0;
    for sample in &profile.samples {
        let names: Vec<_> = profile::stack(profile, sample).collect();
        let values = allocated(sample.values);
        if names.contains(&StackEnd::Replaced.frame().unwrap_or_default()) {
            replaced += values.alloc_objects;
        }
        let cut = match names.as_slice() {
            [cut, ..] if is_cut(cut) => Some(0),
            [back, cut, ..] if *back == BACK && is_cut(cut) => Some(1),
            _ => None,
        };
        if let Some(way) = cut {
            found.cut[way] = found.cut[way].plus(values);
        } else if names.iter().any(|name| is_theirs(name)) {
            let part = part_of(&names, sample).with_context(|| profile::summary(profile))?;
            of_parts[part] = of_parts[part].plus(values);
            found.named += values.alloc_objects;
        }
    }
    for (index, (blocks, named)) in BLOCKS.iter().zip(of_parts).enumerate() {
        let amount = ledger.parts.get(blocks.part).context(blocks.part)?;
        let expected = allocated(amount.values()?);
        ensure!(
            profile::contains(expected, named),
            "{}: ledger {expected:?}, profile {named:?}\n{}",
            blocks.part,
            profile::summary(profile)
        );
        let way = &mut found.missing[index / 2];
        *way = way.plus(expected.minus(named));
    }
    let counted = profile::counter(profile, "objects_replaced")?;
    ensure!(
        u64::try_from(replaced)? == counted,
        "{replaced} objects were cut, {counted} counted\n{}",
        profile::summary(profile)
    );
    Ok(found)
}

/// Whose blocks a stack with a library's name holds.
fn part_of(names: &[&str], sample: &Sample) -> Result<usize> {
    let values = sample.values;
    let part = BLOCKS.iter().position(|blocks| {
        blocks.is_stack(names) && values.alloc_space == values.alloc_objects * blocks.bytes
    });
    part.with_context(|| {
        format!(
            "{} objects, {} bytes are no library's with this stack: {}",
            values.alloc_objects,
            values.alloc_space,
            names.join(" < ")
        )
    })
}
