//! Why an offset has no name.

use std::fmt::Write as _;
use std::sync::Arc;

/// Why an offset has no name, or less than could be said of it. Its `Display` is a short reason for
/// people. Some of these only the caller can find out, before there is a module at all.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unknown {
    /// The mapping has no file: code made at run time, or anonymous memory.
    #[error("no file behind the mapping (code made at run time, or anonymous memory)")]
    Anonymous,
    /// No mapping covers the address.
    #[error("no mapping at this address")]
    NoMapping,
    /// The file is gone and cannot be reached any more.
    #[error("file is missing: {0}")]
    FileMissing(Arc<str>),
    /// The file cannot be opened or read, and why.
    #[error("file cannot be read: {0}")]
    FileUnreadable(Arc<str>),
    /// The file at the path is not the one that is mapped.
    #[error("the file on disk is not the one that is mapped")]
    Replaced,
    /// Not an ELF file.
    #[error("not an ELF file")]
    NotElf,
    /// An ELF file of a kind that is not read here, and which.
    #[error("ELF file of an unsupported kind: {0}")]
    UnsupportedElf(&'static str),
    /// Headers that contradict themselves, and where.
    #[error("damaged ELF file: {0}")]
    DamagedElf(&'static str),
    /// The offset is not in an executable segment.
    #[error("not in an executable segment of the file")]
    OutsideSegments,
    /// The file has no symbols but those it exports, none of them covers the offset, and no debug
    /// file was found. Holds the build id in hex.
    #[error("stripped, no debug file found{}", for_build_id(.0))]
    NoSymbols(Option<Arc<str>>),
    /// There are symbols, but none covers the offset.
    #[error("no symbol covers this offset{}", because(.0))]
    NoSymbolAt(Option<Arc<Unknown>>),
    /// No debug information, in the file or beside it. Holds the build id in hex.
    #[error("no debug info found{}", for_build_id(.0))]
    NoDebugInfo(Option<Arc<str>>),
    /// Debug information that cannot be used, and why.
    #[error("debug info is unusable: {0}")]
    BadDebugInfo(Arc<str>),
    /// There is debug information, but not for this offset.
    #[error("debug info does not cover this offset")]
    NotInDebugInfo,
    /// Functions are inlined here whose names the debug information does not have.
    #[error(
        "inlined functions without a name left out (a supplementary debug file may be missing)"
    )]
    InlinedWithoutName,
}

fn for_build_id(build_id: &Option<Arc<str>>) -> String {
    build_id.as_ref().map_or_else(
        || ", and the file has no build id".to_owned(),
        |id| format!(" for build id {id}"),
    )
}

fn because(reason: &Option<Arc<Unknown>>) -> String {
    reason
        .as_ref()
        .map_or_else(String::new, |reason| format!("; {reason}"))
}

/// Lower-case hex, as build ids are written.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
            // Writing to a String cannot fail.
            let _ = write!(out, "{byte:02x}");
            out
        })
}
