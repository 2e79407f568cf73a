//! Code that call frame information describes, followed as if nothing did; and code by hand.

use std::fs;
use std::ops::Range;

use gimli::{BaseAddresses, CieOrFde, EhFrame, LittleEndian, UnwindSection as _};
use iced_x86::{Decoder, DecoderOptions};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};
use tracer_common::{RbpRule, Rule};

use super::{TestResult, by_sp};
use crate::unwind::UnwindTable;
use crate::unwind::analysis::{THREAD_END, Undescribed, analyse};
use crate::unwind::elf::ElfModule;

/// How rules found by following the code compare with what is written down, at the calls: there, callers
/// are looked up.
#[derive(Debug, Default)]
struct Comparison {
    same: usize,
    /// The code gives no rule.
    missing: usize,
    different: Vec<String>,
}

/// What to tell of the functions.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Exports {
    /// Where each begins and ends.
    All,
    /// Where those begin that a stripped library exports.
    Exported,
}

/// From where to where the entries of `.eh_frame` go.
fn described(file: &object::File<'_>, base: u64) -> TestResult<Vec<Range<u32>>> {
    let section = file.section_by_name(".eh_frame").ok_or("no .eh_frame")?;
    let eh_frame = EhFrame::new(section.data()?, LittleEndian);
    let bases = BaseAddresses::default().set_eh_frame(section.address());
    let mut entries = eh_frame.entries(&bases);
    let mut described = Vec::new();
    while let Some(entry) = entries.next()? {
        if let CieOrFde::Fde(partial) = entry {
            let fde = partial.parse(EhFrame::cie_from_offset)?;
            let start = u32::try_from(fde.initial_address() - base)?;
            described.push(start..start + u32::try_from(fde.len())?);
        }
    }
    Ok(described)
}

fn compare(path: &str, known: Exports) -> TestResult<Comparison> {
    let bytes = fs::read(path)?;
    let file = object::File::parse(bytes.as_slice())?;
    let module = ElfModule::parse(bytes.as_slice())?;
    let table = UnwindTable::from_elf(bytes.as_slice())?;
    let described = described(&file, table.base_address())?;
    let mut undescribed = Undescribed {
        code: module
            .code()
            .into_iter()
            .filter_map(|range| Some((range.start, module.bytes_at(&range)?)))
            .collect(),
        ..Undescribed::default()
    };
    match known {
        Exports::All => {
            // Parts that were split off are jumped to, with a frame.
            let entries = described.iter().map(|range| range.start);
            let is_entry =
                |pc: &u32| (table.rule_at(*pc).kind, table.rule_at(*pc).cfa_offset) == (1, 8);
            undescribed.functions = entries.filter(is_entry).collect();
            undescribed.extents = described.clone();
        }
        Exports::Exported => {
            let symbols = file.dynamic_symbols().filter(|symbol| {
                symbol.kind() == object::SymbolKind::Text && symbol.is_definition()
            });
            undescribed.functions = symbols
                .filter_map(|symbol| u32::try_from(symbol.address() - table.base_address()).ok())
                .collect();
        }
    }
    let code = undescribed.code.clone();
    let found = analyse(undescribed);
    let mut comparison = Comparison::default();
    for extent in described {
        let bytes = code.iter().find_map(|(start, bytes)| {
            let from = extent.start.checked_sub(*start)? as usize;
            bytes.get(from..from + (extent.end - extent.start) as usize)
        });
        let start = u64::from(extent.start);
        let decoder = Decoder::with_ip(64, bytes.ok_or("no code")?, start, DecoderOptions::NONE);
        for instruction in decoder {
            if !instruction.is_call_near() && !instruction.is_call_near_indirect() {
                continue;
            }
            let pc = instruction.next_ip() as u32 - 1;
            let expected = table.rule_at(pc);
            let at = found.partition_point(|(range, _)| range.end <= pc);
            let rule = found.get(at).filter(|(range, _)| range.contains(&pc));
            match rule {
                None => comparison.missing += 1,
                Some((_, rule)) if *rule == expected => comparison.same += 1,
                // By the other register, or in a form that code does not show: not to be compared.
                Some((_, rule)) if rule.kind != expected.kind => {}
                Some((_, rule)) => comparison
                    .different
                    .push(format!("{pc:#x}: {rule:?}, not {expected:?}")),
            }
        }
    }
    Ok(comparison)
}

