//! Reading an ELF file piece by piece, for `object`'s cache.
//!
//! Never by the descriptor's position, which others may move.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::rc::Rc;

use object::ReadCache;
use object::read::{ReadCacheOps, ReadRef};

use crate::extents::ReadBudget;

/// Symbols' names lie side by side, and each is asked for by itself.
const BLOCK: u64 = 64 << 10;

/// The file as `object` reads it.
#[must_use]
pub fn read_elf(file: &File) -> ElfReader<'_> {
    let budget = Rc::new(ReadBudget::of(file));
    let cache = ReadCache::new(Positional {
        file,
        position: 0,
        budget: Rc::clone(&budget),
    });
    ElfReader { cache, budget }
}

/// A cache of what was read of a file; strings are found in blocks of it.
#[derive(Debug)]
pub struct ElfReader<'a> {
    cache: ReadCache<Positional<'a>>,
    budget: Rc<ReadBudget>,
}

impl<'a> ReadRef<'a> for &'a ElfReader<'_> {
    fn len(self) -> Result<u64, ()> {
        self.cache.len()
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'a [u8], ()> {
        // Memory for it is filled before it is read.
        self.budget.check(size).map_err(|_| ())?;
        self.cache.read_bytes_at(offset, size)
    }

    fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'a [u8], ()> {
        let start = range.start - range.start % BLOCK;
        let end = self.len()?.min(start + BLOCK);
        let rest = end.checked_sub(start).ok_or(())?;
        let block = self.read_bytes_at(start, rest)?;
        // Both lie within the block.
        let from = (range.start - start) as usize;
        let to = (range.end.min(end).checked_sub(start).ok_or(())?) as usize;
        let found = block.get(from..to).ok_or(())?;
        match memchr::memchr(delimiter, found) {
            Some(len) => Ok(&found[..len]),
            // It goes on in the next block, if anywhere.
            None => self.cache.read_bytes_at_until(range, delimiter),
        }
    }
}

/// A reader with a position of its own.
#[derive(Debug)]
struct Positional<'a> {
    file: &'a File,
    position: u64,
    budget: Rc<ReadBudget>,
}

impl ReadCacheOps for Positional<'_> {
    fn len(&mut self) -> Result<u64, ()> {
        let metadata = self.file.metadata().map_err(|_| ())?;
        Ok(metadata.len())
    }

    fn seek(&mut self, position: u64) -> Result<u64, ()> {
        self.position = position;
        Ok(position)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ()> {
        let count = self.file.read_at(buffer, self.position).map_err(|_| ())?;
        self.budget.take(count as u64).map_err(|_| ())?;
        self.position += count as u64;
        Ok(count)
    }

    fn read_exact(&mut self, buffer: &mut [u8]) -> Result<(), ()> {
        self.budget.take(buffer.len() as u64).map_err(|_| ())?;
        self.file
            .read_exact_at(buffer, self.position)
            .map_err(|_| ())?;
        self.position += buffer.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn what_was_never_written_is_not_read() -> Result<(), Box<dyn std::error::Error>> {
        let file = tempfile::tempfile()?;
        file.set_len(4 << 30)?;
        let reader = read_elf(&file);
        assert!((&reader).read_bytes_at(0, 3 << 30).is_err());
        // Nor bit by bit.
        let blocks = (0..1 << 16).map(|block| block * BLOCK);
        let found = blocks.filter(|&at| (&reader).read_bytes_at_until(at..at + 9, 0).is_ok());
        assert!(found.count() < 1 << 10);
        Ok(())
    }

    #[test]
    fn strings_are_found_within_and_across_blocks() -> Result<(), Box<dyn std::error::Error>> {
        let mut file = tempfile::tempfile()?;
        let long = "x".repeat(700);
        for number in 0..1_000 {
            write!(file, "{number}{long}\0")?;
        }
        let length = file.metadata()?.len();
        let reader = read_elf(&file);
        let mut at = 0;
        for number in 0..1_000 {
            let text = (&reader)
                .read_bytes_at_until(at..length, 0)
                .map_err(|()| "unreadable")?;
            assert_eq!(text, format!("{number}{long}").as_bytes());
            at += text.len() as u64 + 1;
        }
        // Backwards, at the end, and past it.
        assert_eq!((&reader).read_bytes_at(0, 2), Ok(&b"0x"[..]));
        assert_eq!(
            (&reader).read_bytes_at_until(length - 2..length, 0),
            Ok(&b"x"[..])
        );
        assert!((&reader).read_bytes_at(length - 1, 2).is_err());
        Ok(())
    }
}
