//! The little that is asked of a module's ELF file before it is symbolized: what machine it is
//! for, who loads it, and whether it holds an allocator.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use object::elf::{EM_386, EM_X86_64, FileHeader32, FileHeader64};
use object::read::elf::{ElfFile64, FileHeader as _, ProgramHeader as _};
use object::{Endianness, Object as _, ObjectSymbol as _};
use serde::Serialize;
use tracer_common::AllocatorFn;

use super::{ProcessError, read_elf};
use crate::address::FileOffset;
use crate::probe::FunctionCode;

/// The kind of an executable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElfKind {
    /// 64-bit x86-64: can be traced.
    X86_64,
    /// Another machine, by name.
    Foreign(String),
    /// No ELF file.
    NotElf,
}

/// Tells an executable's kind from its first bytes.
///
/// # Errors
///
/// The file could not be read.
pub fn elf_kind(mut file: &File) -> std::io::Result<ElfKind> {
    let mut head = [0; 64];
    let mut filled = 0;
    while filled < head.len() {
        match file.read(&mut head[filled..])? {
            0 => break,
            n => filled += n,
        }
    }
    let head = &head[..filled];
    if let Ok(header) = FileHeader64::<Endianness>::parse(head) {
        let machine = header.e_machine.get(header.endian().unwrap_or_default());
        return Ok(if machine == EM_X86_64 {
            ElfKind::X86_64
        } else {
            ElfKind::Foreign(format!("64-bit ELF (machine {machine:?})"))
        });
    }
    if let Ok(header) = FileHeader32::<Endianness>::parse(head) {
        let machine = header.e_machine.get(header.endian().unwrap_or_default());
        return Ok(ElfKind::Foreign(match machine {
            EM_386 => "32-bit x86".to_owned(),
            EM_X86_64 => "32-bit (x32)".to_owned(),
            other => format!("32-bit ELF (machine {other:?})"),
        }));
    }
    Ok(ElfKind::NotElf)
}

/// Longest body that is looked at, in bytes; the longest known is jemalloc's `realloc` with 8 KiB.
const MAX_CODE: u64 = 64 << 10;

/// Longest body of a function whose symbol has no size, in bytes.
const MAX_UNSIZED: u64 = 4 << 10;

/// Most functions of one module that are looked at: each name twice is already unusual.
const MAX_FUNCTIONS: usize = 256;

/// A C library whose allocator is known: how its functions call each other, and what else goes
/// around them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CLibrary {
    /// The GNU C library.
    Glibc,
    /// musl.
    Musl,
}

impl CLibrary {
    /// Those that can be traced, for a sentence.
    pub const NAMES: &str = "glibc's and musl's";
}

impl fmt::Display for CLibrary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Glibc => "glibc",
            Self::Musl => "musl",
        })
    }
}

/// What a module's symbol tables say about allocators.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModuleSymbols {
    /// The allocator functions it defines, with their code.
    pub allocator: Vec<FunctionCode>,
    /// The C library that it is, or is statically linked with, if the `malloc` it defines is that
    /// library's own.
    pub c_library: Option<CLibrary>,
    /// It has a symbol table beyond the dynamic one.
    pub has_symtab: bool,
}

impl ModuleSymbols {
    /// Whether the module defines `malloc`.
    #[must_use]
    pub fn defines_malloc(&self) -> bool {
        self.allocator
            .iter()
            .any(|symbol| symbol.function == AllocatorFn::Malloc)
    }
}

/// Looks for allocator functions in a module.
///
/// # Errors
///
/// The file is no 64-bit ELF file, or a damaged one.
pub fn module_symbols(file: &File, path: &Path) -> Result<ModuleSymbols, ProcessError> {
    let bad = |reason: String| ProcessError::BadElf {
        path: path.to_owned(),
        reason,
    };
    let cache = read_elf(file);
    let elf = ElfFile64::<Endianness, _>::parse(&cache).map_err(|error| bad(error.to_string()))?;
    let mut found = ModuleSymbols {
        has_symtab: elf.symbol_table().is_some(),
        ..ModuleSymbols::default()
    };
    let mut marks = Marks::default();
    for symbol in elf.dynamic_symbols().chain(elf.symbols()) {
        if !symbol.is_definition() {
            continue;
        }
        let Ok(name) = symbol.name() else { continue };
        if marks.take(name, symbol.is_weak()) {
            continue;
        }
        let Some(function) = AllocatorFn::ALL
            .into_iter()
            .find(|function| function.symbol() == name)
        else {
            continue;
        };
        let Some(entry) = file_offset(&elf, symbol.address()) else {
            continue;
        };
        let is_known = |known: &FunctionCode| (known.function, known.entry) == (function, entry);
        if found.allocator.len() < MAX_FUNCTIONS && !found.allocator.iter().any(is_known) {
            found.allocator.push(FunctionCode {
                function,
                entry,
                code: code(&elf, &symbol, entry).unwrap_or_default(),
            });
        }
    }
    if found.defines_malloc() {
        found.c_library = marks.c_library();
    }
    Ok(found)
}

