//! Where call frame information is found, and what becomes of small hand-made sections.

use std::fs;
use std::path::Path;
use std::process::Command;

use object::read::ReadCache;
use tracer_common::{RbpRule, Row, Rule, RuleKind};

use super::{TestResult, compile};
use crate::unwind::{Unsupported, UnwindError, UnwindTable};

const PROGRAM: &str = r"
#include <stdlib.h>
__attribute__((noinline)) static int sum(int n) {
    volatile int numbers[n + 1];
    for (int i = 0; i <= n; i++)
        numbers[i] = i;
    return numbers[n] + abs(n);
}
int main(int argc, char **argv) { (void)argv; return sum(argc); }
";

/// A program whose own functions are described in `.eh_frame` only, or in `.debug_frame` only.
fn table(arguments: &[&str]) -> TestResult<UnwindTable> {
    let arguments = [&["-O2", "-fomit-frame-pointer"], arguments].concat();
    let (_directory, program) = compile("cc", PROGRAM, &arguments)?;
    Ok(UnwindTable::from_elf(fs::read(program)?.as_slice())?)
}

#[test]
fn debug_frame_says_the_same_as_eh_frame() -> TestResult {
    let eh_frame = table(&["-g"])?;
    let only_debug = [
        "-g",
        "-fno-asynchronous-unwind-tables",
        "-fno-unwind-tables",
    ];
    let debug_frame = table(&only_debug)?;
    let compressed = table(&[&only_debug[..], &["-gz=zlib"]].concat())?;
    let neither = table(&only_debug[1..])?;
    let rows = |table: &UnwindTable| -> Vec<_> {
        let rows = table.rows().iter();
        rows.map(|row| (row.pc, table.rule_at(row.pc))).collect()
    };
    assert_eq!(rows(&debug_frame), rows(&eh_frame));
    assert_eq!(rows(&compressed), rows(&eh_frame));
    assert!(neither.statistics().fdes < eh_frame.statistics().fdes);
    Ok(())
}

#[test]
fn without_section_headers_the_segment_is_enough() -> TestResult {
    // Without symbols, by which the code that starts a program would be followed.
    let (_directory, program) = compile("cc", PROGRAM, &["-O2", "-s"])?;
    let mut bytes = fs::read(&program)?;
    let whole = UnwindTable::from_elf(bytes.as_slice())?;
    // e_shoff, and e_shnum with e_shstrndx.
    bytes[0x28..0x30].fill(0);
    bytes[0x3c..0x40].fill(0);
    let headless = UnwindTable::from_elf(bytes.as_slice())?;
    assert!(whole.statistics().fdes >= 3, "{}", whole.statistics());
    assert_eq!(headless.rows(), whole.rows());
    assert_eq!(headless.rules(), whole.rules());
    Ok(())
}

#[test]
fn a_file_is_read_in_parts_as_well() -> TestResult {
    let path = Path::new("/lib/x86_64-linux-gnu/libc.so.6");
    let whole = UnwindTable::from_elf(fs::read(path)?.as_slice())?;
    let cache = ReadCache::new(fs::File::open(path)?);
    let parts = UnwindTable::from_elf(&cache)?;
    assert_eq!(parts.rows(), whole.rows());
    Ok(())
}

#[test]
fn other_files_are_refused() -> TestResult {
    let refused = |bytes: &[u8]| UnwindTable::from_elf(bytes).map(|_| ());
    assert_eq!(refused(b""), Err(UnwindError::NotElf));
    assert_eq!(refused(b"#!/bin/sh\n"), Err(UnwindError::NotElf));
    assert_eq!(
        refused(b"\x7fELF\x02\x01"),
        Err(UnwindError::Damaged("file header"))
    );
    let (directory, program) = compile("cc", PROGRAM, &["-O2"])?;
    let bytes = fs::read(program)?;
    let with = |offset: usize, byte| {
        let mut bytes = bytes.clone();
        bytes[offset] = byte;
        refused(&bytes)
    };
    assert_eq!(with(4, 1), Err(UnwindError::NotX86_64), "32-bit");
    assert_eq!(with(5, 2), Err(UnwindError::NotX86_64), "big-endian");
    assert_eq!(with(18, 183), Err(UnwindError::NotX86_64), "AArch64");
    assert_eq!(with(16, 1), Err(UnwindError::NotLoadable), "object file");
    assert_eq!(with(16, 4), Err(UnwindError::NotLoadable), "core dump");
    assert_eq!(with(56, 0), Err(UnwindError::NotLoadable), "no segments");
    drop(directory);
    Ok(())
}

