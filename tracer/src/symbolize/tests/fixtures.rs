//! Programs for the tests, built with the compilers of the machine.

use super::super::{DebugRoots, Module, Resolved, Unknown};
use crate::address::FileOffset;
use object::{Object as _, ObjectSegment as _, ObjectSymbol as _};
use std::error::Error;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use tempfile::TempDir;

pub(super) type TestResult<T = ()> = Result<T, Box<dyn Error>>;

/// Three functions, two of them inlined into the third, with the label `mark` in the innermost.
pub(super) const INLINED_C: &str = r#"
#include <stdlib.h>
static inline __attribute__((always_inline)) void *innermost(unsigned long n) {
    void *p = malloc(n);
    __asm__ volatile(".globl mark\nmark: nop"); // INNERMOST
    return p;
}
static inline __attribute__((always_inline)) void *middle(unsigned long n) {
    return innermost(n + 1); // MIDDLE
}
__attribute__((noinline)) void *outer(unsigned long n) {
    void *p = middle(n); // OUTER
    __asm__ volatile("" : : "r"(p) : "memory");
    return p;
}
__attribute__((noinline)) static void *hidden(unsigned long n) {
    void *p = malloc(n);
    __asm__ volatile(".globl mark_hidden\nmark_hidden: nop" : : "r"(p) : "memory");
    return p;
}
int main(int argc, char **argv) {
    (void)argv;
    return outer(argc) == hidden(argc);
}
"#;

/// A directory with a source file and what is built from it.
pub(super) struct Workshop {
    dir: TempDir,
}

impl Workshop {
    pub(super) fn new() -> TestResult<Self> {
        Ok(Self {
            dir: tempfile::tempdir()?,
        })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Compiles `source`, saved as `source_name`, to `output`.
    pub(super) fn compile(
        &self,
        compiler: &str,
        source_name: &str,
        source: &str,
        output: &str,
        arguments: &[&str],
    ) -> TestResult<PathBuf> {
        let source_path = self.path(source_name);
        fs::write(&source_path, source)?;
        let output = self.path(output);
        run(Command::new(compiler)
            // The pinned stable rustc knows its unstable options too.
            .env("RUSTC_BOOTSTRAP", "1")
            .current_dir(self.dir.path())
            .args(arguments)
            .arg(source_name)
            .arg("-o")
            .arg(&output))?;
        Ok(output)
    }

    /// [`INLINED_C`], optimized, with more arguments.
    pub(super) fn inlined_c(&self, output: &str, arguments: &[&str]) -> TestResult<PathBuf> {
        let arguments = [&["-O2"], arguments].concat();
        self.compile("cc", "inlined.c", INLINED_C, output, &arguments)
    }

    /// A copy made with a tool that takes options, input and output.
    pub(super) fn copy_with(
        &self,
        tool: &str,
        options: &[&str],
        input: &Path,
        output: &str,
    ) -> TestResult<PathBuf> {
        let output = self.path(output);
        let mut command = Command::new(tool);
        command.args(options).arg(input);
        if tool == "strip" {
            command.arg("-o");
        }
        run(command.arg(&output))?;
        Ok(output)
    }
}

/// Debug information by hand: a unit with the function `f`, and whatever `body` puts into it.
pub(super) fn handmade(abbreviations: &str, body: &str, more: &str) -> String {
    format!(
        r#"
.text
.globl f
.type f, @function
f: .fill 16, 1, 0x90
end: .size f, 16
.section .debug_abbrev,"",@progbits
.uleb128 1, 0x11; .byte 1       # compile unit: low_pc, high_pc
.uleb128 0x11, 0x01, 0x12, 0x01, 0, 0
{abbreviations}
.byte 0
.section .debug_info,"",@progbits
.long unit_end - unit
unit: .short 4; .long 0; .byte 8
.uleb128 1; .quad f; .quad end
{body}
.byte 0
unit_end:
{more}
"#
    )
}

/// Runs a command that has to succeed; a missing one is a failure.
pub(super) fn run(command: &mut Command) -> TestResult {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?}: {message}").into());
    }
    Ok(())
}

/// Opens a file as a module, without any place to look for debug files.
pub(super) fn open(path: &Path) -> TestResult<Module> {
    open_with(path, path, DebugRoots::none())
}

/// Opens a file the target sees at another path.
pub(super) fn open_with(path: &Path, seen: &Path, roots: DebugRoots) -> TestResult<Module> {
    Ok(Module::open(File::open(path)?, seen, Arc::new(roots))?)
}

/// The file offset of a symbol, from a file that still has it.
pub(super) fn offset_of(path: &Path, symbol: &str) -> TestResult<FileOffset> {
    let data = fs::read(path)?;
    let file = object::File::parse(&*data)?;
    let address = file
        .symbols()
        .find(|candidate| candidate.name() == Ok(symbol))
        .ok_or_else(|| format!("no symbol {symbol}"))?
        .address();
    file.segments()
        .find_map(|segment| {
            let delta = address.checked_sub(segment.address())?;
            let (offset, size) = segment.file_range();
            (delta < size).then_some(FileOffset(offset + delta))
        })
        .ok_or_else(|| format!("{symbol} is in no segment").into())
}

/// The number of the line that holds a marker.
pub(super) fn line_of(source: &str, marker: &str) -> Option<u32> {
    let index = source.lines().position(|line| line.contains(marker))?;
    u32::try_from(index + 1).ok()
}

/// Function names and lines, innermost first.
pub(super) fn summary(resolved: &Resolved) -> Vec<(&str, Option<u32>)> {
    resolved
        .frames
        .iter()
        .map(|frame| (frame.function.as_str(), frame.line))
        .collect()
}

/// The only frame's function, or the reason there is none.
pub(super) fn only_name(resolved: Result<Resolved, Unknown>) -> Result<String, Unknown> {
    resolved.map(|resolved| {
        let names: Vec<_> = resolved
            .frames
            .into_iter()
            .map(|frame| frame.function)
            .collect();
        names.join(" < ")
    })
}
