//! `tracer plan`: where the probes go in the allocators that people use, as Debian ships them.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use serde::Deserialize;
use tempfile::TempDir;
use tests::process;
use tests::tracing::tracer;
use tests::trial;
use tests::workload::Workload;

const GLIBC: &str = "/lib/x86_64-linux-gnu/libc.so.6";
const MUSL: &str = "/lib/x86_64-linux-musl/libc.so";

/// Other allocators, and the Debian packages they come from.
const ALLOCATORS: &[(&str, &str, &str)] = &[
    ("musl", MUSL, "musl"),
    (
        "jemalloc",
        "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2",
        "libjemalloc2",
    ),
    (
        "mimalloc",
        "/usr/lib/x86_64-linux-gnu/libmimalloc.so.2",
        "libmimalloc2.0",
    ),
    (
        "tcmalloc",
        "/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4",
        "libtcmalloc-minimal4",
    ),
];

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial::plain("plan::free_is_cheap_in_glibc", || free_is_cheap(GLIBC)),
        trial::plain("plan::glibc_costs_no_single_step", glibc),
        trial::root("plan::process", process),
        trial::plain("plan::bad_files", bad_files),
        trial::plain("plan::assembly", assembly),
        trial::plain("plan::points_inside", points_inside),
    ];
    // Installing them needs root; who runs the tests without need not have them.
    trials.extend(ALLOCATORS.iter().map(|&(name, path, package)| {
        trial::root(&format!("plan::free_is_cheap_in_{name}"), move || {
            ensure!(
                Path::new(path).is_file(),
                "{path} is missing: install {package}, as ./x test does"
            );
            free_is_cheap(path)
        })
    }));
    trials
}

