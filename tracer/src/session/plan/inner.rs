//! The part of the report on points inside functions.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::path::Path;

use serde::Serialize;

use crate::probe::inner::{InnerPoint, Text, cut};
use crate::probe::{Cost, FunctionCode};
use crate::process::{ProcessError, code_segments};

/// The points of one function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedCut {
    /// The function.
    pub function: &'static str,
    /// File offset of its first instruction.
    pub entry: u64,
    /// Each call that returns passes one of them; none where there is no such set.
    pub points: Vec<PlannedPoint>,
    /// Why there are none.
    pub declined: Option<String>,
}

/// One point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedPoint {
    /// File offset of the instruction.
    pub point: u64,
    /// The instruction.
    pub instruction: String,
    /// What a hit is predicted to cost.
    pub cost: Cost,
    /// What is known there, and where it is.
    pub sees: String,
}

impl From<&InnerPoint> for PlannedPoint {
    fn from(point: &InnerPoint) -> Self {
        Self {
            point: point.point.0,
            instruction: point.instruction.clone(),
            cost: point.cost,
            sees: point.to_string(),
        }
    }
}

/// Looks for the points of a module's allocating functions. Names that share an entry are one.
pub(super) fn plan(
    file: &File,
    path: &Path,
    functions: &[FunctionCode],
) -> Result<Vec<PlannedCut>, ProcessError> {
    let segments = code_segments(file, path)?;
    let text = Text {
        segments: &segments,
    };
    let mut sorted: Vec<_> = functions
        .iter()
        .filter(|function| !function.function.is_free())
        .collect();
    sorted.sort_by_key(|function| (function.function, function.entry));
    let mut taken = BTreeSet::new();
    let cuts = sorted
        .into_iter()
        .filter(|function| taken.insert(function.entry));
    Ok(cuts
        .map(|function| {
            let bytes = function.code.len() as u64;
            let found = cut(function.function, function.entry, bytes, text);
            let points = found.as_ref().map(|cut| cut.points.as_slice());
            PlannedCut {
                function: function.function.name(),
                entry: function.entry.0,
                points: points.unwrap_or_default().iter().map(Into::into).collect(),
                declined: found.err().map(|why| why.to_string()),
            }
        })
        .collect())
}

/// Writes them below the probes.
pub(super) fn write(f: &mut fmt::Formatter<'_>, cuts: &[PlannedCut]) -> fmt::Result {
    if cuts.is_empty() {
        return Ok(());
    }
    writeln!(
        f,
        "\nPoints inside, where one probe sees a whole call (not used for tracing yet):"
    )?;
    let points = cuts.iter().flat_map(|cut| &cut.points);
    let width = points.map(|point| point.instruction.len()).max();
    let width = width.unwrap_or(0).max("INSTRUCTION".len());
    writeln!(
        f,
        "{:<18} {:>9} {:>5}  {:<width$}  {:<14} SEES",
        "FUNCTION", "ENTRY", "POINT", "INSTRUCTION", "COST"
    )?;
    for cut in cuts {
        let entry = format!("{:#x}", cut.entry);
        if let Some(why) = &cut.declined {
            writeln!(f, "{:<18} {entry:>9}  none: {why}", cut.function)?;
        }
        for point in &cut.points {
            writeln!(
                f,
                "{:<18} {entry:>9} {:>5}  {:<width$}  {:<14} {}",
                cut.function,
                format!("+{}", point.point.saturating_sub(cut.entry)),
                point.instruction,
                point.cost,
                point.sees
            )?;
        }
    }
    Ok(())
}
