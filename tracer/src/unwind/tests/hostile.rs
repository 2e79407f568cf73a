//! Damaged and hostile input: an error or a smaller table, and never much work or memory.

use std::cell::Cell;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom};

use object::read::ReadCache;
use proptest::prelude::{ProptestConfig, any, prop};
use proptest::proptest;
use tracer_common::{Rule, RuleKind};

use super::{TestResult, compile};
use crate::unwind::{UnwindError, UnwindTable};

const CODE: std::ops::Range<u64> = 0x1000..0x10_0000;

/// An `.eh_frame` written entry by entry. Pointers in it are absolute, 8 bytes.
#[derive(Default)]
struct Section(Vec<u8>);

impl Section {
    /// Appends an entry: its length, and what follows.
    fn entry(&mut self, id: u32, body: &[u8]) -> u32 {
        let offset = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        let length = u32::try_from(4 + body.len()).unwrap_or(u32::MAX);
        self.0.extend(length.to_le_bytes());
        self.0.extend(id.to_le_bytes());
        self.0.extend(body);
        offset
    }

    /// Appends a CIE: version 1, no augmentation, factors 1 and −8, return address in column 16.
    fn cie(&mut self, instructions: &[u8]) -> u32 {
        self.entry(0, &[&[1, 0, 1, 0x78, 16], instructions].concat())
    }

    /// Appends an FDE.
    fn fde(&mut self, cie: u32, start: u64, size: u64, instructions: &[u8]) {
        let id = u32::try_from(self.0.len()).unwrap_or(u32::MAX) + 4 - cie;
        let place = [start.to_le_bytes(), size.to_le_bytes()].concat();
        self.entry(id, &[&place, instructions].concat());
    }

    fn table(&self) -> Result<UnwindTable, UnwindError> {
        UnwindTable::from_eh_frame(&self.0, 0x20_0000, CODE)
    }
}

/// CFA = rsp + 8, return address at CFA − 8.
const ENTRY: [u8; 5] = [0x0c, 7, 8, 0x90, 1];

fn sp(cfa_offset: i32) -> Rule {
    Rule {
        cfa_offset,
        ..Rule::new(RuleKind::CfaSp)
    }
}

#[test]
fn a_damaged_entry_costs_only_itself() -> TestResult {
    let mut section = Section::default();
    let cie = section.cie(&ENTRY);
    section.fde(cie, 0x1000, 16, &[]);
    section.entry(0xffff, &[0; 16]); // no CIE there
    section.entry(7, &[1, 2, 3]); // cut off, or in the middle of another
    section.0.extend([0; 4]); // a terminator in the middle
    section.fde(cie, 0x1100, 16, &[]);
    section.0.extend([0x40, 0, 0, 0, 1, 2, 3]); // longer than the section
    let table = section.table()?;
    assert_eq!(table.rule_at(0), sp(8));
    assert_eq!(table.rule_at(0x10), Rule::NONE);
    assert_eq!(table.rule_at(0x100), sp(8));
    assert_eq!(
        (table.statistics().fdes, table.statistics().damaged),
        (2, 3)
    );
    Ok(())
}

#[test]
fn entries_for_other_places_are_left_out() -> TestResult {
    let mut section = Section::default();
    let cie = section.cie(&ENTRY);
    for (start, size) in [
        (0, 16),                // dropped by the linker
        (0xfff, 16),            // begins before the code
        (0x1000, 0),            // empty
        (0x10_0000, 16),        // behind the code
        (u64::MAX - 7, 16),     // beyond all addresses
        (0x1000_0000_0000, 16), // far away
    ] {
        section.fde(cie, start, size, &[]);
    }
    section.fde(cie, 0xf_fff0, u64::MAX, &[]); // cut off where the code ends
    let table = section.table()?;
    let rows: Vec<_> = table.rows().iter().map(|row| row.pc).collect();
    assert_eq!(rows, [0xf_eff0, 0xf_f000]);
    assert_eq!(table.statistics().fdes_ignored, 6);
    Ok(())
}

#[test]
fn a_damaged_instruction_ends_what_is_known_of_the_function() -> TestResult {
    let bad: [&[u8]; 7] = [
        &[0x3f],                         // no such instruction
        &[0x0b],                         // restores what was never remembered
        &[0x0f, 1, 0x96, 0x0e, 8],       // an offset where the CFA is an expression
        &[0x01, 0, 0, 0, 0, 0, 0, 0, 0], // moves back
        &[
            0x0e, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1,
        ], // 2^64 - 1
        &[0x0a; 100],                    // remembers too often
        &[0x0f, 0x7f, 0],                // an expression beyond the entry
    ];
    for instructions in bad {
        let mut section = Section::default();
        let cie = section.cie(&ENTRY);
        section.fde(
            cie,
            0x1000,
            16,
            &[&[0x44], instructions, &[0x44, 0]].concat(),
        );
        section.fde(cie, 0x1010, 16, &[]);
        let table = section.table()?;
        assert_eq!(table.rule_at(3), sp(8), "{instructions:x?}");
        assert_eq!(table.rule_at(15), Rule::UNSUPPORTED, "{instructions:x?}");
        assert_eq!(table.rule_at(16), sp(8), "{instructions:x?}");
    }
    Ok(())
}

