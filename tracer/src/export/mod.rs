//! Profiles as files: pprof, folded stacks, flame graphs, JSON and text out; pprof and JSON in.
//!
//! Everything here is a function of a [`Profile`] and a writer; which file, and how it comes to be
//! there whole, is the caller's business.

use std::io;
use std::io::Write;

use crate::profile::{Profile, ValueKind};
use crate::report::Style;

mod comments;
mod decode;
#[cfg(test)]
pub(crate) mod example;
pub mod flame;
pub mod folded;
pub mod json;
pub mod legacy;
pub mod pprof;
mod proto;
mod read;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod round_trip;
pub mod series;
pub mod text;

pub use read::{Contents, MAX_INFLATED, ReadError, read, read_contents};

/// The form of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// pprof, gzipped: all four values.
    #[default]
    Pprof,
    /// Folded stacks: one value.
    Folded,
    /// JSON: all there is.
    Json,
    /// Text for people: a summary by one value.
    Text,
    /// A flame graph: one value.
    Svg,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 5] = [Self::Pprof, Self::Folded, Self::Json, Self::Text, Self::Svg];

    /// The name a user gives it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pprof => "pprof",
            Self::Folded => "folded",
            Self::Json => "json",
            Self::Text => "text",
            Self::Svg => "svg",
        }
    }

    /// The customary end of a file's name, without the leading dot.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Pprof => "pb.gz",
            Self::Folded => "folded",
            Self::Json => "json",
            Self::Text => "txt",
            Self::Svg => "svg",
        }
    }
}

/// Writes the profile in a format. `value` is the one that folded stacks, text and flame graphs show; the
/// others carry all four. `style` is for what people read, text and flame graphs; the others have all there is
/// under full names.
///
/// # Errors
/// Those of the writer.
pub fn write(
    profile: &Profile,
    format: Format,
    value: ValueKind,
    style: &Style,
    out: &mut impl Write,
) -> io::Result<()> {
    match format {
        Format::Pprof => pprof::write(profile, out),
        Format::Folded => folded::write(profile, value, out),
        Format::Json => json::write(profile, out),
        Format::Text => text::write(profile, value, style, out),
        Format::Svg => flame::write(profile, value, style, out),
    }
}
