//! Where the programs are: those under test, and the workloads, which are built here, except in an
//! emulated machine.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};

use crate::gallery::Language;
use crate::trial;

/// Flags for C and C++: optimised, with frame pointers down to the leaves, and with nothing that
/// would make the calls in the source and the calls at run time differ.
const C_FLAGS: &[&str] = &[
    "-O2",
    "-g",
    "-Wall",
    "-Wextra",
    "-pthread",
    "-fno-builtin",
    "-fno-omit-frame-pointer",
    "-mno-omit-leaf-frame-pointer",
    "-fno-optimize-sibling-calls",
];

/// The repository's root.
fn root() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests)
}

/// The `target` folder that builds go to.
#[must_use]
pub fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

fn built(variable: &str, name: &str) -> Result<PathBuf> {
    let path = env::var_os(variable)
        .map_or_else(|| target_dir().join("release").join(name), PathBuf::from);
    if !path.is_file() {
        bail!(
            "no {name} at {}: build it with `./x build`, or set {variable}",
            path.display()
        );
    }
    Ok(path)
}

/// The eBPF object: `TRACER_EBPF_OBJECT`, or `target/ebpf/tracer-ebpf.o`.
///
/// # Errors
/// It is not there.
pub fn ebpf_object() -> Result<PathBuf> {
    built("TRACER_EBPF_OBJECT", "../ebpf/tracer-ebpf.o")
}

/// The tracer: `TRACER_BIN`, or `target/release/tracer`.
///
/// # Errors
/// It is not there.
pub fn tracer() -> Result<PathBuf> {
    built("TRACER_BIN", "tracer")
}

/// The example service: `COUNTER_SERVICE_BIN`, or `target/release/counter-service`.
///
/// # Errors
/// It is not there.
pub fn counter_service() -> Result<PathBuf> {
    built("COUNTER_SERVICE_BIN", "counter-service")
}

/// The example service with a patch to it, made against the root of the repository; and its main
/// source then.
///
/// # Errors
/// The patch does not apply, or what it makes does not build.
pub fn patched_service(patch: &Path) -> Result<(PathBuf, String)> {
    let (into, _lock) = lock_workloads()?;
    let copy = into.join("patched-service");
    let fresh = into.join("patched-service.fresh");
    if fresh.exists() {
        fs::remove_dir_all(&fresh)?;
    }
    fs::create_dir_all(fresh.join("counter-service/src"))?;
    for file in [
        "Cargo.lock",
        "counter-service/Cargo.toml",
        "counter-service/src/main.rs",
    ] {
        fs::copy(root().join(file), fresh.join(file))?;
    }
    // A workspace of this one package; with the others it would build them all.
    let manifest = fs::read_to_string(root().join("Cargo.toml"))?;
    let key = |line: &str| line.split(' ').next().map(str::to_owned);
    let lines = manifest.lines();
    let lines = lines.filter(|line| key(line).as_deref() != Some("default-members"));
    let lines: Vec<&str> = lines
        .map(|line| match key(line).as_deref() {
            Some("members") => "members = [\"counter-service\"]",
            _ => line,
        })
        .collect();
    fs::write(fresh.join("Cargo.toml"), lines.join("\n"))?;
    run(Command::new("git")
        .arg("apply")
        .arg(patch)
        .current_dir(&fresh)
        // Not in the repository around it, if there is one.
        .env("GIT_CEILING_DIRECTORIES", &into))?;
    let source = fs::read_to_string(fresh.join("counter-service/src/main.rs"))?;
    // In one place from run to run, so that only what changed is built.
    if copy.exists() {
        fs::remove_dir_all(&copy)?;
    }
    fs::rename(&fresh, &copy)?;
    let target = into.join("cargo-service");
    cargo_build(&copy.join("counter-service/Cargo.toml"), &target)?;
    Ok((target.join("release/counter-service"), source))
}