/// With all functions known, what is found is what is written down.
#[test]
fn agrees_with_call_frame_information() -> TestResult {
    for path in ["/lib/x86_64-linux-gnu/libc.so.6", "/usr/bin/git"] {
        let comparison = compare(path, Exports::All)?;
        assert_eq!(comparison.different, Vec::<String>::new(), "{path}");
        let Comparison { same, missing, .. } = comparison;
        assert!(
            same > 5_000 && missing * 10 < same,
            "{path}: {comparison:?}"
        );
    }
    Ok(())
}

/// Of a stripped library, functions are found by following calls. Where one remains unknown, it may be
/// taken for the rest of the one before it.
#[test]
fn is_seldom_wrong_about_stripped_libraries() -> TestResult {
    let comparison = compare("/lib/x86_64-linux-gnu/libc.so.6", Exports::Exported)?;
    let Comparison { same, missing, .. } = comparison;
    assert!(comparison.different.len() * 1_000 < same, "{comparison:?}");
    assert!(same > 5_000 && missing * 3 < same, "{comparison:?}");
    Ok(())
}

/// Follows code at address 0, whose functions begin at these addresses.
fn follow(bytes: &[u8], functions: &[u32], process: Option<u32>) -> Vec<(Range<u32>, Rule)> {
    analyse(Undescribed {
        code: vec![(0, bytes)],
        functions: functions.to_vec(),
        process,
        ..Undescribed::default()
    })
}

fn rule_at(rules: &[(Range<u32>, Rule)], at: u32) -> Option<Rule> {
    let mut found = rules.iter().filter(|(range, _)| range.contains(&at));
    found.next().map(|(_, rule)| *rule)
}

/// The caller's `rbp`, so far below the CFA.
fn with_rbp(rule: Rule, below: i32) -> Rule {
    Rule {
        rbp: RbpRule::AtCfa as u8,
        rbp_offset: -below,
        ..rule
    }
}

#[test]
fn the_stack_pointer_is_added_up() {
    let code = [
        0x53, // push rbx
        0x55, // push rbp
        0x48, 0x83, 0xec, 0x08, // sub rsp, 8
        0xff, 0xd0, // call rax
        0x48, 0x83, 0xc4, 0x08, // add rsp, 8
        0x5d, // pop rbp
        0x5b, // pop rbx
        0xc3, // ret
    ];
    let rules = follow(&code, &[0], None);
    let expected = [
        (0, by_sp(8)),
        (1, by_sp(16)),
        (2, with_rbp(by_sp(24), 24)),
        (7, with_rbp(by_sp(32), 24)),
        (12, with_rbp(by_sp(24), 24)),
        (13, by_sp(16)),
        (14, by_sp(8)),
    ];
    for (at, rule) in expected {
        assert_eq!(rule_at(&rules, at), Some(rule), "at {at}");
    }
    assert_eq!(rule_at(&rules, 15), None);
}

#[test]
fn a_frame_pointer_outlives_an_unknown_stack_pointer() {
    let code = [
        0x55, // push rbp
        0x48, 0x89, 0xe5, // mov rbp, rsp
        0x48, 0x83, 0xe4, 0xe0, // and rsp, -32
        0xff, 0xd0, // call rax
        0xc9, // leave
        0xff, 0xe0, // jmp rax
    ];
    let rules = follow(&code, &[0], None);
    assert_eq!(rule_at(&rules, 9), Some(Rule::FRAME_POINTER));
    assert_eq!(rule_at(&rules, 11), Some(by_sp(8)));
}

