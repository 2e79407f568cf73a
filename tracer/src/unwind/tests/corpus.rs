//! The fuzzer's corpus, without the fuzzer: what it once found must stay found.

use std::fs;
use std::path::Path;

use super::TestResult;
use crate::unwind::UnwindTable;

/// As the fuzz target `code` reads its input.
#[expect(
    unreachable_pub,
    reason = "shared with the package of the fuzz targets"
)]
#[path = "../../../../tests/fuzz/src/program.rs"]
mod program;

/// Contents of the corpus of a fuzz target.
fn corpus(target: &str) -> TestResult<Vec<Vec<u8>>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus");
    let mut inputs = Vec::new();
    for entry in fs::read_dir(directory.join(target))? {
        inputs.push(fs::read(entry?.path())?);
    }
    assert!(inputs.len() >= 2, "the corpus of {target} is gone");
    Ok(inputs)
}

fn is_in_order(table: &UnwindTable) -> bool {
    let rows = table.rows();
    rows.is_sorted_by(|one, next| one.pc < next.pc && one.rule != next.rule)
        && rows
            .iter()
            .all(|row| usize::from(row.rule) < table.rules().len())
}

#[test]
fn eh_frames() -> TestResult {
    let mut known = 0;
    for input in corpus("eh_frame")? {
        let table = UnwindTable::from_eh_frame(&input, 0x10_0000, 0..1 << 32)?;
        assert!(is_in_order(&table));
        known += table.rows().len();
    }
    assert!(known > 0);
    Ok(())
}

#[test]
fn files() -> TestResult {
    let mut known = 0;
    for input in corpus("elf")? {
        if let Ok(table) = UnwindTable::from_elf(input.as_slice()) {
            assert!(is_in_order(&table));
            known += table.rows().len();
        }
    }
    assert!(known > 0);
    Ok(())
}

#[test]
fn code() -> TestResult {
    let mut known = 0;
    for input in corpus("code")? {
        let Some(file) = program::program(&input) else {
            continue;
        };
        let table = UnwindTable::from_elf(file.as_slice())?;
        assert!(is_in_order(&table));
        known += table.rows().len();
    }
    assert!(known > 0);
    Ok(())
}