/// What tells the C libraries apart: which of the symbols that only one of them has are defined.
///
/// That a program is linked with a C library does not make its `malloc` that library's: it may
/// bring one of its own.
#[derive(Debug, Default)]
struct Marks {
    start_main: bool,
    libc_malloc: bool,
    musl_loader: bool,
    musl_init: bool,
    musl_heap: bool,
    weak_malloc: bool,
}

impl Marks {
    /// Notes a symbol that is defined; false for one that may be an allocator function.
    fn take(&mut self, name: &str, is_weak: bool) -> bool {
        let mark = match name {
            "__libc_start_main" => &mut self.start_main,
            "__libc_malloc" => &mut self.libc_malloc,
            "__dls3" => &mut self.musl_loader,
            "__init_libc" => &mut self.musl_init,
            "__expand_heap" => &mut self.musl_heap,
            "malloc" => {
                self.weak_malloc |= is_weak;
                return false;
            }
            _ => return false,
        };
        *mark = true;
        true
    }

    /// Whose the module's `malloc` is.
    ///
    /// musl: the shared library is its own loader, the third stage of which has kept the name
    /// `__dls3` since 1.1. Static programs are started by its `__init_libc`. Its `malloc` is weak
    /// since 1.2.1, so that one of the program's own replaces it; before, it came with the function
    /// that gets memory from the kernel, `__expand_heap`. (`__libc_malloc` says nothing: musl's own
    /// functions keep the original under that name beside a replacement.)
    ///
    /// glibc: a static one defines `__libc_malloc`, as do allocators made to replace it (tcmalloc,
    /// mimalloc), and `__libc_start_main`, which those don't.
    fn c_library(&self) -> Option<CLibrary> {
        if !self.start_main {
            return None;
        }
        if self.musl_loader || self.musl_init {
            let own = self.musl_loader || self.weak_malloc || self.musl_heap;
            return own.then_some(CLibrary::Musl);
        }
        self.libc_malloc.then_some(CLibrary::Glibc)
    }
}

/// The body of a function: as long as its symbol says, or, where that says nothing (assembly), up
/// to the next symbol. `None` where it is longer than any allocator function: half a body would
/// hide the jumps in the other half.
fn code<'data, R: object::ReadRef<'data>>(
    elf: &ElfFile64<'data, Endianness, R>,
    symbol: &impl object::ObjectSymbol<'data>,
    entry: FileOffset,
) -> Option<Vec<u8>> {
    let start = symbol.address();
    let size = match symbol.size() {
        0 => elf
            .dynamic_symbols()
            .chain(elf.symbols())
            .filter_map(|other| other.address().checked_sub(start))
            .filter(|&distance| distance > 0)
            .min()
            .map_or(MAX_UNSIZED, |distance| distance.min(MAX_UNSIZED)),
        size => size,
    };
    if size > MAX_CODE {
        return None;
    }
    // What the segment holds of it: the kernel maps no more.
    let last = file_offset(elf, start.checked_add(size - 1)?)?;
    if last.0.checked_sub(entry.0)? != size - 1 {
        return None;
    }
    let code = elf.data().read_bytes_at(entry.0, size).ok()?;
    Some(code.to_vec())
}

/// File offset of a virtual address, by the segments: sections may be stripped, and the kernel
/// maps segments.
fn file_offset<'data, R: object::ReadRef<'data>>(
    elf: &ElfFile64<'data, Endianness, R>,
    address: u64,
) -> Option<FileOffset> {
    let endian = elf.endian();
    elf.elf_program_headers().iter().find_map(|segment| {
        if segment.p_type(endian) != object::elf::PT_LOAD {
            return None;
        }
        let within = address.checked_sub(segment.p_vaddr(endian))?;
        (within < segment.p_filesz(endian)).then(|| FileOffset(segment.p_offset(endian) + within))
    })
}

/// The program interpreter (the dynamic loader) an executable asks for; `None` for a static one.
///
/// # Errors
///
/// The file is no 64-bit ELF file, or a damaged one.
pub fn interpreter(file: &File, path: &Path) -> Result<Option<PathBuf>, ProcessError> {
    use std::os::unix::ffi::OsStrExt as _;
    let bad = |reason: String| ProcessError::BadElf {
        path: path.to_owned(),
        reason,
    };
    let cache = read_elf(file);
    let elf = ElfFile64::<Endianness, _>::parse(&cache).map_err(|error| bad(error.to_string()))?;
    let endian = elf.endian();
    for segment in elf.elf_program_headers() {
        let name = segment
            .interpreter(endian, &cache)
            .map_err(|error| bad(error.to_string()))?;
        if let Some(name) = name {
            return Ok(Some(PathBuf::from(std::ffi::OsStr::from_bytes(name))));
        }
    }
    Ok(None)
}
