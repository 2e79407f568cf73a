//! How much of a file is worth reading: no more than it holds.
//!
//! A file can claim any size for the price of a header, and be as long as it claims: where nothing was written it
//! takes no room on the disk, but it would in memory. So whoever reads a file of the target's pays for it from a
//! budget in proportion to what is really there.

use std::cell::Cell;
use std::fs::File;
use std::io;

use rustix::fs::{SeekFrom, seek};

/// What is read of any file without a question.
const FREE: u64 = 16 << 20;
/// How often what a file holds may be read.
const TIMES: u64 = 4;
/// And at most so much of one: the debug information of the largest programs is about 2 GiB.
const MOST: u64 = 8 << 30;
/// Pieces of a file that are looked for. What lies behind them does not count.
const MAX_PIECES: usize = 1 << 14;

/// What may still be read of a file.
#[derive(Debug)]
pub struct ReadBudget(Cell<u64>);

impl ReadBudget {
    /// The budget of a file.
    #[must_use]
    pub fn of(file: &File) -> Self {
        let worth = held_bytes(file).saturating_mul(TIMES).saturating_add(FREE);
        Self(Cell::new(worth.min(MOST)))
    }

    /// Whether so many bytes may be read: to be asked before there is memory for them.
    ///
    /// # Errors
    ///
    /// That is more than the file is worth.
    pub fn check(&self, bytes: u64) -> io::Result<()> {
        if bytes > self.0.get() {
            return Err(io::Error::other("the file claims more than it holds"));
        }
        Ok(())
    }

    /// Takes bytes that are read.
    ///
    /// # Errors
    ///
    /// That is more than the file is worth.
    pub fn take(&self, bytes: u64) -> io::Result<()> {
        self.check(bytes)?;
        self.0.set(self.0.get() - bytes);
        Ok(())
    }
}

/// Bytes that were written to a file, by the file system; its length where that does not tell.
fn held_bytes(file: &File) -> u64 {
    // Nobody here reads by the position of a descriptor, but a caller may have lent one.
    let Ok(position) = seek(file, SeekFrom::Current(0)) else {
        return 0;
    };
    let mut held = 0;
    let mut at = 0;
    for _ in 0..MAX_PIECES {
        let Ok(start) = seek(file, SeekFrom::Data(at)) else {
            break;
        };
        let Ok(end) = seek(file, SeekFrom::Hole(start)) else {
            break;
        };
        held += end.saturating_sub(start);
        at = end;
    }
    let _ = seek(file, SeekFrom::Start(position));
    held
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    #[test]
    fn a_file_is_worth_what_it_holds() -> io::Result<()> {
        let sparse = tempfile::tempfile()?;
        sparse.set_len(4 << 30)?;
        sparse.write_all_at(&[1; 100], 1 << 30)?;
        let held = held_bytes(&sparse);
        assert!((100..1 << 20).contains(&held), "{held}");
        let budget = ReadBudget::of(&sparse);
        assert!(budget.take(2 << 30).is_err());
        assert!(budget.take(FREE).is_ok());
        let full = tempfile::tempfile()?;
        full.write_all_at(&vec![1; 8 << 20], 0)?;
        let budget = ReadBudget::of(&full);
        assert!(budget.take(40 << 20).is_ok());
        assert!(budget.take(40 << 20).is_err());
        Ok(())
    }

    #[test]
    fn an_empty_file_and_a_pipe_are_worth_little() -> io::Result<()> {
        assert_eq!(held_bytes(&tempfile::tempfile()?), 0);
        let (reader, _writer) = io::pipe()?;
        assert_eq!(
            held_bytes(&File::from(std::os::fd::OwnedFd::from(reader))),
            0
        );
        Ok(())
    }
}
