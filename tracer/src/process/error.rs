//! Why a process cannot be traced, in words that say what to do next.

use super::Comm;
use crate::printable::Shown as _;
use std::io;
use std::path::PathBuf;

/// What can be done where there is no allocator to probe.
pub const GROWTH_INSTEAD: &str =
    "`--source growth` tells who makes memory resident, in any program";

/// An error about the target or its files.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// Something in the process reads code as data, and would read the probes' breakpoints.
    #[error(
        "{name} (pid {pid}) can't be traced: {what} runs in it ({}), which reads code as data; it would read the \
         probes' breakpoints, and the process would die of them. Trace the program without {what}", file.shown()
    )]
    Translator {
        /// Pid.
        pid: u32,
        /// Name.
        name: Comm,
        /// Who reads the code.
        what: &'static str,
        /// The file that tells so.
        file: PathBuf,
    },
    /// There is no such process.
    #[error(
        "no process has pid {0}: it may have ended; `pidof NAME` or `ps` show the pids there are"
    )]
    NoSuchProcess(u32),
    /// No process has that name.
    #[error("no process is called `{0}`: `ps -e` shows the names and pids there are")]
    NoneNamed(String),
    /// More than one process has that name.
    #[error(
        "more than one process is called `{name}`:\n{list}\nname one by its pid, as in `tracer attach {first}`"
    )]
    SeveralNamed {
        /// The name.
        name: String,
        /// A line for each, with its pid.
        list: String,
        /// The least pid.
        first: u32,
    },
    /// The pid belongs to a thread that does not lead its process.
    #[error("{tid} is a thread of process {pid}: attach to {pid}")]
    NotAProcess {
        /// What was given.
        tid: u32,
        /// The process it belongs to.
        pid: u32,
    },
    /// Pid 0 is the kernel's idle task.
    #[error("pid 0 is not a process: give the pid of the service, as `pidof NAME` prints it")]
    PidZero,
    /// A kernel thread has no user memory.
    #[error("{name} (pid {pid}) is a kernel thread: it has no heap to trace")]
    KernelThread {
        /// Pid.
        pid: u32,
        /// Name.
        name: Comm,
    },
    /// The process is dead and only waits for its parent.
    #[error("{name} (pid {pid}) has already ended (a zombie): there is nothing left to trace")]
    Zombie {
        /// Pid.
        pid: u32,
        /// Name.
        name: Comm,
    },
    /// The tracer itself.
    #[error("pid {0} is tracer itself: tracing its own allocator would only measure the tracing")]
    Itself(u32),
    /// Not a 64-bit x86 process.
    #[error("{name} (pid {pid}) is a {kind} process: only 64-bit x86-64 processes can be traced")]
    ForeignArchitecture {
        /// Pid.
        pid: u32,
        /// Name.
        name: Comm,
        /// What it is.
        kind: String,
    },
    /// Nothing mapped defines a malloc that can be probed.
    #[error(
        "no allocator that can be traced was found in {name} (pid {pid}): {hint}. {}",
        GROWTH_INSTEAD
    )]
    NoAllocator {
        /// Pid.
        pid: u32,
        /// Name.
        name: Comm,
        /// What was found instead.
        hint: String,
    },
    /// A probe would break the process's shadow stack.
    #[error(
        "{name} (pid {pid}) has a shadow stack, and an allocator function of {} begins with a call, which cannot be probed then: start it with GLIBC_TUNABLES=glibc.cpu.x86_shstk=off",
        module.shown()
    )]
    ShadowStack {
        /// Pid.
        pid: u32,
        /// Name.
        name: Comm,
        /// Whose function it is.
        module: PathBuf,
    },
    /// A program could not be started.
    #[error("{} cannot be run: {reason}", program.shown())]
    CannotRun {
        /// The program.
        program: PathBuf,
        /// Why.
        reason: String,
    },
    /// A file or /proc entry could not be read.
    #[error("{} could not be read: {error}", path.shown())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file is not the ELF file it should be.
    #[error("{} is not an ELF file that can be used: {reason}", path.shown())]
    BadElf {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The kernel's stream of new mappings could not be opened.
    #[error("the kernel's stream of new mappings could not be opened: {0}")]
    Sideband(io::Error),
}

impl ProcessError {
    /// Wraps an I/O error with its path.
    pub(crate) fn unreadable(path: impl Into<PathBuf>, error: io::Error) -> Self {
        Self::Unreadable {
            path: path.into(),
            error,
        }
    }
}
