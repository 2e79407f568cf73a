//! What compilers make: formats of debug information, kinds of files, languages.

use super::super::{DebugRoots, Module, Source, Symbolizer, Unknown};
use super::fixtures::{
    INLINED_C, TestResult, Workshop, line_of, offset_of, only_name, open, summary,
};
use crate::address::FileOffset;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

#[test]
fn inlined_frames_come_innermost_first_in_every_kind_of_file() -> TestResult {
    let workshop = Workshop::new()?;
    for arguments in [
        &["-g"][..],
        &["-g", "-no-pie"],
        &["-g", "-static"],
        &["-g", "-static-pie"],
        &["-g", "-fPIC", "-shared"],
        &["-g", "-gdwarf-4"],
        &["-g", "-gdwarf-3", "-gstrict-dwarf"],
        &["-g", "-gz=zlib"],
        &["-g", "-gz=zlib-gnu"],
        &["-g", "-Wl,-z,noseparate-code"],
    ] {
        let path = workshop.inlined_c("program", arguments)?;
        let module = open(&path)?;
        let resolved = module.resolve(offset_of(&path, "mark")?)?;
        assert_eq!(
            summary(&resolved),
            [
                ("innermost", line_of(INLINED_C, "INNERMOST")),
                ("middle", line_of(INLINED_C, "MIDDLE")),
                ("outer", line_of(INLINED_C, "OUTER")),
            ],
            "{arguments:?}"
        );
        assert_eq!(resolved.source, Source::Dwarf);
        for frame in &resolved.frames {
            let file = frame.file.as_deref().unwrap_or_default();
            assert_eq!(file, workshop.path("inlined.c").to_string_lossy());
        }
    }
    Ok(())
}

#[test]
fn split_dwarf_still_gives_the_function_and_the_line() -> TestResult {
    let workshop = Workshop::new()?;
    let path = workshop.inlined_c("program", &["-g", "-gsplit-dwarf"])?;
    let resolved = open(&path)?.resolve(offset_of(&path, "mark")?)?;
    assert_eq!(
        summary(&resolved),
        [("outer", line_of(INLINED_C, "INNERMOST"))]
    );
    Ok(())
}

#[test]
fn without_debug_info_the_symbol_table_names_and_the_reason_is_kept() -> TestResult {
    let workshop = Workshop::new()?;
    let path = workshop.inlined_c("program", &["-Wl,--build-id=0x00abcd"])?;
    let module = open(&path)?;
    assert_eq!(module.build_id(), Some(&[0x00, 0xab, 0xcd][..]));
    let resolved = module.resolve(offset_of(&path, "mark")?)?;
    assert_eq!(summary(&resolved), [("outer", None)]);
    assert_eq!(resolved.source, Source::Symtab);
    assert_eq!(
        resolved.incomplete.map(|reason| reason.to_string()),
        Some("no debug info found for build id 00abcd".to_owned())
    );
    Ok(())
}

#[test]
fn a_stripped_file_names_only_what_it_exports() -> TestResult {
    let workshop = Workshop::new()?;
    let full = workshop.inlined_c("full", &["-g", "-rdynamic", "-Wl,--build-id=none"])?;
    let stripped = workshop.copy_with("strip", &[], &full, "stripped")?;
    let module = open(&stripped)?;
    let resolved = module.resolve(offset_of(&full, "mark")?)?;
    assert_eq!(summary(&resolved), [("outer", None)]);
    assert_eq!(resolved.source, Source::Dynsym);
    assert_eq!(
        only_name(module.resolve(offset_of(&full, "mark_hidden")?)),
        Err(Unknown::NoSymbols(None))
    );
    Ok(())
}

#[test]
fn a_file_without_symbols_says_so_with_its_build_id() -> TestResult {
    let workshop = Workshop::new()?;
    let build_id = "-Wl,--build-id=0x1234567890";
    let full = workshop.inlined_c("full", &["-static", build_id])?;
    let stripped = workshop.copy_with("strip", &[], &full, "stripped")?;
    let unknown = open(&stripped)?.resolve(offset_of(&full, "mark")?);
    assert_eq!(
        unknown.map_err(|reason| reason.to_string()).err(),
        Some("stripped, no debug file found for build id 1234567890".to_owned())
    );
    Ok(())
}

