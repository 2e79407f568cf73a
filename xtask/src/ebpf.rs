//! Builds the BPF linker and, with it, the eBPF object that goes into the tracer.
//!
//! Everything lands under `target/`: nothing is installed for the user, and `cargo clean` removes
//! it all.

use std::env;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use object::build::elf::Builder;
use object::build::elf::SectionData;
use object::elf::SHT_STRTAB;

use crate::workspace::Workspace;
use crate::workspace::output;
use crate::workspace::run;
use crate::workspace::step;

/// Tells `tracer/build.rs` where the object to embed is.
pub(crate) const OBJECT_VARIABLE: &str = "TRACER_EBPF_OBJECT";

const LINKER_VERSION: &str = "0.13.0";
/// The LLVM that the pinned toolchain carries, as bpf-linker names its feature.
const LINKER_LLVM_FEATURE: &str = "llvm-22";
const TARGET: &str = "bpfel-unknown-none";

/// Joins flags in `CARGO_ENCODED_RUSTFLAGS`, so that paths may contain spaces.
const FLAG_SEPARATOR: &str = "\x1f";

/// Builds the object and returns its path.
pub(crate) fn build(workspace: &Workspace) -> Result<PathBuf> {
    let linker = build_linker(workspace)?;
    step("building the eBPF object");
    // A target folder of its own: neither its lock nor its flags meet the other builds'.
    let target = workspace.target.join("ebpf");
    let flags = [
        format!("--cfg=bpf_target_arch=\"{}\"", env::consts::ARCH),
        // Atomic operations that return what was there, which the live table needs.
        "-Ctarget-cpu=v3".to_owned(),
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        format!("-Clinker={}", linker.display()),
    ];
    run(workspace
        .cargo()
        .args(["build", "--release", "--quiet"])
        .args(["--package", "tracer-ebpf", "--bins"])
        .args(["--target", TARGET, "-Z", "build-std=core"])
        .env("CARGO_TARGET_DIR", &target)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join(FLAG_SEPARATOR))
        // Opens -Z to the pinned stable toolchain; there is no need for a nightly one.
        .env("RUSTC_BOOTSTRAP", "1"))?;
    let object = object(workspace);
    let built = target.join(TARGET).join("release").join("tracer-ebpf");
    let bytes = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    let stripped =
        without_debug_info(&bytes).with_context(|| format!("cannot strip {}", built.display()))?;
    write_if_changed(&stripped, &object)?;
    Ok(object)
}

/// The object without what is there for debuggers: the tracer would carry it, and read over it at each attach.
/// The type information (BTF) stays, which is made from it.
fn without_debug_info(object: &[u8]) -> object::build::Result<Vec<u8>> {
    let mut builder = Builder::read(object)?;
    for section in &mut builder.sections {
        let name = section.name.as_slice();
        section.delete = name.starts_with(b".debug") || name.starts_with(b".rel.debug");
    }
    builder.delete_orphans();
    // LLVM keeps all names in one section, the builder in two.
    let names = builder.sections.add();
    names.name = b".shstrtab"[..].into();
    names.sh_type = SHT_STRTAB;
    names.data = SectionData::SectionString;
    let mut stripped = Vec::new();
    builder.write(&mut stripped)?;
    Ok(stripped)
}

/// Where [`build`] puts the object.
pub(crate) fn object(workspace: &Workspace) -> PathBuf {
    workspace.target.join("ebpf").join("tracer-ebpf.o")
}

