//! The walk up a stack in user space: find the module, search its table, make the step.
//!
//! The same searches and the same step as on the eBPF side, over memory that is handed in. Must
//! not know where that memory comes from.

use tracer_common::{Registers, Rule, Step, StepFailure, step};

use super::UnwindTable;

/// A piece of an address space with the table of the module that is mapped there.
#[derive(Clone, Copy, Debug)]
pub struct Mapping<'a> {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// What `start` is, counted as in the table's rows; see [`UnwindTable::pc_at`].
    pub pc: u32,
    /// The module's table.
    pub table: &'a UnwindTable,
}

/// Why a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// At the first frame of the thread: the stack is whole.
    Root,
    /// The code of the last frame is in no mapping.
    Unmapped,
    /// No step led on from the last frame.
    Failed(StepFailure),
    /// There are more frames than were asked for.
    TooDeep,
}

/// A frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Registers in the frame.
    pub registers: Registers,
    /// Whether its `ip` is a return address.
    pub is_return_address: bool,
}

/// What a walk found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    /// The frames, leaf first; at least the one that the walk began with.
    pub frames: Vec<Frame>,
    /// Why there are no more.
    pub end: End,
}

/// The rule for a frame, if its code is in a mapping. `mappings` must be sorted and disjoint.
#[must_use]
pub fn rule_for(mappings: &[Mapping<'_>], frame: &Frame) -> Option<Rule> {
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

/// Walks from a frame whose registers are known up to the root, for at most `max_frames`.
/// `is_return_address` says whether the first `ip` is one; `read` reads a word of memory.
pub fn walk(
    mappings: &[Mapping<'_>],
    registers: Registers,
    is_return_address: bool,
    max_frames: usize,
    read: &mut impl FnMut(u64) -> Option<u64>,
) -> Walk {
    let mut frame = Frame {
        registers,
        is_return_address,
    };
    let mut frames = vec![frame];
    let end = loop {
        let Some(rule) = rule_for(mappings, &frame) else {
            break End::Unmapped;
        };
        frame = match step(&rule, frame.registers, read) {
            Step::Caller {
                registers,
                is_return_address,
                ..
            } => Frame {
                registers,
                is_return_address,
            },
            Step::Root => break End::Root,
            Step::Failed(failure) => break End::Failed(failure),
        };
        if frames.len() >= max_frames {
            break End::TooDeep;
        }
        frames.push(frame);
    };
    Walk { frames, end }
}