#[test]
fn cpp_names_are_demangled_and_inner_linkage_is_told() -> TestResult {
    let source = r#"
namespace shop {
template <typename T> struct Shelf {
    __attribute__((noinline)) T *put(T value) {
        __asm__ volatile(".globl mark_put\nmark_put: nop");
        return new T(value);
    }
};
}
namespace {
__attribute__((noinline)) int *helper(int value) {
    __asm__ volatile(".globl mark_helper\nmark_helper: nop");
    return new int(value);
}
}
int main(int argc, char **) {
    shop::Shelf<int> shelf;
    return *shelf.put(argc) + *helper(argc);
}
"#;
    let workshop = Workshop::new()?;
    for (arguments, lines) in [(&["-O1", "-g"], true), (&["-O1", "-g0"], false)] {
        let path = workshop.compile("c++", "shelf.cc", source, "shelf", arguments)?;
        let module = open(&path)?;
        for (mark, name, start) in [
            ("mark_put", "shop::Shelf<int>::put(int)", "_ZN"),
            ("mark_helper", "(anonymous namespace)::helper(int)", "_ZN"),
        ] {
            let resolved = module.resolve(offset_of(&path, mark)?)?;
            assert_eq!(
                summary(&resolved),
                [(name, line_of(source, mark).filter(|_| lines))]
            );
            assert!(resolved.frames[0].system_name.starts_with(start));
        }
    }
    Ok(())
}

#[test]
fn rust_names_lose_their_hashes_in_both_manglings() -> TestResult {
    let source = r#"
#![allow(named_asm_labels)]
use std::arch::asm;
pub struct Shelf<T>(Vec<T>);
impl<T: Copy> Shelf<T> {
    #[inline(always)]
    fn grow(&mut self, value: T) {
        self.0.push(value);
        unsafe { asm!(".globl mark", "mark: nop") } // GROW
    }
    #[inline(never)]
    pub fn put(&mut self, value: T) {
        self.grow(value); // PUT
    }
}
fn main() {
    let mut shelf = Shelf(Vec::new());
    shelf.put(std::env::args().count());
    std::hint::black_box(&shelf.0);
}
"#;
    let workshop = Workshop::new()?;
    for (scheme, prefix, grow, put) in [
        (
            "legacy",
            "_ZN",
            "rusty::Shelf<T>::grow",
            "rusty::Shelf<T>::put",
        ),
        (
            "v0",
            "_R",
            "<rusty::Shelf<usize>>::grow",
            "<rusty::Shelf<usize>>::put",
        ),
    ] {
        let scheme = format!("-Csymbol-mangling-version={scheme}");
        let mut arguments = vec!["-g", "-O", "--crate-name=rusty", &scheme];
        if prefix == "_ZN" {
            // The older scheme is no longer a stable option.
            arguments.push("-Zunstable-options");
        }
        let path = workshop.compile("rustc", "rusty.rs", source, "rusty", &arguments)?;
        let resolved = open(&path)?.resolve(offset_of(&path, "mark")?)?;
        assert_eq!(
            summary(&resolved),
            [
                (grow, line_of(source, "// GROW")),
                (put, line_of(source, "// PUT"))
            ]
        );
        assert!(
            resolved
                .frames
                .iter()
                .all(|frame| frame.system_name.starts_with(prefix))
        );
    }
    Ok(())
}

#[test]
fn a_deleted_file_is_read_through_its_descriptor() -> TestResult {
    let workshop = Workshop::new()?;
    let path = workshop.inlined_c("program", &["-g"])?;
    let offset = offset_of(&path, "mark")?;
    let mut shared = File::open(&path)?;
    shared.seek(SeekFrom::Start(7))?;
    let file = shared.try_clone()?;
    fs::remove_file(&path)?;

    let module = Module::open(file, &path, Arc::new(DebugRoots::none()))?;
    assert_eq!(module.resolve(offset)?.frames.len(), 3);
    // The caller may go on reading where it was.
    assert_eq!(shared.stream_position()?, 7);
    Ok(())
}

#[test]
fn a_file_truncated_after_opening_is_a_reason() -> TestResult {
    let workshop = Workshop::new()?;
    let path = workshop.inlined_c("program", &["-g"])?;
    let offset = offset_of(&path, "mark")?;
    let module = open(&path)?;
    fs::OpenOptions::new()
        .write(true)
        .open(&path)?
        .set_len(64)?;
    let Err(Unknown::NoSymbolAt(Some(reason))) = module.resolve(offset) else {
        return Err("resolved from nothing".into());
    };
    assert!(matches!(*reason, Unknown::BadDebugInfo(_)), "{reason}");
    Ok(())
}

