//! The little that is asked of a module's ELF file before it is symbolized: what machine it is
//! for, who loads it, and whether it holds an allocator.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use object::elf::{EM_386, EM_X86_64, FileHeader32, FileHeader64, PF_X, PT_LOAD};
use object::read::elf::{ElfFile64, FileHeader as _, ProgramHeader as _};
use object::{Endianness, Object as _, ObjectSymbol as _, ReadRef as _};
use tracer_common::{AllocatorFn, IoFn};

use super::{ProcessError, read_elf};
use crate::address::FileOffset;
use crate::probe::{AllocatorKind, FunctionCode, Marks, Naming, named_function};

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

/// What a module's symbol tables say about allocators.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModuleSymbols {
    /// The allocator functions it defines, with their code: those of the known allocators, or, where
    /// there is none, whatever has such a name.
    pub functions: Vec<FunctionCode>,
    /// Where it is a C library, or holds one: what of that can be counted.
    pub counted: Vec<FunctionCode<IoFn>>,
    /// The known allocators that it holds, those that it is statically linked with included.
    pub allocators: Vec<AllocatorKind>,
    /// It defines a `malloc` that is none of theirs.
    pub has_unknown_malloc: bool,
    /// It has a symbol table beyond the dynamic one.
    pub has_symtab: bool,
    /// It is a program written in Go.
    pub is_go: bool,
}

impl ModuleSymbols {
    /// Whether the module defines `malloc`.
    #[must_use]
    pub fn defines_malloc(&self) -> bool {
        self.functions
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
        is_go: elf.section_by_name(".go.buildinfo").is_some(),
        ..ModuleSymbols::default()
    };
    let mut marks = Marks::default();
    let mut functions: Vec<(FunctionCode, Naming)> = Vec::new();
    let mut counted = Vec::new();
    for symbol in elf.dynamic_symbols().chain(elf.symbols()) {
        if !symbol.is_definition() {
            continue;
        }
        let Ok(name) = symbol.name() else { continue };
        marks.note(name, symbol.is_weak());
        // A local one is the program's own.
        if let Some(function) = IoFn::named(name).filter(|_| !symbol.is_local())
            && let Some(entry) = file_offset(&elf, symbol.address())
            && counted.len() < MAX_FUNCTIONS
            && !counted
                .iter()
                .any(|known: &FunctionCode<IoFn>| known.entry == entry)
            && let Some(code) = code(&elf, &symbol, entry)
        {
            counted.push(FunctionCode {
                function,
                entry,
                code,
            });
        }
        let Some((function, naming)) = named_function(name) else {
            continue;
        };
        let Some(entry) = file_offset(&elf, symbol.address()) else {
            continue;
        };
        let is_known = |(known, by): &(FunctionCode, Naming)| {
            (known.function, known.entry, *by) == (function, entry, naming)
        };
        if functions.len() < MAX_FUNCTIONS && !functions.iter().any(is_known) {
            let code = FunctionCode {
                function,
                entry,
                code: code(&elf, &symbol, entry).unwrap_or_default(),
            };
            functions.push((code, naming));
        }
    }
    found.allocators = marks.allocators();
    if marks.is_c_library() {
        found.counted = counted;
    }
    found.has_unknown_malloc = marks.malloc_is_unknown();
    found.functions = functions
        .into_iter()
        .filter(|&(_, naming)| {
            marks.explain(naming) || (found.allocators.is_empty() && naming == Naming::C)
        })
        .map(|(function, _)| function)
        .collect();
    Ok(found)
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

/// Longest code of a module that is looked at as a whole, in bytes: the largest browsers have 200 MB.
const MAX_SEGMENTS: u64 = 512 << 20;

/// The segments of a module that hold code: where each begins in the file, and its bytes.
///
/// # Errors
///
/// The file is no 64-bit ELF file, a damaged one, or one with more code than any program has.
pub fn code_segments(file: &File, path: &Path) -> Result<Vec<(FileOffset, Vec<u8>)>, ProcessError> {
    let bad = |reason: &str| ProcessError::BadElf {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    let cache = read_elf(file);
    let elf = ElfFile64::<Endianness, _>::parse(&cache).map_err(|error| bad(&error.to_string()))?;
    let endian = elf.endian();
    let mut left = MAX_SEGMENTS;
    let mut segments = Vec::new();
    for segment in elf.elf_program_headers() {
        if segment.p_type(endian) != PT_LOAD || segment.p_flags(endian).0 & PF_X.0 == 0 {
            continue;
        }
        let (start, size) = (segment.p_offset(endian), segment.p_filesz(endian));
        left = left.checked_sub(size).ok_or_else(|| bad("too much code"))?;
        let bytes = elf.data().read_bytes_at(start, size);
        let bytes = bytes.map_err(|()| bad("a segment is cut off"))?;
        segments.push((FileOffset(start), bytes.to_vec()));
    }
    Ok(segments)
}

/// File offset of a virtual address, by the segments: sections may be stripped, and the kernel
/// maps segments.
fn file_offset<'data, R: object::ReadRef<'data>>(
    elf: &ElfFile64<'data, Endianness, R>,
    address: u64,
) -> Option<FileOffset> {
    let endian = elf.endian();
    elf.elf_program_headers().iter().find_map(|segment| {
        if segment.p_type(endian) != PT_LOAD {
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
