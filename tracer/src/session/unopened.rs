//! Mapped files that could not be opened: nobody knows what is in them. Not the names only; any of them may have been
//! an allocator.

use crate::printable::Shown as _;
use std::fmt::Display;
use std::path::Path;

/// Files that may be named in a profile's notes.
const MAX_NAMED: usize = 4;

/// What could not be opened.
#[derive(Debug, Default)]
pub(super) struct Unopened {
    count: u64,
    /// The first of them, with the reason.
    named: Vec<String>,
}

impl Unopened {
    /// Takes in a mapped file, and why it can't be read.
    pub(super) fn note(&mut self, path: &Path, reason: &dyn Display) {
        self.count += 1;
        if self.named.len() < MAX_NAMED {
            let path = path.shown();
            self.named
                .push(format!("{path} could not be read: {reason}"));
        }
    }

    /// How many.
    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    /// The first few, for the profile's notes.
    pub(super) fn notes(&self) -> impl Iterator<Item = String> {
        let rest = self.count - self.named.len() as u64;
        let rest = (rest > 0).then(|| format!("{rest} more files could not be read"));
        self.named.iter().cloned().chain(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_counted_and_a_few_are_named() {
        let mut unopened = Unopened::default();
        for number in 0..100 {
            unopened.note(Path::new(&format!("/lib/{number}")), &"it is gone");
        }
        assert_eq!(unopened.count(), 100);
        let notes: Vec<_> = unopened.notes().collect();
        assert_eq!(notes.len(), MAX_NAMED + 1);
        assert_eq!(notes[0], "/lib/0 could not be read: it is gone");
        assert_eq!(notes[MAX_NAMED], "96 more files could not be read");
    }
}
