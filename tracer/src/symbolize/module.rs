//! One mapped ELF file, and the order in which its sources of names are asked.

use super::debug_file::{self, DebugFile, DebugRoots};
use super::demangle::{clean_symbol, clean_text, demangle, is_mangled};
use super::dwarf::{DebugInfo, DwarfFrame, has_debug_info};
use super::elf::{Elf, Image};
use super::plt::Plt;
use super::symtab::{SymbolTable, Unsized};
use super::unknown::hex;
use super::{NamedFrame, Resolved, Source, Unknown};
use crate::address::FileOffset;
use std::cell::OnceCell;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One ELF file. Opening it reads the headers; symbols and debug information are read when the
/// first offset is resolved, and stay in memory with it. Neither that nor anything else needs the
/// process that mapped it.
pub struct Module {
    elf: Elf,
    path: PathBuf,
    roots: Arc<DebugRoots>,
    debug_file: OnceCell<Option<DebugFile>>,
    debug_info: OnceCell<Result<DebugInfo, Unknown>>,
    symbols: OnceCell<Symbols>,
    plt: OnceCell<Plt>,
}

/// Symbol tables in the order they are asked.
struct Symbols {
    tables: Vec<(Source, SymbolTable)>,
}

impl Module {
    /// Opens a file the caller has found and opened, which need not have a name any more. `path`
    /// is the one the target sees: debug files are looked for beside it, inside `roots`.
    ///
    /// # Errors
    /// When it cannot be read or is no ELF file of a supported kind.
    pub fn open(file: File, path: &Path, roots: Arc<DebugRoots>) -> Result<Self, Unknown> {
        Self::new(file.into(), path, roots)
    }

    /// Takes an ELF image that is in memory already, such as the vDSO's.
    ///
    /// # Errors
    /// When it is no ELF image of a supported kind.
    pub fn from_bytes(
        bytes: impl Into<Arc<[u8]>>,
        path: &Path,
        roots: Arc<DebugRoots>,
    ) -> Result<Self, Unknown> {
        Self::new(Image::Memory(bytes.into()), path, roots)
    }

    fn new(image: Image, path: &Path, roots: Arc<DebugRoots>) -> Result<Self, Unknown> {
        Ok(Self {
            elf: Elf::parse(image)?,
            path: path.to_owned(),
            roots,
            debug_file: OnceCell::new(),
            debug_info: OnceCell::new(),
            symbols: OnceCell::new(),
            plt: OnceCell::new(),
        })
    }

    /// GNU build id, raw.
    #[must_use]
    pub fn build_id(&self) -> Option<&[u8]> {
        self.elf.build_id()
    }

    /// Whether source lines can be had at all, and why not. Loads the debug information.
    ///
    /// # Errors
    /// Why there are none.
    pub fn has_lines(&self) -> Result<(), Unknown> {
        match self.debug_info() {
            Ok(_) => Ok(()),
            Err(reason) => Err(reason.clone()),
        }
    }

    /// The frames at an offset in the file.
    ///
    /// # Errors
    /// Why nothing names it.
    pub fn resolve(&self, offset: FileOffset) -> Result<Resolved, Unknown> {
        let address = self
            .elf
            .address_of(offset.0)
            .ok_or(Unknown::OutsideSegments)?;
        let (frames, no_lines) = match self.debug_info() {
            Ok(info) => match info.frames(address, |address| self.elf.is_code(address)) {
                Ok(frames) if frames.is_empty() => (frames, Some(Unknown::NotInDebugInfo)),
                Ok(frames) => (frames, None),
                Err(error) => (Vec::new(), Some(Unknown::BadDebugInfo(error.into()))),
            },
            Err(reason) => (Vec::new(), Some(reason.clone())),
        };
        let symbol = self.symbols().find(address);
        let symbol = symbol.or_else(|| {
            let mut name = self.plt().find(address)?.to_vec();
            name.extend_from_slice(b"@plt");
            Some((Source::Plt, name))
        });
        combine(frames, symbol, no_lines).map_err(|reason| self.no_name(reason))
    }

    fn no_name(&self, reason: Option<Unknown>) -> Unknown {
        let stripped = !self.symbols().has(Source::Symtab);
        if stripped && matches!(reason, Some(Unknown::NoDebugInfo(_))) {
            return Unknown::NoSymbols(self.build_id_hex());
        }
        let damage = reason.filter(|reason| matches!(reason, Unknown::BadDebugInfo(_)));
        Unknown::NoSymbolAt(damage.map(Arc::new))
    }

    fn build_id_hex(&self) -> Option<Arc<str>> {
        self.build_id().map(|id| hex(id).into())
    }

