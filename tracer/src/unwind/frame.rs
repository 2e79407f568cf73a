//! What an instruction does to a function's frame: where the CFA and the caller's `rbp` are, told
//! from code that no call frame information describes.
//!
//! Only what is certain: whatever an instruction leaves open is unknown from there on.

use iced_x86::{
    Instruction, InstructionInfoFactory, MemorySize, Mnemonic, OpAccess, OpKind, Register,
};
use tracer_common::{RbpRule, Rule, RuleKind};

/// Where the caller's `rbp` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Saved {
    InRegister,
    /// So many bytes below the CFA.
    Below(i32),
    Lost,
}

/// The frame before an instruction. All distances are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameState {
    /// How far `rsp` lies below the CFA.
    depth: Option<i32>,
    /// The same for `rbp`, where that is a frame pointer.
    frame_pointer: Option<i32>,
    saved: Saved,
}

impl FrameState {
    /// At a function's entry: the return address has just been pushed.
    pub(super) const ENTRY: Self = Self {
        depth: Some(8),
        frame_pointer: None,
        saved: Saved::InRegister,
    };

    /// What holds where two ways meet.
    pub(super) fn merge(self, other: Self) -> Self {
        Self {
            depth: self.depth.filter(|_| self.depth == other.depth),
            frame_pointer: self
                .frame_pointer
                .filter(|_| self.frame_pointer == other.frame_pointer),
            saved: if self.saved == other.saved {
                self.saved
            } else {
                Saved::Lost
            },
        }
    }

    /// The rule for this frame; `None` where its CFA is unknown.
    pub(super) fn rule(self) -> Option<Rule> {
        let (kind, cfa_offset) = match (self.depth, self.frame_pointer) {
            (Some(depth), _) => (RuleKind::CfaSp, depth),
            (None, Some(distance)) => (RuleKind::CfaBp, distance),
            (None, None) => return None,
        };
        let (rbp, rbp_offset) = match self.saved {
            Saved::InRegister => (RbpRule::Same, 0),
            Saved::Below(distance) => (RbpRule::AtCfa, -distance),
            Saved::Lost => (RbpRule::Undefined, 0),
        };
        Some(Rule {
            rbp: rbp as u8,
            cfa_offset,
            rbp_offset,
            ..Rule::new(kind)
        })
    }

    /// Goes on behind an instruction that does not lead elsewhere; a call that has returned is one.
    pub(super) fn pass(&mut self, instruction: &Instruction, info: &mut InstructionInfoFactory) {
        if instruction.is_call_near() || instruction.is_call_near_indirect() {
            return;
        }
        match instruction.mnemonic() {
            Mnemonic::Leave => {
                self.depth = self.frame_pointer;
                self.pop_rbp();
            }
            Mnemonic::Pop if instruction.op0_register() == Register::RBP => self.pop_rbp(),
            Mnemonic::Push => {
                self.grow(8);
                if instruction.op0_register() == Register::RBP {
                    self.save(self.depth);
                }
            }
            _ => self.pass_other(instruction, info),
        }
        // What was popped is no longer there.
        if let (Saved::Below(distance), Some(depth)) = (self.saved, self.depth)
            && distance > depth
        {
            self.saved = Saved::Lost;
        }
        self.depth = self.depth.filter(|&depth| depth >= 8);
    }

