//! What was mapped where, and when.
//!
//! Stacks are resolved after the fact, perhaps after the process has ended, so mappings are kept
//! with the time they appeared: an address is looked up as of the moment its stack was seen.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use super::file_id::monotonic_now;
use super::history::{History, Thing};
use super::maps::{MapsLine, read_maps};
use super::{FileId, MappedFile, MappingEvent, NotOpened, ProcessError, Root, vdso};

/// What the side-band calls anonymous memory.
const ANONYMOUS: &str = "//anon";
/// The page that return probes make calls return to.
const RETURN_PROBES: &str = "[uprobes]";

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
    /// The file that the kernel said was mapped, whatever was found of it.
    id: FileId,
    /// Whether it was seen when it was mapped, and not found there later.
    is_reported: bool,
}

/// Where an address lies.
#[derive(Clone, Copy, Debug)]
pub struct MappedAddress<'a> {
    /// Index of the mapping, stable for the life of the address space.
    pub index: usize,
    /// The mapping.
    pub mapped: &'a Mapped,
    /// Offset of the address in the mapped file.
    pub file_offset: u64,
}

/// The executable mappings of one image over time.
#[derive(Clone, Debug, Default)]
pub struct AddressSpace {
    /// By index, which is never used again.
    mapped: BTreeMap<usize, Arc<Mapped>>,
    next: usize,
    history: History,
    /// What [`History::forgotten`] was when mappings that nothing refers to were last dropped.
    forgotten: u64,
    /// Where one thing was mapped and then another, disjoint.
    replaced: Vec<Range<u64>>,
}

/// A mapping as it was announced.
struct Announced<'a> {
    start: u64,
    end: u64,
    file_offset: u64,
    id: FileId,
    path: &'a Path,
    /// `None` for what is mapped now.
    time_ns: Option<u64>,
}

impl Mapped {
    /// Whether it is the page that return probes make calls return to.
    #[must_use]
    pub fn is_return_probes(&self) -> bool {
        self.name == RETURN_PROBES
    }

    /// As it would be announced by /proc.
    fn announced(&self) -> Announced<'_> {
        Announced {
            start: self.start,
            end: self.end,
            file_offset: self.file_offset,
            id: self.id,
            path: Path::new(&self.name),
            time_ns: None,
        }
    }

    /// Whether what is announced says the same of the addresses that both cover.
    fn is_same(&self, other: &Announced<'_>) -> bool {
        let name = other.path.as_os_str();
        if is_nameless(name) || is_nameless(OsStr::new(&self.name)) {
            return is_nameless(name) && is_nameless(OsStr::new(&self.name));
        }
        let place = |start: u64, offset: u64| offset.wrapping_sub(start);
        // A file that has been deleted meanwhile has another name.
        let has_id = self.id.inode != 0;
        self.id.agrees(&other.id)
            && (has_id || self.name == other.path.to_string_lossy())
            && place(self.start, self.file_offset) == place(other.start, other.file_offset)
    }
}

/// Whether it is the name of anonymous memory: it may be named, but no code in it is.
fn is_nameless(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name.starts_with(b"//anon")
        || name.starts_with(b"[anon")
        || name == b"[heap]"
        || name == b"[stack]"
}

impl AddressSpace {
    /// Reads the mappings a process has now.
    ///
    /// # Errors
    ///
    /// The process is gone or may not be looked at.
    pub fn of(pid: u32, root: &Root) -> Result<Self, ProcessError> {
        let mut space = Self::default();
        for line in executable(pid)? {
            space.announce(&announced(&line), 0, Some(root));
        }
        Ok(space)
    }

    /// Reads the mappings a process has now once more, after news of some was lost: what was not known is from now
    /// on, and what is not there any more is nothing. Returns whether there was anything new.
    ///
    /// # Errors
    ///
    /// The process is gone or may not be looked at.
    pub fn reread(&mut self, pid: u32, root: &Root) -> Result<bool, ProcessError> {
        // Before they are read: what is mapped meanwhile is announced with a later time.
        let now = monotonic_now();
        let lines = executable(pid)?;
        let mut is_news = false;
        for range in gone(
            self.now().into_iter().map(|(start, end, _)| start..end),
            &lines,
        ) {
            is_news |= self.history.unmap(&range, now);
        }
        for line in lines {
            is_news |= self.announce(&announced(&line), now, Some(root));
        }
        Ok(is_news)
    }

