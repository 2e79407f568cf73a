//! Sites: of a stack what is allocated, where, and for which of the program's own lines.
//!
//! Each frame has a [`Kind`], whose code it is, by one table (`table.txt`) that a user adds to
//! ([`Rules`]). From these come the [`Marks`] of a stack. Pure: profiles in, marks out; nothing is read or
//! written. A profile is never changed by it, other people's profiles are classified alike.

mod classify;
mod crates;
mod fan;
mod fold;
mod marks;
mod rules;
mod table;
#[cfg(test)]
pub(crate) mod tests;

pub use classify::{Sites, is_no_file};
pub use fold::{group, groups};
pub use marks::{Marks, Purpose, SiteFrame};
pub use rules::Rules;

/// Whose code a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An allocator: `malloc`, `operator new`, `alloc::alloc`.
    Allocator,
    /// Allocates on behalf of its callers: `xmalloc`, `ngx_palloc`, `PyUnicode_New`.
    Wrapper,
    /// A container: `Vec`, `std::map`, `BytesMut`.
    Container,
    /// A language's library, the C library, how threads and programs begin.
    Standard,
    /// What runs others' code: schedulers, interpreters, code made at run time.
    Runtime,
    /// A library of the system.
    System,
    /// A package that was fetched.
    Dependency,
    /// The program.
    Own,
    /// No code: where a stack is cut or unknown.
    Nothing,
}

impl Kind {
    /// All that is code, the nearest to the user first.
    pub const ALL: [Self; 8] = [
        Self::Own,
        Self::Dependency,
        Self::System,
        Self::Runtime,
        Self::Standard,
        Self::Container,
        Self::Wrapper,
        Self::Allocator,
    ];

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allocator => "allocator",
            Self::Wrapper => "wrapper",
            Self::Container => "container",
            Self::Standard => "standard library",
            Self::Runtime => "runtime",
            Self::System => "system library",
            Self::Dependency => "dependency",
            Self::Own => "own code",
            Self::Nothing => "unknown",
        }
    }

    /// Whether it can be where memory is allocated: others do so only on somebody's behalf.
    #[must_use]
    pub const fn is_place(self) -> bool {
        matches!(
            self,
            Self::Own | Self::Dependency | Self::System | Self::Runtime
        )
    }
}

/// Whether a source file is one that a package manager has fetched.
#[must_use]
pub fn is_package(file: &str) -> bool {
    table::Table::built_in().by_file(file) == Some(Kind::Dependency)
}
