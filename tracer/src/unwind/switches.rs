//! Functions that change to another stack: from there on their call frame information is wrong.
//!
//! Hand-written code sets `rsp` to what it was elsewhere (Go's `asmcgocall`, `systemstack` and
//! `cgocallback`, switches between fibers), and what describes it goes on counting from `rsp`. A walk
//! would read stale words of the new stack for frames, and these are real return addresses, of calls
//! that ended long ago. So the instruction is looked for, and the rows behind it are replaced.
//!
//! Must not change a row whose frame is found otherwise than by `rsp`, and not where call frame
//! information follows the switch.

use std::ops::Range;

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, OpKind, Register};
use tracer_common::{Row, Rule, RuleKind};

use super::arrange::{Piece, Source};

/// Bytes of code that are looked through at most. libLLVM has 60 MB of it; of browsers, with more, only
/// a part is.
pub(super) const MAX_SEARCHED: u32 = 128 << 20;
/// Bytes that are looked at together, to leave most of the code behind without a closer look.
const BLOCK: usize = 64;
/// Bytes by which an instruction is found.
const PATTERN: usize = 3;

/// A range of code, with its address counted as in rows.
pub(super) struct Text<'data> {
    pub(super) start: u32,
    pub(super) bytes: &'data [u8],
}

/// Whether these bytes may be part of an instruction that sets `rsp`: prefix, opcode, operands.
/// Without branches, so that the compiler makes it work on many bytes at once. `pop %rsp` is not
/// among them: its one byte is everywhere, and no compiler or library writes it.
const fn may_set_sp(prefix: u8, opcode: u8, operands: u8) -> bool {
    let is_wide = prefix & 0xf8 == 0x48;
    // mov, xchg and lea to the register that is named second (`reg` is 4)…
    let to_reg =
        ((opcode == 0x8b) | (opcode == 0x8d) | (opcode == 0x87)) & (operands & 0x38 == 0x20);
    // … mov and xchg to the one named first (`rm` is 4, and no memory), `and` with a constant…
    let to_rm = ((opcode == 0x89) | (opcode == 0x87)) & (operands & 0xc7 == 0xc4);
    let and = ((opcode == 0x83) | (opcode == 0x81)) & (operands == 0xe4);
    // … and `xchg %rax, %rsp`. Registers from 8 on have a bit in the prefix.
    let is_low_reg = prefix & 4 == 0;
    let is_low_rm = prefix & 1 == 0;
    is_wide & ((to_reg & is_low_reg) | ((to_rm | and | (opcode == 0x94)) & is_low_rm))
}

/// Offsets at which an instruction may set `rsp`.
fn candidates(bytes: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut at = 0;
    while at + PATTERN <= bytes.len() {
        let end = (at + BLOCK).min(bytes.len() - (PATTERN - 1));
        let (first, second, third) = (
            &bytes[at..end],
            &bytes[at + 1..end + 1],
            &bytes[at + 2..end + 2],
        );
        let each = || first.iter().zip(second).zip(third);
        let any = each().fold(false, |any, ((&a, &b), &c)| any | may_set_sp(a, b, c));
        if any {
            let hits = each().enumerate();
            found.extend(
                hits.filter(|(_, ((a, b), c))| may_set_sp(**a, **b, **c))
                    .map(|(offset, _)| at + offset),
            );
        }
        at = end;
    }
    found
}

/// Whether an instruction sets `rsp` to what has nothing to do with what it was.
fn sets_sp(instruction: &Instruction) -> bool {
    match instruction.code() {
        Code::Mov_rm64_r64 | Code::Mov_r64_rm64 | Code::And_rm64_imm8 | Code::And_rm64_imm32 => {
            instruction.op0_register() == Register::RSP
        }
        Code::Lea_r64_m => {
            instruction.op0_register() == Register::RSP
                && (instruction.memory_base() != Register::RSP
                    || instruction.memory_index() != Register::None)
        }
        Code::Xchg_rm64_r64 | Code::Xchg_r64_RAX => (0..2).any(|operand| {
            instruction.op_kind(operand) == OpKind::Register
                && instruction.op_register(operand) == Register::RSP
        }),
        _ => false,
    }
}

