//! Unwind tables for the traced processes: which modules have one, and what is mapped where.
//!
//! A module's table is compiled and loaded once, for all processes that map it; what a process has
//! mapped is published anew whenever that changes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tracer_common::limits::MAX_FRAMES;
use tracer_common::{Counter, Rule, SpaceEntry, StackEnd, Unwinding};

use super::processes::Processes;
use crate::bpf::{BpfError, LoadedTable, StackCopy, UnwindMaps};
use crate::process::{AddressSpace, FileKey, Mapped, MappedFile, read_elf};
use crate::unwind::UnwindTable;
use crate::unwind::walk::{Lookup, WalkedFrame, walk};

/// Files whose tables are to be compiled.
pub(super) type FilesToCompile = HashMap<FileKey, Arc<MappedFile>>;
/// Compiled tables.
pub(super) type Tables = HashMap<FileKey, UnwindTable>;

/// Compiles the tables of files. Takes milliseconds for each.
pub(super) fn compile_all(files: FilesToCompile) -> Tables {
    files
        .into_iter()
        .map(|(key, file)| {
            let table = file
                .open()
                .ok()
                .map(|file| UnwindTable::from_elf(&read_elf(&file)));
            (key, table.and_then(Result::ok).unwrap_or_default())
        })
        .collect()
}

/// A module whose table is loaded.
struct TabledModule {
    loaded: LoadedTable,
    /// For the stacks that are walked here.
    table: UnwindTable,
}

/// The modules of a session.
pub(super) struct Unwinder {
    mode: Unwinding,
    publishes_spaces: bool,
    modules: HashMap<FileKey, Option<TabledModule>>,
    /// Tables to be loaded.
    compiled: Tables,
    /// Heaps whose address space has been published.
    spaces: HashSet<u32>,
    /// Files without a table that could be used.
    without: u64,
    /// Why the kernel side could not be told of mappings.
    unpublished: Vec<String>,
}

impl Unwinder {
    pub(super) fn new(mode: Unwinding) -> Self {
        Self {
            mode,
            publishes_spaces: true,
            modules: HashMap::new(),
            compiled: HashMap::new(),
            spaces: HashSet::new(),
            without: 0,
            unpublished: Vec::new(),
        }
    }

    /// From now on the kernel side is not told what is mapped, so that it copies every stack.
    pub(super) const fn leave_spaces_unpublished(&mut self) {
        self.publishes_spaces = false;
    }

    /// Where every stack is copied, makes room for more of them.
    pub(super) fn allow_copies(&self, maps: &UnwindMaps) {
        if !self.publishes_spaces {
            maps.allow_copies();
        }
    }

    /// Files whose table is loaded.
    pub(super) fn tables(&self) -> u64 {
        self.modules.values().flatten().count() as u64
    }

    /// Address spaces that have been published, each image of a process being one; children of fork that
    /// have not replaced theirs are walked by their parent's.
    pub(super) fn spaces(&self) -> u64 {
        self.spaces.len() as u64
    }

    /// Mapped files without an unwind table.
    pub(super) const fn modules_without_table(&self) -> u64 {
        self.without
    }

    /// Why the kernel side could not be told of mappings, once for each time.
    pub(super) fn unpublished(&self) -> &[String] {
        &self.unpublished
    }

    /// Publishes what a process has mapped, with the tables of all its modules; without a heap, as of a process
    /// that has ended, only loads the tables. A file that can't be read, or has no table, is walked along
    /// frame pointers. What the kernel refuses is kept for the verdict: no recording is thrown away for it.
    pub(super) fn publish(&mut self, maps: &mut UnwindMaps, heap: u32, space: &AddressSpace) {
        if let Err(error) = self.try_publish(maps, heap, space) {
            self.unpublished.push(error.to_string());
        }
    }

    fn try_publish(
        &mut self,
        maps: &mut UnwindMaps,
        heap: u32,
        space: &AddressSpace,
    ) -> Result<(), BpfError> {
        if self.mode == Unwinding::FramePointers {
            return Ok(());
        }
        self.add_compiled(compile_all(self.without_table(space)));
        self.load(maps)?;
        if !self.publishes_spaces || heap == 0 {
            return Ok(());
        }
        let entries: Vec<_> = space
            .now()
            .into_iter()
            .map(|(start, end, mapped)| self.entry(start, end, mapped))
            .collect();
        maps.publish(heap, &entries)?;
        if !entries.is_empty() {
            self.spaces.insert(heap);
        }
        Ok(())
    }

    /// The files that processes have mapped since they were last published, and whose tables are still to
    /// be compiled.
    pub(super) fn files_to_compile(&self, processes: &Processes) -> FilesToCompile {
        let mut files = FilesToCompile::new();
        for traced in processes.unpublished() {
            files.extend(self.without_table(&traced.space));
        }
        files
    }

