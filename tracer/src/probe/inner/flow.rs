//! The ways through a function: its instructions, and which comes after which.

use std::collections::HashMap;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};

use super::Declined;
use super::endless::Endless;
use crate::address::FileOffset;

/// Instructions of one function that are followed at most: jemalloc's `realloc`, the longest known, has 2,000.
const MAX_INSTRUCTIONS: usize = 8 << 10;

/// The code of a module, as far as it was read.
#[derive(Clone, Copy, Debug)]
pub struct Text<'data> {
    /// Its segments: where each begins in the file, and its bytes.
    pub segments: &'data [(FileOffset, Vec<u8>)],
}

impl<'data> Text<'data> {
    pub(super) fn instruction(self, at: u64) -> Option<(Instruction, &'data [u8])> {
        let bytes = self.segments.iter().find_map(|(start, bytes)| {
            let within = usize::try_from(at.checked_sub(start.0)?).ok()?;
            bytes.get(within..).filter(|rest| !rest.is_empty())
        })?;
        let instruction = Decoder::with_ip(64, bytes, at, DecoderOptions::NONE).decode();
        (!instruction.is_invalid()).then(|| (instruction, &bytes[..instruction.len()]))
    }
}

/// How an instruction is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// As most are, and by a jump without a condition.
    Only,
    /// A conditional jump, taken.
    Taken,
    /// A conditional jump, not taken.
    NotTaken,
}

/// An instruction.
#[derive(Clone, Debug)]
pub(super) struct Node<'data> {
    pub(super) instruction: Instruction,
    pub(super) bytes: &'data [u8],
    /// Indices of those that may come next. None for a return, and for what does not go on.
    pub(super) next: Vec<(usize, Way)>,
}

/// A function's instructions that can be reached from its entry, which is the first.
#[derive(Debug)]
pub(super) struct Flow<'data> {
    pub(super) nodes: Vec<Node<'data>>,
}

impl<'data> Flow<'data> {
    /// Follows the code from an entry, through jumps into other functions as well.
    pub(super) fn read(text: Text<'data>, entry: FileOffset) -> Result<Self, Declined> {
        Self::read_where(text, entry, true).unwrap_or_else(|| {
            // A constant was taken for granted to which another way leads.
            Self::read_where(text, entry, false).unwrap_or(Err(Declined::TooLong))
        })
    }

    /// As [`Self::read`]; `None` where what is known of the arguments of calls is wrong.
    fn read_where(
        text: Text<'data>,
        entry: FileOffset,
        with_arguments: bool,
    ) -> Option<Result<Self, Declined>> {
        let mut index = HashMap::from([(entry.0, 0)]);
        let mut order = vec![entry.0];
        let mut nodes = Vec::new();
        let mut endless = Endless::new(text);
        // Where each was found from.
        let mut found_from: Vec<Option<usize>> = vec![None];
        let mut alone = Vec::new();
        while let Some(&at) = order.get(nodes.len()) {
            if nodes.len() == MAX_INSTRUCTIONS {
                return Some(Err(Declined::TooLong));
            }
            let Some((instruction, bytes)) = text.instruction(at) else {
                return Some(Err(Declined::NoInstruction { at: FileOffset(at) }));
            };
            let Some(ways) = ways(&instruction) else {
                return Some(Err(Declined::Leaves { at: FileOffset(at) }));
            };
            let here = nodes.len();
            let goes_on = direct_call(&instruction).is_none_or(|callee| {
                let argument = argument(&nodes, &found_from, here).filter(|_| with_arguments);
                if endless.never_returns(callee, None) {
                    return false;
                }
                let Some((argument, since)) = argument else {
                    return true;
                };
                let never = endless.never_returns(callee, Some(argument));
                if never {
                    alone.extend(since);
                }
                !never
            });
            let next = ways.into_iter().filter(|_| goes_on).map(|(to, way)| {
                let known = *index.entry(to).or_insert_with(|| {
                    order.push(to);
                    found_from.push(Some(here));
                    order.len() - 1
                });
                (known, way)
            });
            let next = next.collect();
            nodes.push(Node {
                instruction,
                bytes,
                next,
            });
        }
        let flow = Self { nodes };
        let before = flow.before();
        let holds = alone.iter().all(|&at| before[at].len() == 1);
        holds.then_some(Ok(flow))
    }

    /// What may come before each instruction.
    pub(super) fn before(&self) -> Vec<Vec<(usize, Way)>> {
        let mut before = vec![Vec::new(); self.nodes.len()];
        for (from, node) in self.nodes.iter().enumerate() {
            for &(to, way) in &node.next {
                before[to].push((from, way));
            }
        }
        before
    }
}

pub(super) fn is_return(instruction: &Instruction) -> bool {
    instruction.flow_control() == FlowControl::Return
}

/// The first argument of a call, where that is a constant: an `int`, set a few instructions before it. With the
/// instructions from there on, which must be reached from there only.
fn argument(
    nodes: &[Node<'_>],
    found_from: &[Option<usize>],
    call: usize,
) -> Option<(u64, Vec<usize>)> {
    /// Instructions that set up a call.
    const REACH: usize = 8;
    let mut since = vec![call];
    let mut at = found_from[call]?;
    for _ in 0..REACH {
        let instruction = &nodes[at].instruction;
        if instruction.flow_control() != FlowControl::Next {
            return None;
        }
        if instruction.op0_register() == Register::EDI {
            let is_set = instruction.mnemonic() == Mnemonic::Mov;
            let value = instruction.try_immediate(1).ok().filter(|_| is_set)?;
            return Some((value & u64::from(u32::MAX), since));
        }
        if instruction.op0_register().full_register() == Register::RDI {
            return None;
        }
        since.push(at);
        at = found_from[at]?;
    }
    None
}

/// Where control may go from an instruction; nowhere from a return or a trap. `None` where that can't be told.
pub(super) fn ways(instruction: &Instruction) -> Option<Vec<(u64, Way)>> {
    let next = (instruction.next_ip(), Way::Only);
    let target = instruction.near_branch_target();
    Some(match instruction.flow_control() {
        // `hlt` is not for programs: it raises a signal, again and again.
        _ if instruction.mnemonic() == Mnemonic::Hlt => vec![],
        FlowControl::Next | FlowControl::Call | FlowControl::IndirectCall => vec![next],
        FlowControl::UnconditionalBranch if is_near(instruction) => vec![(target, Way::Only)],
        FlowControl::ConditionalBranch if is_near(instruction) => {
            vec![(instruction.next_ip(), Way::NotTaken), (target, Way::Taken)]
        }
        FlowControl::Return | FlowControl::Exception => vec![],
        // iced counts `syscall` among the calls; what is left here are indirect jumps, transactions, interrupts.
        _ => return None,
    })
}

fn is_near(instruction: &Instruction) -> bool {
    matches!(
        instruction.op0_kind(),
        OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64
    )
}

pub(super) fn direct_call(instruction: &Instruction) -> Option<u64> {
    let is_call = instruction.flow_control() == FlowControl::Call && is_near(instruction);
    is_call.then(|| instruction.near_branch_target())
}