/// Where a function's instruction at `at` ends, if it sets `rsp`; both from the function's start on.
fn end_of_switch(function: &[u8], at: usize) -> Option<usize> {
    let mut decoder = Decoder::new(64, function, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    while decoder.can_decode() && decoder.position() < at {
        decoder.decode_out(&mut instruction);
    }
    if decoder.position() != at || !decoder.can_decode() {
        return None;
    }
    decoder.decode_out(&mut instruction);
    sets_sp(&instruction).then(|| decoder.position())
}

/// Finds the ranges whose rows are wrong, sorted and disjoint.
pub(super) fn find(
    rows: &[Row],
    rules: &[Rule],
    pieces: &[Piece],
    texts: &[Text<'_>],
) -> Vec<(Range<u32>, Source)> {
    let mut found: Vec<(Range<u32>, Source)> = Vec::new();
    for text in texts {
        for offset in candidates(text.bytes) {
            // Segments are within 32 bits.
            let at = text.start.saturating_add(offset as u32);
            if found.last().is_some_and(|(last, _)| at < last.end) {
                continue;
            }
            let next = rows.partition_point(|row| row.pc <= at);
            let by_sp = next
                .checked_sub(1)
                .and_then(|row| rules.get(usize::from(rows.get(row)?.rule)))
                .is_some_and(|rule| rule.kind == RuleKind::CfaSp as u8);
            if !by_sp {
                continue;
            }
            let piece = pieces
                .partition_point(|piece| piece.start <= at)
                .checked_sub(1)
                .and_then(|index| pieces.get(index))
                .filter(|piece| at < piece.end && !matches!(piece.source, Source::Code(_)));
            let Some(piece) = piece else { continue };
            let function = piece
                .start
                .checked_sub(text.start)
                .and_then(|start| text.bytes.get(start as usize..))
                .map(|rest| &rest[..rest.len().min((piece.end - piece.start) as usize)]);
            let Some(end) = function
                .and_then(|function| end_of_switch(function, (at - piece.start) as usize))
                .map(|end| piece.start + end as u32)
            else {
                continue;
            };
            let is_described = rows.get(next).is_some_and(|row| row.pc <= end);
            if !is_described && end < piece.end {
                found.push((end..piece.end, piece.source));
            }
        }
    }
    found
}

/// The rows with those by `rsp` replaced in some ranges, which are sorted and disjoint, each by a rule's
/// number.
pub(super) fn replace(rows: &[Row], rules: &[Rule], ranges: &[(Range<u32>, u16)]) -> Vec<Row> {
    let is_by_sp = |rule: u16| {
        let rule = rules.get(usize::from(rule));
        rule.is_some_and(|rule| rule.kind == RuleKind::CfaSp as u8)
    };
    let mut out: Vec<Row> = Vec::with_capacity(rows.len() + 2 * ranges.len());
    let mut push = |pc: u32, rule: u16| {
        if out.last().is_some_and(|last| last.pc == pc) {
            out.pop();
        }
        if out.last().is_none_or(|last| last.rule != rule) {
            out.push(Row {
                pc,
                rule,
                reserved: 0,
            });
        }
    };
    let mut rest = rows.iter().peekable();
    let mut rule = 0;
    for (range, replacement) in ranges {
        let replaced = |rule: u16| if is_by_sp(rule) { *replacement } else { rule };
        while let Some(row) = rest.next_if(|row| row.pc <= range.start) {
            rule = row.rule;
            push(row.pc, rule);
        }
        push(range.start, replaced(rule));
        while let Some(row) = rest.next_if(|row| row.pc < range.end) {
            rule = row.rule;
            push(row.pc, replaced(rule));
        }
        push(range.end, rule);
    }
    for row in rest {
        push(row.pc, row.rule);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::tests::{by_sp, row};
    use super::*;

    /// `asmcgocall`, shortened: a switch, a call, the way back; and a function behind it.
    const SWITCH: [u8; 14] = [
        0x48, 0x89, 0xe2, // mov %rsp, %rdx
        0x48, 0x8b, 0x66, 0x38, // mov 0x38(%rsi), %rsp
        0xff, 0xd0, // call *%rax
        0x48, 0x89, 0xf4, // mov %rsi, %rsp
        0xc3, 0x90,
    ];

    fn piece(start: u32, end: u32) -> Piece {
        Piece {
            start,
            end,
            source: Source::DebugFrame(0),
        }
    }

    fn found(bytes: &[u8], rows: &[Row], rules: &[Rule]) -> Vec<Range<u32>> {
        let pieces = [piece(0x100, 0x100 + bytes.len() as u32)];
        let texts = [Text {
            start: 0x100,
            bytes,
        }];
        let found = find(rows, rules, &pieces, &texts);
        found.into_iter().map(|(range, _)| range).collect()
    }

    /// The range, if there is one.
    fn only(mut found: Vec<Range<u32>>) -> Option<Range<u32>> {
        found.pop().filter(|_| found.is_empty())
    }

    #[test]
    fn what_lies_behind_a_switch_is_found() {
        let rules = [Rule::NONE, by_sp(8)];
        let rows = [row(0x100, 1), row(0x10e, 0)];
        assert_eq!(only(found(&SWITCH, &rows, &rules)), Some(0x107..0x10e));
    }

    #[test]
    fn a_switch_that_is_described_is_left_alone() {
        let rules = [Rule::NONE, by_sp(8), by_sp(16)];
        let rows = [row(0x100, 1), row(0x107, 2), row(0x10e, 0)];
        // What comes back is not described.
        assert_eq!(only(found(&SWITCH, &rows, &rules)), Some(0x10c..0x10e));
        let rules = [Rule::NONE, Rule::FRAME_POINTER];
        let rows = [row(0x100, 1), row(0x10e, 0)];
        assert!(found(&SWITCH, &rows, &rules).is_empty());
    }

    #[test]
    fn bytes_within_another_instruction_are_no_switch() {
        // mov $0xf48948, %eax; ret
        let code = [0xb8, 0x48, 0x89, 0xf4, 0x00, 0xc3];
        let rules = [Rule::NONE, by_sp(8)];
        let rows = [row(0x100, 1), row(0x106, 0)];
        assert!(found(&code, &rows, &rules).is_empty());
    }

    #[test]
    fn each_form_is_known() {
        let set = [
            &[0x48, 0x89, 0xc4][..],                     // mov %rax, %rsp
            &[0x4c, 0x89, 0xec],                         // mov %r13, %rsp
            &[0x49, 0x8b, 0x27],                         // mov (%r15), %rsp
            &[0x48, 0x8d, 0x60, 0x08],                   // lea 8(%rax), %rsp
            &[0x48, 0x8d, 0x24, 0x04],                   // lea (%rsp,%rax), %rsp
            &[0x48, 0x87, 0x20],                         // xchg %rsp, (%rax)
            &[0x48, 0x87, 0xdc],                         // xchg %rbx, %rsp
            &[0x48, 0x94],                               // xchg %rax, %rsp
            &[0x48, 0x83, 0xe4, 0xf0],                   // and $-16, %rsp
            &[0x48, 0x81, 0xe4, 0x00, 0xff, 0xff, 0xff], // and $-256, %rsp
        ];
        let kept = [
            &[0x48, 0x89, 0xe0][..],                     // mov %rsp, %rax
            &[0x48, 0x89, 0x64, 0x24, 0x08],             // mov %rsp, 8(%rsp)
            &[0x4c, 0x8b, 0x64, 0x24, 0x08],             // mov 8(%rsp), %r12
            &[0x48, 0x8d, 0x64, 0x24, 0x08],             // lea 8(%rsp), %rsp
            &[0x48, 0x83, 0xec, 0x40],                   // sub $64, %rsp
            &[0x48, 0x81, 0xc4, 0x00, 0x01, 0x00, 0x00], // add $256, %rsp
            &[0x49, 0x94],                               // xchg %rax, %r12
            &[0x49, 0x83, 0xe4, 0xf0],                   // and $-16, %r12
        ];
        let rules = [Rule::NONE, by_sp(8)];
        for (forms, expected) in [(&set[..], 1), (&kept[..], 0)] {
            for form in forms {
                let mut code = form.to_vec();
                code.extend([0xff, 0xd0, 0xc3]);
                let rows = [row(0x100, 1), row(0x100 + code.len() as u32, 0)];
                assert_eq!(found(&code, &rows, &rules).len(), expected, "{form:x?}");
            }
        }
    }

    #[test]
    fn only_rows_by_sp_are_replaced_and_what_follows_is_as_it_was() {
        let rules = [Rule::NONE, by_sp(8), Rule::FRAME_POINTER, Rule::SWITCH];
        // The function behind has the same rule as the one before, and so no row of its own.
        let rows = [row(0x10, 1), row(0x30, 2), row(0x38, 1), row(0x60, 0)];
        let replaced = replace(&rows, &rules, &[(0x20..0x40, 3)]);
        let expected = [
            row(0x10, 1),
            row(0x20, 3),
            row(0x30, 2),
            row(0x38, 3),
            row(0x40, 1),
            row(0x60, 0),
        ];
        assert_eq!(replaced, expected);
    }
}
