//! Probes that only count calls of the C library's functions, in windows: wished for, not needed.
//!
//! So a place is taken only where it is as harmless as can be; a function without one is left alone.

use std::collections::BTreeSet;

use tracer_common::IoFn;

use super::code::{Bodies, decoder};
use super::placement::walk;
use super::{Cost, FunctionCode, ProbeKind};
use crate::address::FileOffset;

/// A probe that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountingProbe {
    /// The function.
    pub function: IoFn,
    /// The instruction it lies on, which each call runs once.
    pub point: FileOffset,
}

/// Those for the functions of a module that is a C library. Names that share an entry get one.
///
/// The instruction must be one that the kernel emulates. A copy that is stepped over would cost twice as much, and run
/// elsewhere: the library cancels threads by where they are.
pub(super) fn place_all(functions: &[FunctionCode<IoFn>], bodies: &Bodies) -> Vec<CountingProbe> {
    let mut taken = BTreeSet::new();
    let mut sorted: Vec<_> = functions.iter().collect();
    sorted.sort_by_key(|function| (function.function, function.entry));
    sorted
        .into_iter()
        .filter(|function| taken.insert(function.entry))
        .filter_map(|function| {
            let (instruction, cost, _) =
                walk(function, &[], bodies, ProbeKind::EntryCounted).ok()?;
            (cost == Cost::Emulated && is_whole(function)).then_some(CountingProbe {
                function: function.function,
                point: FileOffset(instruction.ip()),
            })
        })
        .collect()
}

/// Whether all of a body is instructions: what can't be read may jump anywhere.
fn is_whole(function: &FunctionCode<IoFn>) -> bool {
    decoder(function)
        .into_iter()
        .all(|instruction| !instruction.is_invalid())
}
