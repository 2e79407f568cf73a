//! Separate debug files: found where distributions put them, taken only when they are right.

use super::super::{DebugRoots, Source, Unknown};
use super::fixtures::{
    TestResult, Workshop, handmade, offset_of, only_name, open_with, run, summary,
};
use crate::address::FileOffset;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

const BUILD_ID: &str = "-Wl,--build-id=0x00112233";

/// A stripped program, its debug information, and the place of `mark`.
struct Split {
    workshop: Workshop,
    stripped: PathBuf,
    debug: PathBuf,
    mark: FileOffset,
    root: PathBuf,
}

impl Split {
    fn new(arguments: &[&str]) -> TestResult<Self> {
        let workshop = Workshop::new()?;
        let full = workshop.inlined_c("full", &[&["-g"], arguments].concat())?;
        let debug = workshop.copy_with("objcopy", &["--only-keep-debug"], &full, "app.debug")?;
        let stripped = workshop.copy_with("strip", &[], &full, "app")?;
        let root = workshop.path("root");
        fs::create_dir(&root)?;
        Ok(Self {
            mark: offset_of(&full, "mark")?,
            workshop,
            stripped,
            debug,
            root,
        })
    }

    fn install(&self, file: &Path, place: &str) -> TestResult<PathBuf> {
        let place = self.root.join(place);
        fs::create_dir_all(place.parent().ok_or("no parent")?)?;
        fs::copy(file, &place)?;
        Ok(place)
    }

    fn add_debug_link(&mut self) -> TestResult {
        let option = format!("--add-gnu-debuglink={}", self.debug.to_string_lossy());
        self.stripped = self
            .workshop
            .copy_with("objcopy", &[&option], &self.stripped, "linked")?;
        Ok(())
    }

    /// Innermost function, when the program is mapped from `/opt/app/bin/app`.
    fn names(&self) -> TestResult<Result<String, Unknown>> {
        let roots = DebugRoots::none().with_path(&self.root)?;
        let module = open_with(&self.stripped, Path::new("/opt/app/bin/app"), roots)?;
        Ok(only_name(module.resolve(self.mark)))
    }
}

const FOUND: &str = "innermost < middle < outer";

#[test]
fn a_debug_file_is_found_by_build_id_in_the_first_root_that_has_it() -> TestResult {
    let split = Split::new(&[BUILD_ID])?;
    split.install(&split.debug, "usr/lib/debug/.build-id/00/112233.debug")?;
    let empty = split.workshop.path("empty");
    fs::create_dir(&empty)?;
    let roots = DebugRoots::none()
        .with_path(&empty)?
        .with(fs::File::open(&split.root)?);
    let module = open_with(&split.stripped, Path::new("/app"), roots)?;
    let resolved = module.resolve(split.mark)?;
    assert_eq!(resolved.frames.len(), 3);
    assert_eq!(resolved.source, Source::Dwarf);
    Ok(())
}

#[test]
fn a_debug_file_of_another_build_is_not_taken() -> TestResult {
    let split = Split::new(&[BUILD_ID])?;
    let other = Split::new(&["-Wl,--build-id=0x00112244"])?;
    split.install(&other.debug, "usr/lib/debug/.build-id/00/112233.debug")?;
    let unknown = Unknown::NoSymbols(Some("00112233".into()));
    assert_eq!(split.names()?, Err(unknown));
    Ok(())
}

#[test]
fn a_debug_file_with_symbols_only_gives_names() -> TestResult {
    let split = Split::new(&[BUILD_ID])?;
    let symbols = split
        .workshop
        .copy_with("strip", &["--strip-debug"], &split.debug, "symbols")?;
    split.install(&symbols, "usr/lib/debug/.build-id/00/112233.debug")?;
    let roots = DebugRoots::none().with_path(&split.root)?;
    let module = open_with(&split.stripped, Path::new("/app"), roots)?;
    let resolved = module.resolve(split.mark)?;
    assert_eq!(summary(&resolved), [("outer", None)]);
    assert_eq!(resolved.source, Source::Symtab);
    Ok(())
}

