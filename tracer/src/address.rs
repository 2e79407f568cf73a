//! Types that keep the kinds of addresses apart.

/// An offset in a file, in bytes. Probes are placed by it, and frames are looked up by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileOffset(pub u64);