#[test]
fn where_ways_disagree_there_is_no_rule() {
    let code = [
        0x85, 0xff, // test edi, edi
        0x74, 0x01, // je 5
        0x50, // push rax
        0xff, 0xd0, // 5: call rax
        0xc3, // ret
    ];
    let rules = follow(&code, &[0], None);
    assert_eq!(rule_at(&rules, 4), Some(by_sp(8)));
    assert_eq!(rule_at(&rules, 6), None);
}

#[test]
fn behind_a_call_that_does_not_return_is_another_function() {
    let code = [
        0x50, // push rax
        0xe8, 0x03, 0x00, 0x00, 0x00, // call 9
        0x50, // push rax: nobody gets here
        0xff, 0xd0, // call rax
        0x0f, 0x05, // 9: syscall
        0xeb, 0xfc, // jmp 9
    ];
    let rules = follow(&code, &[0], None);
    assert_eq!(rule_at(&rules, 5), Some(by_sp(16)));
    assert_eq!(rule_at(&rules, 8), None);
    assert_eq!(rule_at(&rules, 10), Some(by_sp(8)));
}

#[test]
fn processes_and_threads_have_a_first_frame() {
    let mut code = vec![
        0x48, 0x83, 0xe4, 0xf0, // and rsp, -16
        0xe8, 0x00, 0x00, 0x00, 0x00, // call 9
        0x5f, // 9: pop rdi
        0x41, 0xff, 0xd1, // call r9
    ];
    code.extend(THREAD_END);
    let rules = follow(&code, &[], Some(0));
    assert_eq!(rule_at(&rules, 8), Some(Rule::STOP));
    assert_eq!(rule_at(&rules, 9), Some(by_sp(8)));
    assert_eq!(rule_at(&rules, 12), Some(Rule::STOP));
    // Without it, nobody says that anything begins there.
    assert_eq!(follow(&code, &[], None), []);
}

/// Any bytes: no panic, no end of time.
#[test]
fn garbage_is_survived() {
    let mut state = 1_u64;
    for _ in 0..200 {
        let mut byte = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        };
        let code: Vec<u8> = (0..2_000).map(|_| byte()).collect();
        let functions: Vec<u32> = (0..40).map(|_| u32::from(byte()) * 8).collect();
        let extents = functions.iter().map(|&start| start..start + 200).collect();
        let rules = analyse(Undescribed {
            code: vec![(0, &code[..1_000]), (1_500, &code[1_000..])],
            functions,
            extents,
            process: Some(3),
            ..Undescribed::default()
        });
        let ends = rules.iter().map(|(range, _)| range.end);
        let starts = rules.iter().skip(1).map(|(range, _)| range.start);
        assert!(ends.zip(starts).all(|(end, start)| end <= start));
    }
}

/// Functions that run into each other, each the only way out of the one before: as many steps as functions.
#[test]
fn a_long_chain_of_functions_takes_no_time() {
    const FUNCTIONS: u32 = 100_000;
    let mut code = Vec::new();
    for function in 0..FUNCTIONS {
        code.push(0xe8); // call, over the calls that follow
        code.extend(((FUNCTIONS - function - 1) * 5 + function).to_le_bytes());
    }
    let first = code.len() as u32;
    code.resize(code.len() + FUNCTIONS as usize, 0xf8); // clc
    code.push(0xc3); // ret
    let rules = follow(&code, &[0], None);
    assert_eq!(rules, [(0..first + FUNCTIONS + 1, by_sp(8))]);
}

/// Calls that lie within the same padding, each with the rest of it behind: that is not looked at again
/// and again.
#[test]
fn padding_is_looked_at_within_the_budget() {
    const CALLS: u32 = 100_000;
    // nop, with call rax and another nop in its operand
    let padding = [0x0f, 0x1f, 0x84, 0x00, 0xff, 0xd0, 0x66, 0x90];
    let mut code = padding.repeat(CALLS as usize);
    code.push(0xc3); // ret
    let functions: Vec<_> = (0..CALLS).map(|call| call * 8 + 4).collect();
    assert_eq!(follow(&code, &functions, None), []);
}