#[test]
fn a_debug_link_is_followed_to_each_of_its_places() -> TestResult {
    for place in [
        "opt/app/bin/app.debug",
        "opt/app/bin/.debug/app.debug",
        "usr/lib/debug/opt/app/bin/app.debug",
    ] {
        let mut split = Split::new(&["-Wl,--build-id=none"])?;
        split.add_debug_link()?;
        assert!(split.names()?.is_err());
        split.install(&split.debug, place)?;
        assert_eq!(split.names()?, Ok(FOUND.to_owned()), "{place}");
    }
    Ok(())
}

#[test]
fn a_debug_link_to_a_changed_file_is_not_followed() -> TestResult {
    let mut split = Split::new(&["-Wl,--build-id=none"])?;
    split.add_debug_link()?;
    let place = split.install(&split.debug, "opt/app/bin/app.debug")?;
    let mut bytes = fs::read(&place)?;
    bytes.push(0);
    fs::write(&place, bytes)?;
    assert!(split.names()?.is_err());
    Ok(())
}

#[test]
fn links_are_resolved_inside_the_root() -> TestResult {
    let split = Split::new(&[BUILD_ID])?;
    let link = split.root.join("usr/lib/debug/.build-id/00/112233.debug");
    fs::create_dir_all(link.parent().ok_or("no parent")?)?;
    // Outside of the root this names the file, inside of it nothing.
    symlink(&split.debug, &link)?;
    assert!(split.names()?.is_err());

    fs::remove_file(&link)?;
    symlink("/store/app.debug", &link)?;
    split.install(&split.debug, "store/app.debug")?;
    assert_eq!(split.names()?, Ok(FOUND.to_owned()));
    Ok(())
}

#[test]
fn a_pipe_in_place_of_a_debug_file_does_not_hang() -> TestResult {
    let split = Split::new(&[BUILD_ID])?;
    let pipe = split.root.join("usr/lib/debug/.build-id/00/112233.debug");
    fs::create_dir_all(pipe.parent().ok_or("no parent")?)?;
    run(Command::new("mkfifo").arg(&pipe))?;
    assert!(split.names()?.is_err());
    Ok(())
}

#[test]
fn names_in_a_supplementary_file_are_found_when_it_is_the_right_one() -> TestResult {
    let abbreviations = r#"
.uleb128 2, 0x2e; .byte 0       # subprogram: name in the other file, low_pc, high_pc
.uleb128 0x03, 0x1f21, 0x11, 0x01, 0x12, 0x01, 0, 0
"#;
    let body = ".uleb128 2; .long 0; .quad f; .quad end";
    let link = r#"
.section .gnu_debugaltlink,"",@progbits
.asciz "shared.dwz"
.byte 0xaa, 0xbb, 0xcc
"#;
    let workshop = Workshop::new()?;
    let arguments = &["-nostdlib", "-shared"];
    let source = handmade(abbreviations, body, link);
    let path = workshop.compile("cc", "handmade.s", &source, "handmade.so", arguments)?;
    let strings = ".section .debug_str,\"MS\",@progbits,1\n.asciz \"by_supplement\"\n";
    for (build_id, name) in [("0xaabbcc", "by_supplement"), ("0xaabbdd", "f")] {
        let build_id = format!("-Wl,--build-id={build_id}");
        let arguments = &["-nostdlib", "-shared", &build_id];
        workshop.compile("cc", "strings.s", strings, "shared.dwz", arguments)?;
        let roots = DebugRoots::none().with_path(&workshop.path("."))?;
        let module = open_with(&path, Path::new("/handmade.so"), roots)?;
        assert_eq!(
            only_name(module.resolve(offset_of(&path, "f")?)),
            Ok(name.to_owned())
        );
    }
    Ok(())
}
