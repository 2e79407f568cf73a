//! Profiles back from files, our own and other tools'.
//!
//! What is read here may come from anywhere: nothing is trusted, nothing panics, and the memory it
//! takes is bounded. `decode` turns the pprof message into a profile, `json` the envelope.

use std::io;
use std::io::Read as _;

use flate2::read::MultiGzDecoder;

use super::{decode, json};
use crate::profile::{Invalid, Profile, ValueKind};

/// Most bytes a profile may inflate to. Ours take about 400 bytes a stack.
pub const MAX_INFLATED: usize = 256 << 20;

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is nothing in it.
    #[error("the file is empty")]
    Empty,
    /// It ends before its end.
    #[error("the file is cut short")]
    Truncated,
    /// The compression is damaged.
    #[error("the file is damaged: {0}")]
    Gzip(#[source] io::Error),
    /// It is larger than anything this program writes.
    #[error("the file holds more than {} MB or {} million records", MAX_INFLATED >> 20, decode::MAX_RECORDS / 1_000_000)]
    TooLarge,
    /// It is something else.
    #[error("not a heap profile in pprof's or tracer's JSON format")]
    NotAProfile,
    /// It is one of the older text formats.
    #[error("a heap dump in text form; `pprof -proto FILE` converts it to a file this reads")]
    TextHeap,
    /// It is a profile of something else than a heap.
    #[error("not a heap profile: it holds {}", types(.0))]
    NotAHeapProfile(Vec<String>),
    /// It is in a newer form.
    #[error("the file has version {0}, and this program knows only version {version}", version = json::VERSION)]
    Version(u32),
    /// It contradicts itself.
    #[error("the profile is malformed: {0}")]
    Malformed(String),
    /// It points at things that are not in it.
    #[error("the profile is malformed: {0}")]
    Invalid(#[from] Invalid),
    /// It is JSON, but not of a profile.
    #[error("the profile is malformed: {0}")]
    Json(#[source] serde_json::Error),
}

impl From<serde_json::Error> for ReadError {
    fn from(error: serde_json::Error) -> Self {
        if error.is_eof() {
            Self::Truncated
        } else {
            Self::Json(error)
        }
    }
}

fn types(names: &[String]) -> String {
    if names.is_empty() {
        "no sample types".to_owned()
    } else {
        names.join(", ")
    }
}

/// Reads a profile: pprof, gzipped or not, of this program or another, or this program's JSON.
///
/// In another tool's file the sample types are found by name, and missing ones are 0. Its text
/// labels are not kept. What the file hides by `drop_frames` is removed, and since nothing is known
/// of what its tool missed, its verdict is `degraded`.
///
/// # Errors
/// When the bytes are not a whole, consistent heap profile.
pub fn read(bytes: &[u8]) -> Result<Profile, ReadError> {
    Ok(read_contents(bytes)?.profile)
}

/// A profile, and what its file says about it that the profile does not.
#[derive(Clone, Debug, PartialEq)]
pub struct Contents {
    /// The profile.
    pub profile: Profile,
    /// Those of the values that the file has; the others are 0 in the profile.
    pub kinds: Vec<ValueKind>,
}

/// Reads a profile as [`read`] does, and which values its file has.
///
/// # Errors
/// As for [`read`].
pub fn read_contents(bytes: &[u8]) -> Result<Contents, ReadError> {
    if bytes.starts_with(&[0x1f, 0x8b]) {
        read_plain(&inflate(bytes)?)
    } else {
        read_plain(bytes)
    }
}

fn read_plain(bytes: &[u8]) -> Result<Contents, ReadError> {
    if bytes.is_empty() {
        return Err(ReadError::Empty);
    }
    if bytes.len() > MAX_INFLATED {
        return Err(ReadError::TooLarge);
    }
    // `{` opens no field of profile.proto.
    if bytes.starts_with(b"{") {
        let profile = json::read(bytes)?;
        let mut kinds = ValueKind::ALL.to_vec();
        if profile.peak.is_some() {
            kinds.extend(ValueKind::PEAK);
        }
        return Ok(Contents { profile, kinds });
    }
    if bytes.starts_with(b"heap_v2/") || bytes.starts_with(b"heap profile:") {
        return Err(ReadError::TextHeap);
    }
    decode::decode(bytes)
}

fn inflate(bytes: &[u8]) -> Result<Vec<u8>, ReadError> {
    let mut plain = Vec::new();
    // One more than allowed tells "exactly" from "too much".
    MultiGzDecoder::new(bytes)
        .take(MAX_INFLATED as u64 + 1)
        .read_to_end(&mut plain)
        .map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => ReadError::Truncated,
            _ => ReadError::Gzip(error),
        })?;
    Ok(plain)
}
