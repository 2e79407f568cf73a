//! Every row of real libraries against gimli's own evaluation, which keeps all registers.

use std::fs;

use gimli::{
    BaseAddresses, CfaRule, CieOrFde, EhFrame, LittleEndian, RegisterRule, UnwindContext,
    UnwindSection as _, X86_64,
};
use object::{Object as _, ObjectSection as _};
use tracer_common::{RbpRule, Rule, RuleKind};

use super::TestResult;
use crate::unwind::UnwindTable;

#[test]
fn the_c_library() -> TestResult {
    agrees("/lib/x86_64-linux-gnu/libc.so.6", 20_000)
}

#[test]
fn the_dynamic_linker() -> TestResult {
    agrees("/lib64/ld-linux-x86-64.so.2", 2_000)
}

#[test]
fn this_program() -> TestResult {
    agrees("/proc/self/exe", 20_000)
}

/// Compares all rows that only take the CFA by `rsp` or `rbp`, of which there must be as many.
fn agrees(path: &str, at_least: u64) -> TestResult {
    let bytes = fs::read(path)?;
    let table = UnwindTable::from_elf(bytes.as_slice())?;
    let file = object::File::parse(bytes.as_slice())?;
    let section = file.section_by_name(".eh_frame").ok_or("no .eh_frame")?;
    let eh_frame = EhFrame::new(section.data()?, LittleEndian);
    let bases = BaseAddresses::default().set_eh_frame(section.address());
    let mut context = UnwindContext::new();
    let mut entries = eh_frame.entries(&bases);
    let mut compared = 0;
    while let Some(entry) = entries.next()? {
        let CieOrFde::Fde(partial) = entry else {
            continue;
        };
        let fde = partial.parse(EhFrame::cie_from_offset)?;
        let mut rows = fde.rows(&eh_frame, &bases, &mut context)?;
        while let Some(row) = rows.next_row()? {
            let Some(expected) = expected(row.cfa(), |register| row.register(register)) else {
                continue;
            };
            // A row may be one that the next replaces at once.
            for address in [row.start_address(), row.end_address().saturating_sub(1)] {
                if row.contains(address) {
                    let pc = u32::try_from(address - table.base_address())?;
                    let rule = table.rule_at(pc);
                    // There it is wrong, as in `setcontext`.
                    if rule != Rule::SWITCHED {
                        assert_eq!(rule, expected, "at {address:#x} of {path}");
                    }
                    compared += 1;
                }
            }
        }
    }
    assert!(compared >= at_least, "only {compared} rows in {path}");
    Ok(())
}

fn expected(
    cfa: &CfaRule<usize>,
    register: impl Fn(gimli::Register) -> Option<RegisterRule<usize>>,
) -> Option<Rule> {
    let return_address = match register(X86_64::RA) {
        Some(RegisterRule::Offset(offset)) => offset,
        Some(RegisterRule::Undefined) => {
            return Some(Rule::STOP);
        }
        _ => return None,
    };
    if register(X86_64::RSP).is_some() {
        return None;
    }
    let CfaRule::RegisterAndOffset {
        register: by,
        offset,
    } = cfa
    else {
        return None;
    };
    let kind = match *by {
        X86_64::RSP => RuleKind::CfaSp,
        X86_64::RBP => RuleKind::CfaBp,
        _ => return None,
    };
    let (rbp, rbp_offset) = match register(X86_64::RBP) {
        None | Some(RegisterRule::SameValue) => (RbpRule::Same, 0),
        Some(RegisterRule::Undefined) => (RbpRule::Undefined, 0),
        Some(RegisterRule::Offset(offset)) => (RbpRule::AtCfa, offset),
        _ => return None,
    };
    Some(Rule {
        kind: kind as u8,
        rbp: rbp as u8,
        ra_offset: return_address.try_into().ok()?,
        cfa_offset: (*offset).try_into().ok()?,
        second: 0,
        rbp_offset: rbp_offset.try_into().ok()?,
    })
}