/// A workload, built where it is missing or older than its sources. They go to
/// `TRACER_WORKLOADS_DIR`, or `target/workloads`.
///
/// # Errors
/// There is no such workload, or it does not build; the error carries the compiler's output.
pub fn workload(name: &str) -> Result<PathBuf> {
    let (into, _lock) = lock_workloads()?;
    let sources = root().join("tests/workloads");
    let c = sources.join("c").join(name).with_extension("c");
    let cpp = sources.join("cpp").join(name).with_extension("cpp");
    let program = into.join(name);
    if c.is_file() {
        compile(
            Command::new(variable_or("CC", "cc")).arg("-std=gnu11"),
            &c,
            &program,
        )?;
        Ok(program)
    } else if cpp.is_file() {
        compile(
            Command::new(variable_or("CXX", "c++")).arg("-std=c++17"),
            &cpp,
            &program,
        )?;
        Ok(program)
    } else if name == "ledger_rust" {
        cargo_build(&sources.join("rust/Cargo.toml"), &into.join("cargo"))?;
        Ok(into.join("cargo/release/ledger_rust"))
    } else {
        bail!("there is no workload {name}");
    }
}

/// musl's compiler, in Debian's package musl-tools.
const MUSL_CC: &str = "musl-gcc";

/// A workload in C, with musl for its C library, built in one of several ways; `musl` is part of its
/// name.
///
/// # Errors
/// As for [`workload`].
pub fn musl_workload(name: &str, way: &str, flags: &[&str]) -> Result<PathBuf> {
    let (into, _lock) = lock_workloads()?;
    let source = root().join("tests/workloads/c").join(name);
    let program = into.join(format!("{name}-musl-{way}"));
    let mut compiler = Command::new(MUSL_CC);
    let source = source.with_extension("c");
    compile_all(compiler.arg("-std=gnu11"), &[source], &[], flags, &program)?;
    Ok(program)
}

/// A workload built without frame pointers, in one of several ways.
#[derive(Clone, Copy, Debug)]
pub struct Build {
    source: &'static str,
    compiler: Option<&'static str>,
    /// Names the way.
    pub name: &'static str,
    flags: &'static [&'static str],
}

impl Build {
    /// The workload `source`, with these flags beside the usual ones.
    #[must_use]
    pub const fn new(
        source: &'static str,
        name: &'static str,
        flags: &'static [&'static str],
    ) -> Self {
        Self {
            source,
            compiler: None,
            name,
            flags,
        }
    }

    /// The same, with musl for its C library.
    #[must_use]
    pub const fn with_musl(mut self) -> Self {
        self.compiler = Some(MUSL_CC);
        self
    }

    /// The program.
    ///
    /// # Errors
    /// As for [`workload`].
    pub fn program(&self) -> Result<PathBuf> {
        let (into, _lock) = lock_workloads()?;
        let sources = root().join("tests/workloads");
        let c = sources.join("c").join(self.source).with_extension("c");
        let (mut compiler, source) = if c.is_file() {
            let own = self.compiler.map(str::to_owned);
            let mut compiler = Command::new(own.unwrap_or_else(|| variable_or("CC", "cc")));
            compiler.arg("-std=gnu11");
            (compiler, c)
        } else {
            let cpp = sources.join("cpp").join(self.source).with_extension("cpp");
            let mut compiler = Command::new(variable_or("CXX", "c++"));
            compiler.arg("-std=c++17");
            (compiler, cpp)
        };
        let program = into.join(format!("{}-{}", self.source, self.name));
        // Behind the usual flags, which they contradict.
        let without = ["-fomit-frame-pointer", "-momit-leaf-frame-pointer"];
        let flags = [&without, self.flags].concat();
        compile_all(&mut compiler, &[source], &[], &flags, &program)?;
        Ok(program)
    }
}

