//! Reading an ELF file piece by piece, for `object`'s cache.
//!
//! The file's offset is never moved: other threads read the same file.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use object::ReadCache;
use object::read::ReadCacheOps;

/// Symbols' names lie side by side, and each is asked for by itself.
const BLOCK: usize = 64 << 10;

/// The file as `object` reads it.
#[must_use]
pub fn read_elf(file: &File) -> ReadCache<BlockReader<'_>> {
    ReadCache::new(BlockReader {
        file,
        position: 0,
        block: Vec::new(),
        block_start: 0,
    })
}

/// A reader that keeps the block it has read last.
#[derive(Debug)]
pub struct BlockReader<'a> {
    file: &'a File,
    position: u64,
    block: Vec<u8>,
    block_start: u64,
}

impl BlockReader<'_> {
    /// What the block holds from the position on.
    fn buffered(&self) -> &[u8] {
        self.position
            .checked_sub(self.block_start)
            .and_then(|skip| self.block.get(usize::try_from(skip).ok()?..))
            .unwrap_or_default()
    }
}

impl ReadCacheOps for BlockReader<'_> {
    fn len(&mut self) -> Result<u64, ()> {
        self.file
            .metadata()
            .map(|metadata| metadata.len())
            .map_err(|_| ())
    }

    fn seek(&mut self, position: u64) -> Result<u64, ()> {
        self.position = position;
        Ok(position)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ()> {
        if self.buffered().is_empty() {
            self.block.resize(BLOCK, 0);
            self.block_start = self.position;
            let read = self.file.read_at(&mut self.block, self.position);
            self.block.truncate(*read.as_ref().unwrap_or(&0));
            read.map_err(|_| ())?;
        }
        let buffered = self.buffered();
        let count = buffered.len().min(buffer.len());
        buffer[..count].copy_from_slice(&buffered[..count]);
        self.position += count as u64;
        Ok(count)
    }

    fn read_exact(&mut self, buffer: &mut [u8]) -> Result<(), ()> {
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

    use object::read::ReadRef as _;

    use super::*;

    #[test]
    fn strings_are_found_within_and_across_blocks() -> Result<(), Box<dyn std::error::Error>> {
        let mut file = tempfile::tempfile()?;
        let long = "x".repeat(700);
        for number in 0..1_000 {
            write!(file, "{number}{long}\0")?;
        }
        let length = file.metadata()?.len();
        let cache = read_elf(&file);
        let mut at = 0;
        for number in 0..1_000 {
            let text = (&cache)
                .read_bytes_at_until(at..length, 0)
                .map_err(|()| "unreadable")?;
            assert_eq!(text, format!("{number}{long}").as_bytes());
            at += text.len() as u64 + 1;
        }
        // Backwards, at the end, and past it.
        assert_eq!((&cache).read_bytes_at(0, 2), Ok(&b"0x"[..]));
        assert_eq!(
            (&cache).read_bytes_at_until(length - 2..length, 0),
            Ok(&b"x"[..])
        );
        assert!((&cache).read_bytes_at(length - 1, 2).is_err());
        Ok(())
    }
}
