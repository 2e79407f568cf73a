//! The code of a module that no call frame information describes, and which functions its symbols
//! say are in it.
//!
//! Must not believe an offset or a size before the reader has checked it.

use std::ops::Range;

use memchr::memmem;
use object::LittleEndian;
use object::elf;
use object::read::ReadRef;
use object::read::elf::{SectionHeader as _, Sym as _};

use super::analysis::{THREAD_END, Undescribed};
use super::arrange::{Piece, gaps};
use super::elf::{ENDIAN, ElfModule, MIN_GAP, SectionHeader, check_size, contents};
use super::range::relative;

type Symbol = elf::Sym64<LittleEndian>;

/// Code that is followed at most. musl has half a MiB, and programs are linked with parts of it. What has
/// much more and describes none of it (Go, V8) keeps frame pointers.
const MAX_CODE: u64 = 4 << 20;
/// What makes threads in musl, and its length.
const CLONE: &[u8] = b"__clone\0";
const CLONE_BYTES: u32 = 57;
/// Bytes of a name that are looked at.
const MAX_NAME: usize = 1 << 10;

impl<'data, R: ReadRef<'data>> ElfModule<'data, R> {
    /// What the pieces leave out. Nothing where that is too much.
    pub(super) fn undescribed(&self, pieces: &[Piece]) -> Undescribed<'data> {
        let entry = self.entry..self.entry.saturating_add(1);
        let process = relative(self.base(), &entry).map(|entry| entry.start);
        let code = self.code();
        // What the kernel starts is short, and may lie between described functions.
        let gaps = gaps(&code, pieces).filter(|gap| {
            gap.end - gap.start >= MIN_GAP || process.is_some_and(|at| gap.contains(&at))
        });
        let gaps: Vec<_> = gaps.collect();
        let total: u64 = gaps.iter().map(|gap| u64::from(gap.end - gap.start)).sum();
        if gaps.is_empty() || total > MAX_CODE {
            return Undescribed::default();
        }
        let mut undescribed = Undescribed {
            process,
            ..Undescribed::default()
        };
        for kind in [elf::SHT_SYMTAB, elf::SHT_DYNSYM] {
            let table = self
                .sections
                .iter()
                .find(|section| section.sh_type(ENDIAN) == kind);
            if let Some(table) = table {
                self.functions(table, &gaps, &mut undescribed);
            }
        }
        undescribed.code = gaps
            .into_iter()
            .filter_map(|gap| Some((gap.start, self.bytes_at(&gap)?)))
            .collect();
        undescribed
    }

    /// The functions of a symbol table that lie in gaps.
    fn functions(&self, table: &SectionHeader, gaps: &[Range<u32>], into: &mut Undescribed<'data>) {
        let size = table.sh_size(ENDIAN);
        if check_size("symbol table", size).is_err() {
            return;
        }
        let count = size as usize / size_of::<Symbol>();
        let offset = table.sh_offset(ENDIAN);
        let Ok(symbols) = self.data.read_slice_at::<Symbol>(offset, count) else {
            return;
        };
        let names = self.sections.get(table.sh_link(ENDIAN) as usize);
        let names = names.filter(|names| check_size("names", names.sh_size(ENDIAN)).is_ok());
        let names = names.and_then(|names| contents(self.data, names).ok());
        let cold = memmem::Finder::new(b".cold");
        for symbol in symbols {
            if symbol.st_type() != elf::STT_FUNC || symbol.st_shndx(ENDIAN) == elf::SHN_UNDEF {
                continue;
            }
            let start = symbol.st_value(ENDIAN);
            let size = symbol.st_size(ENDIAN);
            let Some(range) = relative(self.base(), &(start..start.saturating_add(size.max(1))))
            else {
                continue;
            };
            let next = gaps.partition_point(|gap| gap.start <= range.start);
            let gap = next.checked_sub(1).and_then(|index| gaps.get(index));
            let name = names.and_then(|names| names.get(symbol.st_name(ENDIAN) as usize..));
            if gap.is_none_or(|gap| !gap.contains(&range.start)) {
                if name.is_some_and(|name| name.starts_with(CLONE)) {
                    into.threads.extend(self.thread_end(range.start));
                }
                continue;
            }
            // The part of a function that hardly ever runs: jumped to from its middle, not called.
            let name = name.map(|name| name.get(..MAX_NAME).unwrap_or(name));
            let name = name.and_then(|name| name.split(|&byte| byte == 0).next());
            if name.is_none_or(|name| cold.find(name).is_none()) {
                into.functions.push(range.start);
            }
            if size > 0 {
                into.extents.push(range);
            }
        }
    }
    /// The call in musl's `__clone` that begins a thread. Some builds describe it, but as if a caller
    /// could be reached from there.
    fn thread_end(&self, clone: u32) -> Option<Range<u32>> {
        let bytes = self.bytes_at(&(clone..clone.checked_add(CLONE_BYTES)?))?;
        let end = memmem::find(bytes, &THREAD_END)?;
        let end = clone.checked_add(u32::try_from(end).ok()?)?;
        Some(end.checked_sub(1)?..end)
    }
}
