//! What an instruction does to registers and to the words of its function's stack, as far as that matters.
//!
//! Rests on the calling convention (System V, AMD64): a call keeps `rbx`, `rbp`, `rsp` and `r12` to `r15`. And on what
//! compilers do: nobody writes into a function's own part of the stack unless it was told where that is.

use iced_x86::{
    FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register,
    RflagsBits, UsedMemory,
};

use super::values::{State, Value};

/// General registers.
pub(super) const REGISTERS: [Register; 16] = [
    Register::RAX,
    Register::RCX,
    Register::RDX,
    Register::RBX,
    Register::RSP,
    Register::RBP,
    Register::RSI,
    Register::RDI,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
    Register::R12,
    Register::R13,
    Register::R14,
    Register::R15,
];

/// Those that a call may change.
pub(super) const CHANGED_BY_CALLS: [Register; 9] = [
    Register::RAX,
    Register::RCX,
    Register::RDX,
    Register::RSI,
    Register::RDI,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
];

/// A general register's place in [`REGISTERS`].
pub(super) fn index(register: Register) -> Option<usize> {
    REGISTERS.iter().position(|&known| known == register)
}

/// Where a value can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Location {
    /// A general register.
    Register(Register),
    /// A word of the stack, by its distance from where the return address lies.
    Slot(i64),
}

/// Words of the stack that may hold something else afterwards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Overwritten {
    /// None.
    #[default]
    Nothing,
    /// Those that these bytes touch: from where, and how many.
    Bytes(i64, i64),
    /// All.
    All,
}

/// Where the zero flag comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ZeroFlag {
    /// From before.
    Kept,
    /// It says whether this register is zero.
    Of(Register),
    /// From something else.
    Else,
}

/// What an instruction does.
#[derive(Clone, Debug)]
pub(super) struct Effect {
    /// It copies a word.
    pub(super) copied: Option<(Location, Location)>,
    /// It makes a value that is known.
    pub(super) made: Option<(Register, Value)>,
    /// It makes a register zero.
    pub(super) zeroed: Option<Register>,
    /// Registers that hold something else afterwards, those above included.
    pub(super) written: Vec<Register>,
    pub(super) overwritten: Overwritten,
    /// Words below this are nobody's afterwards.
    pub(super) lost_below: Option<i64>,
    /// The stack pointer afterwards.
    pub(super) sp: i64,
    pub(super) zero_flag: ZeroFlag,
    /// The address of something on the stack may be known to others from then on.
    pub(super) escapes: bool,
}

impl Effect {
    const fn none(state: &State) -> Self {
        Self {
            copied: None,
            made: None,
            zeroed: None,
            written: Vec::new(),
            overwritten: Overwritten::Nothing,
            lost_below: None,
            sp: state.sp,
            zero_flag: ZeroFlag::Kept,
            escapes: false,
        }
    }
}

/// Tells effects.
pub(super) struct Effects {
    info: InstructionInfoFactory,
    /// Others may write into the function's stack.
    escaped: bool,
}

impl Effects {
    pub(super) fn new(escaped: bool) -> Self {
        Self {
            info: InstructionInfoFactory::new(),
            escaped,
        }
    }

    /// What an instruction does where this is known; `None` where the stack pointer is not known afterwards.
    pub(super) fn of(&mut self, state: &State, instruction: &Instruction) -> Option<Effect> {
        match instruction.flow_control() {
            FlowControl::Call | FlowControl::IndirectCall => {
                return Some(self.call(state));
            }
            // Anything else would be no return of this function.
            FlowControl::Return => return (state.sp == 0).then(|| Effect::none(state)),
            _ => {}
        }
        let mut effect = self.general(state, instruction);
        if self.moved(state, instruction, &mut effect)? {
            return Some(effect);
        }
        // The stack pointer has changed, and nothing says by how much.
        if effect.written.contains(&Register::RSP) {
            return None;
        }
        Some(effect)
    }