    /// Takes in a mapping as the kernel reported it. Returns whether it was news: what is announced again changes
    /// nothing.
    pub fn apply(&mut self, event: &MappingEvent, root: Option<&Root>) -> bool {
        match event {
            MappingEvent::Map {
                start,
                end,
                file_offset,
                id,
                path,
                time_ns,
                ..
            } => {
                let announced = Announced {
                    start: *start,
                    end: *end,
                    file_offset: *file_offset,
                    id: *id,
                    path,
                    time_ns: Some(*time_ns),
                };
                self.announce(&announced, *time_ns, root)
            }
            MappingEvent::Unmap {
                start,
                end,
                time_ns,
                ..
            } => self.history.unmap(&(*start..*end), *time_ns),
            // A new image has a space of its own.
            MappingEvent::Exec { .. } | MappingEvent::Fork { .. } | MappingEvent::Lost(_) => false,
        }
    }

    fn announce(&mut self, announced: &Announced<'_>, since: u64, root: Option<&Root>) -> bool {
        let index = self.next;
        let name = announced.path.as_os_str();
        let start = first_address(announced.start, name);
        let is_news = self.history.map(
            &(start..announced.end),
            since,
            Thing {
                index,
                is_nameless: is_nameless(name),
            },
            |other| {
                self.mapped
                    .get(&other)
                    .is_some_and(|other| other.is_same(announced))
            },
        );
        if !is_news {
            return false;
        }
        if name != RETURN_PROBES {
            self.note_replaced(announced);
        }
        self.next += 1;
        let mapped = Mapped {
            start,
            end: announced.end,
            file_offset: announced.file_offset,
            file: file_of(announced, root),
            name: announced.path.to_string_lossy().into_owned(),
            id: announced.id,
            is_reported: announced.time_ns.is_some(),
        };
        self.mapped.insert(index, Arc::new(mapped));
        if self.history.forgotten() > self.forgotten {
            self.forgotten = self.history.forgotten();
            let used = self.history.used();
            self.mapped.retain(|index, _| used.contains(index));
        }
        true
    }

    /// Notes where something else has been before, or is told to have been later.
    fn note_replaced(&mut self, announced: &Announced<'_>) {
        let range = announced.start..announced.end;
        let is_inside = |known: &Range<u64>| known.start <= range.start && range.end <= known.end;
        if self.replaced.iter().any(is_inside) {
            return;
        }
        for overlap in self.unlike(announced) {
            add_range(&mut self.replaced, overlap);
        }
    }

    /// Where something else than what is announced has been.
    fn unlike(&self, announced: &Announced<'_>) -> Vec<Range<u64>> {
        let range = announced.start..announced.end;
        let others = self.history.ever(&range);
        let others = others.filter_map(|index| self.mapped.get(&index));
        let is_other =
            |other: &&Arc<Mapped>| !other.is_return_probes() && !other.is_same(announced);
        others
            .filter(is_other)
            .map(|other| other.start.max(range.start)..other.end.min(range.end))
            .collect()
    }

    /// Notes where a space has had something else, by whose rules this one's stacks may have been walked.
    pub fn note_walked_by(&mut self, other: &Self) {
        let mapped = self.mapped.values();
        let mapped = mapped.filter(|mapped| !mapped.is_return_probes());
        let unlike: Vec<_> = mapped
            .flat_map(|mapped| other.unlike(&mapped.announced()))
            .collect();
        for range in unlike {
            add_range(&mut self.replaced, range);
        }
    }

    /// Whether any of a range was replaced.
    #[must_use]
    pub fn is_replaced(&self, range: &Range<u64>) -> bool {
        let mut replaced = self.replaced.iter();
        replaced.any(|known| known.start < range.end && range.start < known.end)
    }

