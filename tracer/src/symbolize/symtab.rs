//! Symbol tables: an address to the function symbol that covers it.
//!
//! A symbol names exactly the bytes its size says. What lies in the gap behind it belongs to
//! something without a symbol, and naming that would be a lie.

use super::demangle::MAX_NAME;
use super::elf::{Elf, Section};
use object::LittleEndian;
use object::elf::{
    SHN_ABS, SHN_COMMON, SHN_UNDEF, STB_GLOBAL, STB_GNU_UNIQUE, STB_WEAK, STT_FUNC, STT_GNU_IFUNC,
    STT_NOTYPE, Sym64,
};

/// The function symbols of one table.
#[derive(Debug, Default)]
pub(super) struct SymbolTable {
    /// By start; of equal starts the preferred one last.
    symbols: Vec<Symbol>,
    /// For each symbol the greatest end of all up to it: a search backwards ends where this falls
    /// to the address.
    greatest_ends: Vec<u64>,
    strings: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Symbol {
    start: u64,
    end: u64,
    name: u32,
    /// 0 global, 1 weak, 2 local.
    binding: u8,
    /// Hand-written assembly often has no type.
    untyped: bool,
}

/// What to do with symbols that have no size, as hand-written assembly has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsized {
    /// They reach to the next symbol.
    Extend,
    /// They name nothing: in a table of exported symbols the next one may be far behind any
    /// number of functions that are not exported.
    Ignore,
}

impl SymbolTable {
    /// Reads the table in the section of this name; empty where there is none.
    ///
    /// # Errors
    /// Why it cannot be read, for people.
    pub(super) fn load(elf: &Elf, section: &str, zero_sized: Unsized) -> Result<Self, String> {
        let Some(section) = elf.section(section) else {
            return Ok(Self::default());
        };
        let bytes = elf.contents(section)?;
        let Some(strings) = elf.section_at(section.link) else {
            return Err("symbol table without names".to_owned());
        };
        let strings = elf.contents(strings)?;
        let (entries, _) = object::pod::slice_from_bytes::<Sym64<LittleEndian>>(
            &bytes,
            bytes.len() / size_of::<Sym64<LittleEndian>>(),
        )
        .map_err(|()| "symbol table is misaligned".to_owned())?;
        let mut code: Vec<_> = elf
            .sections()
            .iter()
            .filter(|section| section.is_executable())
            .collect();
        code.sort_by_key(|section| section.address);

        let (sized, labels): (Vec<_>, Vec<_>) = entries
            .iter()
            .filter_map(|entry| function_symbol(entry, &code))
            .filter(|symbol| !name_in(&strings, symbol.name).is_empty())
            .partition(|symbol| symbol.start < symbol.end);
        let table = Self::new(sized, strings);
        Ok(match zero_sized {
            Unsized::Extend if !labels.is_empty() => table.with_labels(labels, &code),
            _ => table,
        })
    }

    fn new(mut symbols: Vec<Symbol>, strings: Vec<u8>) -> Self {
        symbols.sort_by(|a, b| {
            a.start
                .cmp(&b.start)
                .then_with(|| b.preference(&strings).cmp(&a.preference(&strings)))
        });
        let mut greatest = 0;
        let greatest_ends = symbols
            .iter()
            .map(|symbol| {
                greatest = symbol.end.max(greatest);
                greatest
            })
            .collect();
        Self {
            symbols,
            greatest_ends,
            strings,
        }
    }

    /// Adds symbols without a size, each reaching to the next symbol. One inside a sized symbol
    /// is a label of that function and adds nothing.
    fn with_labels(self, mut labels: Vec<Symbol>, code: &[&Section]) -> Self {
        labels.retain(|label| self.covering(label.start).is_none());
        labels.sort_by_key(|label| label.start);
        let next_start = |symbols: &[Symbol], start| {
            let behind = symbols.partition_point(|symbol| symbol.start <= start);
            symbols.get(behind).map_or(u64::MAX, |next| next.start)
        };
        let placed: Vec<_> = labels
            .iter()
            .filter_map(|label| {
                let end = next_start(&labels, label.start)
                    .min(next_start(&self.symbols, label.start))
                    .min(end_of_code(code, label.start)?);
                Some(Symbol { end, ..*label })
            })
            .collect();
        let mut symbols = self.symbols;
        symbols.extend(placed);
        Self::new(symbols, self.strings)
    }

    /// Whether there are no function symbols.
    pub(super) fn is_empty(&self) -> bool {
        self.symbols.is_empty()
    }

    /// The name of the symbol that covers a virtual address; of several that do, the one that
    /// starts last.
    pub(super) fn find(&self, address: u64) -> Option<&[u8]> {
        self.covering(address)
            .map(|symbol| without_version(name_in(&self.strings, symbol.name)))
    }

    fn covering(&self, address: u64) -> Option<&Symbol> {
        let behind = self
            .symbols
            .partition_point(|symbol| symbol.start <= address);
        (0..behind)
            .rev()
            .take_while(|&index| self.greatest_ends[index] > address)
            .map(|index| &self.symbols[index])
            .find(|symbol| symbol.end > address)
    }
}

impl Symbol {
    /// Which of several aliases to take, the lowest first: the exported one, the strong one, the
    /// one with a type, with fewer underscores in front, the shorter one, the first in the
    /// alphabet.
    fn preference<'a>(&self, strings: &'a [u8]) -> (u8, bool, usize, usize, &'a [u8]) {
        let name = name_in(strings, self.name);
        let underscores = name.iter().take_while(|&&byte| byte == b'_').count();
        (self.binding, self.untyped, underscores, name.len(), name)
    }
}

fn function_symbol(entry: &Sym64<LittleEndian>, code: &[&Section]) -> Option<Symbol> {
    let section = entry.st_shndx.get(LittleEndian);
    if [SHN_UNDEF, SHN_ABS, SHN_COMMON].contains(&section) {
        return None;
    }
    let untyped = match entry.st_type() {
        STT_FUNC | STT_GNU_IFUNC => false,
        STT_NOTYPE => true,
        _ => return None,
    };
    let binding = match entry.st_bind() {
        STB_GLOBAL | STB_GNU_UNIQUE => 0,
        STB_WEAK => 1,
        _ => 2,
    };
    let start = entry.st_value.get(LittleEndian);
    let section_end = end_of_code(code, start)?;
    Some(Symbol {
        start,
        end: start
            .saturating_add(entry.st_size.get(LittleEndian))
            .min(section_end),
        name: entry.st_name.get(LittleEndian),
        binding,
        untyped,
    })
}

/// End of the code section an address lies in. Found by address, not by the symbol's section
/// index: that also does for the sections of a separate debug file.
fn end_of_code(code: &[&Section], address: u64) -> Option<u64> {
    let behind = code.partition_point(|section| section.address <= address);
    let section = code.get(behind.checked_sub(1)?)?;
    let end = section.address.saturating_add(section.size);
    (address < end).then_some(end)
}

/// A name in the string table, without its terminator; no longer than any name that is shown.
fn name_in(strings: &[u8], offset: u32) -> &[u8] {
    let rest = strings.get(offset as usize..).unwrap_or_default();
    let rest = &rest[..rest.len().min(MAX_NAME + 1)];
    rest.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// Linkers write the version of an exported symbol into its name: `memcpy@@GLIBC_2.14`.
fn without_version(name: &[u8]) -> &[u8] {
    match name.iter().position(|&byte| byte == b'@') {
        Some(at) if at > 0 => &name[..at],
        _ => name,
    }
}
