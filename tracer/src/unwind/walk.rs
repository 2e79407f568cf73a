//! The walk up a stack in user space: a rule for each frame, and the step by it.
//!
//! The same walk and the same step as on the eBPF side, over memory that is handed in. Must not know
//! where that memory comes from, or where the rules do.

use tracer_common::{Registers, Rule, RuleKind, StackEnd, Step, step};

/// A frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalkedFrame {
    /// Registers in the frame.
    pub registers: Registers,
    /// Whether its `ip` is a return address.
    pub is_return_address: bool,
}

/// What a walk found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    /// The frames, leaf first; at least the one that the walk began with.
    pub frames: Vec<WalkedFrame>,
    /// Why there are no more.
    pub end: StackEnd,
    /// It leads through code in no mapping, which was taken to keep a frame pointer.
    pub is_guess: bool,
}

/// What is known of a frame's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// It lies in no mapping.
    Unmapped,
    /// What is mapped there has no table: code made at run time.
    NoTable,
    /// The table's rule; [`Rule::NONE`] in its gaps.
    Rule(Rule),
}

/// Walks from a frame whose registers are known up to the root, for at most `max_frames`.
///
/// `look_up` finds what is known of a frame, `read` reads a word of memory. With `frame_pointers`, code
/// without a rule is taken to keep a frame pointer.
pub fn walk(
    first: WalkedFrame,
    max_frames: usize,
    frame_pointers: bool,
    look_up: &mut impl FnMut(&WalkedFrame) -> Lookup,
    read: &mut impl FnMut(u64) -> Option<u64>,
) -> Walk {
    let mut frame = first;
    let mut frames = vec![frame];
    let mut is_guess = false;
    let end = loop {
        let found = look_up(&frame);
        let (mut rule, without) = match found {
            Lookup::Rule(rule) => (rule, StackEnd::NoRule),
            Lookup::NoTable => (Rule::NONE, StackEnd::NoRule),
            Lookup::Unmapped => (Rule::NONE, StackEnd::Unmapped),
        };
        let guess = rule == Rule::NONE;
        if guess && frame_pointers {
            if frame.registers.bp == 0 && found == Lookup::NoTable {
                // What the ABI asks of the first frame.
                break StackEnd::Root;
            }
            rule = Rule::FRAME_POINTER;
            is_guess |= found == Lookup::Unmapped;
        }
        frame = match step(&rule, frame.registers, read) {
            Step::Caller {
                registers,
                is_return_address,
                ..
            } => WalkedFrame {
                registers,
                is_return_address,
            },
            Step::Root { .. } => break StackEnd::Root,
            // There was no frame pointer after all.
            Step::Failed(_) if guess => break without,
            // The other stack is not in the copy.
            Step::Failed(_) if rule.kind == RuleKind::Switch as u8 => break StackEnd::Switched,
            Step::Failed(failure) => break StackEnd::of_failure(failure),
        };
        if frames.len() >= max_frames {
            break StackEnd::TooDeep;
        }
        frames.push(frame);
    };
    Walk {
        frames,
        end,
        is_guess,
    }
}
