//! The heaps of a process's C library, and its memory as words: read from outside, while it runs.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::maps::read_maps;
use super::shown_as;

/// A heap beside the first one begins at a multiple of this (`HEAP_MAX_SIZE` of glibc on 64 bits).
const ALIGNMENT: u64 = 64 << 20;
/// Heaps that are listed at most.
const MOST: usize = 64;

/// Where glibc's heaps may begin: the one of `brk`, and those of other arenas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeapStarts {
    /// `[heap]`.
    pub first: Option<u64>,
    /// Mappings that lie as those of other arenas do, 64 at most.
    pub others: Vec<u64>,
}

impl HeapStarts {
    /// Those of a process.
    ///
    /// # Errors
    ///
    /// The process is gone, or may not be looked at.
    pub fn of(pid: u32) -> io::Result<Self> {
        let lines = read_maps(&format!("/proc/{}/maps", shown_as(pid)))?;
        let mut starts = Self::default();
        for line in lines.iter().filter(|line| line.is_readable) {
            if line.name == "[heap]" {
                starts.first = starts.first.or(Some(line.start));
            } else if line.name.is_empty()
                && line.start.is_multiple_of(ALIGNMENT)
                && starts.others.len() < MOST
            {
                starts.others.push(line.start);
            }
        }
        Ok(starts)
    }
}

/// The memory of a process. Reading neither stops it nor changes anything in it.
#[derive(Debug)]
pub struct Words(File);

impl Words {
    /// That of a process.
    ///
    /// # Errors
    ///
    /// The process is gone, or may not be looked at.
    pub fn of(pid: u32) -> io::Result<Self> {
        Ok(Self(File::open(format!("/proc/{}/mem", shown_as(pid)))?))
    }

    /// Reads words from an address on.
    ///
    /// # Errors
    ///
    /// `EIO` where nothing is mapped; the end of the file where the process is gone.
    pub fn read(&self, address: u64, into: &mut [u64]) -> io::Result<()> {
        let mut bytes = vec![0; size_of_val(into)];
        self.0.read_exact_at(&mut bytes, address)?;
        let (whole, _) = bytes.as_chunks();
        for (word, bytes) in into.iter_mut().zip(whole) {
            *word = u64::from_ne_bytes(*bytes);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_in_memory() -> io::Result<()> {
        let there = Box::new([7_u64, 11]);
        let words = Words::of(std::process::id())?;
        let mut read = [0; 2];
        words.read(there.as_ptr() as u64, &mut read)?;
        assert_eq!(read, *there);
        let error = words.read(0, &mut read).err();
        assert_eq!(
            error.and_then(|error| error.raw_os_error()),
            Some(libc::EIO)
        );
        Ok(())
    }
}