    /// Where one thing was mapped and then another: what was seen there may be of either, since nobody tells
    /// of an unmapping, and the kernel side hears of a mapping after it.
    #[must_use]
    pub fn replaced(&self) -> &[Range<u64>] {
        &self.replaced
    }

    /// Where an address lay at a time.
    #[must_use]
    pub fn place(&self, address: u64, time_ns: u64) -> Option<MappedAddress<'_>> {
        let index = self.history.at(address, time_ns)?;
        let mapped = self.mapped.get(&index)?;
        Some(MappedAddress {
            index,
            mapped,
            file_offset: (address - mapped.start).wrapping_add(mapped.file_offset),
        })
    }

    /// The mapping that became known last.
    #[must_use]
    pub fn newest(&self) -> Option<&Mapped> {
        let (_, mapped) = self.mapped.last_key_value()?;
        Some(mapped)
    }

    /// The index of the mapping that became known last.
    #[must_use]
    pub fn newest_index(&self) -> Option<usize> {
        self.next.checked_sub(1)
    }

    /// What is mapped now, as far as is known: pieces of the image's mappings, each with its first
    /// address and the one past its end, sorted. Of mappings that overlap, the later ones hold.
    #[must_use]
    pub fn now(&self) -> Vec<(u64, u64, &Mapped)> {
        let pieces = self.history.now().into_iter();
        pieces
            .filter_map(|(piece, index)| {
                Some((piece.start, piece.end, self.mapped.get(&index)?.as_ref()))
            })
            .collect()
    }

    /// What had been mapped before a file, where the kernel reported both.
    pub fn mapped_before(
        &self,
        is_it: impl Fn(&MappedFile) -> bool,
    ) -> impl Iterator<Item = &Mapped> {
        let its =
            |mapped: &Mapped| mapped.is_reported && mapped.file.as_deref().is_some_and(&is_it);
        let found = self.mappings().find(|(_, mapped)| its(mapped));
        let until = found.map_or(0, |(index, _)| index);
        self.mapped
            .range(..until)
            .map(|(_, mapped)| mapped.as_ref())
            .filter(|mapped| mapped.is_reported)
    }

    /// Every mapping that is known, by its index, in the order they became known.
    pub fn mappings(&self) -> impl DoubleEndedIterator<Item = (usize, &Mapped)> {
        self.mapped
            .iter()
            .map(|(&index, mapped)| (index, mapped.as_ref()))
    }

    /// Changes that were forgotten, because the process made too many: what was there then is not known any more.
    #[must_use]
    pub const fn forgotten(&self) -> u64 {
        self.history.forgotten()
    }
}

/// Adds a range to disjoint ones.
fn add_range(ranges: &mut Vec<Range<u64>>, mut range: Range<u64>) {
    if range.is_empty() {
        return;
    }
    ranges.retain(|other| {
        let touches = other.start <= range.end && range.start <= other.end;
        if touches {
            range = range.start.min(other.start)..range.end.max(other.end);
        }
        !touches
    });
    ranges.push(range);
}

/// The executable lines of a process's maps.
fn executable(pid: u32) -> Result<Vec<MapsLine>, ProcessError> {
    let path = format!("/proc/{pid}/maps");
    let lines = read_maps(&path).map_err(|error| ProcessError::unreadable(path, error))?;
    Ok(lines
        .into_iter()
        .filter(|line| line.is_executable)
        .collect())
}

/// The side-band's words for a line.
fn announced(line: &MapsLine) -> Announced<'_> {
    let is_anonymous = line.name.is_empty();
    Announced {
        start: line.start,
        end: line.end,
        file_offset: if is_anonymous {
            line.start
        } else {
            line.offset
        },
        id: line.id,
        path: Path::new(if is_anonymous {
            OsStr::new(ANONYMOUS)
        } else {
            &line.name
        }),
        time_ns: None,
    }
}