/// A workload in one file of Rust, built as `rustc -O` does without being told otherwise.
///
/// # Errors
/// As for [`workload`].
pub fn plain_rust(name: &str) -> Result<PathBuf> {
    let (into, _lock) = lock_workloads()?;
    let source = root()
        .join("tests/workloads/rust")
        .join(name)
        .with_extension("rs");
    let program = into.join(format!("{name}_rust"));
    if !trial::emulated() {
        let mut compiler = Command::new("rustc");
        compiler.args(["--edition=2024", "-O", "-g"]).arg(&source);
        run(compiler.arg("-o").arg(&program))?;
    }
    Ok(program)
}

/// A workload in Go that calls C, which needs Go's compiler: Debian's package golang-go.
///
/// # Errors
/// As for [`workload`].
pub fn go(name: &str) -> Result<PathBuf> {
    let (into, _lock) = lock_workloads()?;
    let folder = root().join("tests/workloads/go").join(name);
    let program = into.join(format!("{name}-go"));
    if !trial::emulated() {
        let mut compiler = Command::new("go");
        compiler.args(["build", "-o"]).arg(&program).arg(".");
        compiler
            .env("GOCACHE", go_cache())
            .env("GOFLAGS", "-mod=mod -buildvcs=false");
        run(compiler.env("CGO_ENABLED", "1").current_dir(folder))?;
    }
    Ok(program)
}

/// Where Go keeps what it has compiled: nothing is left in the home folder, which there may be none of.
#[must_use]
pub fn go_cache() -> PathBuf {
    workloads().join("go")
}

/// Where the sources are of a service that a test builds more than once, each time changed.
#[must_use]
pub fn rebuild_sources() -> PathBuf {
    root().join("tests/workloads/rebuild")
}

/// Builds a program of one file in C or Rust as its users build theirs: optimised, and with nothing
/// for a tracer's sake but line numbers.
///
/// # Errors
/// It does not build; the error carries the compiler's output.
pub fn build(source: &Path, program: &Path) -> Result<()> {
    let mut compiler = match source.extension().and_then(OsStr::to_str) {
        Some("rs") => {
            let mut compiler = Command::new("rustc");
            compiler.args(["--edition=2024", "-O", "-g"]);
            // Not every C compiler asks its linker for one by itself.
            compiler.arg("-Clink-arg=-Wl,--build-id");
            compiler
        }
        _ => {
            let mut compiler = Command::new(variable_or("CC", "cc"));
            compiler.args(["-std=gnu11", "-O2", "-g", "-Wl,--build-id"]);
            compiler
        }
    };
    run(compiler.arg(source).arg("-o").arg(program))
}

/// A shared library among the workloads, for `LD_PRELOAD`.
///
/// # Errors
/// As for [`workload`].
pub fn preload(name: &str) -> Result<PathBuf> {
    let source = root()
        .join("tests/workloads/c")
        .join(name)
        .with_extension("c");
    let (into, _lock) = lock_workloads()?;
    let library = into.join(name).with_extension("so");
    let mut compiler = Command::new(variable_or("CC", "cc"));
    compile(
        compiler.args(["-std=gnu11", "-shared", "-fPIC"]),
        &source,
        &library,
    )?;
    Ok(library)
}

/// Where the sources of the gallery of leaks are.
#[must_use]
pub fn gallery_sources() -> PathBuf {
    root().join("tests/workloads/leaks")
}

