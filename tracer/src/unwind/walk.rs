//! The walk up a stack in user space: a rule for each frame, and the step by it.
//!
//! The same walk and the same step as on the eBPF side, over memory that is handed in. Must not know
//! where that memory comes from, or where the rules do.

use tracer_common::{Registers, Rule, StackEnd, Step, step};

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
    pub end: StackEnd,
}

/// Walks from a frame whose registers are known up to the root, for at most `max_frames`.
///
/// `rule_for` finds a frame's rule, [`Rule::NONE`] where the tables have none, and says `None` where
/// its code lies in no mapping; `read` reads a word of memory. With `frame_pointers`, code without a
/// rule is taken to keep a frame pointer.
pub fn walk(
    first: Frame,
    max_frames: usize,
    frame_pointers: bool,
    rule_for: &mut impl FnMut(&Frame) -> Option<Rule>,
    read: &mut impl FnMut(u64) -> Option<u64>,
) -> Walk {
    let mut frame = first;
    let mut frames = vec![frame];
    let end = loop {
        // What the walk ends with where there was no frame pointer after all.
        let (mut rule, without) = match rule_for(&frame) {
            None => (Rule::NONE, StackEnd::Unmapped),
            Some(rule) => (rule, StackEnd::NoRule),
        };
        let guess = rule == Rule::NONE;
        if guess && frame_pointers {
            if frame.registers.bp == 0 && without == StackEnd::NoRule {
                // What the ABI asks of the first frame.
                break StackEnd::Root;
            }
            rule = Rule::FRAME_POINTER;
        }
        frame = match step(&rule, frame.registers, read) {
            Step::Caller {
                registers,
                is_return_address,
                ..
            } => Frame {
                registers,
                is_return_address,
            },
            Step::Root => break StackEnd::Root,
            Step::Failed(_) if guess => break without,
            Step::Failed(failure) => break StackEnd::of_failure(failure),
        };
        if frames.len() >= max_frames {
            break StackEnd::TooDeep;
        }
        frames.push(frame);
    };
    Walk { frames, end }
}
