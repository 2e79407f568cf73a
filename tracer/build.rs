//! Embeds the eBPF object. `./x build` makes it and names it in `TRACER_EBPF_OBJECT`; without it
//! the crate still compiles, for `cargo check`, clippy and unit tests, and the command says at run
//! time that it has no object.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-env-changed=TRACER_EBPF_OBJECT");
    let embedded = PathBuf::from(env::var("OUT_DIR")?).join("tracer-ebpf.o");
    let object = env::var_os("TRACER_EBPF_OBJECT").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/ebpf/tracer-ebpf.o"),
        PathBuf::from,
    );
    println!("cargo::rerun-if-changed={}", object.to_string_lossy());
    if object.exists() {
        fs::copy(&object, &embedded)?;
    } else {
        fs::write(&embedded, [])?;
    }
    Ok(())
}
