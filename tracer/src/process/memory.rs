//! How much memory a process and the machine have: the check on an attach that sees no event, and
//! the measure for the tracer's own tables.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

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
    /// Resident bytes, files and shared memory among them (`VmRSS`).
    pub all_resident: u64,
    /// Anonymous bytes that were swapped out (`VmSwap`).
    pub swapped: u64,
    /// Threads.
    pub threads: u64,
}

impl HeapUse {
    /// Anonymous bytes, wherever they are.
    #[must_use]
    pub const fn anonymous(&self) -> u64 {
        self.resident.saturating_add(self.swapped)
    }

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
            all_resident: figure(status.all_resident)?,
            swapped: status.swapped.unwrap_or(0),
            threads: figure(status.threads)?,
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
        let groups = limited_groups(&groups, Path::new(MOUNT)).into_iter();
        let limits = groups.map(|group| (group.limit, group.used));
        let all = std::iter::once(machine).chain(limits);
        let (limit, used) = all.min_by_key(|(limit, used)| limit.saturating_sub(*used))?;
        Some(Self {
            limit,
            used,
            resident,
        })
    }
}

/// Where control groups are mounted.
const MOUNT: &str = "/sys/fs/cgroup";

/// A control group whose memory is limited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitedGroup {
    /// Its folder.
    pub folder: PathBuf,
    /// Bytes that it may use.
    pub limit: u64,
    /// Bytes that it uses.
    pub used: u64,
    /// Bytes of these that the kernel can take back at once: files that were not read for a while.
    pub reclaimable: u64,
}

impl LimitedGroup {
    /// The one with the least room among those that both this process and another are in. What the one
    /// takes, the other lacks.
    #[must_use]
    pub fn shared_with(pid: u32) -> Option<Self> {
        let of = |pid: &str| {
            let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            limited_groups(&groups, Path::new(MOUNT))
        };
        let its = of(&pid.to_string());
        let mut shared = of("self");
        shared.retain(|group| its.iter().any(|other| other.folder == group.folder));
        shared.into_iter().min_by_key(Self::room)
    }

    /// Bytes that it may use yet.
    #[must_use]
    pub const fn room(&self) -> u64 {
        self.limit
            .saturating_sub(self.used.saturating_sub(self.reclaimable))
    }
}

/// The control groups with a limit that a process is in, up from its own: `groups` is its
/// /proc/PID/cgroup, in either version.
fn limited_groups(groups: &str, mount: &Path) -> Vec<LimitedGroup> {
    let mut found = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let (mount, files) = if controllers.is_empty() {
            let files = ["memory.max", "memory.current", "inactive_file"];
            (mount.to_owned(), files)
        } else if controllers.split(',').any(|one| one == "memory") {
            let files = [
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "total_inactive_file",
            ];
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
            let [limit_file, used_file, inactive] = files;
            let limit = number(limit_file).filter(|&limit: &u64| limit < 1 << 60)?;
            let statistics = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
            let mut lines = statistics.lines().filter_map(|line| line.split_once(' '));
            Some(LimitedGroup {
                folder: group.to_owned(),
                limit,
                used: number(used_file)?,
                reclaimable: lines
                    .find_map(|(name, value)| (name == inactive).then(|| value.parse().ok()))
                    .flatten()
                    .unwrap_or(0),
            })
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
        let limits = |text: &str| {
            let groups = limited_groups(text, mount.path()).into_iter();
            groups
                .map(|group| (group.limit, group.used))
                .collect::<Vec<_>>()
        };
        assert_eq!(limits("0::/a/b/c\n"), [(800, 100), (1_000, 600)]);
        assert_eq!(limits("0::/a/b\n"), [(1_000, 600)]);
        assert_eq!(limits("0::/../a\n1:cpu:/a\nx\n"), []);
        let v1 = [
            ("memory.limit_in_bytes", "700\n"),
            ("memory.usage_in_bytes", "7\n"),
        ];
        group("memory/d", v1)?;
        assert_eq!(limits("4:cpu,memory:/d\n0::/none\n"), [(700, 7)]);
        // Files that were read are no use that lasts.
        fs::write(
            mount.path().join("a/b/c/memory.stat"),
            "file 90\ninactive_file 60\n",
        )?;
        let group = limited_groups("0::/a/b/c\n", mount.path()).swap_remove(0);
        assert_eq!((group.reclaimable, group.room()), (60, 760));
        Ok(())
    }

    #[test]
    fn this_process_has_some_memory() {
        let memory = MemoryUse::of(std::process::id());
        assert!(memory.is_some_and(|memory| memory.used > 0 && memory.limit >= memory.used));
        assert_eq!(MemoryUse::of(u32::MAX), None);
    }
}
