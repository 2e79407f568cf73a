//! Addresses to frames; "unknown" is data with a reason, not an error.
//!
//! A [`Module`] is one mapped ELF file. It turns an offset in that file into a function, a source
//! line and the frames inlined there, from DWARF where there is any, else from `.symtab` or
//! `.dynsym`. A [`Symbolizer`] owns the modules of a recording and remembers every answer.
//!
//! Rules of the room:
//! - A wrong name is worse than none. Whatever cannot be told for sure is an [`Unknown`].
//! - Files belong to the target and may be hostile: nothing here panics on them, follows them out
//!   of the root they were found in, or lets them take memory, stack or time out of proportion to
//!   their size.
//! - Files are read through descriptors the caller opened and never memory-mapped: a file that is
//!   truncated while mapped would kill this process with SIGBUS, a short read is just a reason.
//! - No process, mapping or live address is known here: offsets in, frames out.
//!
//! Limits: 64-bit little-endian ELF. Split DWARF (`.dwo`, `.dwp`) is not opened, its skeleton
//! units still give lines. Symbols in `.gnu_debugdata` are not read, and nothing is fetched over
//! the network.

mod cache;
mod debug_file;
pub(crate) mod demangle;
mod dwarf;
mod elf;
mod frame;
mod module;
mod plt;
mod reader;
mod symtab;
mod unknown;

#[cfg(test)]
mod tests;

pub use cache::{ModuleId, Symbolizer};
pub use debug_file::DebugRoots;
pub use frame::{NamedFrame, Resolved, Source};
pub use module::Module;
pub use unknown::Unknown;
