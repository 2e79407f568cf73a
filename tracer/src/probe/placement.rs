//! The choice of the probed instruction.
//!
//! From the entry the code is walked in a straight line, as far as each call that matters runs it
//! exactly once. The first instruction that the kernel emulates gets the probe, provided that what
//! the probe reads is still there: the argument registers, and for a return probe the return
//! address on top of the stack, because that is what the kernel replaces.

use iced_x86::{
    ConditionCode, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind,
    Register, RflagsBits,
};
use tracer_common::AllocatorFn;

use super::code::{Bodies, cost, decoder, text};
use super::{Cost, FunctionCode, Obstacle, Probe, ProbeKind, Reason};
use crate::address::FileOffset;

/// Longest straight line that is walked, in bytes. Prologues are shorter by far.
const REACH: u64 = 256;

/// Places the probe of one function.
pub(super) fn place(function: &FunctionCode, bodies: &Bodies) -> Probe {
    let kind = if function.function.is_free() {
        ProbeKind::Entry
    } else if function.function.may_throw() {
        ProbeKind::EntryCounted
    } else {
        ProbeKind::EntryAndReturn
    };
    let (chosen, reason) = match walk(function, arguments(function.function), bodies, kind) {
        Ok((instruction, _, reason)) => (Some(instruction), reason),
        Err(obstacle) => {
            let first = decoder(function).into_iter().next();
            let first = first.filter(|first| !first.is_invalid());
            if first.is_some_and(|first| first.flow_control() == FlowControl::Call) {
                (first, Reason::CallAtEntry)
            } else {
                (first, Reason::NothingCheaper(obstacle))
            }
        }
    };
    Probe {
        function: function.function,
        entry: function.entry,
        point: chosen.map_or(function.entry, |instruction| FileOffset(instruction.ip())),
        instruction: chosen.map(|instruction| text(&instruction)),
        kind,
        cost: chosen.map_or(Cost::SingleStepped, |instruction| {
            cost(&instruction, bytes_of(function, &instruction))
        }),
        reason,
    }
}

/// The cheap instruction for the probe of a function, what a hit there costs, and why it is that one; or what stood in
/// the way. The registers in `kept` are to be as they were at the entry.
pub(super) fn walk<F>(
    function: &FunctionCode<F>,
    kept: &'static [Register],
    bodies: &Bodies,
    kind: ProbeKind,
) -> Result<(Instruction, Cost, Reason), Obstacle> {
    let walk = Walk {
        function,
        kept,
        bodies,
        kind,
        info: InstructionInfoFactory::new(),
        null_known: false,
        null_gone: false,
    };
    let (instruction, reason) = walk.choose()?;
    let cost = cost(&instruction, bytes_of(function, &instruction));
    Ok((instruction, cost, reason))
}

/// The registers that hold the arguments which the accounting reads, by the System V calling
/// convention.
const fn arguments(function: AllocatorFn) -> &'static [Register] {
    use AllocatorFn as F;
    use Register::{RDI, RDX, RSI};
    match function {
        F::Malloc | F::Valloc | F::Pvalloc | F::Mallocx | F::OperatorNew => &[RDI],
        F::Free | F::Cfree | F::FreeSized | F::FreeAlignedSized => &[RDI],
        F::Dallocx | F::Sdallocx => &[RDI],
        F::Calloc | F::Realloc | F::AlignedAlloc | F::Memalign => &[RDI, RSI],
        F::Rallocx | F::Xallocx => &[RDI, RSI],
        F::Reallocarray | F::PosixMemalign => &[RDI, RSI, RDX],
    }
}

fn bytes_of<'a, F>(function: &'a FunctionCode<F>, instruction: &Instruction) -> &'a [u8] {
    let start = instruction.ip().wrapping_sub(function.entry.0) as usize;
    function
        .code
        .get(start..start.saturating_add(instruction.len()))
        .unwrap_or_default()
}

/// The walk along the straight line.
struct Walk<'a, F> {
    function: &'a FunctionCode<F>,
    /// Registers that must keep what they hold.
    kept: &'static [Register],
    bodies: &'a Bodies,
    kind: ProbeKind,
    info: InstructionInfoFactory,
    /// The zero flag says whether the pointer to be freed is NULL.
    null_known: bool,
    /// NULL does not get here.
    null_gone: bool,
}