    fn without_table(&self, space: &AddressSpace) -> FilesToCompile {
        let now = space.now();
        self.to_compile(now.iter().filter_map(|(_, _, mapped)| mapped.file.as_ref()))
    }

    fn to_compile<'a>(
        &self,
        files: impl IntoIterator<Item = &'a Arc<MappedFile>>,
    ) -> FilesToCompile {
        if self.mode == Unwinding::FramePointers {
            return FilesToCompile::new();
        }
        files
            .into_iter()
            .filter_map(|mapped| Some((mapped.key?, mapped)))
            .filter(|(key, _)| !self.modules.contains_key(key) && !self.compiled.contains_key(key))
            .map(|(key, file)| (key, Arc::clone(file)))
            .collect()
    }

    /// Takes in tables, to be loaded with the next publication.
    pub(super) fn add_compiled(&mut self, tables: Tables) {
        self.compiled.extend(tables);
    }

    /// Compiles the tables of files that will be mapped.
    pub(super) fn foresee(&mut self, files: &[Arc<MappedFile>]) {
        let tables = compile_all(self.to_compile(files));
        self.add_compiled(tables);
    }

    /// Loads the tables that have been compiled.
    fn load(&mut self, maps: &mut UnwindMaps) -> Result<(), BpfError> {
        let (keys, compiled): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.compiled).into_iter().unzip();
        let parts: Vec<_> = compiled
            .iter()
            .map(|table| (table.rows(), table.rules()))
            .collect();
        let loaded = match maps.load(&parts) {
            Ok(loaded) => loaded,
            Err(error) => {
                // Not to be tried again at each change.
                self.without += keys.len() as u64;
                self.modules.extend(keys.into_iter().map(|key| (key, None)));
                return Err(error);
            }
        };
        for ((key, table), loaded) in keys.into_iter().zip(compiled).zip(loaded) {
            let module = loaded.map(|loaded| TabledModule { loaded, table });
            self.without += u64::from(module.is_none());
            self.modules.insert(key, module);
        }
        Ok(())
    }

    /// Walks a stack that was copied: its frames as return addresses, leaf first, why there are no more, and
    /// the counter that says what it lacks.
    pub(super) fn walk(
        &self,
        space: &AddressSpace,
        copy: &StackCopy,
    ) -> (Vec<u64>, StackEnd, Option<Counter>) {
        let first = WalkedFrame {
            registers: copy.registers,
            is_return_address: true,
        };
        let walked = walk(
            first,
            MAX_FRAMES,
            self.mode == Unwinding::Auto,
            &mut |frame| self.look_up(space, copy.time_ns, frame),
            &mut |address| copy.read(address),
        );
        let frames = walked.frames.iter();
        let frames = frames.map(|frame| frame.registers.ip + u64::from(!frame.is_return_address));
        let guessed = walked.is_guess && walked.end == StackEnd::Root;
        let lacks = if guessed {
            Some(Counter::GuessedStacks)
        } else {
            walked.end.counter()
        };
        (frames.collect(), walked.end, lacks)
    }

    /// What was known of a frame's code at a time.
    fn look_up(&self, space: &AddressSpace, time_ns: u64, frame: &WalkedFrame) -> Lookup {
        let inside = frame.registers.rule_address(frame.is_return_address);
        let Some(place) = space.place(inside, time_ns) else {
            return Lookup::Unmapped;
        };
        if place.mapped.is_return_probes() {
            // The kernel knew where to go on, then.
            return Lookup::Rule(Rule::UNSUPPORTED);
        }
        let rule = || {
            let table = &self.module_of(place.mapped)?.table;
            let pc = table.pc_at(place.file_offset)?;
            let pc = pc.checked_add(u32::from(frame.is_return_address))?;
            Some(table.rule_for(pc, frame.is_return_address))
        };
        rule().map_or(Lookup::NoTable, Lookup::Rule)
    }

    fn module_of(&self, mapped: &Mapped) -> Option<&TabledModule> {
        let key = mapped.file.as_ref()?.key?;
        self.modules.get(&key)?.as_ref()
    }

    fn entry(&self, start: u64, end: u64, mapped: &Mapped) -> SpaceEntry {
        let plain = SpaceEntry {
            start,
            end,
            ..SpaceEntry::default()
        };
        if mapped.is_return_probes() {
            return SpaceEntry {
                table: SpaceEntry::RETURN_PROBES,
                ..plain
            };
        }
        let Some(TabledModule { loaded, table }) = self.module_of(mapped) else {
            return plain;
        };
        let offset = start - mapped.start + mapped.file_offset;
        table.pc_at(offset).map_or(plain, |pc| SpaceEntry {
            pc,
            table: loaded.number,
            first: loaded.first,
            rows: loaded.rows,
            ..plain
        })
    }
}
