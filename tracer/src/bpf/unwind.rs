//! The unwinder's tables: rules, rows and mappings, as the kernel side reads them.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::Pod;
use aya::maps::{ArrayOfMaps, MapData};
use tracer_common::limits::{INNER_MAPPABLE, MAX_COPIES, MAX_HEAPS};
use tracer_common::{
    KNOWN_STACKS, KnownStack, MAX_RULES, MAX_TABLES, PUBLICATIONS, RULE_CACHE_ENTRIES, Row, Rule,
    SPACE_ENTRIES, SpaceEntry, SpaceHead, rule_ids,
};

use super::BpfError;
use super::error::map_error;
use super::sys::create_array;
use super::versions::Versions;
use super::view::View;

/// Bytes that all tables of a session may take: libLLVM's is 7 MB, all of a browser's 60.
pub const MAX_TABLE_BYTES: usize = 256 << 20;

/// A loaded table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadedTable {
    /// Number of the array that holds it, from 1.
    pub number: u32,
    /// Its first row there.
    pub first: u32,
    /// Its rows.
    pub rows: u32,
}

/// Rows of an array, at least: tables found later are written behind the first ones. A change of a map of
/// maps makes the kernel wait for running programs, about 9 ms, and stacks can't be walked meanwhile.
const MIN_ARRAY_ROWS: usize = 128 << 10;
/// And where a program is awaited that may be another than foreseen: 8 MB. A server with 40 libraries has
/// 600,000 rows.
const MIN_ARRAY_ROWS_AWAITING: usize = 1 << 20;

/// The tables of a session.
pub struct UnwindMaps {
    /// Hold the arrays that are mapped.
    _arrays: Vec<MapData>,
    rules: View<Rule>,
    cache: View<u64>,
    known: View<KnownStack>,
    spaces: View<SpaceEntry>,
    heads: View<u64>,
    stack_starts: View<u64>,
    /// Stacks copied, and how many may be.
    copied: View<[u64; 2]>,
    tables: ArrayOfMaps<MapData, MapData>,
    /// The dictionary's numbers.
    numbers: HashMap<Rule, u16>,
    /// The array of rows that is being filled, and its number.
    rows: Option<View<Row>>,
    array: u32,
    /// Rows in it.
    used: usize,
    /// Rows that an array has room for, at least.
    least_rows: usize,
    table_bytes: usize,
    /// Bytes that they may take.
    max_bytes: usize,
    /// Which entries of `spaces` are in use: the first of each address space, its number of entries and
    /// its heap.
    regions: BTreeMap<u32, (u32, u32)>,
    versions: Versions,
}

/// Arrays that are mapped one after the other, and held.
struct Arrays<'a> {
    take: &'a mut dyn FnMut(&'static str) -> Result<MapData, BpfError>,
    taken: Vec<MapData>,
}

impl Arrays<'_> {
    fn map<T: Pod>(&mut self, name: &'static str, len: usize) -> Result<View<T>, BpfError> {
        let array = (self.take)(name)?;
        let view = View::new(name, array.fd().as_fd(), len)?;
        self.taken.push(array);
        Ok(view)
    }
}

