//! Which file a mapping is of, as the kernel said it with the mapping, and whether a file is that one.

use std::fs::File;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, StatxFlags, fstatfs, statx};
use rustix::time::{ClockId, clock_gettime};

use super::held::HeldFile;
use super::maps::read_maps;

/// `OVERLAYFS_SUPER_MAGIC` of the kernel's `include/uapi/linux/magic.h`.
const OVERLAYFS: i64 = 0x794c_7630;

/// Which file was mapped. Mappings of one file have the same; all zero is anonymous memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FileId {
    /// Device of the file system.
    pub major: u32,
    /// Device of the file system.
    pub minor: u32,
    /// Inode.
    pub inode: u64,
    /// Generation of the inode, which the side-band has and /proc/PID/maps has not.
    pub generation: Option<u64>,
}

impl FileId {
    /// Whether both are of one file, as far as both say it.
    #[must_use]
    pub fn agrees(&self, other: &Self) -> bool {
        let same = |id: &Self| (id.major, id.minor, id.inode);
        let generations = self.generation.zip(other.generation);
        same(self) == same(other) && generations.is_none_or(|(one, other)| one == other)
    }

    /// Whether an open file is the one that was mapped, and was there already when it was mapped: an inode's
    /// number is given to another file as soon as it is free. `mapped_ns` is `CLOCK_MONOTONIC`, `None` for what is
    /// mapped now.
    ///
    /// # Errors
    ///
    /// In words: what differs.
    pub(super) fn check(
        &self,
        file: &File,
        held: &HeldFile,
        mapped_ns: Option<u64>,
    ) -> Result<(), String> {
        if self.inode == 0 {
            // The kernel did not say which.
            return Ok(());
        }
        let wanted = StatxFlags::INO | StatxFlags::BTIME;
        let known = statx(file, "", AtFlags::EMPTY_PATH, wanted);
        let Ok(known) = known else {
            return Ok(());
        };
        if let Some(mapped_ns) = mapped_ns
            && known.stx_mask & StatxFlags::BTIME.bits() != 0
        {
            let born = Duration::new(
                u64::try_from(known.stx_btime.tv_sec).unwrap_or(0),
                known.stx_btime.tv_nsec,
            );
            if born > since_epoch(mapped_ns) {
                return Err("the file there now was made after that".to_owned());
            }
        }
        let opened = Self {
            major: known.stx_dev_major,
            minor: known.stx_dev_minor,
            inode: known.stx_ino,
            generation: None,
        };
        // Some file systems (btrfs, overlayfs) show another device or inode to stat(2) than to those who look at
        // mappings. Where they differ, a mapping of the tracer's own tells what this file looks like there.
        if self.agrees(&opened) || seen_as(held).is_some_and(|seen| self.agrees(&seen)) {
            return Ok(());
        }
        // Linux 6.8 to 6.17 show mappings of overlayfs in one way in /proc, in the other in the side-band.
        if fstatfs(file).is_ok_and(|system| system.f_type == OVERLAYFS) {
            return Ok(());
        }
        Err("the file there now is another one".to_owned())
    }
}

/// How a file shows in /proc/self/maps.
fn seen_as(held: &HeldFile) -> Option<FileId> {
    let start = held.mapped_at()?;
    let lines = read_maps("/proc/self/maps").ok()?;
    let line = lines.into_iter().find(|line| line.start == start)?;
    Some(line.id)
}

/// The time of the day at a time of `CLOCK_MONOTONIC`.
fn since_epoch(monotonic_ns: u64) -> Duration {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    (now + Duration::from_nanos(monotonic_ns)).saturating_sub(Duration::from_nanos(monotonic_now()))
}

/// `CLOCK_MONOTONIC` in nanoseconds: the time of the side-band and of stacks.
pub(super) fn monotonic_now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn id_of(file: &File) -> Result<FileId, Box<dyn std::error::Error>> {
        let known = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::INO)?;
        Ok(FileId {
            major: known.stx_dev_major,
            minor: known.stx_dev_minor,
            inode: known.stx_ino,
            generation: Some(7),
        })
    }

    #[test]
    fn a_file_is_the_one_that_was_mapped_or_not() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("lib");
        fs::write(&path, "one")?;
        let file = File::open(&path)?;
        let held = HeldFile::new(file.try_clone()?);
        let id = id_of(&file)?;
        assert_eq!(id.check(&file, &held, Some(monotonic_now())), Ok(()));
        assert_eq!(id.check(&file, &held, None), Ok(()));
        let other = FileId {
            inode: id.inode + 1,
            ..id
        };
        assert!(other.check(&file, &held, None).is_err());
        // The same number, but for a file that is younger than the mapping.
        assert!(id.check(&file, &held, Some(1)).is_err());
        // As a mapping shows it, whatever stat says.
        let seen = seen_as(&held).ok_or("not held by a mapping")?;
        assert_eq!(seen.check(&file, &held, None), Ok(()));
        Ok(())
    }

    #[test]
    fn a_generation_counts_where_both_have_one() {
        let id = FileId {
            inode: 5,
            generation: Some(1),
            ..FileId::default()
        };
        let unknown = FileId {
            generation: None,
            ..id
        };
        let next = FileId {
            generation: Some(2),
            ..id
        };
        assert!(id.agrees(&unknown) && unknown.agrees(&next) && !id.agrees(&next));
    }
}
