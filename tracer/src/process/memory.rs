//! How much memory a process and the machine have: the check on an attach that sees no event, and
//! the measure for the tracer's own tables.

use std::fs;
use std::io;
use std::path::Path;

use procfs::Current as _;

use super::shown_as;
use super::status::Status;

/// Bytes of memory that the machine can give without swapping (`MemAvailable`).
///
/// # Errors
///
/// /proc/meminfo can't be read.
pub fn available_memory() -> procfs::ProcResult<u64> {
    let info = procfs::Meminfo::current()?;
    Ok(info.mem_available.unwrap_or(info.mem_free))
}

/// Where the stack of a process's first thread begins: its arguments and its environment are above
/// (`startstack` of /proc/PID/stat). `None` where the process is gone.
#[must_use]
pub fn stack_start(pid: u32) -> Option<u64> {
    let shown = i32::try_from(shown_as(pid)).ok()?;
    let process = procfs::process::Process::new(shown).ok()?;
    Some(process.stat().ok()?.startstack)
}

/// Anonymous memory of a process, from /proc.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeapUse {
    /// Bytes of private anonymous mappings and of the brk heap (`VmData` of /proc/PID/status).
    pub data: u64,
    /// Resident anonymous bytes (`RssAnon`).
    pub resident: u64,
}

impl HeapUse {
    /// Reads the figures of a process.
    ///
    /// # Errors
    ///
    /// The process is gone.
    pub fn of(pid: u32) -> io::Result<Self> {
        let status = Status::of(shown_as(pid))?;
        // A zombie has a status without memory.
        let figure = |bytes: Option<u64>| bytes.ok_or(io::ErrorKind::NotFound);
        Ok(Self {
            data: figure(status.data)?,
            resident: figure(status.resident)?,
        })
    }

    /// How far two readings are apart, in bytes, by the figure that moved more.
    #[must_use]
    pub fn distance(&self, other: &Self) -> u64 {
        self.data
            .abs_diff(other.data)
            .max(self.resident.abs_diff(other.resident))
    }
}

/// How much memory a process may use, and what is used of that: of its control group where that has a
/// limit, of the machine otherwise; what has less left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryUse {
    /// Bytes that may be used.
    pub limit: u64,
    /// Bytes that are, by all in the group or on the machine.
    pub used: u64,
    /// Anonymous bytes of the process itself that are resident.
    pub resident: u64,
}

impl MemoryUse {
    /// Reads the figures of a process; `None` where it is gone.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        let resident = HeapUse::of(pid).ok()?.resident;
        let machine = procfs::Meminfo::current().ok()?;
        let available = machine.mem_available.unwrap_or(machine.mem_free);
        let machine = (
            machine.mem_total,
            machine.mem_total.saturating_sub(available),
        );
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let limits = group_limits(&groups, Path::new("/sys/fs/cgroup"));
        let all = std::iter::once(machine).chain(limits);
        let (limit, used) = all.min_by_key(|(limit, used)| limit.saturating_sub(*used))?;
        Some(Self {
            limit,
            used,
            resident,
        })
    }
}

/// Limit and use of the control groups that a process is in, down from the outermost one: `groups` is
/// its /proc/PID/cgroup, in either version.
fn group_limits(groups: &str, mount: &Path) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let (mount, files) = if controllers.is_empty() {
            (mount.to_owned(), ["memory.max", "memory.current"])
        } else if controllers.split(',').any(|one| one == "memory") {
            let files = ["memory.limit_in_bytes", "memory.usage_in_bytes"];
            (mount.join("memory"), files)
        } else {
            continue;
        };
        // Seen from another namespace, a path may lead up.
        if path.split('/').any(|part| part == "..") {
            continue;
        }
        let group = mount.join(path.trim_start_matches('/'));
        let above = group
            .ancestors()
            .take_while(|group| group.starts_with(&mount));
        found.extend(above.filter_map(|group| {
            // Where there is no limit, it says `max`, or more than there can be.
            let number = |file| {
                fs::read_to_string(group.join(file))
                    .ok()?
                    .trim()
                    .parse()
                    .ok()
            };
            let [limit, used] = files.map(number);
            Some((limit.filter(|&limit: &u64| limit < 1 << 60)?, used?))
        }));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_limits_or_none() -> io::Result<()> {
        let mount = tempfile::tempdir()?;
        let group = |path: &str, files: [(&str, &str); 2]| -> io::Result<()> {
            let folder = mount.path().join(path);
            fs::create_dir_all(&folder)?;
            for (name, text) in files {
                fs::write(folder.join(name), text)?;
            }
            Ok(())
        };
        let v2 = |max, current| [("memory.max", max), ("memory.current", current)];
        group("a", v2("1000\n", "600\n"))?;
        group("a/b", v2("max\n", "500\n"))?;
        group("a/b/c", v2("800\n", "100\n"))?;
        let limits = |text: &str| group_limits(text, mount.path());
        assert_eq!(limits("0::/a/b/c\n"), [(800, 100), (1_000, 600)]);
        assert_eq!(limits("0::/a/b\n"), [(1_000, 600)]);
        assert_eq!(limits("0::/../a\n1:cpu:/a\nx\n"), []);
        let v1 = [
            ("memory.limit_in_bytes", "700\n"),
            ("memory.usage_in_bytes", "7\n"),
        ];
        group("memory/d", v1)?;
        assert_eq!(limits("4:cpu,memory:/d\n0::/none\n"), [(700, 7)]);
        Ok(())
    }

    #[test]
    fn this_process_has_some_memory() {
        let memory = MemoryUse::of(std::process::id());
        assert!(memory.is_some_and(|memory| memory.used > 0 && memory.limit >= memory.used));
        assert_eq!(MemoryUse::of(u32::MAX), None);
    }
}
