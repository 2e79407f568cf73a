//! Which pages of anonymous memory a process has, from /proc/PID/pagemap.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::OnceLock;

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use tracer_common::limits::PAGE_BYTES;

use super::maps::read_maps;
use super::threads::shown_as;

/// Pages of a block, which is as much as one huge page.
pub const BLOCK_PAGES: usize = 512;
/// Bytes of a block.
pub const BLOCK_BYTES: u64 = BLOCK_PAGES as u64 * PAGE_BYTES;

/// Address space that is looked at as a whole, at most: 8 bytes are read for each page of it.
const MAX_SPACE: u64 = 256 << 30;

// Bits of an entry: Documentation/admin-guide/mm/pagemap.rst.
const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
const FILE_OR_SHARED: u64 = 1 << 61;
/// The page's number in the machine's memory, for who may see that.
const FRAME: u64 = (1 << 55) - 1;

/// Pages of a block: a bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockPages([u64; BLOCK_PAGES / 64]);

impl BlockPages {
    /// With all of them.
    pub const ALL: Self = Self([u64::MAX; BLOCK_PAGES / 64]);

    /// Whether a page is there, by its number in the block.
    #[must_use]
    pub const fn has(&self, page: usize) -> bool {
        page < BLOCK_PAGES && self.0[page / 64] >> (page % 64) & 1 != 0
    }

    /// Adds a page.
    pub const fn add(&mut self, page: usize) {
        if page < BLOCK_PAGES {
            self.0[page / 64] |= 1 << (page % 64);
        }
    }

    const fn is_empty(&self) -> bool {
        let mut word = 0;
        while word < self.0.len() {
            if self.0[word] != 0 {
                return false;
            }
            word += 1;
        }
        true
    }
}

/// The pages that a process has, resident or swapped out.
#[derive(Debug)]
pub struct PageMap {
    file: File,
}

impl PageMap {
    /// That of a process.
    ///
    /// # Errors
    ///
    /// The process is gone or may not be looked at.
    pub fn of(pid: u32) -> io::Result<Self> {
        let file = File::open(format!("/proc/{}/pagemap", shown_as(pid)))?;
        Ok(Self { file })
    }

    /// The anonymous pages of the block that begins at an address.
    ///
    /// # Errors
    ///
    /// The process is gone.
    pub fn block(&self, start: u64) -> io::Result<BlockPages> {
        let mut entries = [0; BLOCK_PAGES * 8];
        let mut read = 0;
        // The last block of an address space may end early.
        while read < entries.len() {
            let at = start / PAGE_BYTES * 8 + read as u64;
            match self.file.read_at(&mut entries[read..], at)? {
                0 => break,
                more => read += more,
            }
        }
        let mut pages = BlockPages::default();
        let (entries, _) = entries[..read].as_chunks();
        for (page, entry) in entries.iter().enumerate() {
            let entry = u64::from_ne_bytes(*entry);
            let is_lent = entry & PRESENT != 0 && zero_page() == Some(entry & FRAME);
            if entry & (PRESENT | SWAPPED) != 0 && entry & FILE_OR_SHARED == 0 && !is_lent {
                pages.add(page);
            }
        }
        Ok(pages)
    }
}

/// The kernel's page of zeros, which it lends for pages that are only read: they take no memory. `None` where
/// it can't be told from others.
fn zero_page() -> Option<u64> {
    static FOUND: OnceLock<Option<u64>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let map = File::open("/proc/self/pagemap").ok()?;
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let page = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                PAGE_BYTES as usize,
                ProtFlags::READ,
                MapFlags::PRIVATE,
            )
        }
        .ok()?;
        // SAFETY: the mapping just made.
        let _ = unsafe { page.cast::<u8>().read_volatile() };
        let mut entry = [0; 8];
        let read = map.read_exact_at(&mut entry, page.addr() as u64 / PAGE_BYTES * 8);
        // SAFETY: as above; nothing points into it.
        let _ = unsafe { munmap(page, PAGE_BYTES as usize) };
        read.ok()?;
        let frame = u64::from_ne_bytes(entry) & FRAME;
        (frame != 0).then_some(frame)
    })
}

/// The anonymous pages that a process has now, by the address of their block. Memory that is not looked at,
/// because there is too much of it, counts as there.
///
/// # Errors
///
/// The process is gone or may not be looked at.
pub fn pages_of(pid: u32) -> io::Result<HashMap<u64, BlockPages>> {
    let map = PageMap::of(pid)?;
    let mut blocks = HashMap::new();
    let mut left = MAX_SPACE;
    let mut next = 0;
    for line in read_maps(&format!("/proc/{}/maps", shown_as(pid)))? {
        if !line.is_readable || line.id.inode != 0 {
            continue;
        }
        let size = line.end - line.start;
        let is_looked_at = size <= left;
        left -= if is_looked_at { size } else { 0 };
        // Areas may share a block.
        let first = (line.start & !(BLOCK_BYTES - 1)).max(next);
        for start in (first..line.end).step_by(BLOCK_BYTES as usize) {
            let pages = if is_looked_at {
                map.block(start)?
            } else {
                BlockPages::ALL
            };
            if !pages.is_empty() {
                blocks.insert(start, pages);
            }
            next = start + BLOCK_BYTES;
        }
    }
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_there_and_what_was_read_is_not() -> io::Result<()> {
        let mut memory = vec![0_u8; 3 * BLOCK_BYTES as usize];
        let start = memory.as_mut_ptr();
        let first = start.addr() as u64;
        let block = first.next_multiple_of(BLOCK_BYTES);
        let page = |number: u64| {
            let at = block - first + number * PAGE_BYTES;
            start.wrapping_add(at as usize)
        };
        // SAFETY: within the memory, which nobody else uses.
        unsafe {
            page(5).write_volatile(1);
            page(6).read_volatile();
        }
        let pages = PageMap::of(std::process::id())?.block(block)?;
        assert!(pages.has(5));
        // Where the machine gives huge pages unasked, all is there.
        assert!(pages.has(7) || zero_page().is_none() || !pages.has(6));
        let all = pages_of(std::process::id())?;
        assert!(all.get(&block).is_some_and(|pages| pages.has(5)));
        Ok(())
    }

    #[test]
    fn a_block_has_the_pages_that_were_added() {
        let mut block = BlockPages::default();
        assert!(block.is_empty());
        block.add(BLOCK_PAGES - 1);
        block.add(BLOCK_PAGES);
        assert!(block.has(BLOCK_PAGES - 1) && !block.has(0) && !block.has(BLOCK_PAGES));
        assert!(!block.is_empty() && BlockPages::ALL.has(0));
    }
}
