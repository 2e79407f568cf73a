//! Prints what the unwind tables of files hold and how long each took:
//! `cargo run --release -p tracer --example unwind_table -- FILE…`.

use std::env;
use std::fs::File;
use std::time::Instant;

use anyhow::{Context as _, Result};
use object::read::ReadCache;
use tracer::unwind::UnwindTable;

fn main() -> Result<()> {
    for path in env::args_os().skip(1) {
        let name = path.display().to_string();
        let start = Instant::now();
        let file = File::open(&path).with_context(|| name.clone())?;
        let table = UnwindTable::from_elf(&ReadCache::new(file)).with_context(|| name.clone())?;
        let milliseconds = start.elapsed().as_secs_f64() * 1e3;
        println!("{name}: {}; {milliseconds:.1} ms", table.statistics());
    }
    Ok(())
}
