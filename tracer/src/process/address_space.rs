//! What was mapped where, and when.
//!
//! Stacks are resolved after the fact, perhaps after the process has ended, so mappings are kept
//! with the time they appeared: an address is looked up as of the moment its stack was seen.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use super::{MappingEvent, ProcessError, Root, vdso};

/// What tells files apart: device, inode, size and time of the last change.
pub type FileKey = (u64, u64, u64, i64, i64);

/// A mapped file.
#[derive(Debug)]
pub struct MappedFile {
    /// Path as the target sees it.
    pub path: PathBuf,
    /// The open file, or why it could not be opened.
    pub file: Result<Arc<File>, String>,
    /// Which file it is; `None` where that is not known.
    pub key: Option<FileKey>,
}

impl MappedFile {
    /// A file that was opened, or could not be.
    #[must_use]
    pub fn new(path: PathBuf, file: Result<File, String>) -> Self {
        let key = file.as_ref().ok().and_then(Self::key_of);
        Self {
            path,
            file: file.map(Arc::new),
            key,
        }
    }

    /// Which file an open one is; `None` where that can't be told.
    #[must_use]
    pub fn key_of(file: &File) -> Option<FileKey> {
        let metadata = file.metadata().ok()?;
        Some((
            metadata.dev(),
            metadata.ino(),
            metadata.size(),
            metadata.mtime(),
            metadata.mtime_nsec(),
        ))
    }
}

/// An executable mapping.
#[derive(Clone, Debug)]
pub struct Mapped {
    /// First address.
    pub start: u64,
    /// First address past the end.
    pub end: u64,
    /// Offset of `start` in the file.
    pub file_offset: u64,
    /// What is mapped; `None` for anonymous memory, where JIT compilers put their code.
    pub file: Option<Arc<MappedFile>>,
    /// Path, or a name such as `[vdso]`.
    pub name: String,
    /// When it appeared: `CLOCK_MONOTONIC` in nanoseconds, 0 for what was there before.
    since_ns: u64,
}

/// Where an address lies.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Index of the mapping, stable for the life of the address space.
    pub index: usize,
    /// The mapping.
    pub mapped: &'a Mapped,
    /// Offset of the address in the mapped file.
    pub file_offset: u64,
}

/// The executable mappings of one process over time, all its lives included.
#[derive(Clone, Debug, Default)]
pub struct AddressSpace {
    mapped: Vec<Mapped>,
    /// Times at which the process replaced its image, ascending.
    execs: Vec<u64>,
    /// Indices of `mapped` by start address; used while no two mappings overlap.
    by_start: Vec<usize>,
    overlapping: bool,
    /// Ranges that were unmapped, each with the time.
    unmapped: Vec<(Range<u64>, u64)>,
}

impl Mapped {
    /// Whether it is the page that return probes make calls return to.
    #[must_use]
    pub fn is_return_probes(&self) -> bool {
        self.name == "[uprobes]"
    }
}

impl AddressSpace {
    /// Reads the mappings a process has now.
    ///
    /// # Errors
    ///
    /// The process is gone or may not be looked at.
    pub fn of(pid: u32, root: &Root) -> Result<Self, ProcessError> {
        use procfs::process::{MMPermissions, MMapPath, Process};
        let path = PathBuf::from(format!("/proc/{pid}/maps"));
        let fail = |error: procfs::ProcError| {
            ProcessError::unreadable(&path, std::io::Error::other(error.to_string()))
        };
        let process = Process::new(pid.try_into().unwrap_or(i32::MAX)).map_err(fail)?;
        let maps = process.maps().map_err(fail)?;
        let mut space = Self::default();
        for map in maps {
            if !map.perms.contains(MMPermissions::EXECUTE) {
                continue;
            }
            let (start, end) = map.address;
            let (name, file) = match map.pathname {
                MMapPath::Path(path) => {
                    let name = path.to_string_lossy().into_owned();
                    (name, Some(open(root, start, end, path)))
                }
                MMapPath::Vdso => (vdso::NAME.to_owned(), Some(vdso())),
                MMapPath::Vsyscall => ("[vsyscall]".to_owned(), None),
                MMapPath::Other(name) => (format!("[{name}]"), None),
                _ => ("[anonymous]".to_owned(), None),
            };
            space.add(Mapped {
                start,
                end,
                file_offset: map.offset,
                file,
                name,
                since_ns: 0,
            });
        }
        Ok(space)
    }

