//! The unwinder's tables: rules, rows and mappings, as the kernel side reads them.

use std::collections::HashMap;
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::Pod;
use aya::maps::{ArrayOfMaps, MapData};
use tracer_common::limits::INNER_MAPPABLE;
use tracer_common::{
    MAX_RULES, MAX_SPACE_ENTRIES, MAX_TABLES, RULE_CACHE_ENTRIES, Row, Rule, SpaceEntry, rule_ids,
};

use super::BpfError;
use super::error::map_error;
use super::sys::create_array;
use super::view::View;

/// Bytes that all tables of a session may take: libLLVM's is 7 MB, all of a browser's 60.
const MAX_TABLE_BYTES: usize = 256 << 20;

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

/// The tables of a session.
pub struct UnwindMaps {
    /// Hold the arrays that are mapped.
    _arrays: [MapData; 2],
    rules: View<Rule>,
    cache: View<u64>,
    tables: ArrayOfMaps<MapData, MapData>,
    spaces: ArrayOfMaps<MapData, MapData>,
    /// The dictionary's numbers.
    numbers: HashMap<Rule, u16>,
    /// Arrays of rows so far.
    loaded: u32,
    table_bytes: usize,
    version: u64,
}

impl UnwindMaps {
    /// The maps that the loader has made.
    pub(super) fn new(
        rules: MapData,
        cache: MapData,
        tables: ArrayOfMaps<MapData, MapData>,
        spaces: ArrayOfMaps<MapData, MapData>,
    ) -> Result<Self, BpfError> {
        let mut unwinding = Self {
            rules: View::new("RULES", rules.fd().as_fd(), MAX_RULES as usize)?,
            cache: View::new(
                "RULE_CACHE",
                cache.fd().as_fd(),
                RULE_CACHE_ENTRIES as usize,
            )?,
            _arrays: [rules, cache],
            tables,
            spaces,
            numbers: HashMap::new(),
            loaded: 0,
            table_bytes: 0,
            version: 0,
        };
        for (id, rule) in [
            (rule_ids::GAP, Rule::NONE),
            (rule_ids::STOP, Rule::STOP),
            (rule_ids::FRAME_POINTER, Rule::FRAME_POINTER),
            (rule_ids::UNMAPPED, Rule::NONE),
            (rule_ids::UNSUPPORTED, Rule::UNSUPPORTED),
        ] {
            unwinding.write_rule(id, rule);
            // A function with a frame pointer has the rule of code without a table, and is not such.
            if !matches!(id, rule_ids::FRAME_POINTER | rule_ids::UNMAPPED) {
                unwinding.numbers.insert(rule, id);
            }
        }
        Ok(unwinding)
    }

    /// Loads modules' tables, each given by its rows and their rules; `None` where there is nothing in
    /// it, or no room for it.
    ///
    /// They share an array: the kernel waits for running programs after each change of a map of maps,
    /// about 9 ms.
    ///
    /// # Errors
    ///
    /// The kernel refused.
    pub fn load(
        &mut self,
        modules: &[(&[Row], &[Rule])],
    ) -> Result<Vec<Option<LoadedTable>>, BpfError> {
        let number = self.loaded + 1;
        let mut all = Vec::new();
        let mut loaded = Vec::new();
        for &(rows, rules) in modules {
            let bytes = self.table_bytes + size_of_val(&*all) + size_of_val(rows);
            if rows.is_empty() || number >= MAX_TABLES || bytes > MAX_TABLE_BYTES {
                loaded.push(None);
                continue;
            }
            // Within the limit in bytes they are far from 2^32.
            loaded.push(Some(LoadedTable {
                number,
                first: all.len() as u32,
                rows: rows.len() as u32,
            }));
            let numbers: Vec<u16> = rules.iter().map(|&rule| self.number(rule)).collect();
            all.extend(rows.iter().map(|row| {
                Row {
                    rule: numbers
                        .get(usize::from(row.rule))
                        .copied()
                        .unwrap_or(rule_ids::UNSUPPORTED),
                    ..*row
                }
            }));
        }
        if !all.is_empty() {
            put("TABLES", &mut self.tables, number, &all)?;
            self.loaded = number;
            self.table_bytes += size_of_val(&*all);
        }
        Ok(loaded)
    }

    /// Publishes the executable mappings of a heap's process, in place of those before: sorted, not
    /// overlapping, with tables that were loaded before. Those beyond what there is room for are left
    /// out.
    ///
    /// # Errors
    ///
    /// The kernel refused.
    pub fn publish(&mut self, heap: u32, entries: &[SpaceEntry]) -> Result<(), BpfError> {
        let entries = &entries[..entries.len().min(MAX_SPACE_ENTRIES as usize)];
        self.version += 1;
        if self.version > u64::from(u16::MAX) {
            // Used up; nothing may remain of the first ones.
            for entry in self.cache.iter() {
                // SAFETY: the view's pointers are valid and aligned.
                unsafe { AtomicU64::from_ptr(entry) }.store(0, Ordering::Relaxed);
            }
            self.version = 1;
        }
        let head = SpaceEntry {
            start: self.version,
            end: entries.len() as u64,
            ..SpaceEntry::default()
        };
        let all: Vec<_> = std::iter::once(head)
            .chain(entries.iter().copied())
            .collect();
        put("SPACES", &mut self.spaces, heap, &all)
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

/// Makes an array of the entries and puts it into a map of maps.
fn put<T: Pod>(
    map: &'static str,
    outer: &mut ArrayOfMaps<MapData, MapData>,
    index: u32,
    entries: &[T],
) -> Result<(), BpfError> {
    let refused = |error: &dyn std::error::Error| map_error(map, "written", error);
    let count = u32::try_from(entries.len()).map_err(|error| refused(&error))?;
    let fd = create_array(count, size_of::<T>() as u32, INNER_MAPPABLE)
        .map_err(|error| refused(&error))?;
    {
        let view = View::<T>::new(map, fd.as_fd(), entries.len())?;
        for (place, entry) in view.iter().zip(entries) {
            // SAFETY: a valid pointer into an array that nobody else knows of yet.
            unsafe { place.write(*entry) };
        }
    }
    let array = MapData::from_fd(fd).map_err(|error| refused(&error))?;
    outer.set(index, &array, 0).map_err(|error| refused(&error))
}
