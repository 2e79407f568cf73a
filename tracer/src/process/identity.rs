//! Who a pid is, and whether it can be traced at all.

use std::fmt;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::PathBuf;

use super::status::Status;
use super::{ElfKind, ProcessError, elf_kind, shown_as};
use crate::printable::printable;

/// `PF_KTHREAD` of the kernel's `include/linux/sched.h`, in `/proc/PID/stat`'s flags.
const PF_KTHREAD: u32 = 0x0020_0000;

/// What a process is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Pid.
    pub pid: u32,
    /// `comm`: the name `ps` and `pidof` know.
    pub name: Comm,
    /// Path of the executable as the target sees it.
    pub executable: PathBuf,
}

/// The name of a process, which it may choose itself: shown on one line and without what a terminal
/// would obey.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comm(String);

impl Comm {
    /// The name as it is, for machines.
    #[must_use]
    pub fn raw(&self) -> &str {
        &self.0
    }
}

impl From<String> for Comm {
    fn from(name: String) -> Self {
        Self(name)
    }
}

impl fmt::Display for Comm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.0))
    }
}

/// Bytes of a command line at most; the rest is left out.
const COMMAND_LINE: u64 = 128 << 10;

/// What a process was started by, as /proc has it: a zero byte between two arguments, and none at the end. The first
/// alone where not `all` are wanted; nothing of a process that is gone.
#[must_use]
pub fn command_line(pid: u32, all: bool) -> Vec<u8> {
    let mut line = Vec::new();
    let file = File::open(format!("/proc/{pid}/cmdline"));
    let _ = file.and_then(|file| file.take(COMMAND_LINE).read_to_end(&mut line));
    while line.last() == Some(&0) {
        line.pop();
    }
    if !all && let Some(end) = memchr::memchr(0, &line) {
        line.truncate(end);
    }
    line
}

/// Whether a process has a shadow stack (Intel CET), by its leading thread.
#[must_use]
pub fn has_shadow_stack(pid: u32) -> bool {
    Status::of(shown_as(pid)).is_ok_and(|status| status.has_shadow_stack)
}

/// Finds out who a pid is and refuses what cannot be traced.
///
/// # Errors
///
/// Every reason not to, see [`ProcessError`].
pub fn check_traceable(pid: u32) -> Result<Identity, ProcessError> {
    if pid == 0 {
        return Err(ProcessError::PidZero);
    }
    if pid == std::process::id() {
        return Err(ProcessError::Itself(pid));
    }
    let Some(signed) = i32::try_from(pid).ok() else {
        return Err(ProcessError::NoSuchProcess(pid));
    };
    let process =
        procfs::process::Process::new(signed).map_err(|_| ProcessError::NoSuchProcess(pid))?;
    let stat = process
        .stat()
        .map_err(|_| ProcessError::NoSuchProcess(pid))?;
    let name = Comm::from(stat.comm.clone());
    if let Ok(status) = Status::of(pid)
        && let Some(tgid) = status.tgid
        && tgid != pid
    {
        return Err(ProcessError::NotAProcess {
            tid: pid,
            pid: tgid,
        });
    }
    if stat.flags & PF_KTHREAD != 0 {
        return Err(ProcessError::KernelThread { pid, name });
    }
    // The first thread alone may have ended.
    let shown = shown_as(pid);
    if matches!(stat.state, 'Z' | 'X' | 'x') && shown == pid {
        return Err(ProcessError::Zombie { pid, name });
    }
    let link = PathBuf::from(format!("/proc/{shown}/exe"));
    let executable =
        fs::read_link(&link).map_err(|error| ProcessError::unreadable(&link, error))?;
    let file = File::open(&link).map_err(|error| ProcessError::unreadable(&link, error))?;
    match elf_kind(&file).map_err(|error| ProcessError::unreadable(&link, error))? {
        ElfKind::X86_64 => Ok(Identity {
            pid,
            name,
            executable,
        }),
        ElfKind::Foreign(kind) => Err(ProcessError::ForeignArchitecture { pid, name, kind }),
        ElfKind::NotElf => Err(ProcessError::ForeignArchitecture {
            pid,
            name,
            kind: "non-ELF".to_owned(),
        }),
    }
}
