//! What Go's call frame information leaves out: where a function has put its caller's `rbp`.
//!
//! Go's compiler finds frames by `rsp` alone, and so does what it writes into `.debug_frame`. But its
//! code keeps frame pointers, and where stacks are switched these are all that leads back. Every
//! function with a frame stores `rbp` next to its return address; that is looked for in its code.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use tracer_common::{RbpRule, Row, Rule, RuleKind};

use super::arrange::{Piece, Source};
use super::switches::Text;

/// Bytes at a function's beginning that are looked through: a check for room on the stack comes first.
const PROLOGUE: usize = 96;
/// Where `rbp` is kept, from the CFA on.
const RBP_OFFSET: i32 = -16;

/// Where a function stores `rbp`: offset of the instruction, and the CFA from `rsp` on that makes that the
/// place next to the return address.
fn stores_rbp(function: &[u8]) -> impl Iterator<Item = (usize, i32)> + '_ {
    let beginning = &function[..function.len().min(PROLOGUE)];
    (0..beginning.len()).filter_map(move |at| match beginning.get(at..)? {
        // mov %rbp, d(%rsp)
        [0x48, 0x89, 0x6c, 0x24, d, ..] => {
            Some((at, i32::from(d.cast_signed()).checked_sub(RBP_OFFSET)?))
        }
        [0x48, 0x89, 0xac, 0x24, a, b, c, d, ..] => {
            let offset = i32::from_le_bytes([*a, *b, *c, *d]);
            Some((at, offset.checked_sub(RBP_OFFSET)?))
        }
        // push %rbp; mov %rsp, %rbp
        [0x55, 0x48, 0x89, 0xe5, ..] => Some((at + 1, -RBP_OFFSET)),
        _ => None,
    })
}

/// Says in the rows of all functions that store `rbp` where it is. `number_of` gives a rule its number.
pub(super) fn add_frame_pointers(
    rows: &mut [Row],
    rules: &mut Vec<Rule>,
    pieces: &[Piece],
    texts: &[Text<'_>],
    mut number_of: impl FnMut(&mut Vec<Rule>, Rule) -> u16,
) {
    let by_sp = |rules: &[Rule], rule: u16| {
        let rule = rules.get(usize::from(rule)).copied();
        rule.filter(|rule| rule.kind == RuleKind::CfaSp as u8)
    };
    // A module has few rules and many rows.
    let mut known: HashMap<u16, u16, RandomState> = HashMap::default();
    for piece in pieces {
        if !matches!(piece.source, Source::DebugFrame(_)) {
            continue;
        }
        let function = texts.iter().find_map(|text| {
            let start = piece.start.checked_sub(text.start)? as usize;
            let rest = text.bytes.get(start..)?;
            Some(&rest[..rest.len().min((piece.end - piece.start) as usize)])
        });
        let Some(function) = function else { continue };
        let first = rows.partition_point(|row| row.pc < piece.start);
        let last = rows.partition_point(|row| row.pc < piece.end);
        let own = &mut rows[first..last];
        let is_kept = stores_rbp(function).any(|(at, cfa)| {
            let at = piece.start + at as u32;
            let next = own.partition_point(|row| row.pc <= at);
            next.checked_sub(1)
                .and_then(|row| by_sp(rules, own[row].rule))
                .is_some_and(|rule| rule.cfa_offset == cfa)
        });
        if !is_kept {
            continue;
        }
        for row in own {
            let rule = by_sp(rules, row.rule)
                .filter(|rule| rule.rbp == RbpRule::Same as u8 && rule.cfa_offset >= -RBP_OFFSET);
            if let Some(rule) = rule {
                let kept = Rule {
                    rbp: RbpRule::AtCfa as u8,
                    rbp_offset: RBP_OFFSET,
                    ..rule
                };
                row.rule = *known
                    .entry(row.rule)
                    .or_insert_with(|| number_of(rules, kept));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{by_sp, row};
    use super::*;

    fn number_of(rules: &mut Vec<Rule>, rule: Rule) -> u16 {
        rules.push(rule);
        (rules.len() - 1) as u16
    }

    /// The rules by which the rows of a function are found, which has them at 0 and 4.
    fn added(code: &[u8], cfa: i32) -> Vec<Rule> {
        let mut rules = vec![Rule::NONE, by_sp(8), by_sp(cfa)];
        let mut rows = [row(0, 1), row(4, 2), row(code.len() as u32, 0)];
        let pieces = [Piece {
            start: 0,
            end: code.len() as u32,
            source: Source::DebugFrame(0),
        }];
        let texts = [Text {
            start: 0,
            bytes: code,
        }];
        add_frame_pointers(&mut rows, &mut rules, &pieces, &texts, number_of);
        let rows = rows[..2].iter();
        rows.map(|row| rules[usize::from(row.rule)]).collect()
    }

    #[test]
    fn a_stored_frame_pointer_is_found() {
        // sub $0x20, %rsp; mov %rbp, 0x18(%rsp); lea 0x18(%rsp), %rbp; call *%rax; …
        let code = [
            0x48, 0x83, 0xec, 0x20, 0x48, 0x89, 0x6c, 0x24, 0x18, 0x48, 0x8d, 0x6c, 0x24, 0x18,
            0xff, 0xd0, 0xc3,
        ];
        let kept = Rule {
            rbp: RbpRule::AtCfa as u8,
            rbp_offset: -16,
            ..by_sp(40)
        };
        assert_eq!(added(&code, 40), [by_sp(8), kept]);
        // It stores it elsewhere: what a call of C's keeps for itself.
        assert_eq!(added(&code, 48), [by_sp(8), by_sp(48)]);
    }

    #[test]
    fn a_pushed_frame_pointer_is_found() {
        // nop; nop; nop; push %rbp; mov %rsp, %rbp; call *%rax; pop %rbp; ret
        let code = [
            0x90, 0x90, 0x90, 0x55, 0x48, 0x89, 0xe5, 0xff, 0xd0, 0x5d, 0xc3,
        ];
        let kept = Rule {
            rbp: RbpRule::AtCfa as u8,
            rbp_offset: -16,
            ..by_sp(16)
        };
        assert_eq!(added(&code, 16), [by_sp(8), kept]);
    }
}
