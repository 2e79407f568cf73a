//! x86-64 code as the planner sees it: what the kernel makes of an instruction under a probe, and
//! where jumps lead.

use std::collections::BTreeSet;
use std::ops::Range;

use iced_x86::{
    Code, Decoder, DecoderOptions, FastFormatter, FlowControl, Instruction, Mnemonic, OpKind,
    Register,
};

use super::{Cost, FunctionCode};
use crate::address::FileOffset;

/// A decoder over a function's body whose instruction pointers are file offsets.
pub(super) fn decoder<F>(function: &FunctionCode<F>) -> Decoder<'_> {
    Decoder::with_ip(64, &function.code, function.entry.0, DecoderOptions::NONE)
}

/// What a hit on an instruction costs; `bytes` are the instruction's own.
///
/// After `branch_setup_xol_ops` and `push_setup_xol_ops` in arch/x86/kernel/uprobes.c. The long
/// nops (`0f 1f`) are left out: only the newest kernels emulate them.
pub(super) fn cost(instruction: &Instruction, bytes: &[u8]) -> Cost {
    const NOP5: [u8; 5] = [0x0f, 0x1f, 0x44, 0, 0];
    let is_branch = instruction.is_jmp_short_or_near()
        || instruction.is_jcc_short_or_near()
        || instruction.is_call_near();
    let emulated = if is_branch {
        // Branches with an operand size prefix are refused: processors disagree on them.
        !instruction_prefixes(bytes).contains(&0x66)
    } else {
        match instruction.mnemonic() {
            Mnemonic::Push => matches!(bytes, [0x50..=0x57] | [0x41, 0x50..=0x57]),
            Mnemonic::Nop => matches!(instruction.code(), Code::Nopw | Code::Nopd | Code::Nopq),
            _ => false,
        }
    };
    if emulated {
        Cost::Emulated
    } else if bytes == NOP5 {
        Cost::OptimizedNop
    } else {
        Cost::SingleStepped
    }
}

/// The legacy prefixes that an instruction begins with.
fn instruction_prefixes(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| {
        !matches!(
            byte,
            0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3
        )
    });
    &bytes[..end.unwrap_or(bytes.len())]
}

/// The instruction as text.
pub(super) fn text(instruction: &Instruction) -> String {
    let mut text = String::new();
    let mut formatter = FastFormatter::new();
    let options = formatter.options_mut();
    options.set_space_after_operand_separator(true);
    options.set_uppercase_hex(false);
    options.set_use_hex_prefix(true);
    formatter.format(instruction, &mut text);
    text
}

/// Whether a function calls or jumps to the entry of another one.
pub(super) fn enters_another(function: &FunctionCode, entries: &BTreeSet<FileOffset>) -> bool {
    decoder(function)
        .into_iter()
        .filter_map(|instruction| branch_target(&instruction))
        .map(FileOffset)
        .any(|target| target != function.entry && entries.contains(&target))
}

/// Where a direct branch leads.
fn branch_target(instruction: &Instruction) -> Option<u64> {
    let is_branch = matches!(
        instruction.op0_kind(),
        OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64
    );
    is_branch.then(|| instruction.near_branch_target())
}

/// What the bodies of a module's allocator functions say together. A body that calls or jumps into
/// another one counts as well.
#[derive(Debug, Default)]
pub(super) struct Bodies {
    /// File offsets that direct branches lead to.
    targets: BTreeSet<u64>,
    /// Bodies with a jump table, whose targets are not read.
    with_table: BTreeSet<u64>,
}

impl Bodies {
    pub(super) fn read(functions: &[FunctionCode]) -> Self {
        let mut bodies = Self::default();
        bodies.add_all(functions);
        bodies
    }

    /// Reads more of the same module.
    pub(super) fn add_all<F>(&mut self, functions: &[FunctionCode<F>]) {
        for function in functions {
            self.add(function);
        }
    }

    fn add<F>(&mut self, function: &FunctionCode<F>) {
        let (mut through_register, mut table_read) = (false, false);
        for instruction in decoder(function) {
            match instruction.flow_control() {
                FlowControl::ConditionalBranch
                | FlowControl::UnconditionalBranch
                | FlowControl::Call
                | FlowControl::XbeginXabortXend => {
                    self.targets.extend(branch_target(&instruction));
                }
                FlowControl::IndirectBranch => {
                    through_register |= instruction.op0_kind() == OpKind::Register;
                    if instruction.memory_index() != Register::None {
                        self.with_table.insert(function.entry.0);
                    }
                }
                _ => {}
            }
            // Position-independent tables hold 32-bit distances. A jump through a register alone
            // may as well be a tail call through a hook.
            table_read |= instruction.mnemonic() == Mnemonic::Movsxd
                && instruction.memory_index() != Register::None;
        }
        if through_register && table_read {
            self.with_table.insert(function.entry.0);
        }
    }

    /// Whether a branch leads into a range of file offsets.
    pub(super) fn leads_into(&self, range: Range<u64>) -> bool {
        self.targets.range(range).next().is_some()
    }

    /// Whether a function has a jump table, which may lead anywhere in it.
    pub(super) fn has_table<F>(&self, function: &FunctionCode<F>) -> bool {
        self.with_table.contains(&function.entry.0)
    }
}
