//! Unwind tables for the traced processes: which modules have one, and what is mapped where.
//!
//! A module's table is compiled and loaded once, for all processes that map it; what a process has
//! mapped is published anew whenever that changes.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;

use tracer_common::{SpaceEntry, Unwinding};

use crate::bpf::{BpfError, LoadedTable, UnwindMaps};
use crate::process::{AddressSpace, Mapped, read_elf};
use crate::unwind::{Segment, UnwindTable};

/// What tells files apart: device, inode, size and time of the last change.
type FileKey = (u64, u64, u64, i64, i64);

/// A module whose table is loaded.
struct Module {
    table: LoadedTable,
    segments: Vec<Segment>,
}

/// The modules of a session.
pub(super) struct Unwinder {
    mode: Unwinding,
    modules: HashMap<FileKey, Option<Module>>,
    /// Files without a table that could be used.
    without: u64,
    /// Why the kernel side could not be told of mappings.
    unpublished: Vec<String>,
}

impl Unwinder {
    pub(super) fn new(mode: Unwinding) -> Self {
        Self {
            mode,
            modules: HashMap::new(),
            without: 0,
            unpublished: Vec::new(),
        }
    }

    /// Mapped files without an unwind table.
    pub(super) const fn modules_without_table(&self) -> u64 {
        self.without
    }

    /// Why the kernel side could not be told of mappings, once for each time.
    pub(super) fn unpublished(&self) -> &[String] {
        &self.unpublished
    }

    /// Publishes what a process has mapped, with the tables of all its modules. A file that can't be
    /// read, or has no table, is walked along frame pointers. What the kernel refuses is kept for the
    /// verdict: no recording is thrown away for it.
    pub(super) fn publish(&mut self, tables: &mut UnwindMaps, heap: u32, space: &AddressSpace) {
        if let Err(error) = self.try_publish(tables, heap, space) {
            self.unpublished.push(error.to_string());
        }
    }

    fn try_publish(
        &mut self,
        tables: &mut UnwindMaps,
        heap: u32,
        space: &AddressSpace,
    ) -> Result<(), BpfError> {
        if self.mode == Unwinding::FramePointers || heap == 0 {
            return Ok(());
        }
        let now = space.now();
        self.load(tables, now.iter().map(|(_, _, mapped)| *mapped))?;
        let entries: Vec<_> = now
            .into_iter()
            .map(|(start, end, mapped)| self.entry(start, end, mapped))
            .collect();
        tables.publish(heap, &entries)
    }

    /// Loads the tables of the files that have not been seen yet.
    fn load<'a>(
        &mut self,
        tables: &mut UnwindMaps,
        mapped: impl Iterator<Item = &'a Mapped>,
    ) -> Result<(), BpfError> {
        let mut keys = Vec::new();
        let mut compiled = Vec::new();
        for (key, file) in mapped.filter_map(file_of) {
            if self.modules.contains_key(&key) || keys.contains(&key) {
                continue;
            }
            keys.push(key);
            compiled.push(UnwindTable::from_elf(&read_elf(file)).unwrap_or_default());
        }
        let parts: Vec<_> = compiled
            .iter()
            .map(|table| (table.rows(), table.rules()))
            .collect();
        let loaded = tables.load(&parts)?;
        for ((key, table), loaded) in keys.into_iter().zip(&compiled).zip(loaded) {
            let module = loaded.map(|loaded| Module {
                table: loaded,
                segments: table.segments().to_vec(),
            });
            self.without += u64::from(module.is_none());
            self.modules.insert(key, module);
        }
        Ok(())
    }

    fn entry(&self, start: u64, end: u64, mapped: &Mapped) -> SpaceEntry {
        let plain = SpaceEntry {
            start,
            end,
            ..SpaceEntry::default()
        };
        let known = file_of(mapped).and_then(|(key, _)| self.modules.get(&key));
        let Some(Some(module)) = known else {
            return plain;
        };
        let offset = start - mapped.start + mapped.file_offset;
        let pc = module
            .segments
            .iter()
            .find_map(|segment| segment.pc_at(offset));
        pc.map_or(plain, |pc| SpaceEntry {
            pc,
            table: module.table.number,
            first: module.table.first,
            rows: module.table.rows,
            ..plain
        })
    }
}

/// The mapped file and what tells it from others.
fn file_of(mapped: &Mapped) -> Option<(FileKey, &File)> {
    let file = mapped.file.as_ref()?.file.as_deref().ok()?;
    let metadata = file.metadata().ok()?;
    let key = (
        metadata.dev(),
        metadata.ino(),
        metadata.size(),
        metadata.mtime(),
        metadata.mtime_nsec(),
    );
    Some((key, file))
}
