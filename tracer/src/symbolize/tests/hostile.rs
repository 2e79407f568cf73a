//! Files that lie. Nothing may panic, overflow the stack, or grow out of proportion.

use super::super::{DebugRoots, Module, Source, Unknown};
use super::fixtures::{TestResult, Workshop, handmade, offset_of, open};
use crate::address::FileOffset;
use proptest::prelude::*;
use std::fs;
use std::path::Path;
use std::sync::{Arc, LazyLock};

/// A small program with everything in it.
static SEED: LazyLock<Result<Vec<u8>, String>> = LazyLock::new(|| {
    let build = || -> TestResult<Vec<u8>> {
        let workshop = Workshop::new()?;
        let path = workshop.inlined_c("program", &["-g", "-rdynamic"])?;
        Ok(fs::read(path)?)
    };
    build().map_err(|error| error.to_string())
});

fn resolve_everywhere(bytes: Vec<u8>) {
    let size = bytes.len() as u64;
    let roots = Arc::new(DebugRoots::none());
    if let Ok(module) = Module::from_bytes(bytes, Path::new("/program"), roots) {
        for offset in (0..size).step_by(64).chain([u64::MAX]) {
            // Any answer will do.
            let _ = module.resolve(FileOffset(offset));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn damaged_files_do_not_panic(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        keep in prop::option::weighted(0.1, any::<prop::sample::Index>()),
    ) {
        let mut bytes = SEED.clone().map_err(TestCaseError::fail)?;
        for (place, value) in flips {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if let Some(keep) = keep {
            bytes.truncate(keep.index(bytes.len()));
        }
        resolve_everywhere(bytes);
    }

    #[test]
    fn damaged_debug_sections_do_not_panic(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
    ) {
        let mut bytes = SEED.clone().map_err(TestCaseError::fail)?;
        let ranges = debug_ranges(&bytes).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert!(!ranges.is_empty());
        let places: Vec<_> = ranges.into_iter().flatten().collect();
        for (place, value) in flips {
            bytes[places[place.index(places.len())]] = value;
        }
        resolve_everywhere(bytes);
    }
}

fn debug_ranges(bytes: &[u8]) -> TestResult<Vec<std::ops::Range<usize>>> {
    use object::{Object as _, ObjectSection as _};
    let file = object::File::parse(bytes)?;
    let mut ranges = Vec::new();
    for section in file.sections() {
        if section.name()?.starts_with(".debug_")
            && let Some((offset, size)) = section.file_range()
        {
            let start = usize::try_from(offset)?;
            ranges.push(start..start + usize::try_from(size)?);
        }
    }
    Ok(ranges)
}

fn name_and_reason(source: &str) -> TestResult<(String, Source, Option<Unknown>)> {
    let workshop = Workshop::new()?;
    let arguments = &["-nostdlib", "-shared"];
    let path = workshop.compile("cc", "handmade.s", source, "handmade.so", arguments)?;
    let resolved = open(&path)?.resolve(offset_of(&path, "f")?)?;
    Ok((
        resolved.frames[0].function.clone(),
        resolved.source,
        resolved.incomplete,
    ))
}

const SUBPROGRAM: &str = r#"
.uleb128 2, 0x2e; .byte 1       # subprogram: name, low_pc, high_pc
.uleb128 0x03, 0x08, 0x11, 0x01, 0x12, 0x01, 0, 0
.uleb128 3, 0x1d; .byte 1       # inlined subroutine: nothing
.uleb128 0, 0
"#;

#[test]
fn handmade_debug_info_is_read_at_all() -> TestResult {
    let body = ".uleb128 2; .asciz \"by_hand\"; .quad f; .quad end; .uleb128 3; .byte 0, 0";
    assert_eq!(
        name_and_reason(&handmade(SUBPROGRAM, body, ""))?,
        ("by_hand".to_owned(), Source::Dwarf, None)
    );
    Ok(())
}

#[test]
fn an_inlined_function_without_a_name_is_left_out_and_that_is_said() -> TestResult {
    let abbreviations = r#"
.uleb128 2, 0x2e; .byte 1       # subprogram: name, low_pc, high_pc
.uleb128 0x03, 0x08, 0x11, 0x01, 0x12, 0x01, 0, 0
.uleb128 3, 0x1d; .byte 0       # inlined subroutine: low_pc, high_pc
.uleb128 0x11, 0x01, 0x12, 0x01, 0, 0
"#;
    let body = ".uleb128 2; .asciz \"by_hand\"; .quad f; .quad end
.uleb128 3; .quad f; .quad end; .byte 0";
    assert_eq!(
        name_and_reason(&handmade(abbreviations, body, ""))?,
        (
            "by_hand".to_owned(),
            Source::Dwarf,
            Some(Unknown::InlinedWithoutName)
        )
    );
    Ok(())
}

#[test]
fn endless_nesting_falls_back_to_the_symbol_table() -> TestResult {
    let body = r#"
.uleb128 2; .asciz "by_hand"; .quad f; .quad end
.rept 1000000; .uleb128 3; .endr
"#;
    let (name, source, reason) = name_and_reason(&handmade(SUBPROGRAM, body, ""))?;
    assert_eq!((name.as_str(), source), ("f", Source::Symtab));
    assert!(
        matches!(reason, Some(Unknown::BadDebugInfo(_))),
        "{reason:?}"
    );
    Ok(())
}

#[test]
fn lists_named_over_and_over_are_cut_short() -> TestResult {
    let abbreviations = r#"
.uleb128 2, 0x2e; .byte 0       # subprogram: ranges
.uleb128 0x55, 0x17, 0, 0
"#;
    // 60,000 times 60,000 ranges would be 86 GB.
    let body = ".rept 60000; .uleb128 2; .long 0; .endr";
    let ranges = r#"
.section .debug_ranges,"",@progbits
.rept 60000; .quad f, end; .endr
.quad 0, 0
"#;
    let (name, source, reason) = name_and_reason(&handmade(abbreviations, body, ranges))?;
    assert_eq!((name.as_str(), source), ("f", Source::Symtab));
    let Some(Unknown::BadDebugInfo(reason)) = reason else {
        return Err("no reason".into());
    };
    assert_eq!(&*reason, "it asks for more work than its size is worth");
    Ok(())
}

#[test]
fn a_section_that_claims_more_than_it_holds_is_a_reason() -> TestResult {
    let workshop = Workshop::new()?;
    let path = workshop.inlined_c("program", &["-g", "-gz=zlib"])?;
    let mark = offset_of(&path, "mark")?;
    let mut bytes = fs::read(&path)?;
    let ranges = debug_ranges(&bytes)?;
    assert!(!ranges.is_empty());
    for range in ranges {
        // The uncompressed size in the compression header.
        bytes[range.start + 8..range.start + 16].copy_from_slice(&(1_u64 << 40).to_le_bytes());
    }
    let roots = Arc::new(DebugRoots::none());
    let resolved = Module::from_bytes(bytes, &path, roots)?.resolve(mark)?;
    assert_eq!(resolved.source, Source::Symtab);
    let reason = resolved.incomplete.map(|reason| reason.to_string());
    assert!(
        reason
            .as_ref()
            .is_some_and(|reason| reason.contains("claims")),
        "{reason:?}"
    );
    Ok(())
}
