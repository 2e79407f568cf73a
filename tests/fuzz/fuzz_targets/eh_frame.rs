//! The bytes of an `.eh_frame`, for code anywhere in 4 GiB.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tracer::unwind::UnwindTable;

fuzz_target!(|input: &[u8]| {
    if let Ok(table) = UnwindTable::from_eh_frame(input, 0x10_0000, 0..1 << 32) {
        tracer_fuzz::check(&table, input);
    }
});