/// The plan as machines read it.
#[derive(Debug, Deserialize, PartialEq)]
struct Plan {
    modules: Vec<Module>,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Module {
    path: String,
    probed: bool,
    probes: Vec<Probe>,
    inner: Vec<Inner>,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Inner {
    function: String,
    points: Vec<Point>,
    declined: Option<String>,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Point {
    cost: String,
    sees: String,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Probe {
    function: String,
    entry: u64,
    point: u64,
    instruction: Option<String>,
    kind: String,
    cost: String,
    reason: String,
}

fn plan(subject: [&str; 2]) -> Result<Plan> {
    let mut command = tracer(["plan", "--format", "json"])?;
    let ended = process::run(command.args(subject), b"")?;
    ended.expect_code(0)?;
    serde_json::from_slice(&ended.stdout).with_context(|| ended.printed())
}

fn plan_of_file(path: &str) -> Result<Module> {
    let mut plan = plan(["--file", path])?;
    let module = plan.modules.pop().context("no module")?;
    ensure!(plan.modules.is_empty(), "one file, several modules");
    Ok(module)
}

impl Module {
    fn probe(&self, function: &str) -> Result<&Probe> {
        let mut named = self
            .probes
            .iter()
            .filter(|probe| probe.function == function);
        let probe = named.next();
        probe.with_context(|| format!("no probe for {function}: {self:#?}"))
    }
}

/// Whether the kernel emulates the instruction, told by its bytes alone and not by the planner.
fn is_emulated(bytes: &[u8]) -> bool {
    matches!(
        bytes,
        [0x50..=0x57, ..] // push
            | [0x41, 0x50..=0x57, ..]
            | [0x90, ..] // nop
            | [0xeb | 0xe9, ..] // jmp
            | [0x70..=0x7f, ..] // jcc
            | [0x0f, 0x80..=0x8f, ..]
    )
}

fn check_cheap(code: &[u8], probe: &Probe) -> Result<()> {
    let bytes = usize::try_from(probe.point)
        .ok()
        .and_then(|point| code.get(point..))
        .context("the point lies outside the file")?;
    ensure!(
        is_emulated(bytes),
        "{:x?} is stepped: {probe:?}",
        &bytes[..8]
    );
    ensure!(probe.cost == "emulated", "{probe:?}");
    ensure!(
        (probe.entry..probe.entry + 256).contains(&probe.point),
        "{probe:?}"
    );
    Ok(())
}

fn free_is_cheap(path: &str) -> Result<()> {
    let module = plan_of_file(path)?;
    let code = fs::read(path)?;
    ensure!(
        module.probed != path.ends_with("libmimalloc.so.2"),
        "{path}: all but mimalloc's are probed"
    );
    let free = module.probe("free")?;
    ensure!(free.kind == "entry", "{free:?}");
    check_cheap(&code, free)?;
    let malloc = module.probe("malloc")?;
    ensure!(malloc.kind == "entry_and_return", "{malloc:?}");
    Ok(())
}

/// What services call all day; `reallocarray` multiplies in the argument registers and is rare.
fn glibc() -> Result<()> {
    let module = plan_of_file(GLIBC)?;
    ensure!(module.probed, "glibc is what the tracer probes");
    let code = fs::read(GLIBC)?;
    for function in ["malloc", "calloc", "realloc", "posix_memalign", "free"] {
        check_cheap(&code, module.probe(function)?)?;
    }
    Ok(())
}

/// glibc's malloc can be seen whole from inside; where a function can't, the reason is said.
fn points_inside() -> Result<()> {
    let module = plan_of_file(GLIBC)?;
    for inner in &module.inner {
        ensure!(
            inner.points.is_empty() == inner.declined.is_some(),
            "{inner:#?}"
        );
    }
    let of = |function: &str| {
        let mut inner = module.inner.iter();
        inner.find(|inner| inner.function == function)
    };
    let malloc = of("malloc").context("no malloc")?;
    let sees = |point: &&Point| point.sees.starts_with("size in rbx, result in rax");
    let whole: Vec<_> = malloc.points.iter().filter(sees).collect();
    ensure!(!whole.is_empty(), "{malloc:#?}");
    ensure!(
        whole.iter().all(|point| point.cost == "emulated"),
        "{whole:#?}"
    );
    let realloc = of("realloc").context("no realloc")?;
    ensure!(realloc.declined.is_some(), "{realloc:#?}");
    Ok(())
}

/// The plan for a process is the plan for its C library.
fn process() -> Result<()> {
    let workload = Workload::start("steady", &[])?;
    let plan = plan(["--pid", &workload.pid().to_string()])?;
    let [module] = plan.modules.as_slice() else {
        anyhow::bail!("one C library was expected: {plan:#?}");
    };
    ensure!(module.path.ends_with("libc.so.6"), "{module:#?}");
    let file = plan_of_file(&module.path)?;
    ensure!(*module == file, "{module:#?} is not {file:#?}");
    workload.finish()?;
    Ok(())
}

/// Functions whose symbols have no size end at the next symbol; of a sized one, all of it is read;
/// an enormous one is not looked at.
fn assembly() -> Result<()> {
    const SOURCE: &str = "
        .globl free, malloc, calloc, realloc
        .section .note.GNU-stack
        .text
        free:                   # unsized: the jump below is not its own
            mov %rdi, %rbx
        3:  push %rbp
            ret
        other:
            jmp 3b
        malloc:                 # comes back to its push
            mov %rdi, %rbx
        1:  push %rbp
            .skip 300, 0x90
            jmp 1b
        .size malloc, . - malloc
        calloc:                 # the same, cut short by its size
            mov %rdi, %rbx
        2:  push %rbp
        .size calloc, . - calloc
            jmp 2b
        realloc:
            mov %rdi, %rbx
            push %rbp
            .skip 70000, 0x90
        .size realloc, . - realloc
        end:
    ";
    let folder = TempDir::new()?;
    let source = folder.path().join("allocator.s");
    let library = folder.path().join("allocator.so");
    fs::write(&source, SOURCE)?;
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-nostdlib", "-o"]).arg(&library);
    process::run(compiler.arg(&source), b"")?.expect_code(0)?;
    let module = plan_of_file(library.to_str().context("path")?)?;
    let expected = [
        ("free", 3, "emulated"),
        ("malloc", 0, "single_stepped"),
        ("calloc", 3, "emulated"),
        ("realloc", 0, "single_stepped"),
    ];
    for (function, at, cost) in expected {
        let probe = module.probe(function)?;
        ensure!(
            (probe.point - probe.entry, probe.cost.as_str()) == (at, cost),
            "{probe:#?}"
        );
    }
    Ok(())
}

fn bad_files() -> Result<()> {
    let folder = TempDir::new()?;
    let text = folder.path().join("text");
    fs::write(&text, "no ELF file")?;
    let missing = folder.path().join("missing");
    for path in [folder.path(), &text, &missing] {
        let mut command = tracer(["plan", "--file"])?;
        let ended = process::run(command.arg(path), b"")?;
        ended.expect_code(2)?;
        let name = path.display().to_string();
        ensure!(ended.stderr.contains(&name), "{}", ended.printed());
        ensure!(ended.stdout.is_empty(), "{}", ended.printed());
    }
    Ok(())
}
