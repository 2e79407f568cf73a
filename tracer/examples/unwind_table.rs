//! Prints what the unwind tables of files are made of, and how long making each takes.
//!
//! `cargo run --release -p tracer --example unwind_table -- FILE…`

use std::fs::File;
use std::time::Instant;

use tracer::process::read_elf;
use tracer::unwind::UnwindTable;

fn main() {
    for path in std::env::args().skip(1) {
        let begun = Instant::now();
        let table = File::open(&path)
            .map_err(|error| error.to_string())
            .and_then(|file| {
                UnwindTable::from_elf(&read_elf(&file)).map_err(|error| error.to_string())
            });
        let elapsed = begun.elapsed();
        match table {
            Ok(table) => println!("{path}: {}; {elapsed:.1?}", table.statistics()),
            Err(error) => println!("{path}: {error}"),
        }
    }
}