    fn call(&self, state: &State) -> Effect {
        let mut effect = Effect::none(state);
        effect.written = CHANGED_BY_CALLS.to_vec();
        effect.lost_below = Some(state.sp);
        effect.zero_flag = ZeroFlag::Else;
        if self.escaped {
            effect.overwritten = Overwritten::All;
        }
        effect
    }

    /// What any instruction is told to write.
    fn general(&mut self, state: &State, instruction: &Instruction) -> Effect {
        let mut effect = Effect::none(state);
        let escaped = self.escaped;
        let info = self.info.info(instruction);
        let written = info.used_registers().iter();
        effect.written = written
            .filter(|used| is_written(used.access()))
            .map(|used| used.register().full_register())
            .collect();
        for memory in info.used_memory() {
            if is_written(memory.access()) {
                effect.overwritten = overwritten(state, memory, escaped);
            }
        }
        if instruction.rflags_modified() & RflagsBits::ZF != 0 {
            effect.zero_flag = tested(instruction).map_or(ZeroFlag::Else, ZeroFlag::Of);
        }
        effect
    }

    /// Instructions that move whole words, or the stack pointer. Returns whether it was one.
    fn moved(&self, state: &State, instruction: &Instruction, effect: &mut Effect) -> Option<bool> {
        let to = instruction.op0_register();
        let is_general = |operand| {
            instruction.op_kind(operand) == OpKind::Register
                && index(instruction.op_register(operand)).is_some()
        };
        let is_memory = |operand| instruction.op_kind(operand) == OpKind::Memory;
        let on_stack = || {
            let plain = instruction.memory_index() == Register::None
                && !matches!(instruction.segment_prefix(), Register::FS | Register::GS);
            plain.then(|| {
                let displacement = instruction.memory_displacement64();
                state.stack_address(instruction.memory_base(), displacement)
            })?
        };
        // Set to anything else, or in part.
        let sets_sp =
            to.full_register() == Register::RSP && instruction.mnemonic() != Mnemonic::Push;
        let is_followed = match instruction.mnemonic() {
            Mnemonic::Add | Mnemonic::Sub | Mnemonic::Lea => is_general(0),
            Mnemonic::Mov => is_general(0) && is_general(1),
            _ => false,
        };
        if sets_sp && effect.written.contains(&Register::RSP) && !is_followed {
            return None;
        }
        match instruction.mnemonic() {
            Mnemonic::Push if is_general(0) => {
                let at = state.sp - 8;
                effect.copied = Some((Location::Register(to), Location::Slot(at)));
                effect.overwritten = Overwritten::Bytes(at, 8);
                effect.sp = at;
            }
            Mnemonic::Pop if is_general(0) => {
                effect.copied = Some((Location::Slot(state.sp), Location::Register(to)));
                effect.sp = state.sp + 8;
                effect.lost_below = Some(effect.sp);
            }
            Mnemonic::Leave => {
                let Some(Value::Stack(frame)) = state.get(Register::RBP) else {
                    return None;
                };
                effect.copied = Some((Location::Slot(frame), Location::Register(Register::RBP)));
                effect.sp = frame + 8;
                effect.lost_below = Some(effect.sp);
            }
            Mnemonic::Add | Mnemonic::Sub if to == Register::RSP => {
                let bytes = instruction.try_immediate(1).ok()?.cast_signed();
                effect.sp = if instruction.mnemonic() == Mnemonic::Add {
                    state.sp.checked_add(bytes)?
                } else {
                    state.sp.checked_sub(bytes)?
                };
                effect.lost_below = Some(effect.sp);
            }
            Mnemonic::Lea if is_general(0) => {
                if let Some(at) = on_stack() {
                    effect.made = Some((to, Value::Stack(at)));
                    if to == Register::RSP {
                        effect.sp = at;
                        effect.lost_below = Some(at);
                    }
                } else if to == Register::RSP {
                    return None;
                }
            }
            Mnemonic::Mov if is_general(0) && is_general(1) => {
                let from = instruction.op1_register();
                if to == Register::RSP {
                    let Some(Value::Stack(at)) = state.get(from) else {
                        return None;
                    };
                    effect.sp = at;
                    effect.lost_below = Some(at);
                }
                effect.copied = Some((Location::Register(from), Location::Register(to)));
            }
            Mnemonic::Mov if is_general(0) && is_memory(1) => {
                effect.copied = on_stack().map(|at| (Location::Slot(at), Location::Register(to)));
            }
            Mnemonic::Mov if is_memory(0) && is_general(1) => {
                let from = instruction.op1_register();
                if let Some(at) = on_stack() {
                    effect.copied = Some((Location::Register(from), Location::Slot(at)));
                }
                effect.escapes = matches!(state.get(from), Some(Value::Stack(_)));
            }
            Mnemonic::Mov if is_general(0) => {
                let is_zero = instruction.try_immediate(1).is_ok_and(|value| value == 0);
                effect.zeroed = is_zero.then_some(to);
            }
            // The upper half becomes zero, too.
            Mnemonic::Xor
                if instruction.op1_kind() == OpKind::Register
                    && to == instruction.op1_register()
                    && to.size() >= 4 =>
            {
                effect.zeroed = Some(to.full_register());
            }
            Mnemonic::Mul | Mnemonic::Imul => effect.made = product(state, instruction),
            _ => return Some(false),
        }
        // The function's own stack is addressed by these two; whoever else has an address may do anything with it.
        let is_frame = |register| matches!(register, Register::RSP | Register::RBP);
        effect.escapes |= matches!(effect.made, Some((to, Value::Stack(_))) if !is_frame(to));
        effect.escapes |= match effect.copied {
            Some((Location::Register(from), Location::Register(to))) => {
                matches!(state.get(from), Some(Value::Stack(_))) && !is_frame(to)
            }
            _ => false,
        };
        Some(true)
    }
}

