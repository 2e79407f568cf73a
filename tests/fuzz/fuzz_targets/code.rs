//! Code that nothing describes, and what symbols say of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tracer::unwind::UnwindTable;

fuzz_target!(|input: &[u8]| {
    if let Some(file) = tracer_fuzz::program(input) {
        // The file is made by us, and not damaged.
        let table = UnwindTable::from_elf(file.as_slice()).expect("a table");
        tracer_fuzz::check(&table, &file);
    }
});
