//! Ranges of addresses as tables have them: from the base of their module on.

use std::ops::Range;

/// Addresses counted from `base`, cut off where 32 bits end; `None` where nothing is left.
pub(super) fn relative(base: u64, range: &Range<u64>) -> Option<Range<u32>> {
    let start = u32::try_from(range.start.checked_sub(base)?).ok()?;
    let end = u32::try_from(range.end.checked_sub(base)?).unwrap_or(u32::MAX);
    (start < end).then_some(start..end)
}
