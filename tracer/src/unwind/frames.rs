//! The frame description entries (FDEs) of a section, as far as they are for code.
//!
//! Walks the lengths by itself instead of using gimli's iterator, which ends at the first entry
//! that it cannot read, and at a zero in the middle of a section.

use std::ops::Range;

use gimli::UnwindSection;

use super::Slice;
use super::cie::Cies;
use super::error::UnwindError;
use super::range::relative;
use super::statistics::Statistics;

/// Entries of a section. Chromium has a million.
const MAX_FDES: usize = 4 << 20;

/// How a section tells its entries apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Layout {
    /// `.eh_frame`: a CIE has the id 0.
    #[default]
    EhFrame,
    /// The same, but a zero length ends it, since where the section ends is not known.
    EhFrameUntilZero,
    /// `.debug_frame`: a CIE has the id −1.
    DebugFrame,
}

/// An entry that describes code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fde {
    pub(super) start: u32,
    pub(super) end: u32,
    /// In its section.
    pub(super) offset: u32,
}

/// Where the module's code is.
pub(super) struct ModuleCode<'a> {
    pub(super) base: u64,
    /// Sorted and disjoint.
    pub(super) code: &'a [Range<u32>],
}

impl ModuleCode<'_> {
    /// The part of a range that is code from its start on. Entries for functions that the linker
    /// dropped point elsewhere, to 0 as a rule.
    fn code_in(&self, range: &Range<u64>) -> Option<Range<u32>> {
        let range = relative(self.base, range)?;
        let next = self.code.partition_point(|code| code.start <= range.start);
        let code = self.code.get(next.checked_sub(1)?)?;
        let end = range.end.min(code.end);
        (range.start < end).then_some(range.start..end)
    }
}

/// Lists all entries, in the order of the section.
pub(super) fn list<'data, S>(
    bytes: &[u8],
    layout: Layout,
    cies: &mut Cies<'_, 'data, S>,
    place: &ModuleCode<'_>,
    statistics: &mut Statistics,
) -> Result<Vec<Fde>, UnwindError>
where
    S: UnwindSection<Slice<'data>>,
{
    let mut fdes = Vec::new();
    let mut entries = Entries {
        bytes,
        at: 0,
        layout,
    };
    loop {
        let offset = match entries.next() {
            Next::Fde(offset) => offset,
            Next::End => return Ok(fdes),
            Next::Damage => {
                statistics.damaged += 1;
                return Ok(fdes);
            }
        };
        let range = match cies.fde(offset) {
            Ok((fde, _)) => fde.initial_address()..fde.initial_address().saturating_add(fde.len()),
            Err(_) => {
                statistics.damaged += 1;
                continue;
            }
        };
        let Some(code) = place.code_in(&range) else {
            statistics.fdes_ignored += 1;
            continue;
        };
        if fdes.len() == MAX_FDES {
            return Err(UnwindError::TooLarge {
                what: "call frame information",
                amount: fdes.len() as u64 + 1,
                limit: MAX_FDES as u64,
            });
        }
        fdes.push(Fde {
            start: code.start,
            end: code.end,
            offset,
        });
    }
}

/// A walk along the lengths of entries.
struct Entries<'a> {
    bytes: &'a [u8],
    at: usize,
    layout: Layout,
}

enum Next {
    /// Offset of an FDE.
    Fde(u32),
    End,
    /// What follows is no entry, and nobody knows where the next one is.
    Damage,
}

impl Entries<'_> {
    fn next(&mut self) -> Next {
        while self.at < self.bytes.len() {
            let start = self.at;
            let Some((length, header)) = self.length() else {
                return Next::Damage;
            };
            let body = start + header;
            if length == 0 {
                if self.layout == Layout::EhFrameUntilZero {
                    return Next::End;
                }
                self.at = body;
                continue;
            }
            let end = usize::try_from(length)
                .ok()
                .and_then(|length| body.checked_add(length));
            let Some(rest) = end.and_then(|end| self.bytes.get(body..end)) else {
                return Next::Damage;
            };
            self.at = body + rest.len();
            let is_fde = match self.layout {
                Layout::DebugFrame if header == 12 => !rest.starts_with(&[0xff; 8]),
                Layout::DebugFrame => !rest.starts_with(&[0xff; 4]),
                Layout::EhFrame | Layout::EhFrameUntilZero => !rest.starts_with(&[0; 4]),
            };
            if is_fde {
                return match u32::try_from(start) {
                    Ok(offset) => Next::Fde(offset),
                    Err(_) => Next::Damage,
                };
            }
        }
        Next::End
    }

    /// The length that stands here, and how many bytes it takes up.
    fn length(&self) -> Option<(u64, usize)> {
        let rest = self.bytes.get(self.at..)?;
        let (short, rest) = rest.split_first_chunk::<4>()?;
        match u32::from_le_bytes(*short) {
            u32::MAX => Some((u64::from_le_bytes(*rest.first_chunk::<8>()?), 12)),
            length => Some((u64::from(length), 4)),
        }
    }
}