#[test]
fn what_is_no_code_or_no_elf_says_so() -> TestResult {
    let workshop = Workshop::new()?;
    let path = workshop.inlined_c("program", &["-g"])?;
    let module = open(&path)?;
    for offset in [0, 64, 1 << 40, u64::MAX] {
        assert_eq!(
            only_name(module.resolve(FileOffset(offset))),
            Err(Unknown::OutsideSegments)
        );
    }
    let roots = Arc::new(DebugRoots::none());
    let not_elf = |bytes: &[u8]| Module::from_bytes(bytes, Path::new("x"), roots.clone()).err();
    assert_eq!(not_elf(b""), Some(Unknown::NotElf));
    assert_eq!(not_elf(b"#!/bin/sh\n"), Some(Unknown::NotElf));
    assert_eq!(
        not_elf(b"\x7fELF\x01\x01"),
        Some(Unknown::UnsupportedElf("not 64-bit"))
    );
    assert_eq!(
        not_elf(b"\x7fELF\x02\x01"),
        Some(Unknown::DamagedElf("file header"))
    );
    let directory = File::open(workshop.path("."))?;
    assert!(matches!(
        Module::open(directory, Path::new("/"), roots.clone()),
        Err(Unknown::FileUnreadable(_))
    ));
    Ok(())
}

#[test]
fn the_vdso_is_an_elf_image_in_memory() -> TestResult {
    let mut maps = String::new();
    File::open("/proc/self/maps")?.read_to_string(&mut maps)?;
    let range = maps
        .lines()
        .find(|line| line.ends_with("[vdso]"))
        .and_then(|line| line.split(' ').next())
        .and_then(|range| range.split_once('-'))
        .ok_or("no vDSO")?;
    let start = u64::from_str_radix(range.0, 16)?;
    let end = u64::from_str_radix(range.1, 16)?;
    let mut image = vec![0; usize::try_from(end - start)?];
    File::open("/proc/self/mem")?.read_exact_at(&mut image, start)?;
    let copy = Workshop::new()?.path("vdso");
    fs::create_dir_all(copy.parent().ok_or("no parent")?)?;
    fs::write(&copy, &image)?;

    let data = fs::read(&copy)?;
    let file = object::File::parse(&*data)?;
    let (name, address) = object::Object::dynamic_symbols(&file)
        .filter(|symbol| object::ObjectSymbol::size(symbol) > 0)
        .find_map(|symbol| {
            let name = object::ObjectSymbol::name(&symbol).ok()?;
            name.starts_with("__vdso_clock_gettime")
                .then(|| (name.to_owned(), object::ObjectSymbol::address(&symbol)))
        })
        .ok_or("no __vdso_clock_gettime")?;

    let mut symbolizer = Symbolizer::new();
    let id = symbolizer.add_bytes(image, Path::new("[vdso]"), Arc::new(DebugRoots::none()));
    let resolved = symbolizer
        .resolve(id, FileOffset(address))
        .map_err(Clone::clone)?;
    assert!(
        name.ends_with(resolved.frames[0].function.trim_start_matches('_')),
        "{resolved:?}"
    );
    assert_eq!(resolved.source, Source::Dynsym);
    Ok(())
}

#[test]
fn a_symbolizer_knows_a_file_again() -> TestResult {
    let workshop = Workshop::new()?;
    let path = workshop.inlined_c("program", &["-g"])?;
    let other = workshop.copy_with("strip", &[], &path, "other")?;
    let offset = offset_of(&path, "mark")?;
    let roots = Arc::new(DebugRoots::none());
    let mut symbolizer = Symbolizer::new();
    let first = symbolizer.add(File::open(&path)?, &path, roots.clone());
    let again = symbolizer.add(File::open(&path)?, Path::new("/elsewhere"), roots.clone());
    let stripped = symbolizer.add(File::open(&other)?, &other, roots);
    let nothing = symbolizer.add_unknown(Unknown::Anonymous);
    assert_eq!(first, again);
    assert_ne!(first, stripped);

    let resolved = symbolizer.resolve(first, offset).map_err(Clone::clone)?;
    assert_eq!(resolved.frames.len(), 3);
    assert!(symbolizer.resolve(stripped, offset).is_err());
    assert_eq!(
        symbolizer.resolve(nothing, offset),
        Err(&Unknown::Anonymous)
    );
    // An answer is kept even when the file no longer could give it.
    fs::OpenOptions::new().write(true).open(&path)?.set_len(0)?;
    assert!(symbolizer.resolve(first, offset).is_ok());
    Ok(())
}