    fn debug_file(&self) -> Option<&DebugFile> {
        self.debug_file
            .get_or_init(|| debug_file::find(&self.elf, &self.path, &self.roots))
            .as_ref()
    }

    fn debug_info(&self) -> Result<&DebugInfo, &Unknown> {
        self.debug_info
            .get_or_init(|| {
                let loaded = if has_debug_info(&self.elf) {
                    let other = debug_file::supplementary(&self.elf, &self.path, &self.roots);
                    DebugInfo::load(&self.elf, other.as_ref())
                } else if let Some(file) =
                    self.debug_file().filter(|file| has_debug_info(&file.elf))
                {
                    DebugInfo::load(&file.elf, file.supplementary.as_ref())
                } else {
                    return Err(Unknown::NoDebugInfo(self.build_id_hex()));
                };
                loaded.map_err(|error| Unknown::BadDebugInfo(error.into()))
            })
            .as_ref()
    }

    fn symbols(&self) -> &Symbols {
        self.symbols.get_or_init(|| {
            let load = |elf, section, zero_sized| {
                // A table that cannot be read names nothing; the others still may.
                SymbolTable::load(elf, section, zero_sized).unwrap_or_default()
            };
            let mut full = load(&self.elf, ".symtab", Unsized::Extend);
            if full.is_empty()
                && let Some(file) = self.debug_file()
            {
                full = load(&file.elf, ".symtab", Unsized::Extend);
            }
            let exported = load(&self.elf, ".dynsym", Unsized::Ignore);
            Symbols {
                tables: [(Source::Symtab, full), (Source::Dynsym, exported)]
                    .into_iter()
                    .filter(|(_, table)| !table.is_empty())
                    .collect(),
            }
        })
    }

    fn plt(&self) -> &Plt {
        self.plt.get_or_init(|| Plt::load(&self.elf))
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Module")
            .field("path", &self.path)
            .field("build_id", &self.build_id_hex())
            .finish_non_exhaustive()
    }
}

impl Symbols {
    fn has(&self, source: Source) -> bool {
        self.tables.iter().any(|(table, _)| *table == source)
    }

    fn find(&self, address: u64) -> Option<(Source, Vec<u8>)> {
        self.tables
            .iter()
            .find_map(|(source, table)| Some((*source, table.find(address)?.to_vec())))
    }
}

/// Puts together what DWARF and the symbol table say of one address. The error is why there are
/// no lines either.
fn combine(
    dwarf: Vec<DwarfFrame>,
    symbol: Option<(Source, Vec<u8>)>,
    no_lines: Option<Unknown>,
) -> Result<Resolved, Option<Unknown>> {
    let Some(last) = dwarf.len().checked_sub(1) else {
        let Some((source, name)) = symbol else {
            return Err(no_lines);
        };
        return Ok(Resolved {
            frames: vec![named(&name, None, None)],
            source,
            incomplete: no_lines,
        });
    };
    let mut frames = Vec::with_capacity(dwarf.len());
    let mut incomplete = None;
    for (index, frame) in dwarf.into_iter().enumerate() {
        let symbol = symbol.as_ref().map(|(_, name)| name.as_slice());
        let name = match (frame.name, symbol) {
            // The symbol table names the outermost frame only: the function that is really there.
            (None, Some(symbol)) if index == last => symbol.to_vec(),
            (Some(name), Some(symbol)) if index == last => fuller_name(name, symbol),
            (Some(name), _) => name,
            // The next frame has the line of the call, and so stays right without this one.
            (None, _) => {
                incomplete = Some(Unknown::InlinedWithoutName);
                continue;
            }
        };
        frames.push(named(&name, frame.file, frame.line));
    }
    if frames.is_empty() {
        return Err(no_lines);
    }
    Ok(Resolved {
        frames,
        source: Source::Dwarf,
        incomplete,
    })
}

/// The linkage name where DWARF has only the plain one: compilers leave it out for functions of
/// internal linkage and in reduced debug information, and `helper` is less than
/// `(anonymous namespace)::helper(int)`.
fn fuller_name(name: Vec<u8>, symbol: &[u8]) -> Vec<u8> {
    let plain = String::from_utf8_lossy(&name);
    let symbol_text = String::from_utf8_lossy(symbol);
    let same_function = !is_mangled(&plain)
        && is_mangled(&symbol_text)
        && demangle(&symbol_text).contains(plain.as_ref());
    if same_function { symbol.to_vec() } else { name }
}

fn named(name: &[u8], file: Option<String>, line: Option<u32>) -> NamedFrame {
    let system_name = clean_symbol(name);
    NamedFrame {
        function: demangle(&system_name),
        system_name,
        file: file
            .filter(|file| !file.is_empty())
            .map(|file| clean_text(&file)),
        line,
    }
}