impl UnwindMaps {
    /// The maps that the loader has made: `take` hands out an array by its name.
    pub(super) fn new(
        mut take: impl FnMut(&'static str) -> Result<MapData, BpfError>,
        tables: ArrayOfMaps<MapData, MapData>,
        max_bytes: usize,
    ) -> Result<Self, BpfError> {
        let heap_heads = MAX_HEAPS as usize + 1;
        let mut arrays = Arrays {
            take: &mut take,
            taken: Vec::new(),
        };
        let mut unwinding = Self {
            rules: arrays.map("RULES", MAX_RULES as usize)?,
            cache: arrays.map("RULE_CACHE", RULE_CACHE_ENTRIES as usize)?,
            known: arrays.map("KNOWN", KNOWN_STACKS as usize)?,
            spaces: arrays.map("SPACES", SPACE_ENTRIES as usize)?,
            heads: arrays.map("SPACE_HEADS", heap_heads)?,
            stack_starts: arrays.map("STACK_STARTS", heap_heads)?,
            copied: arrays.map("COPIED", 1)?,
            _arrays: arrays.taken,
            tables,
            numbers: HashMap::new(),
            rows: None,
            array: 0,
            used: 0,
            least_rows: MIN_ARRAY_ROWS,
            table_bytes: 0,
            max_bytes,
            regions: BTreeMap::new(),
            versions: Versions::default(),
        };
        unwinding.allow_copies();
        for (id, rule) in [
            (rule_ids::GAP, Rule::NONE),
            (rule_ids::STOP, Rule::STOP),
            (rule_ids::FRAME_POINTER, Rule::FRAME_POINTER),
            (rule_ids::UNMAPPED, Rule::NONE),
            (rule_ids::UNSUPPORTED, Rule::UNSUPPORTED),
            (rule_ids::UNDESCRIBED, Rule::FRAME_POINTER),
        ] {
            unwinding.write_rule(id, rule);
            // A function with a frame pointer has the rule of code without a table, and is not such.
            if !matches!(
                id,
                rule_ids::FRAME_POINTER | rule_ids::UNDESCRIBED | rule_ids::UNMAPPED
            ) {
                unwinding.numbers.insert(rule, id);
            }
        }
        Ok(unwinding)
    }

    /// Makes room for the tables of a program that is still to come.
    pub const fn await_program(&mut self) {
        self.least_rows = MIN_ARRAY_ROWS_AWAITING;
    }

    /// Loads modules' tables, each given by its rows and their rules; `None` where there is nothing in
    /// it, or no room for it.
    ///
    /// # Errors
    ///
    /// The kernel refused.
    pub fn load(
        &mut self,
        modules: &[(&[Row], &[Rule])],
    ) -> Result<Vec<Option<LoadedTable>>, BpfError> {
        let mut missing: usize = modules.iter().map(|(rows, _)| rows.len()).sum();
        let mut loaded = Vec::new();
        for &(rows, rules) in modules {
            let table = if rows.is_empty() {
                None
            } else {
                self.place(rows.len(), missing)?
            };
            missing -= rows.len();
            loaded.push(table.inspect(|table| self.write(table, rows, rules)));
        }
        Ok(loaded)
    }

    /// Finds room for rows, in a new array where the last one has none: one for all rows that are still
    /// to come.
    fn place(&mut self, rows: usize, to_come: usize) -> Result<Option<LoadedTable>, BpfError> {
        let room = self.rows.as_ref().map_or(0, View::len) - self.used;
        if rows > room {
            let left = self.max_bytes.saturating_sub(self.table_bytes) / size_of::<Row>();
            let wanted = to_come.max(self.least_rows).min(left);
            if wanted < rows || self.array + 1 >= MAX_TABLES {
                return Ok(None);
            }
            self.add_array(wanted)?;
        }
        // Within the limit in bytes they are far from 2^32.
        let table = LoadedTable {
            number: self.array,
            first: self.used as u32,
            rows: rows as u32,
        };
        self.used += rows;
        Ok(Some(table))
    }

    fn add_array(&mut self, rows: usize) -> Result<(), BpfError> {
        let refused = |error: &dyn std::error::Error| map_error("TABLES", "written", error);
        let count = u32::try_from(rows).map_err(|error| refused(&error))?;
        let fd = create_array(count, size_of::<Row>() as u32, INNER_MAPPABLE)
            .map_err(|error| refused(&error))?;
        let view = View::new("TABLES", fd.as_fd(), rows)?;
        let array = MapData::from_fd(fd).map_err(|error| refused(&error))?;
        self.tables
            .set(self.array + 1, &array, 0)
            .map_err(|error| refused(&error))?;
        self.array += 1;
        self.rows = Some(view);
        self.used = 0;
        self.table_bytes += rows * size_of::<Row>();
        Ok(())
    }

    fn write(&mut self, table: &LoadedTable, rows: &[Row], rules: &[Rule]) {
        let numbers: Vec<u16> = rules.iter().map(|&rule| self.number(rule)).collect();
        let Some(view) = &self.rows else { return };
        for (place, row) in view.iter().skip(table.first as usize).zip(rows) {
            let rule = numbers.get(usize::from(row.rule)).copied();
            let row = Row {
                rule: rule.unwrap_or(rule_ids::UNSUPPORTED),
                ..*row
            };
            // SAFETY: a valid pointer; no mapping refers to this entry yet, so that nobody reads it.
            unsafe { place.write(row) };
        }
    }

    /// Publishes the executable mappings of a heap's process, in place of those before: sorted, not
    /// overlapping, with tables that were loaded before. The kernel side sees either these or those; of
    /// a heap without any, that nothing is known.
    ///
    /// # Errors
    ///
    /// There is no room.
    pub fn publish(&mut self, heap: u32, entries: &[SpaceEntry]) -> Result<(), BpfError> {
        let full = || BpfError::Map {
            map: "SPACES",
            action: "written",
            reason: "it has no room for more mappings".to_owned(),
        };
        if entries.is_empty() {
            self.forget(heap);
            return Ok(());
        }
        let head = self.heads.get(heap as usize).ok_or_else(full)?;
        let len = u32::try_from(entries.len()).map_err(|_| full())?;
        let first = self.room_for(len).ok_or_else(full)?;
        let version = self.next_version()?.ok_or_else(full)?;
        self.count_change();
        for (place, entry) in self.spaces.iter().skip(first as usize).zip(entries) {
            // SAFETY: a valid pointer. Only programs that began before the last change may still read
            // here, and they look at the count again.
            unsafe { place.write(*entry) };
        }
        let word = SpaceHead {
            version,
            first,
            entries: len,
        };
        // SAFETY: the view's pointers are valid and aligned.
        unsafe { AtomicU64::from_ptr(head) }.store(word.to_word(), Ordering::SeqCst);
        self.count_change();
        self.regions.retain(|_, &mut (_, owner)| owner != heap);
        self.regions.insert(first, (len, heap));
        self.allow_copies();
        Ok(())
    }

    /// Says where the stack of a process's first thread begins, so that copies of it end there.
    pub fn set_stack_start(&self, heap: u32, address: u64) {
        if let Some(start) = self.stack_starts.get(heap as usize) {
            // SAFETY: the view's pointers are valid and aligned.
            unsafe { AtomicU64::from_ptr(start) }.store(address, Ordering::Relaxed);
        }
    }

    /// Forgets what a heap's process had mapped: it is gone.
    pub fn forget(&mut self, heap: u32) {
        if let Some(head) = self.heads.get(heap as usize) {
            // SAFETY: the view's pointers are valid and aligned.
            let before = unsafe { AtomicU64::from_ptr(head) }.swap(0, Ordering::SeqCst);
            if before == 0 {
                // It was walked by its parent's: nobody need walk anew.
                return;
            }
            self.count_change();
            self.count_change();
            self.regions.retain(|_, &mut (_, owner)| owner != heap);
        }
    }

    /// Counts the beginning or the end of a change, see [`PUBLICATIONS`].
    fn count_change(&self) {
        if let Some(count) = self.heads.get(PUBLICATIONS as usize) {
            // SAFETY: the view's pointers are valid and aligned.
            unsafe { AtomicU64::from_ptr(count) }.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// The first gap among the regions that is large enough.
    fn room_for(&self, len: u32) -> Option<u32> {
        let mut gap = 0;
        for (&first, &(taken, _)) in &self.regions {
            if first - gap >= len {
                return Some(gap);
            }
            gap = first + taken;
        }
        (SPACE_ENTRIES - gap >= len).then_some(gap)
    }

    /// A number for a new list of mappings; `None` where all are in use.
    fn next_version(&mut self) -> Result<Option<u16>, BpfError> {
        let (heads, cache, known, tables) =
            (&self.heads, &self.cache, &self.known, &mut self.tables);
        let in_use = self.regions.values().filter_map(|&(_, heap)| {
            let head = heads.get(heap as usize)?;
            // SAFETY: the view's pointers are valid and aligned.
            let word = unsafe { AtomicU64::from_ptr(head) }.load(Ordering::SeqCst);
            Some(SpaceHead::from_word(word).version)
        });
        self.versions.next(in_use, || {
            wait_for_programs(tables)?;
            for entry in cache.iter() {
                // SAFETY: the view's pointers are valid and aligned.
                unsafe { AtomicU64::from_ptr(entry) }.store(0, Ordering::Relaxed);
            }
            for entry in known.iter() {
                // SAFETY: as above; without its check it is nobody's.
                unsafe { AtomicU64::from_ptr(&raw mut (*entry).check) }.store(0, Ordering::Relaxed);
            }
            Ok(())
        })
    }

    /// Lets some more stacks be copied, see [`MAX_COPIES`].
    pub fn allow_copies(&self) {
        if let Some(copied) = self.copied.get(0) {
            // SAFETY: the view's pointers are valid and aligned; the kernel side counts in the first
            // word, and the second is this side's.
            let (taken, allowed) = unsafe {
                (
                    AtomicU64::from_ptr(&raw mut (*copied)[0]),
                    AtomicU64::from_ptr(&raw mut (*copied)[1]),
                )
            };
            allowed.store(
                taken.load(Ordering::Relaxed) + MAX_COPIES,
                Ordering::Relaxed,
            );
        }
    }

    /// Kernel memory of all tables, bytes.
    #[must_use]
    pub const fn table_bytes(&self) -> usize {
        self.table_bytes
    }

    /// The rule's number in the dictionary.
    fn number(&mut self, rule: Rule) -> u16 {
        if let Some(&number) = self.numbers.get(&rule) {
            return number;
        }
        let next = self.numbers.len() + usize::from(rule_ids::FIRST_FREE);
        let Ok(number) = u16::try_from(next) else {
            return rule_ids::UNSUPPORTED;
        };
        self.write_rule(number, rule);
        self.numbers.insert(rule, number);
        number
    }

    fn write_rule(&self, number: u16, rule: Rule) {
        if let Some(entry) = self.rules.iter().nth(usize::from(number)) {
            // SAFETY: a valid pointer; no row refers to this entry yet, so that nobody reads it.
            unsafe { entry.write(rule) };
        }
    }
}

/// Waits until every program that runs now has ended: the kernel does so after a change of a map of maps.
/// The entry that is changed is no table's, these count from 1.
fn wait_for_programs(tables: &mut ArrayOfMaps<MapData, MapData>) -> Result<(), BpfError> {
    let refused = |error: &dyn std::error::Error| map_error("TABLES", "written", error);
    let fd = create_array(1, size_of::<Row>() as u32, INNER_MAPPABLE)
        .map_err(|error| refused(&error))?;
    let array = MapData::from_fd(fd).map_err(|error| refused(&error))?;
    tables.set(0, &array, 0).map_err(|error| refused(&error))
}