#[test]
fn offsets_of_mappings_become_addresses_of_rows() -> TestResult {
    let (_directory, program) = compile("cc", PROGRAM, &["-no-pie"])?;
    let table = UnwindTable::from_elf(fs::read(program)?.as_slice())?;
    assert_eq!(table.base_address(), 0x40_0000);
    let [segment] = table.segments() else {
        return Err(format!("{:?}", table.segments()).into());
    };
    let page = segment.file_offset & !0xfff;
    assert_eq!(table.pc_at(page), Some(segment.pc & !0xfff));
    assert_eq!(
        table.pc_at(page + 0x123),
        Some((segment.pc & !0xfff) + 0x123)
    );
    assert_eq!(table.pc_at(page.wrapping_sub(1)), None);
    assert_eq!(table.pc_at(u64::MAX), None);
    Ok(())
}

/// Assembles functions with directives, and returns where which rule begins, counted from the first
/// function.
fn assembled(functions: &str) -> TestResult<(Vec<(u32, Rule)>, UnwindTable)> {
    let directory = tempfile::tempdir()?;
    let source = directory.path().join("functions.s");
    let object = directory.path().join("functions.o");
    let library = directory.path().join("functions.so");
    fs::write(&source, format!(".text\n.p2align 12\n{functions}\n"))?;
    for mut command in [Command::new("as"), Command::new("ld")] {
        let is_linker = command.get_program() == "ld";
        let (input, output) = if is_linker {
            command.args(["-shared", "--no-ld-generated-unwind-info"]);
            (&object, &library)
        } else {
            (&source, &object)
        };
        let done = command.arg(input).arg("-o").arg(output).output()?;
        if !done.status.success() {
            return Err(String::from_utf8_lossy(&done.stderr).into_owned().into());
        }
    }
    let table = UnwindTable::from_elf(fs::read(library)?.as_slice())?;
    let start = table.segments().first().ok_or("no code")?.pc;
    let rows = table.rows().iter();
    let rows = rows.map(|row| (row.pc - start, table.rule_at(row.pc)));
    Ok((rows.collect(), table))
}

fn sp(cfa_offset: i32) -> Rule {
    Rule {
        cfa_offset,
        ..Rule::new(RuleKind::CfaSp)
    }
}

/// How often each kind of rule was left out.
fn left_out(table: &UnwindTable) -> Vec<(Unsupported, u64)> {
    let all = table.statistics().unsupported();
    all.filter(|(_, count)| *count > 0).collect()
}

#[test]
fn rows_are_merged_and_gaps_are_marked() -> TestResult {
    let (rows, table) = assembled(
        ".cfi_startproc
         push %rbx
         .cfi_adjust_cfa_offset 8
         .cfi_offset rbx, -16
         nop
         .cfi_offset r12, -24      # says nothing of what matters
         pop %rbx
         .cfi_adjust_cfa_offset -8
         ret
         .cfi_endproc
         .cfi_startproc            # begins with what the one before ended with
         ret
         .cfi_endproc
         .skip 11
         .cfi_startproc
         .cfi_undefined rip
         .skip 4
         .cfi_endproc",
    )?;
    let expected = [
        (0, sp(8)),
        (1, sp(16)),
        (3, sp(8)),
        (5, Rule::NONE),
        (16, Rule::STOP),
        (20, Rule::NONE),
    ];
    assert_eq!(rows, expected);
    let statistics = table.statistics();
    assert_eq!((statistics.fdes, statistics.rows), (3, 6));
    // Nothing, unsupported, rsp+8, rsp+16, stop.
    assert_eq!(table.rules().len(), 5);
    assert_eq!(
        statistics.to_string(),
        "3 functions, 6 rows, 5 rules, 128 bytes"
    );
    Ok(())
}

#[test]
fn states_are_remembered_and_single_registers_restored() -> TestResult {
    let saved = Rule {
        rbp: RbpRule::AtCfa as u8,
        rbp_offset: -16,
        ..sp(16)
    };
    let (rows, _) = assembled(
        ".cfi_startproc
         push %rbp
         .cfi_def_cfa_offset 16
         .cfi_offset rbp, -16
         .cfi_remember_state
         pop %rbp
         .cfi_restore rbp
         .cfi_def_cfa_offset 8
         ret
         .cfi_restore_state
         nop
         .cfi_endproc",
    )?;
    let expected = [
        (0, sp(8)),
        (1, saved),
        (2, sp(8)),
        (3, saved),
        (4, Rule::NONE),
    ];
    assert_eq!(rows, expected);
    Ok(())
}

