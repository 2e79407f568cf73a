//! The cost of one malloc+free pair, by `xtask/bench/pair.c`.

use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::ChildStdin;
use std::process::ChildStdout;
use std::process::Command;
use std::process::Stdio;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;

use super::Bench;
use super::side::Side;
use super::table::Table;
use crate::workspace::run;

const FRAMES: [u32; 3] = [5, 20, 60];
const MILLISECONDS: u32 = 500;
/// With frame pointers every frame is walked; without, like most of what people run.
const KINDS: [(&str, &str); 2] = [
    ("frame pointers", "-fno-omit-frame-pointer"),
    ("none", "-fomit-frame-pointer"),
];
const SIDES: [Side; 4] = [Side::Untraced, Side::Floor, Side::Tracer, Side::Peer];

/// Every side in every round, at each depth of the stack.
pub(super) fn measure(bench: &Bench<'_>) -> Result<Table> {
    let mut binaries = Vec::new();
    for (kind, flag) in KINDS {
        binaries.push((kind, build(bench, flag)?));
    }
    let mut table = Table::new("A malloc+free pair, by frames above the caller");
    for round in 1..=bench.rounds {
        eprintln!("    round {round} of {}", bench.rounds);
        for (kind, binary) in &binaries {
            for side in SIDES {
                let mut program = Program::start(binary)?;
                let attached = side
                    .attach(bench, program.child.id())
                    .with_context(|| format!("the side {}", side.name()))?;
                // Page faults and cold caches of the first calls are nobody's cost.
                program.time_pair(FRAMES[0], MILLISECONDS / 5)?;
                for frames in FRAMES {
                    let nanoseconds = program.time_pair(frames, MILLISECONDS)?;
                    let row = format!("{frames} frames, {kind}");
                    table.record(&row, "ns", side, nanoseconds);
                }
                attached.detach()?;
            }
        }
    }
    Ok(table)
}

fn build(bench: &Bench<'_>, flag: &str) -> Result<PathBuf> {
    let binary = bench.folder.join(format!("pair{flag}"));
    run(bench
        .workspace
        .command("cc")
        .args(["-O2", "-g", flag, "xtask/bench/pair.c"])
        .arg("-o")
        .arg(&binary))?;
    Ok(binary)
}

/// The running program; killed when dropped.
struct Program {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Program {
    fn start(binary: &Path) -> Result<Self> {
        let mut child = Command::new(binary)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let input = child.stdin.take().context("no standard input")?;
        let output = child.stdout.take().context("no standard output")?;
        let mut program = Self {
            child,
            input,
            output: BufReader::new(output),
        };
        // An answer proves that it is past its loader, with the C library mapped.
        program.time_pair(1, 1)?;
        Ok(program)
    }

    /// Nanoseconds per pair, measured for that many milliseconds.
    fn time_pair(&mut self, frames: u32, milliseconds: u32) -> Result<f64> {
        writeln!(self.input, "{frames} {milliseconds}").context("pair has ended")?;
        let mut answer = String::new();
        if self.output.read_line(&mut answer)? == 0 {
            bail!("pair has ended");
        }
        answer
            .trim()
            .parse()
            .with_context(|| format!("pair answered {answer:?}"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