    /// Takes in a mapping as the kernel reported it.
    pub fn apply(&mut self, event: &MappingEvent, root: Option<&Root>) {
        match event {
            MappingEvent::Map {
                start,
                end,
                file_offset,
                path,
                time_ns,
                ..
            } => {
                let is_file = path.is_absolute() && !path.starts_with("//anon");
                let file = match root {
                    _ if path.as_os_str() == vdso::NAME => Some(vdso()),
                    _ if !is_file => None,
                    Some(root) => Some(open(root, *start, *end, path.clone())),
                    None => Some(Arc::new(MappedFile::new(
                        path.clone(),
                        Err("the process ended before its files could be opened".to_owned()),
                    ))),
                };
                self.add(Mapped {
                    start: *start,
                    end: *end,
                    file_offset: *file_offset,
                    file,
                    name: path.to_string_lossy().into_owned(),
                    since_ns: *time_ns,
                });
            }
            MappingEvent::Unmap {
                start,
                end,
                time_ns,
                ..
            } => {
                self.unmapped.push((*start..*end, *time_ns));
                // What is there later may sit where something was before.
                self.overlapping = true;
            }
            MappingEvent::Exec { time_ns, .. } => {
                let at = self.execs.partition_point(|exec| exec <= time_ns);
                self.execs.insert(at, *time_ns);
                // The new image may well sit where the old one did.
                self.overlapping = true;
            }
            MappingEvent::Fork { .. } | MappingEvent::Lost(_) => {}
        }
    }

    fn add(&mut self, mut mapped: Mapped) {
        if mapped.is_return_probes() {
            // Calls return to its first byte, and return addresses are looked up by the byte before.
            mapped.start -= 1;
        }
        let index = self.mapped.len();
        let at = self
            .by_start
            .partition_point(|&other| self.mapped[other].start < mapped.start);
        let overlaps = |other: Option<&usize>| {
            other.is_some_and(|&other| {
                self.mapped[other].start < mapped.end && mapped.start < self.mapped[other].end
            })
        };
        self.overlapping |= overlaps(self.by_start.get(at))
            || overlaps(
                at.checked_sub(1)
                    .and_then(|before| self.by_start.get(before)),
            );
        self.by_start.insert(at, index);
        self.mapped.push(mapped);
    }