/// The program with all of the gallery's patterns in one language. The one in C comes with a shared
/// library beside it.
///
/// # Errors
/// As for [`workload`].
pub fn gallery(language: Language) -> Result<PathBuf> {
    let (into, _lock) = lock_workloads()?;
    let sources = gallery_sources();
    let (folder, program) = match language {
        Language::C => (sources.join("c"), into.join("leaks_c")),
        Language::Cpp => (sources.join("cpp"), into.join("leaks_cpp")),
        Language::Rust => {
            cargo_build(&sources.join("rust/Cargo.toml"), &into.join("cargo"))?;
            return Ok(into.join("cargo/release/leaks_rust"));
        }
    };
    let mut code = Vec::new();
    let mut headers = vec![sources.join("leaks.h")];
    for entry in fs::read_dir(&folder)? {
        let file = entry?.path();
        match file.extension().and_then(OsStr::to_str) {
            Some("h") => headers.push(file),
            Some("c" | "cpp") => code.push(file),
            _ => {}
        }
    }
    if language == Language::Cpp {
        let mut compiler = Command::new(variable_or("CXX", "c++"));
        compile_all(compiler.arg("-std=c++17"), &code, &headers, &[], &program)?;
        return Ok(program);
    }
    let c_compiler = || {
        let mut compiler = Command::new(variable_or("CC", "cc"));
        compiler.arg("-std=gnu11");
        compiler
    };
    let (library, code): (Vec<_>, Vec<_>) = code
        .into_iter()
        .partition(|file| file.file_stem() == Some(OsStr::new("parcel")));
    let parcel = into.join("libparcel.so");
    let shared = ["-shared", "-fPIC"];
    compile_all(c_compiler().args(shared), &library, &headers, &[], &parcel)?;
    let path = format!("-L{}", into.display());
    let with_library = [path.as_str(), "-lparcel", "-Wl,-rpath,$ORIGIN"];
    compile_all(&mut c_compiler(), &code, &headers, &with_library, &program)?;
    Ok(program)
}

/// The folder for workloads, and the right to build there: one builder at a time, other test runs
/// included. The lock goes with the file.
fn lock_workloads() -> Result<(PathBuf, File)> {
    let into = workloads();
    fs::create_dir_all(&into)?;
    let lock = File::create(into.join(".lock"))?;
    lock.lock()?;
    Ok((into, lock))
}

fn workloads() -> PathBuf {
    env::var_os("TRACER_WORKLOADS_DIR")
        .map_or_else(|| target_dir().join("workloads"), PathBuf::from)
}

fn variable_or(variable: &str, default: &str) -> String {
    env::var(variable).unwrap_or_else(|_| default.to_owned())
}

fn compile(compiler: &mut Command, source: &Path, program: &Path) -> Result<()> {
    compile_all(compiler, &[source.to_owned()], &[], &[], program)
}

/// Compiles sources and links them, unless that is newer than these and the headers.
fn compile_all(
    compiler: &mut Command,
    sources: &[PathBuf],
    headers: &[PathBuf],
    libraries: &[&str],
    program: &Path,
) -> Result<()> {
    if trial::emulated() {
        return Ok(());
    }
    let shared = root().join("tests/workloads/c");
    let shared = ["gate.h", "tally.h"].map(|header| shared.join(header));
    let newest = newest(&[sources, headers, &shared].concat())?;
    if fs::metadata(program)
        .and_then(|file| file.modified())
        .is_ok_and(|time| time > newest)
    {
        return Ok(());
    }
    // Beside its target and renamed: a run that is cut short leaves no half of a program.
    let partial = program.with_extension("partial");
    compiler.args(C_FLAGS).args(sources);
    run(compiler.arg("-o").arg(&partial).args(libraries))?;
    fs::rename(&partial, program)?;
    Ok(())
}

fn newest(files: &[PathBuf]) -> Result<SystemTime> {
    let mut newest = SystemTime::UNIX_EPOCH;
    for file in files {
        let metadata = fs::metadata(file).with_context(|| file.display().to_string())?;
        newest = newest.max(metadata.modified()?);
    }
    Ok(newest)
}

fn cargo_build(manifest: &Path, target: &Path) -> Result<()> {
    if trial::emulated() {
        return Ok(());
    }
    run(Command::new(variable_or("CARGO", "cargo"))
        .args(["build", "--release", "--quiet", "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(target)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("RUSTFLAGS", "-Cforce-frame-pointers=yes"))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        let printed = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} failed with {}\n{printed}", output.status);
    }
    Ok(())
}
