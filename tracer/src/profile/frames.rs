//! Walking a stack frame by frame.

use super::{FunctionIndex, Profile, Sample};

/// A frame of a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its function.
    pub function: FunctionIndex,
    /// Source line, or 0.
    pub line: u32,
    /// It was inlined into the frame before it.
    pub inlined: bool,
}

impl Profile {
    /// The frames of a sample, root first, inlined ones included.
    ///
    /// Indices that point at nothing are skipped; [`Profile::validate`] tells.
    pub fn frames<'a>(&'a self, sample: &'a Sample) -> impl Iterator<Item = Frame> + 'a {
        sample
            .locations
            .iter()
            .rev()
            .filter_map(|&location| self.location(location))
            .flat_map(|location| {
                let lines = location.lines.iter().rev().enumerate();
                lines.map(|(depth, line)| Frame {
                    function: line.function,
                    line: line.line,
                    inlined: depth > 0,
                })
            })
            .filter(|frame| frame.function < self.functions.len())
    }
}
