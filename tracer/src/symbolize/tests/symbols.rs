//! Which symbol names an address, and which addresses have none.

use super::super::{Source, Unknown};
use super::fixtures::{TestResult, Workshop, offset_of, only_name, open};
use crate::address::FileOffset;

/// Functions of 16 bytes each, with every way to be named or not.
const TABLE: &str = r#"
.text
.globl aliased, __aliased
.weak weak_name
.type aliased, @function
.type __aliased, @function
.type weak_name, @function
.type local_name, @function
a_local_name: local_name: weak_name: __aliased: aliased:
.fill 16, 1, 0x90
.size aliased, 16
.size __aliased, 16
.size weak_name, 16
.size local_name, 16

gap_start:
.fill 16, 1, 0x90

.globl inner_label_holder
.type inner_label_holder, @function
inner_label_holder:
.fill 8, 1, 0x90
inner_label:
.fill 8, 1, 0x90
.size inner_label_holder, 16
after_holder_local:
.fill 16, 1, 0x90

.globl outside, inside
.type outside, @function
.type inside, @function
outside:
.fill 4, 1, 0x90
inside:
.fill 4, 1, 0x90
.size inside, 4
.fill 8, 1, 0x90
.size outside, 16
# Padding that belongs to nothing.
.fill 16, 1, 0x90
.globl last
.type last, @function
last: .fill 16, 1, 0x90
.size last, 16

.section .data
.globl data_object
.type data_object, @object
data_object: .quad 0
.size data_object, 8
"#;

fn name_at(table: &super::super::Module, start: FileOffset, delta: u64) -> Result<String, Unknown> {
    only_name(table.resolve(FileOffset(start.0 + delta)))
}

#[test]
fn the_best_alias_names_and_gaps_stay_unknown() -> TestResult {
    let workshop = Workshop::new()?;
    let arguments = &["-nostdlib", "-shared", "-Wl,--build-id=none"];
    let path = workshop.compile("cc", "table.s", TABLE, "table.so", arguments)?;
    let start = offset_of(&path, "aliased")?;
    let module = open(&path)?;
    let ok = |name: &str| Ok(name.to_owned());
    for (delta, expected) in [
        (0, ok("aliased")),
        (15, ok("aliased")),
        // Labels without a size reach to the next symbol.
        (16, ok("gap_start")),
        (31, ok("gap_start")),
        (32, ok("inner_label_holder")),
        // A label inside a function with a size does not rename its end.
        (40, ok("inner_label_holder")),
        (48, ok("after_holder_local")),
        (64, ok("outside")),
        (68, ok("inside")),
        (72, ok("outside")),
        (79, ok("outside")),
        (80, Err(Unknown::NoSymbolAt(None))),
        (95, Err(Unknown::NoSymbolAt(None))),
        (96, ok("last")),
    ] {
        assert_eq!(name_at(&module, start, delta), expected, "{delta}");
    }

    let stripped = workshop.copy_with("strip", &[], &path, "stripped.so")?;
    let module = open(&stripped)?;
    for (delta, expected) in [
        (0, ok("aliased")),
        (16, Err(Unknown::NoSymbols(None))),
        (31, Err(Unknown::NoSymbols(None))),
        (32, ok("inner_label_holder")),
        (48, Err(Unknown::NoSymbols(None))),
        (79, ok("outside")),
    ] {
        assert_eq!(
            name_at(&module, start, delta),
            expected,
            "stripped, {delta}"
        );
    }
    Ok(())
}

#[test]
fn exported_symbols_without_a_size_name_nothing() -> TestResult {
    let source = ".globl unsized\n.type unsized, @function\nunsized: .fill 16, 1, 0x90\n";
    let workshop = Workshop::new()?;
    let arguments = &["-nostdlib", "-shared", "-Wl,--build-id=none"];
    let path = workshop.compile("cc", "unsized.s", source, "unsized.so", arguments)?;
    let start = offset_of(&path, "unsized")?;
    assert_eq!(name_at(&open(&path)?, start, 8), Ok("unsized".to_owned()));
    let stripped = workshop.copy_with("strip", &[], &path, "stripped.so")?;
    assert_eq!(
        name_at(&open(&stripped)?, start, 8),
        Err(Unknown::NoSymbols(None))
    );
    Ok(())
}

#[test]
fn versions_are_not_part_of_a_name() -> TestResult {
    let source = r#"
.globl old_and_new
.type old_and_new, @function
old_and_new: .fill 16, 1, 0x90
.size old_and_new, 16
.symver old_and_new, versioned@@V_2
"#;
    let workshop = Workshop::new()?;
    let script = workshop.path("versions");
    std::fs::write(&script, "V_2 { global: versioned; local: *; };\n")?;
    let script = format!("-Wl,--version-script={}", script.to_string_lossy());
    let arguments = &["-nostdlib", "-shared", script.as_str()];
    let path = workshop.compile("cc", "versions.s", source, "versions.so", arguments)?;
    let start = offset_of(&path, "old_and_new")?;
    assert_eq!(name_at(&open(&path)?, start, 0), Ok("versioned".to_owned()));
    Ok(())
}

#[test]
fn a_function_the_linker_discarded_does_not_cover_the_ones_it_kept() -> TestResult {
    let source = r#"
__attribute__((noinline)) void discarded(void) {
    __asm__ volatile(".fill 0x100000, 1, 0x90");
}
void bare(void);
int main(void) { bare(); return 0; }
// Of this one there is no debug information that could contradict.
__asm__(".text\n.globl bare\n.type bare, @function\nbare: nop\nret\n.size bare, 2");
"#;
    let workshop = Workshop::new()?;
    let arguments = &["-g", "-O1", "-ffunction-sections", "-Wl,--gc-sections"];
    let path = workshop.compile("cc", "discarded.c", source, "program", arguments)?;
    assert!(offset_of(&path, "discarded").is_err());
    assert_eq!(
        name_at(&open(&path)?, offset_of(&path, "bare")?, 0),
        Ok("bare".to_owned())
    );
    Ok(())
}

#[test]
#[cfg(target_arch = "x86_64")]
fn linkage_stubs_are_named_after_their_function() -> TestResult {
    let workshop = Workshop::new()?;
    for arguments in [
        &["-g", "-Wl,-z,lazy"][..],
        &["-g", "-Wl,-z,now"],
        &["-g", "-fcf-protection", "-Wl,-z,ibtplt"],
        &["-s"],
    ] {
        let path = workshop.inlined_c("program", arguments)?;
        let module = open(&path)?;
        let size = std::fs::metadata(&path)?.len();
        let stubs: Vec<_> = (0..size)
            .filter_map(|offset| module.resolve(FileOffset(offset)).ok())
            .filter(|resolved| resolved.source == Source::Plt)
            .map(|resolved| resolved.frames[0].function.clone())
            .collect();
        // A stub has 8 or 16 bytes; a lazy one may come in two sections.
        let malloc = stubs.iter().filter(|name| *name == "malloc@plt").count();
        assert!([16, 32].contains(&malloc), "{arguments:?}: {stubs:?}");
        assert!(stubs.iter().all(|name| name.ends_with("@plt")));
    }
    Ok(())
}