/// Calls return to the first byte of the page of return probes, and return addresses are looked up by the byte
/// before.
fn first_address(start: u64, name: &OsStr) -> u64 {
    start - u64::from(name == RETURN_PROBES)
}

/// The parts of ranges that no line covers; both are sorted.
fn gone(known: impl Iterator<Item = Range<u64>>, lines: &[MapsLine]) -> Vec<Range<u64>> {
    let mut gone = Vec::new();
    for mut range in known {
        let first = lines.partition_point(|line| line.end <= range.start);
        for line in lines[first..]
            .iter()
            .take_while(|line| line.start < range.end)
        {
            let start = first_address(line.start, &line.name);
            if range.start < start {
                gone.push(range.start..start);
            }
            range.start = line.end.min(range.end);
        }
        if !range.is_empty() {
            gone.push(range);
        }
    }
    gone
}

/// Opens a mapped file while it can be: by the mapping itself, which finds deleted and replaced
/// files too, else by its path. It must be the one that was mapped.
fn file_of(announced: &Announced<'_>, root: Option<&Root>) -> Option<Arc<MappedFile>> {
    let &Announced {
        start, end, path, ..
    } = announced;
    if path.as_os_str() == vdso::NAME {
        return Some(vdso());
    }
    if !path.is_absolute()
        || path
            .as_os_str()
            .as_bytes()
            .starts_with(ANONYMOUS.as_bytes())
    {
        return None;
    }
    let keep =
        |file| MappedFile::of_mapping(path.to_owned(), file, announced.id, announced.time_ns);
    let Some(root) = root else {
        return Some(Arc::new(keep(Err(NotOpened::Ended))));
    };
    let by_mapping = keep(root.open_mapping(start, end).map_err(Into::into));
    let file = match by_mapping.not_opened() {
        None | Some(NotOpened::NoDescriptor(_)) => by_mapping,
        Some(_) => keep(root.open(path).map_err(Into::into)),
    };
    Some(Arc::new(file))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn map(start: u64, end: u64, name: &str, time_ns: u64) -> MappingEvent {
        MappingEvent::Map {
            pid: 1,
            start,
            end,
            file_offset: 0x100,
            id: FileId::default(),
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
    fn what_lies_where_another_thing_was_has_replaced_it() {
        let mut space = AddressSpace::default();
        space.apply(&map(0x1000, 0x3000, "/old", 1), None);
        // The same again, beside it, and anonymous code twice.
        space.apply(&map(0x1000, 0x3000, "/old", 2), None);
        space.apply(&map(0x3000, 0x4000, "/new", 3), None);
        space.apply(&map(0x8000, 0x9000, "//anon", 4), None);
        space.apply(&map(0x8000, 0x9800, "//anon", 5), None);
        assert!(space.replaced().is_empty());
        space.apply(&map(0x2000, 0x2800, "/other", 6), None);
        let (first, second) = (0x2000..0x2800, 0x9000..0x9800);
        assert_eq!(space.replaced(), std::slice::from_ref(&first));
        // Also where nothing was in between, by what was read.
        space.apply(&unmap(0x8000, 0x9800, 7), None);
        space.apply(&map(0x9000, 0xa000, "/new", 8), None);
        assert_eq!(space.replaced(), [first, second]);
        // Back, and wider.
        space.apply(&map(0x1000, 0x3000, "/old", 9), None);
        assert_eq!(space.replaced().len(), 2);
    }

    #[test]
    fn what_another_space_had_there_counts_as_replaced_where_it_is_unlike() {
        let mut parent = AddressSpace::default();
        parent.apply(&map(0x1000, 0x3000, "/both", 1), None);
        let mut child = parent.clone();
        parent.apply(&map(0x7000, 0x9000, "/theirs", 2), None);
        child.apply(&map(0x8000, 0x8800, "/own", 3), None);
        child.apply(&map(0xa000, 0xb000, "/alone", 3), None);
        child.note_walked_by(&parent);
        assert_eq!(child.replaced(), std::slice::from_ref(&(0x8000..0x8800)));
        assert!(parent.replaced().is_empty());
    }
}
