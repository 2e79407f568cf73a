//! What a tracer could leave behind when it is gone: processes, and objects of eBPF in the kernel.

use std::fs;
use std::io;
use std::process::Command;

use anyhow::{Result, bail};

/// Environment variable that marks a process, and all that it starts.
const VARIABLE: &str = "TRACER_TEST_MARK";

/// A mark on processes.
#[derive(Clone, Debug)]
pub struct Mark(String);

impl Mark {
    /// Marks the process that a command will be, and those it starts. `name` is used once only.
    pub fn put(command: &mut Command, name: &str) -> Self {
        let value = format!("{}-{name}", std::process::id());
        command.env(VARIABLE, &value);
        Self(format!("{VARIABLE}={value}"))
    }

    /// The processes with this mark that have not ended.
    ///
    /// # Errors
    /// /proc cannot be read.
    pub fn processes(&self) -> Result<Vec<u32>> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // Of a process that has ended it is empty, or cannot be read any more.
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let mut variables = environment.split(|&byte| byte == 0);
            if variables.any(|variable| variable == self.0.as_bytes()) {
                found.push(pid);
            }
        }
        Ok(found)
    }
}

/// An object of eBPF in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BpfObject {
    /// Its key in a descriptor's file under /proc, and the command that asks for it by its id.
    kind: (&'static str, u32),
    id: u32,
}

/// `BPF_PROG_GET_FD_BY_ID`, `BPF_MAP_GET_FD_BY_ID`, `BPF_LINK_GET_FD_BY_ID`.
const KINDS: [(&str, u32); 3] = [("prog_id:", 13), ("map_id:", 14), ("link_id:", 30)];

impl BpfObject {
    /// Those that a process has open at the moment. Of a process that comes up or goes down, those
    /// that could be seen.
    #[must_use]
    pub fn of(pid: u32) -> Vec<Self> {
        let mut found = Vec::new();
        let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fdinfo")) else {
            return found;
        };
        for entry in entries.flatten() {
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            for kind in KINDS {
                let mut lines = text.lines();
                let id = lines.find_map(|line| line.strip_prefix(kind.0)?.trim().parse().ok());
                // A link's file names its program, too.
                found.extend(id.map(|id| Self { kind, id }));
            }
        }
        found
    }

    /// Whether the kernel still has it.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn is_there(self) -> Result<bool> {
        let mut attributes = [0_u32; 16];
        attributes[0] = self.id;
        let (_, command) = self.kind;
        // SAFETY: the block is larger than what these commands read, and is not written.
        let descriptor = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                command,
                attributes.as_ptr(),
                size_of_val(&attributes),
            )
        };
        if let Ok(descriptor @ 0..) = i32::try_from(descriptor) {
            // SAFETY: the kernel has just made it, and nobody else knows it.
            unsafe { libc::close(descriptor) };
            return Ok(true);
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::ENOENT) => Ok(false),
            // Its last user is gone, and it is being taken apart.
            Some(libc::EAGAIN) => Ok(true),
            _ => bail!("asking for {} {} failed: {error}", self.kind.0, self.id),
        }
    }
}
