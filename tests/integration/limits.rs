//! What a target may do to the tracer: more files than there are descriptors, odd names, code that changes its
//! protection all the time, files that claim more than they hold.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::process::Command;
use std::time::Duration;
use std::{ptr, thread};

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use rustix::process::Signal;
use tempfile::TempDir;
use tests::process::{self, Child};
use tests::tracing::tracer;
use tests::workload::Workload;
use tests::{binaries, profile, trial};
use tracer::process::{MappingEvent, Sideband};

/// Descriptors that the tracer may have.
const DESCRIPTORS: usize = 200;
/// Files that the target maps.
const FILES: usize = 500;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial::root("limits::more_files_than_descriptors", more_files),
        trial::root("limits::mappings_while_nobody_reads", unread_mappings),
        trial::plain("limits::a_file_that_claims_too_much", claims),
    ]
}

/// A reader that is busy for a second misses no record, though the kernel's buffers hold fewer: other programs start
/// meanwhile.
fn unread_mappings() -> Result<()> {
    const AT_ONCE: usize = 1_000;
    const TIMES: usize = 12;
    let mut sideband = Sideband::open()?;
    for _ in 0..TIMES {
        for _ in 0..AT_ONCE {
            // SAFETY: a new mapping at an address of the kernel's choice, which nobody uses.
            unsafe {
                let code = mmap_anonymous(ptr::null_mut(), 1, ProtFlags::EXEC, MapFlags::PRIVATE)?;
                munmap(code, 1)?;
            }
        }
        thread::sleep(Duration::from_millis(100));
    }
    let (mut seen, mut lost) = (0, 0);
    sideband.drain(|event| match event {
        MappingEvent::Map { pid, .. } if pid == std::process::id() => seen += 1,
        MappingEvent::Lost(records) => lost += records,
        _ => {}
    });
    ensure!(
        lost == 0 && seen >= TIMES * AT_ONCE,
        "{seen} of {}, {lost} lost",
        TIMES * AT_ONCE
    );
    Ok(())
}

/// All of them are kept, none is lost, and the same mapping again and again is no news.
fn more_files() -> Result<()> {
    let folder = TempDir::new()?;
    for number in 0..FILES {
        let name = [b"\xff\n", number.to_string().as_bytes()].concat();
        fs::write(
            folder.path().join(OsStr::from_bytes(&name)),
            [number as u8; 8],
        )?;
    }
    let place = folder.path().to_string_lossy().into_owned();
    let mut workload = Workload::start("mapper", &[&place, &FILES.to_string(), "2000"])?;
    let output = TempDir::new()?;
    let output = output.path().join("profile.json");
    let script = format!("ulimit -n {DESCRIPTORS}; exec \"$@\"");
    let mut command = Command::new("sh");
    command
        .args(["-c", &script, "sh"])
        .arg(binaries::tracer()?)
        .args([
            "attach",
            "--format",
            "json",
            "--pid",
            &workload.pid().to_string(),
            "-o",
        ])
        .arg(&output);
    let mut tracing = Child::spawn(&mut command)?;
    let attached = |line: &str| line.starts_with("attached to");
    tracing.wait_line(|child| &child.stderr, "`attached to`", attached)?;
    workload.open_gate()?;
    let ledger = workload.ledger()?;
    tracing.signal(Signal::INT)?;
    tracing.wait()?.expect_code(0)?;
    workload.finish()?;
    let profile = profile::read_json(&fs::read(&output)?)?;
    profile::check_complete(&profile)?;
    for counter in [
        "files_not_opened",
        "mappings_forgotten",
        "mapping_records_lost",
    ] {
        ensure!(
            profile::counter(&profile, counter)? == 0,
            "{}",
            profile::summary(&profile)
        );
    }
    ledger.check_totals(&profile)?;
    ledger.check_parts(&profile)
}

/// A sparse file with a symbol table of gigabytes is refused, before there is memory for it.
fn claims() -> Result<()> {
    let folder = TempDir::new()?;
    let path = folder.path().join("sparse.so");
    // The test's own program, whose section headers are moved to the end of a long file.
    let mut elf = fs::read(binaries::workload("idle")?)?;
    let word =
        |elf: &[u8], at: usize| u64::from_le_bytes(elf[at..at + 8].try_into().unwrap_or_default());
    let headers = word(&elf, 0x28) as usize;
    const SHT_SYMTAB: u8 = 2;
    let symtab = (0..60).map(|index| headers + index * 64);
    let symtab = symtab
        .take_while(|at| at + 64 <= elf.len())
        .find(|at| elf[at + 4] == SHT_SYMTAB);
    let symtab = symtab.ok_or_else(|| anyhow::anyhow!("the workload has no symbol table"))?;
    let size: u64 = (3 << 30) / 24 * 24;
    elf[symtab + 24..symtab + 32].copy_from_slice(&(1_u64 << 24).to_le_bytes());
    elf[symtab + 32..symtab + 40].copy_from_slice(&size.to_le_bytes());
    let file = File::create(&path)?;
    file.write_all_at(&elf, 0)?;
    file.set_len((1 << 24) + size)?;
    let mut command = tracer(["plan", "--file"])?;
    command.arg(&path);
    // In kilobytes of address space: far less than is claimed.
    let mut bounded = Command::new("sh");
    bounded.args(["-c", "ulimit -v 1000000; exec \"$@\"", "sh"]);
    bounded.arg(command.get_program()).args(command.get_args());
    let ended = process::run(&mut bounded, b"")?;
    ended.expect_code(2)?;
    ensure!(
        ended.stderr.contains("is not an ELF file that can be used"),
        "{}",
        ended.stderr
    );
    Ok(())
}
