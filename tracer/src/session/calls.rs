//! Where a stack was walked further than it reaches: every frame but the first follows a call, and the
//! first one that does not is where the walk has left the stack.
//!
//! The file that is mapped there is asked, once for each place, and so costs the target nothing. Code
//! without a file (made at run time) can't be asked, and is believed.

use std::collections::HashMap;
use std::os::unix::fs::FileExt as _;

use crate::process::{FileKey, MappedAddress, MappedFile};
use crate::unwind::calls::{AFTER, BEFORE, Return, judge};

/// What has been found out so far.
#[derive(Debug, Default)]
pub(super) struct Calls {
    known: HashMap<(FileKey, u64), Return>,
}

impl Calls {
    /// How many of a stack's frames are on it, leaf first; `places` are those of the bytes before return
    /// addresses. The outermost one of a whole stack (`is_whole`) may have been made by hand.
    pub(super) fn real<'a>(
        &mut self,
        places: impl ExactSizeIterator<Item = Option<MappedAddress<'a>>>,
        is_whole: bool,
    ) -> usize {
        let all = places.len();
        let mut is_interrupted = false;
        for (index, place) in places.enumerate() {
            let found = place.map_or(Return::Call, |place| self.look(&place));
            let may_be_none = index == 0 || is_interrupted || (is_whole && index + 1 == all);
            if found == Return::No && !may_be_none {
                return index;
            }
            is_interrupted = found == Return::Trampoline;
        }
        all
    }

    fn look(&mut self, place: &MappedAddress<'_>) -> Return {
        let Some(file) = &place.mapped.file else {
            return Return::Call;
        };
        let Some(key) = file.key else {
            return read(file, place.file_offset);
        };
        let known = self.known.entry((key, place.file_offset));
        *known.or_insert_with(|| read(file, place.file_offset))
    }
}

/// Reads the code around a return address, given the offset of the byte before it. What can't be read is
/// believed.
fn read(file: &MappedFile, last: u64) -> Return {
    let Ok(file) = file.open() else {
        return Return::Call;
    };
    let address = last.saturating_add(1);
    let start = address.saturating_sub(BEFORE as u64);
    // At most BEFORE.
    let before = (address - start) as usize;
    let mut bytes = [0; BEFORE + AFTER];
    match file.read_at(&mut bytes[..before + AFTER], start) {
        Ok(read) if read >= before => judge(&bytes[..before], &bytes[before..read]),
        _ => Return::Call,
    }
}