impl<F> Walk<'_, F> {
    /// The instruction for the probe, or what stood in the way of a cheap one.
    fn choose(mut self) -> Result<(Instruction, Reason), Obstacle> {
        let mut before_null_check = None;
        let mut decoder = decoder(self.function);
        let obstacle = loop {
            let instruction = if decoder.can_decode() {
                decoder.decode()
            } else {
                break self.end(decoder.ip());
            };
            if instruction.is_invalid() {
                break self.end(instruction.ip());
            }
            if let Some(target) = self.branch_target(&instruction) {
                break target;
            }
            if self.is_candidate(&instruction) {
                let reason = if self.null_gone {
                    Reason::PastNullCheck
                } else if instruction.ip() == self.function.entry.0 {
                    Reason::CheapEntry
                } else {
                    Reason::FirstEmulated
                };
                // A later one may be better only where frees of NULL can be left behind.
                if self.null_gone || self.kind != ProbeKind::Entry {
                    return Ok((instruction, reason));
                }
                before_null_check.get_or_insert((instruction, reason));
            }
            if let Err(obstacle) = self.pass(&instruction) {
                break obstacle;
            }
        };
        before_null_check.ok_or(obstacle)
    }

    fn at(&self, ip: u64) -> u64 {
        ip.wrapping_sub(self.function.entry.0)
    }

    fn end(&self, ip: u64) -> Obstacle {
        match self.at(ip) {
            0 if self.function.code.is_empty() => Obstacle::NoCode,
            at => Obstacle::NoInstruction { at },
        }
    }

    /// A jump to the entry is a call like any other; one that leads further in, be it between the
    /// bytes of an instruction, makes what follows run more than once, or without the entry.
    fn branch_target(&self, instruction: &Instruction) -> Option<Obstacle> {
        let ip = instruction.ip();
        let first = ip.max(self.function.entry.0.saturating_add(1));
        let leads_here = self
            .bodies
            .leads_into(first..instruction.next_ip().max(first));
        let at = self.at(ip);
        if leads_here {
            Some(Obstacle::BranchTarget { at })
        } else if at > REACH {
            Some(Obstacle::TooFar { at })
        } else {
            None
        }
    }

    fn is_candidate(&self, instruction: &Instruction) -> bool {
        // A call is emulated, too, but its return address does not get onto a shadow stack.
        if instruction.is_call_near() {
            return false;
        }
        if cost(instruction, bytes_of(self.function, instruction)) != Cost::Emulated {
            return false;
        }
        // No case of a jump table begins with a push of the prologue; anything else might.
        instruction.ip() == self.function.entry.0
            || instruction.mnemonic() == Mnemonic::Push
            || !self.bodies.has_table(self.function)
    }

    /// Goes on behind an instruction, if what the probe needs is still there then.
    fn pass(&mut self, instruction: &Instruction) -> Result<(), Obstacle> {
        let at = self.at(instruction.ip());
        match instruction.flow_control() {
            FlowControl::Next => {}
            FlowControl::ConditionalBranch if self.is_null_exit(instruction) => {
                self.null_gone = true;
            }
            _ => return Err(Obstacle::LeadsAway { at }),
        }
        let info = self.info.info(instruction);
        // A store may already give the block to whoever asks next. The stack is the thread's own.
        let publishes = info
            .used_memory()
            .iter()
            .any(|memory| is_written(memory.access()) && memory.base() != Register::RSP);
        if publishes {
            return Err(Obstacle::MemoryWritten { at });
        }
        for used in info.used_registers() {
            if !is_written(used.access()) {
                continue;
            }
            let register = used.register().full_register();
            if self.kept.contains(&register) {
                return Err(Obstacle::ArgumentGone { at });
            }
            if register == Register::RSP && self.kind == ProbeKind::EntryAndReturn {
                return Err(Obstacle::StackPointerMoved { at });
            }
        }
        if tests_pointer(instruction) {
            self.null_known = true;
        } else if instruction.rflags_modified() & RflagsBits::ZF != 0 {
            self.null_known = false;
        }
        Ok(())
    }

    /// Whether a conditional jump is taken exactly when there is nothing to free. An allocating
    /// function has no such exit: `realloc` of NULL allocates.
    fn is_null_exit(&self, instruction: &Instruction) -> bool {
        self.kind == ProbeKind::Entry
            && self.null_known
            && instruction.is_jcc_short_or_near()
            && instruction.condition_code() == ConditionCode::e
    }
}

const fn is_written(access: OpAccess) -> bool {
    matches!(
        access,
        OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
    )
}

/// `test rdi, rdi` or `cmp rdi, 0`, of all 64 bits: half of an address can be zero.
fn tests_pointer(instruction: &Instruction) -> bool {
    let is_pointer = |operand| {
        instruction.op_kind(operand) == OpKind::Register
            && instruction.op_register(operand) == Register::RDI
    };
    match instruction.mnemonic() {
        Mnemonic::Test => is_pointer(0) && is_pointer(1),
        Mnemonic::Cmp => {
            is_pointer(0)
                && instruction
                    .try_immediate(1)
                    .is_ok_and(|immediate| immediate == 0)
        }
        _ => false,
    }
}
