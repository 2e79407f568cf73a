//! Why a file has no unwind table.

/// Why no table could be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnwindError {
    /// It is something else.
    #[error("not an ELF file")]
    NotElf,
    /// The machine, class or byte order is another.
    #[error("an ELF file, but not for x86-64")]
    NotX86_64,
    /// An object file, a core dump.
    #[error("an ELF file, but neither a program nor a shared library")]
    NotLoadable,
    /// Headers that contradict each other or the file's length.
    #[error("damaged ELF file: {0}")]
    Damaged(&'static str),
    /// More than can be meant seriously.
    #[error("{what} is too large: {amount}, at most {limit} are taken")]
    TooLarge {
        /// What.
        what: &'static str,
        /// Bytes or rows it has, or claims to have.
        amount: u64,
        /// The limit it exceeds.
        limit: u64,
    },
}
