//! The little that is asked of a module's ELF file before it is symbolized: what machine it is
//! for, who loads it, and whether it holds an allocator.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use object::elf::{EM_386, EM_X86_64, FileHeader32, FileHeader64};
use object::read::elf::{ElfFile64, FileHeader as _, ProgramHeader as _};
use object::{Endianness, Object as _, ObjectSymbol as _, ReadCache};
use tracer_common::AllocatorFn;

use super::ProcessError;
use crate::address::FileOffset;
use crate::probe::AllocatorSymbol;

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

/// What a module's symbol tables say about allocators.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModuleSymbols {
    /// The allocator functions it defines.
    pub allocator: Vec<AllocatorSymbol>,
    /// It defines `__libc_malloc`, which only glibc does: statically linked or as `libc.so.6`.
    pub is_glibc: bool,
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
    let cache = ReadCache::new(file);
    let elf = ElfFile64::<Endianness, _>::parse(&cache).map_err(|error| bad(error.to_string()))?;
    let mut found = ModuleSymbols {
        has_symtab: elf.symbol_table().is_some(),
        ..ModuleSymbols::default()
    };
    for symbol in elf.dynamic_symbols().chain(elf.symbols()) {
        if !symbol.is_definition() {
            continue;
        }
        let Ok(name) = symbol.name() else { continue };
        if name == "__libc_malloc" {
            found.is_glibc = true;
            continue;
        }
        let Some(function) = AllocatorFn::ALL
            .into_iter()
            .find(|function| function.symbol() == name)
        else {
            continue;
        };
        let Some(offset) = file_offset(&elf, symbol.address()) else {
            continue;
        };
        let symbol = AllocatorSymbol { function, offset };
        if !found.allocator.contains(&symbol) {
            found.allocator.push(symbol);
        }
    }
    Ok(found)
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
    let cache = ReadCache::new(file);
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
