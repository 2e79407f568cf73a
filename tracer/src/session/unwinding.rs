//! Unwind tables for the traced processes: which modules have one, and what is mapped where.
//!
//! A module's table is compiled and loaded once, for all processes that map it; what a process has
//! mapped is published anew whenever that changes.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;

use object::ReadCache;
use tracer_common::{SpaceEntry, Unwinding};

use crate::bpf::{BpfError, Kernel, LoadedTable};
use crate::process::{AddressSpace, Mapped};
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
    modules: HashMap<FileKey, Option<Arc<Module>>>,
    /// Files without a table that could be used.
    without: u64,
}

impl Unwinder {
    pub(super) fn new(mode: Unwinding) -> Self {
        Self {
            mode,
            modules: HashMap::new(),
            without: 0,
        }
    }

    /// Mapped files without an unwind table.
    pub(super) const fn modules_without_table(&self) -> u64 {
        self.without
    }

    /// Publishes what a process has mapped, with the tables of all its modules.
    ///
    /// # Errors
    ///
    /// The kernel refused. A file that can't be read, or has no table, is none: its code is walked
    /// along frame pointers.
    pub(super) fn publish(
        &mut self,
        kernel: &mut Kernel,
        heap: u32,
        space: &AddressSpace,
    ) -> Result<(), BpfError> {
        if self.mode == Unwinding::FramePointers || heap == 0 {
            return Ok(());
        }
        let mut entries = Vec::new();
        for (start, end, mapped) in space.now() {
            entries.push(self.entry(kernel, start, end, mapped)?);
        }
        kernel.publish_space(heap, &entries)
    }

    fn entry(
        &mut self,
        kernel: &mut Kernel,
        start: u64,
        end: u64,
        mapped: &Mapped,
    ) -> Result<SpaceEntry, BpfError> {
        let plain = SpaceEntry {
            start,
            end,
            ..SpaceEntry::default()
        };
        let file = mapped
            .file
            .as_ref()
            .and_then(|file| file.file.as_ref().ok());
        let Some(module) = file
            .map(|file| self.module(kernel, file))
            .transpose()?
            .flatten()
        else {
            return Ok(plain);
        };
        let offset = start - mapped.start + mapped.file_offset;
        let pc = module
            .segments
            .iter()
            .find_map(|segment| segment.pc_at(offset));
        Ok(pc.map_or(plain, |pc| SpaceEntry {
            pc,
            table: module.table.number,
            rows: module.table.rows,
            ..plain
        }))
    }

    fn module(
        &mut self,
        kernel: &mut Kernel,
        file: &File,
    ) -> Result<Option<Arc<Module>>, BpfError> {
        let Ok(metadata) = file.metadata() else {
            return Ok(None);
        };
        let key = (
            metadata.dev(),
            metadata.ino(),
            metadata.size(),
            metadata.mtime(),
            metadata.mtime_nsec(),
        );
        if let Some(known) = self.modules.get(&key) {
            return Ok(known.clone());
        }
        let table = UnwindTable::from_elf(&ReadCache::new(file)).unwrap_or_default();
        let loaded = kernel.load_table(table.rows(), table.rules())?;
        let module = loaded.map(|loaded| {
            Arc::new(Module {
                table: loaded,
                segments: table.segments().to_vec(),
            })
        });
        self.without += u64::from(module.is_none());
        self.modules.insert(key, module.clone());
        Ok(module)
    }
}