    /// Where an address lay at a time.
    #[must_use]
    pub fn place(&self, address: u64, time_ns: u64) -> Option<Place<'_>> {
        let index = if self.overlapping {
            self.latest(address, time_ns)?
        } else {
            let after = self
                .by_start
                .partition_point(|&index| self.mapped[index].start <= address);
            *self.by_start.get(after.checked_sub(1)?)?
        };
        let mapped = &self.mapped[index];
        (mapped.start <= address && address < mapped.end).then(|| Place {
            index,
            mapped,
            file_offset: address - mapped.start + mapped.file_offset,
        })
    }

    /// The mapping that covered an address last before a time, in the image of that time.
    fn latest(&self, address: u64, time_ns: u64) -> Option<usize> {
        let unmapped = self.unmapped.iter();
        let unmapped = unmapped.filter(|(range, at)| range.contains(&address) && *at <= time_ns);
        let unmapped = unmapped.map(|&(_, at)| at).max().unwrap_or(0);
        let image = self
            .execs
            .partition_point(|&exec| exec <= time_ns)
            .checked_sub(1)
            .map_or(0, |last| self.execs[last]);
        (0..self.mapped.len())
            .filter(|&index| {
                let mapped = &self.mapped[index];
                mapped.start <= address
                    && address < mapped.end
                    && mapped.since_ns <= time_ns
                    && mapped.since_ns >= image.max(unmapped)
            })
            .max_by_key(|&index| (self.mapped[index].since_ns, index))
    }

    /// Takes in those of another reading's mappings that are not known here, as if they had been there from
    /// the beginning. Returns their files.
    pub fn add_unknown(&mut self, other: Self) -> Vec<Arc<MappedFile>> {
        let mut files = Vec::new();
        for mapped in other.mapped {
            let known = self.place(mapped.start, u64::MAX).is_some_and(|place| {
                place.mapped.name == mapped.name && place.file_offset == mapped.file_offset
            });
            if !known {
                files.extend(mapped.file.clone());
                self.add(mapped);
            }
        }
        files
    }

    /// Whether return probes have been in the process.
    #[must_use]
    pub fn has_return_probes(&self) -> bool {
        self.mapped.iter().any(Mapped::is_return_probes)
    }

    /// The mapping that became known last.
    #[must_use]
    pub fn newest(&self) -> Option<&Mapped> {
        self.mapped.last()
    }

    /// What is mapped now, as far as is known: pieces of the image's mappings, each with its first
    /// address and the one past its end, sorted. Of mappings that overlap, the later ones hold.
    #[must_use]
    pub fn now(&self) -> Vec<(u64, u64, &Mapped)> {
        let image = self.execs.last().copied().unwrap_or(0);
        let mut pieces: BTreeMap<u64, (u64, &Mapped)> = BTreeMap::new();
        let mapped = self.mapped.iter().filter(|m| m.since_ns >= image);
        let mapped = mapped.map(|m| (m.since_ns, m.start, m.end, Some(m)));
        let unmapped = self.unmapped.iter();
        let unmapped = unmapped.map(|(range, at)| (*at, range.start, range.end, None));
        let mut changes: Vec<_> = unmapped.chain(mapped).collect();
        // Of the same time, what was mapped comes last: the kernel unmaps what was there first.
        changes.sort_by_key(|&(at, ..)| at);
        for (_, start, end, mapped) in changes {
            // Those that begin before its end, as far as they reach past its start.
            let below: Vec<u64> = pieces
                .range(..end)
                .rev()
                .take_while(|(_, (piece_end, _))| *piece_end > start)
                .map(|(&piece, _)| piece)
                .collect();
            for piece in below {
                let Some((piece_end, older)) = pieces.remove(&piece) else {
                    continue;
                };
                if piece < start {
                    pieces.insert(piece, (start, older));
                }
                if piece_end > end {
                    pieces.insert(end, (piece_end, older));
                }
            }
            if let Some(mapped) = mapped {
                pieces.insert(start, (end, mapped));
            }
        }
        pieces
            .into_iter()
            .map(|(start, (end, mapped))| (start, end, mapped))
            .collect()
    }

    /// Every mapping, in the order they became known.
    #[must_use]
    pub fn mappings(&self) -> &[Mapped] {
        &self.mapped
    }
}