fn overwritten(state: &State, memory: &UsedMemory, escaped: bool) -> Overwritten {
    let is_own = matches!(state.get(memory.base()), Some(Value::Stack(_)));
    let size = i64::try_from(memory.memory_size().size()).unwrap_or(0);
    if !is_own {
        return if escaped {
            Overwritten::All
        } else {
            Overwritten::Nothing
        };
    }
    let at = (memory.index() == Register::None && size > 0)
        .then(|| state.stack_address(memory.base(), memory.displacement()));
    at.flatten()
        .map_or(Overwritten::All, |at| Overwritten::Bytes(at, size))
}

/// The register that holds the product of the first two arguments afterwards.
fn product(state: &State, instruction: &Instruction) -> Option<(Register, Value)> {
    let to = match instruction.op_count() {
        1 => Register::RAX,
        2 => instruction.op0_register(),
        _ => return None,
    };
    let by = instruction.op_register(instruction.op_count() - 1);
    let factors = [state.get(to)?, state.get(by)?];
    let wanted = [Register::RDI, Register::RSI].map(Value::Entry);
    let is_it = factors == wanted || factors == [wanted[1], wanted[0]];
    is_it.then_some((to, Value::Product))
}

/// The register of which the zero flag says whether all its 64 bits are zero.
fn tested(instruction: &Instruction) -> Option<Register> {
    let register = instruction.op0_register();
    index(register)?;
    match instruction.mnemonic() {
        Mnemonic::Test => (instruction.op1_register() == register
            && instruction.op1_kind() == OpKind::Register)
            .then_some(register),
        Mnemonic::Cmp => {
            let is_zero = instruction.try_immediate(1).is_ok_and(|value| value == 0);
            is_zero.then_some(register)
        }
        _ => None,
    }
}

pub(super) const fn is_written(access: OpAccess) -> bool {
    matches!(
        access,
        OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
    )
}
