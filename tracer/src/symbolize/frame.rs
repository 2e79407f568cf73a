//! What a resolved offset looks like.

use super::Unknown;

/// One frame at an offset.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NamedFrame {
    /// Demangled name, free of control characters.
    pub function: String,
    /// Name as in the object file: the linkage name where there is one.
    pub system_name: String,
    /// Source file as the compiler recorded it, joined with the compilation directory.
    pub file: Option<String>,
    /// Source line, 1-based: of the offset itself in the innermost frame, of the call in the
    /// others.
    pub line: Option<u32>,
}

/// Where the outermost frame's name or line comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// DWARF debug information.
    Dwarf,
    /// `.symtab`, the full symbol table.
    Symtab,
    /// `.dynsym`, the exported symbols only.
    Dynsym,
    /// A stub of the procedure linkage table, named after the function it jumps to.
    Plt,
}

/// An offset with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Frames at the offset, the innermost inlined one first. Never empty.
    pub frames: Vec<NamedFrame>,
    /// Where they come from.
    pub source: Source,
    /// What could not be told, and why: source lines where `source` is not DWARF, or inlined
    /// frames.
    pub incomplete: Option<Unknown>,
}
