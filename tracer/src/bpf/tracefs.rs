//! Uprobe events of the kernel's tracing file system: named places in files, which perf events are
//! opened on.
//!
//! The file system is mounted for this process alone, at no path: users need not mount it, and nothing
//! of it is left to see. The names stay when a process is killed, without any breakpoint; they are removed
//! by the next one that comes here.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

/// What the groups of all tracers begin with; the pid follows.
const GROUP: &str = "tracer_";
/// Where uprobe events are defined.
const DEFINITIONS: &str = "uprobe_events";

/// The tracing file system.
pub(super) struct TraceFs {
    root: OwnedFd,
    group: String,
    /// Events defined so far.
    defined: u32,
}

/// An event that is defined.
pub(super) struct Defined {
    /// What perf_event_open(2) knows it by.
    pub(super) id: u64,
    name: String,
}

impl TraceFs {
    /// Mounts it, and removes what tracers have left that were killed.
    pub(super) fn open() -> io::Result<Self> {
        let context = fsopen("tracefs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(&context)?;
        let root = fsmount(
            &context,
            FsMountFlags::FSMOUNT_CLOEXEC,
            MountAttrFlags::empty(),
        )?;
        // Two pid namespaces may have the same pid: the time tells them apart.
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let pid = std::process::id();
        let tracefs = Self {
            root,
            group: format!("{GROUP}{pid}_{:x}{:08x}", now.tv_sec, now.tv_nsec),
            defined: 0,
        };
        tracefs.remove_left();
        Ok(tracefs)
    }

    /// Defines an event at an offset in a file, at the return of the function there where `at_return`.
    pub(super) fn define(
        &mut self,
        file: &Path,
        offset: u64,
        at_return: bool,
    ) -> io::Result<Defined> {
        let name = format!("e{}", self.defined);
        self.defined += 1;
        let kind = if at_return { 'r' } else { 'p' };
        let group = &self.group;
        self.command(&format!(
            "{kind}:{group}/{name} {}:{offset:#x}\n",
            file.to_string_lossy()
        ))?;
        let mut id = String::new();
        let read = self
            .file(&format!("events/{group}/{name}/id"), OFlags::RDONLY)
            .and_then(|mut file| file.read_to_string(&mut id));
        let defined = Defined {
            id: id.trim().parse().unwrap_or(0),
            name,
        };
        match read {
            Ok(_) if defined.id != 0 => Ok(defined),
            failed => {
                self.remove(&defined)?;
                Err(failed
                    .err()
                    .unwrap_or_else(|| io::ErrorKind::InvalidData.into()))
            }
        }
    }

    /// Removes an event, which no perf event may be open on any more.
    pub(super) fn remove(&self, event: &Defined) -> io::Result<()> {
        self.command(&format!("-:{}/{}\n", self.group, event.name))
    }

    /// Removes the events of tracers that are gone.
    fn remove_left(&self) {
        let mut list = String::new();
        let read = self
            .file(DEFINITIONS, OFlags::RDONLY)
            .and_then(|mut file| file.read_to_string(&mut list));
        if read.is_err() {
            return;
        }
        for event in list.lines().filter_map(left_by) {
            let (pid, name) = event;
            let is_gone = rustix::process::Pid::from_raw(pid)
                .is_some_and(|pid| rustix::process::test_kill_process(pid).is_err());
            if is_gone {
                // Another tracer may be at it as well.
                let _ = self.command(&format!("-:{name}\n"));
            }
        }
    }

    fn command(&self, command: &str) -> io::Result<()> {
        self.file(DEFINITIONS, OFlags::WRONLY | OFlags::APPEND)?
            .write_all(command.as_bytes())
    }

    fn file(&self, path: &str, flags: OFlags) -> io::Result<File> {
        let fd = openat(&self.root, path, flags | OFlags::CLOEXEC, Mode::empty())?;
        Ok(File::from(fd))
    }
}

/// The pid in the group, and group and name, where the line of a definition is a tracer's:
/// `p:tracer_12_3f/e0 /usr/lib/libc.so.6:0x1234`.
fn left_by(line: &str) -> Option<(i32, &str)> {
    let (_, rest) = line.split_once(':')?;
    let name = rest.split(' ').next()?;
    let pid = name.strip_prefix(GROUP)?.split('_').next()?;
    Some((pid.parse().ok()?, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_events_of_tracers_are_told() {
        let line = "p:tracer_12_3f/e0 /usr/lib/libc.so.6:0x0000000000001234";
        assert_eq!(left_by(line), Some((12, "tracer_12_3f/e0")));
        for other in [
            "p:uprobes/p_bash_0x4245c0 /bin/bash:0x1",
            "",
            "tracer_1",
            "r:tracer_x/e /a:0",
        ] {
            assert_eq!(left_by(other), None, "{other}");
        }
    }
}