#[test]
fn a_cie_that_is_large_or_wrong_takes_its_functions_with_it() -> TestResult {
    let mut section = Section::default();
    let large = section.cie(&[ENTRY.as_slice(), &[0; 5_000]].concat());
    let wrong = section.cie(&[0xc7]); // restores what it is yet to define
    let right = section.cie(&ENTRY);
    section.fde(large, 0x1000, 16, &[]);
    section.fde(wrong, 0x1010, 16, &[]);
    section.fde(right, 0x1020, 16, &[]);
    let table = section.table()?;
    assert_eq!(table.rule_at(0), Rule::NONE);
    assert_eq!(table.rule_at(0x10), Rule::UNSUPPORTED);
    assert_eq!(table.rule_at(0x20), sp(8));
    Ok(())
}

#[test]
fn of_entries_for_the_same_code_one_is_evaluated() -> TestResult {
    let mut section = Section::default();
    let cie = section.cie(&ENTRY);
    section.fde(cie, 0x1000, 0xf_0000, &[0x41, 0x0e, 16]);
    for _ in 1..20_000 {
        section.fde(cie, 0x1000, 0xf_0000, &[0x41; 1_000]);
    }
    let table = section.table()?;
    assert_eq!(table.rows().len(), 3);
    assert_eq!((table.rule_at(0), table.rule_at(1)), (sp(8), sp(16)));
    assert_eq!(table.statistics().fdes_ignored, 19_999);
    Ok(())
}

#[test]
fn a_file_that_claims_much_gets_little() -> TestResult {
    let (_directory, program) = compile("cc", "int main(void) { return 0; }", &["-O2"])?;
    let bytes = fs::read(program)?;
    let start = usize::try_from(u64::from_le_bytes(bytes[0x28..0x30].try_into()?))?;
    // The size of each section in turn, and of each segment.
    for header in (start..bytes.len().saturating_sub(63)).step_by(64) {
        for size in [1 << 31, 1 << 40, u64::MAX] {
            let mut bytes = bytes.clone();
            bytes[header + 32..header + 40].copy_from_slice(&size.to_le_bytes());
            if let Err(error) = UnwindTable::from_elf(bytes.as_slice()) {
                let is_expected = matches!(
                    error,
                    UnwindError::TooLarge { .. } | UnwindError::Damaged(_)
                );
                assert!(is_expected, "{error}");
            }
        }
    }
    Ok(())
}

/// A file of many GiB, nearly all of it holes, that counts what is read of it.
struct Sparse<'a> {
    start: &'a [u8],
    position: u64,
    read: &'a Cell<u64>,
}

impl Read for Sparse<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let start = usize::try_from(self.position).ok();
        let rest = start.and_then(|start| self.start.get(start..));
        let rest = rest.unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer.fill(0);
        buffer[..count].copy_from_slice(&rest[..count]);
        self.position += buffer.len() as u64;
        self.read.set(self.read.get() + buffer.len() as u64);
        Ok(buffer.len())
    }
}

impl Seek for Sparse<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        const SIZE: u64 = 1 << 40;
        self.position = match to {
            SeekFrom::Start(position) => position,
            SeekFrom::End(delta) => SIZE.saturating_add_signed(delta),
            SeekFrom::Current(delta) => self.position.saturating_add_signed(delta),
        };
        Ok(self.position)
    }
}

#[test]
fn a_file_that_really_is_large_is_read_in_small_parts() -> TestResult {
    let headers = usize::try_from(u64::from_le_bytes(PROGRAM[0x28..0x30].try_into()?))?;
    let segments = 64..headers.min(64 + 56 * usize::from(PROGRAM[0x38]));
    let sizes = segments.step_by(56).map(|at| at + 32);
    let sections = (headers..PROGRAM.len()).step_by(64).map(|at| at + 32);
    for at in sizes.chain(sections) {
        for size in [1_u64 << 27, 1 << 32, 1 << 39] {
            let mut start = PROGRAM.to_vec();
            start[at..at + 8].copy_from_slice(&size.to_le_bytes());
            let read = Cell::new(0);
            let file = Sparse {
                start: &start,
                position: 0,
                read: &read,
            };
            // Whatever comes of it.
            let _ = UnwindTable::from_elf(&ReadCache::new(file));
            assert!(
                (64..300 << 20).contains(&read.get()),
                "{at}: {}",
                read.get()
            );
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A program with some bytes changed is a table or an error; rows stay in order.
    #[test]
    fn any_damage(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20)) {
        let mut bytes = PROGRAM.to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(table) = UnwindTable::from_elf(bytes.as_slice()) {
            assert!(table.rows().is_sorted_by(|one, next| one.pc < next.pc));
            let known = table.rows().iter().all(|row| usize::from(row.rule) < table.rules().len());
            assert!(known);
        }
    }
}

/// The smallest of the fuzzer's inputs that is a whole program.
const PROGRAM: &[u8] = include_bytes!("../../../../tests/fuzz/corpus/elf/program");
