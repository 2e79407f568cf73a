//! A whole ELF file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tracer::unwind::UnwindTable;

fuzz_target!(|input: &[u8]| {
    if let Ok(table) = UnwindTable::from_elf(input) {
        tracer_fuzz::check(&table, input);
    }
});