/// Opens a mapped file while it can be: by the mapping itself, which finds deleted and replaced
/// files too, else by its path.
fn open(root: &Root, start: u64, end: u64, path: PathBuf) -> Arc<MappedFile> {
    let file = root
        .open_mapping(start, end)
        .or_else(|_| root.open(&path))
        .map_err(|error| error.to_string());
    Arc::new(MappedFile::new(path, file))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(start: u64, end: u64, name: &str, time_ns: u64) -> MappingEvent {
        MappingEvent::Map {
            pid: 1,
            start,
            end,
            file_offset: 0x100,
            path: PathBuf::from(name),
            time_ns,
        }
    }

    fn name_at(space: &AddressSpace, address: u64, time_ns: u64) -> Option<&str> {
        space
            .place(address, time_ns)
            .map(|place| place.mapped.name.as_str())
    }

    #[test]
    fn of_overlapping_mappings_the_later_ones_are_there_now() {
        let mut space = AddressSpace::default();
        space.apply(&map(0x1000, 0x5000, "/old", 1), None);
        space.apply(&map(0x7000, 0x8000, "/far", 2), None);
        space.apply(&map(0x2000, 0x3000, "/new", 3), None);
        space.apply(&map(0x4000, 0x6000, "/next", 4), None);
        let now: Vec<_> = space
            .now()
            .into_iter()
            .map(|(start, end, mapped)| (start, end, mapped.name.as_str()))
            .collect();
        assert_eq!(
            now,
            [
                (0x1000, 0x2000, "/old"),
                (0x2000, 0x3000, "/new"),
                (0x3000, 0x4000, "/old"),
                (0x4000, 0x6000, "/next"),
                (0x7000, 0x8000, "/far"),
            ]
        );
        let exec = MappingEvent::Exec { pid: 1, time_ns: 5 };
        space.apply(&exec, None);
        assert!(space.now().is_empty());
    }

    #[test]
    fn an_address_is_found_with_its_file_offset() {
        let mut space = AddressSpace::default();
        space.apply(&map(0x2000, 0x3000, "/b", 5), None);
        space.apply(&map(0x1000, 0x2000, "/a", 6), None);
        assert_eq!(name_at(&space, 0x1fff, 9), Some("/a"));
        assert_eq!(name_at(&space, 0x2000, 9), Some("/b"));
        assert_eq!(name_at(&space, 0x3000, 9), None);
        assert_eq!(name_at(&space, 0xfff, 9), None);
        assert_eq!(space.place(0x2010, 9).map(|p| p.file_offset), Some(0x110));
    }

    #[test]
    fn a_place_mapped_twice_is_what_it_was_at_the_time() {
        let mut space = AddressSpace::default();
        space.apply(&map(0x1000, 0x2000, "/old", 10), None);
        space.apply(&map(0x1800, 0x2800, "/new", 20), None);
        assert_eq!(name_at(&space, 0x1900, 15), Some("/old"));
        assert_eq!(name_at(&space, 0x1900, 25), Some("/new"));
        assert_eq!(name_at(&space, 0x1100, 25), Some("/old"));
    }

    fn unmap(start: u64, end: u64, time_ns: u64) -> MappingEvent {
        MappingEvent::Unmap {
            pid: 1,
            start,
            end,
            time_ns,
        }
    }

    #[test]
    fn nothing_is_found_where_something_was_unmapped_until_it_is_mapped_again() {
        let mut space = AddressSpace::default();
        space.apply(&map(0x1000, 0x4000, "/old", 10), None);
        space.apply(&unmap(0x2000, 0x3000, 20), None);
        assert_eq!(name_at(&space, 0x2800, 19), Some("/old"));
        assert_eq!(name_at(&space, 0x2800, 20), None);
        assert_eq!(name_at(&space, 0x1800, 20), Some("/old"));
        assert_eq!(name_at(&space, 0x3000, 20), Some("/old"));
        let now: Vec<_> = space.now().iter().map(|piece| (piece.0, piece.1)).collect();
        assert_eq!(now, [(0x1000, 0x2000), (0x3000, 0x4000)]);
        space.apply(&map(0x2000, 0x2800, "/new", 30), None);
        assert_eq!(name_at(&space, 0x2400, 25), None);
        assert_eq!(name_at(&space, 0x2400, 30), Some("/new"));
        assert_eq!(name_at(&space, 0x2800, 30), None);
        assert_eq!(space.now().len(), 3);
    }

    #[test]
    fn an_unmapping_may_be_heard_of_after_what_took_its_place() {
        let mut space = AddressSpace::default();
        space.apply(&map(0x1000, 0x2000, "/old", 10), None);
        space.apply(&map(0x1000, 0x2000, "/new", 30), None);
        space.apply(&unmap(0x1000, 0x2000, 30), None);
        assert_eq!(name_at(&space, 0x1800, 29), Some("/old"));
        assert_eq!(name_at(&space, 0x1800, 30), Some("/new"));
        assert_eq!(space.now().len(), 1);
        space.apply(&unmap(0x1000, 0x2000, 20), None);
        assert_eq!(name_at(&space, 0x1800, 25), None);
        assert_eq!(name_at(&space, 0x1800, 30), Some("/new"));
    }

    #[test]
    fn an_exec_voids_what_was_mapped_before() {
        let mut space = AddressSpace::default();
        space.apply(&map(0x1000, 0x2000, "/old", 10), None);
        // The buffers of two CPUs may be read in either order.
        space.apply(&map(0x1000, 0x1800, "/new", 32), None);
        space.apply(
            &MappingEvent::Exec {
                pid: 1,
                time_ns: 30,
            },
            None,
        );
        assert_eq!(name_at(&space, 0x1100, 20), Some("/old"));
        assert_eq!(name_at(&space, 0x1100, 40), Some("/new"));
        assert_eq!(name_at(&space, 0x1900, 40), None);
    }
}
