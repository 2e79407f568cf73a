//! Tables of hand-made sections, of programs compiled here and stepped through instruction by
//! instruction, and of damaged input.

mod analysis;
mod corpus;
mod evaluation;
mod framehop;
mod hostile;
mod known;
mod programs;
mod sections;
mod stepped;
mod target;

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;
use tracer_common::{Row, Rule, RuleKind};

type TestResult<T = ()> = Result<T, Box<dyn Error>>;

/// The CFA lies so far above `rsp`.
pub(super) fn by_sp(cfa_offset: i32) -> Rule {
    Rule {
        cfa_offset,
        ..Rule::new(RuleKind::CfaSp)
    }
}

pub(super) fn row(pc: u32, rule: u16) -> Row {
    Row {
        pc,
        rule,
        reserved: 0,
    }
}

/// Compiles a program in a directory of its own.
fn compile(compiler: &str, source: &str, arguments: &[&str]) -> TestResult<(TempDir, PathBuf)> {
    let directory = tempfile::tempdir()?;
    let extension = if compiler == "cc" { "c" } else { "cpp" };
    let source_path = directory.path().join(format!("program.{extension}"));
    fs::write(&source_path, source)?;
    let program = directory.path().join("program");
    let output = Command::new(compiler)
        .args(arguments)
        .arg(&source_path)
        .arg("-o")
        .arg(&program)
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok((directory, program))
}