#[test]
fn what_a_row_cannot_say_is_counted_by_kind() -> TestResult {
    let (rows, table) = assembled(
        ".cfi_startproc
         .cfi_def_cfa r10, 0
         nop
         .cfi_def_cfa rsp, 8
         .cfi_register rip, rdx
         nop
         .cfi_endproc
         .cfi_startproc
         .cfi_offset rsp, -16
         nop
         .cfi_endproc
         .cfi_startproc
         .cfi_def_cfa_offset 0x7ffffff0
         nop
         .cfi_offset rip, -0x8008
         nop
         .cfi_endproc
         .cfi_startproc
         .cfi_signal_frame
         nop
         .cfi_endproc
         .cfi_startproc
         .cfi_register rbp, r11
         nop
         .cfi_endproc
         .cfi_startproc
         .cfi_escape 0x0f, 3, 0x73, 0x08, 0x06     # CFA = *(rbx + 8)
         nop
         .cfi_escape 0x3f                          # no such instruction
         nop
         .cfi_endproc",
    )?;
    let lost = Rule {
        rbp: RbpRule::Undefined as u8,
        ..sp(8)
    };
    let expected = [
        (0, Rule::UNSUPPORTED),
        (3, sp(0x7fff_fff0)),
        (4, Rule::UNSUPPORTED),
        (6, lost),
        (7, Rule::UNSUPPORTED),
        (9, Rule::NONE),
    ];
    assert_eq!(rows, expected);
    let expected = [
        (Unsupported::CfaRegister, 1),
        (Unsupported::CfaExpression, 1),
        (Unsupported::ReturnAddress, 1),
        (Unsupported::StackPointer, 1),
        (Unsupported::SignalFrame, 1),
        (Unsupported::SavedRbp, 1),
        (Unsupported::Offset, 1),
        (Unsupported::Instruction, 1),
    ];
    let mut found = left_out(&table);
    found.sort_unstable_by_key(|(kind, _)| *kind as u8);
    assert_eq!(found, expected);
    Ok(())
}

#[test]
fn a_full_dictionary_costs_only_the_rules_that_are_too_many() -> TestResult {
    // Two rules are always there.
    let (rows, table) = assembled(
        ".cfi_startproc
         .altmacro
         .set offset, 8
         .rept 65540
         .cfi_def_cfa_offset offset
         nop
         .set offset, offset + 8
         .endr
         .cfi_def_cfa_offset 8
         nop
         .cfi_endproc",
    )?;
    assert_eq!(table.rules().len(), 1 << 16);
    assert_eq!(left_out(&table), [(Unsupported::Dictionary, 6)]);
    assert_eq!(rows[65_533], (65_533, sp(8 * 65_534)));
    let rest = [
        (65_534, Rule::UNSUPPORTED),
        (65_540, sp(8)),
        (65_541, Rule::NONE),
    ];
    assert_eq!(rows[65_534..], rest);
    Ok(())
}

#[test]
fn an_eh_frame_without_a_file() -> TestResult {
    let (directory, program) = compile("cc", PROGRAM, &["-O2", "-s"])?;
    let bytes = fs::read(program)?;
    let whole = UnwindTable::from_elf(bytes.as_slice())?;
    let file = object::File::parse(bytes.as_slice())?;
    use object::{Object as _, ObjectSection as _};
    let section = file.section_by_name(".eh_frame").ok_or("no .eh_frame")?;
    let table = UnwindTable::from_eh_frame(section.data()?, section.address(), 0..1 << 20)?;
    let rows: &[Row] = table.rows();
    assert_eq!(rows, whole.rows());
    drop(directory);
    Ok(())
}

/// The first frame of a thread in builds of musl that describe `__clone`, Rust's for one.
#[test]
fn a_described_clone_ends_its_thread() -> TestResult {
    const CLONE: &str = r#"
        int main(void) { return 0; }
        __asm__(".text\n.globl __clone\n.type __clone, @function\n__clone:\n.cfi_startproc\n"
                "pop %rdi\n.cfi_def_cfa_offset 0\ncall *%r9\n"
                "mov %eax, %edi\nxor %eax, %eax\nmov $60, %al\nsyscall\nhlt\n"
                ".skip 64, 0x90\n.cfi_endproc\n.skip 64, 0x90\n");
    "#;
    let (_directory, program) = compile("cc", CLONE, &["-O2"])?;
    let bytes = fs::read(program)?;
    let table = UnwindTable::from_elf(bytes.as_slice())?;
    let file = object::File::parse(bytes.as_slice())?;
    use object::{Object as _, ObjectSymbol as _};
    let clone = file.symbol_by_name("__clone").ok_or("no __clone")?;
    let pc = u32::try_from(clone.address() - table.base_address())?;
    assert_eq!(table.rule_for(pc + 4, true), Rule::STOP);
    assert_eq!(table.rule_at(pc), sp(8));
    Ok(())
}