    fn pass_other(&mut self, instruction: &Instruction, info: &mut InstructionInfoFactory) {
        self.grow(instruction.stack_pointer_increment().saturating_neg());
        if !names_stack(instruction) {
            return;
        }
        let target = instruction.op0_register();
        let value = self.distance(instruction);
        match (instruction.mnemonic(), target) {
            (Mnemonic::Add | Mnemonic::Sub, Register::RSP) if has_immediate(instruction) => {
                let by = i32::try_from(instruction.immediate(1).cast_signed()).ok();
                let by = match instruction.mnemonic() {
                    Mnemonic::Add => by.and_then(i32::checked_neg),
                    _ => by,
                };
                self.depth = self
                    .depth
                    .zip(by)
                    .and_then(|(depth, by)| depth.checked_add(by));
            }
            (Mnemonic::Lea | Mnemonic::Mov, Register::RSP) if !is_load(instruction) => {
                self.depth = value;
            }
            (Mnemonic::Lea | Mnemonic::Mov, Register::RBP) if !is_load(instruction) => {
                self.lose_rbp();
                self.frame_pointer = value;
            }
            (Mnemonic::Mov, Register::RBP) => self.load_rbp(value),
            (Mnemonic::Pop, Register::RSP) => self.depth = None,
            (Mnemonic::Mov, Register::None) if is_rbp(instruction, 1) => self.save(value),
            _ => {
                for used in info.info(instruction).used_registers() {
                    if !is_written(used.access()) {
                        continue;
                    }
                    match used.register().full_register() {
                        // Pushes and pops are settled.
                        Register::RSP if instruction.stack_pointer_increment() == 0 => {
                            self.depth = None;
                        }
                        Register::RBP => self.lose_rbp(),
                        _ => {}
                    }
                }
            }
        }
    }

    /// How far below the CFA lies what the operand names: the memory, or the register.
    fn distance(&self, instruction: &Instruction) -> Option<i32> {
        let of = |register| match register {
            Register::RSP => self.depth,
            Register::RBP => self.frame_pointer,
            _ => None,
        };
        let has_memory = (0..instruction.op_count())
            .any(|operand| instruction.op_kind(operand) == OpKind::Memory);
        if !has_memory {
            return of(instruction.op1_register());
        }
        if instruction.memory_index() != Register::None
            || instruction.segment_prefix() != Register::None
        {
            return None;
        }
        let offset = i32::try_from(instruction.memory_displacement64().cast_signed()).ok()?;
        of(instruction.memory_base())?.checked_sub(offset)
    }

    fn grow(&mut self, by: i32) {
        self.depth = self.depth.and_then(|depth| depth.checked_add(by));
    }

    fn pop_rbp(&mut self) {
        self.load_rbp(self.depth);
        self.grow(-8);
    }

    /// `rbp` takes what lies so far below the CFA.
    fn load_rbp(&mut self, distance: Option<i32>) {
        match self.saved {
            Saved::Below(saved) if distance == Some(saved) => {
                self.saved = Saved::InRegister;
                self.frame_pointer = None;
            }
            _ => self.lose_rbp(),
        }
    }

    /// `rbp` is stored so far below the CFA.
    fn save(&mut self, distance: Option<i32>) {
        if self.saved == Saved::InRegister
            && let Some(distance) = distance
        {
            self.saved = Saved::Below(distance);
        }
    }

    /// `rbp` takes another value.
    fn lose_rbp(&mut self) {
        self.frame_pointer = None;
        if self.saved == Saved::InRegister {
            self.saved = Saved::Lost;
        }
    }
}

/// Whether `rsp` or `rbp` is an operand. Nothing else but pushes, pops and `leave` changes them.
fn names_stack(instruction: &Instruction) -> bool {
    (0..instruction.op_count()).any(|operand| {
        instruction.op_kind(operand) == OpKind::Register
            && matches!(
                instruction.op_register(operand).full_register(),
                Register::RSP | Register::RBP
            )
    }) || instruction.mnemonic() == Mnemonic::Enter
}

fn has_immediate(instruction: &Instruction) -> bool {
    instruction.try_immediate(1).is_ok()
}

fn is_load(instruction: &Instruction) -> bool {
    instruction.mnemonic() != Mnemonic::Lea && instruction.op1_kind() == OpKind::Memory
}

/// Whether an operand is all of `rbp`, to be stored whole.
fn is_rbp(instruction: &Instruction, operand: u32) -> bool {
    instruction.op_kind(operand) == OpKind::Register
        && instruction.op_register(operand) == Register::RBP
        && instruction.memory_size() == MemorySize::UInt64
}

const fn is_written(access: OpAccess) -> bool {
    matches!(
        access,
        OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
    )
}
