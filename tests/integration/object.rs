//! What the eBPF object is made of.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use object::read::elf::{ElfFile64, ElfSection64};
use object::{Endianness, Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget};
use tests::binaries::ebpf_object;
use tests::trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial::plain(
        "object::probes_have_no_loops_over_bytes",
        probes_have_no_loops_over_bytes,
    )]
}

/// Sections of the programs that run at each allocation, free or page fault, and of the functions that they
/// call.
const HOT: [&str; 6] = [
    "uprobe",
    "uprobe.multi",
    "uretprobe",
    "uretprobe.multi",
    "perf_event",
    ".text",
];

/// Functions that call these, but not at each event.
const RARE: [&str; 1] = ["release"];

/// What LLVM calls where it does not store or copy words itself: a loop over bytes, some 50 ns for 48 of them.
const LOOPS: [&str; 4] = ["memset", "memcpy", "memmove", "memcmp"];

fn probes_have_no_loops_over_bytes() -> Result<()> {
    let bytes = fs::read(ebpf_object()?)?;
    let object = ElfFile64::<Endianness>::parse(&*bytes)?;
    let mut seen = 0;
    for name in HOT {
        let section = object
            .section_by_name(name)
            .with_context(|| format!("no section {name}"))?;
        for (offset, relocation) in section.relocations() {
            seen += 1;
            let RelocationTarget::Symbol(symbol) = relocation.target() else {
                continue;
            };
            let called = object.symbol_by_index(symbol)?.name()?;
            if LOOPS.contains(&called) {
                let caller = function_at(&object, &section, offset)?;
                ensure!(
                    RARE.iter().any(|rare| caller.ends_with(rare)),
                    "{caller} calls {called}, at {offset:#x} of {name}"
                );
            }
        }
    }
    ensure!(seen > 100, "{seen} relocations: the object has changed");
    Ok(())
}

/// Name of the function that an offset of a section lies in.
fn function_at(
    object: &ElfFile64<'_>,
    section: &ElfSection64<'_, '_>,
    offset: u64,
) -> Result<String> {
    let symbol = object
        .symbols()
        .filter(|symbol| symbol.section_index() == Some(section.index()))
        .find(|symbol| (symbol.address()..symbol.address() + symbol.size()).contains(&offset))
        .with_context(|| format!("no function at {offset:#x}"))?;
    Ok(symbol.name()?.to_owned())
}
