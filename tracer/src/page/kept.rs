//! Profiles that are kept: packed, since most are never looked at.

use std::io;
use std::sync::Arc;

use crate::export::{Contents, ReadError, pprof, read_contents};
use crate::profile::{Profile, ValueKind};

/// A profile, packed: a small part of its size.
#[derive(Clone, Debug)]
pub struct Kept {
    time_nanos: i64,
    bytes: Arc<[u8]>,
    kinds: Arc<[ValueKind]>,
}

impl Kept {
    /// Packs a profile of which `kinds` are known.
    ///
    /// # Errors
    /// It could not be packed.
    pub fn of(profile: &Profile, kinds: &[ValueKind]) -> io::Result<Self> {
        let mut bytes = Vec::new();
        pprof::write(profile, &mut bytes)?;
        Ok(Self {
            time_nanos: profile.metadata.time_nanos,
            bytes: bytes.into(),
            kinds: kinds.into(),
        })
    }

    /// When it was taken, in nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn time_nanos(&self) -> i64 {
        self.time_nanos
    }

    /// Unpacks it.
    ///
    /// # Errors
    /// It could not be read: a profile that is larger than any file may be.
    pub fn contents(&self) -> Result<Contents, ReadError> {
        Ok(Contents {
            kinds: self.kinds.to_vec(),
            ..read_contents(&self.bytes)?
        })
    }

    /// Bytes that it takes.
    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }
}