/// Builds bpf-linker against the LLVM of the toolchain in use, unless that has been done; returns
/// its path.
pub(crate) fn build_linker(workspace: &Workspace) -> Result<PathBuf> {
    let tools = workspace.target.join("tools");
    let linker = tools.join("bin").join("bpf-linker");
    let sysroot = output(workspace.command("rustc").args(["--print", "sysroot"]))?;
    let libraries = Path::new(sysroot.trim()).join("lib");
    let compiler = output(workspace.command("rustc").arg("-vV"))?;
    let wanted = format!(
        "bpf-linker {LINKER_VERSION}\n{}\n{compiler}",
        libraries.display()
    );
    let stamp = tools.join("bpf-linker.stamp");
    if linker.exists() && fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(linker);
    }

    step("building bpf-linker (about a minute, once)");
    // The toolchain has the library under its full name only; the linker asks for libLLVM.so.
    let prefix = tools.join("llvm");
    let link = prefix.join("lib").join("libLLVM.so");
    fs::create_dir_all(prefix.join("lib")).context("cannot create folders under target/")?;
    match fs::remove_file(&link) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot replace {}", link.display()));
        }
        _ => symlink(find_llvm(&libraries)?, &link)
            .with_context(|| format!("cannot create {}", link.display()))?,
    }
    run(workspace
        .cargo()
        .args(["install", "bpf-linker", "--version", LINKER_VERSION])
        .args(["--locked", "--force", "--quiet"])
        .args(["--no-default-features", "--features", LINKER_LLVM_FEATURE])
        .arg("--root")
        .arg(&tools)
        .env("CARGO_TARGET_DIR", tools.join("build"))
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            format!("-Clink-arg=-Wl,-rpath,{}", libraries.display()),
        )
        .env("LLVM_PREFIX", &prefix))
    .context("cannot build bpf-linker")?;
    fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))?;
    fs::remove_dir_all(tools.join("build")).context("cannot remove bpf-linker's build folder")?;
    Ok(linker)
}

/// The LLVM library of the toolchain, like `libLLVM.so.22.1-rust-1.98.0-stable`.
fn find_llvm(libraries: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(libraries)
        .with_context(|| format!("cannot read {}", libraries.display()))?
        .collect::<io::Result<Vec<_>>>()?;
    let library = entries
        .iter()
        .map(fs::DirEntry::path)
        .find(|path| {
            path.file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| name.starts_with("libLLVM.so."))
        })
        .with_context(|| format!("no libLLVM.so.* in {}", libraries.display()))?;
    let version = library.display().to_string();
    let (_, major) = LINKER_LLVM_FEATURE.split_at("llvm-".len());
    if !version.contains(&format!("libLLVM.so.{major}.")) {
        bail!(
            "the toolchain has {version}, but bpf-linker is to be built for LLVM {major}: change \
             LINKER_LLVM_FEATURE and LINKER_VERSION in xtask/src/ebpf.rs together with the \
             toolchain"
        );
    }
    Ok(library)
}

/// Leaves a file alone that is as it should be: what is made from it need not be made again.
fn write_if_changed(new: &[u8], to: &Path) -> Result<()> {
    if fs::read(to).is_ok_and(|old| old == new) {
        return Ok(());
    }
    fs::write(to, new).with_context(|| format!("cannot write {}", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_found_by_its_full_name() -> Result<()> {
        let folder = tempfile::tempdir()?;
        for name in ["librustc_driver.so", "libLLVM.so.22.1-rust-1.98.0-stable"] {
            fs::write(folder.path().join(name), "")?;
        }
        let found = find_llvm(folder.path())?;
        assert!(found.ends_with("libLLVM.so.22.1-rust-1.98.0-stable"));
        Ok(())
    }

    #[test]
    fn another_llvm_is_an_error_that_says_what_to_change() -> Result<()> {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("libLLVM.so.23.1-rust-1.99.0-stable"), "")?;
        let error = find_llvm(folder.path()).err().context("no error")?;
        assert!(error.to_string().contains("LINKER_LLVM_FEATURE"));
        Ok(())
    }

    #[test]
    fn an_unchanged_object_keeps_its_time() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let to = folder.path().join("to");
        write_if_changed(b"one", &to)?;
        let long_ago = std::time::SystemTime::UNIX_EPOCH;
        fs::File::options()
            .write(true)
            .open(&to)?
            .set_modified(long_ago)?;
        write_if_changed(b"one", &to)?;
        assert_eq!(fs::metadata(&to)?.modified()?, long_ago);
        write_if_changed(b"two", &to)?;
        assert_eq!(fs::read_to_string(&to)?, "two");
        Ok(())
    }
}
