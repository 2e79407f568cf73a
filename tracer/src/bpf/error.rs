//! What can go wrong between user space and the kernel.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use aya::programs::ProgramError;

use crate::printable::Shown as _;

/// An error of the kernel side.
#[derive(Debug, thiserror::Error)]
pub enum BpfError {
    /// The binary was built without the eBPF object.
    #[error("this binary carries no eBPF object: build it with `./x build`")]
    NoObject,
    /// The object lacks a map or program that user space knows: two builds were mixed.
    #[error("the eBPF object has no `{0}`: it comes from another build")]
    Missing(&'static str),
    /// The kernel refused the object.
    #[error("the kernel refused the eBPF object: {0}")]
    Load(String),
    /// The kernel refused one program.
    #[error("the kernel refused the eBPF program `{program}`: {reason}")]
    LoadProgram {
        /// The program.
        program: &'static str,
        /// The kernel's reason, with the end of the verifier's log.
        reason: String,
    },
    /// A probe could not be attached.
    #[error("attaching `{program}` to {} failed: {reason}", module.shown())]
    Attach {
        /// The program.
        program: &'static str,
        /// The module, as the target sees it.
        module: PathBuf,
        /// The kernel's reason.
        reason: String,
    },
    /// A map could not be read or written.
    #[error("the eBPF map `{map}` could not be {action}: {reason}")]
    Map {
        /// The map.
        map: &'static str,
        /// What was to be done: `read`, `written`.
        action: &'static str,
        /// The kernel's reason.
        reason: String,
    },
    /// The kernel's type information is needed and missing.
    #[error("the kernel's BTF could not be used to follow children: {0}")]
    Btf(String),
    /// Windows are not possible.
    #[error(
        "windows (--max-overhead) need uprobe sessions, which Linux has since 6.13: here are {0}"
    )]
    NoWindows(&'static str),
    /// The tracing file system is needed and can't be had.
    #[error(
        "tracefs can't be opened, through which probes are placed for children, and where the first thread \
         of the process has ended: {0}"
    )]
    TraceFs(std::io::Error),
}

/// An error with its causes, on one line each.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            let _ = write!(text, ": {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// A refusal of a map.
pub(super) fn map_error(map: &'static str, action: &'static str, error: &dyn Error) -> BpfError {
    BpfError::Map {
        map,
        action,
        reason: chain(error),
    }
}

/// A refusal of a probe.
pub(super) fn attach_error(program: &'static str, module: &Path, error: &dyn Error) -> BpfError {
    BpfError::Attach {
        program,
        module: module.to_owned(),
        reason: chain(error),
    }
}

/// A refusal of a program.
pub(super) fn load_error(program: &'static str, error: &ProgramError) -> BpfError {
    BpfError::LoadProgram {
        program,
        reason: chain(error),
    }
}
