//! A gimli reader that stops when DWARF asks for more than it can be worth.
//!
//! DWARF is full of references: a few bytes can name a list or a string of megabytes, any number
//! of times, and inlined functions nest as deep as the file likes while addr2line follows them by
//! recursion. The reader pays for all it hands out from a budget in proportion to the size of the
//! sections, and fails beyond it or when the stack has grown too deep.

use addr2line::gimli::{self, EndianSlice, LittleEndian, Reader, ReaderOffsetId};
use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Reads per byte of debug sections. Parsing all there is of a C++ or Rust program, whichever
/// compiler and DWARF version, takes 0.3 to 0.5; shortened by `dwz`, 0.8.
const READS_PER_BYTE: u64 = 4;
/// Reads that any file is worth.
const FREE_READS: u64 = 1 << 20;
/// Stack a lookup may use, in bytes. A thread's default is 2 MiB; a level of inlining takes less
/// than 2 KiB without optimization.
const MAX_STACK: usize = 1 << 20;

/// What is left for one module's DWARF. Atomics only so that readers can be sent along with it:
/// nobody counts concurrently.
#[derive(Debug)]
pub(super) struct Budget {
    reads: AtomicU64,
    stack_floor: AtomicUsize,
    exceeded: AtomicBool,
}

impl Budget {
    /// A budget for sections of so many bytes.
    pub(super) fn for_size(bytes: u64) -> Self {
        Self {
            reads: AtomicU64::new(
                bytes
                    .saturating_mul(READS_PER_BYTE)
                    .saturating_add(FREE_READS),
            ),
            stack_floor: AtomicUsize::new(0),
            exceeded: AtomicBool::new(false),
        }
    }

    /// Starts a lookup: the stack is measured from here.
    pub(super) fn enter(&self) {
        self.stack_floor
            .store(stack_position().saturating_sub(MAX_STACK), Relaxed);
    }

    /// Whether any lookup had to be stopped.
    pub(super) fn exceeded(&self) -> bool {
        self.exceeded.load(Relaxed)
    }

    #[inline]
    fn spend(&self, reads: usize) -> gimli::Result<()> {
        match self.reads.load(Relaxed).checked_sub(reads as u64) {
            Some(left) => {
                self.reads.store(left, Relaxed);
                Ok(())
            }
            None => self.stop(),
        }
    }

    #[inline]
    fn check_stack(&self) -> gimli::Result<()> {
        if stack_position() < self.stack_floor.load(Relaxed) {
            return self.stop();
        }
        Ok(())
    }

    #[cold]
    fn stop(&self) -> gimli::Result<()> {
        self.exceeded.store(true, Relaxed);
        // Spent for good: the file is not to be trusted with more.
        self.reads.store(0, Relaxed);
        Err(gimli::Error::Io)
    }
}

/// Where the stack is, near enough.
#[inline]
fn stack_position() -> usize {
    let here = 0_u8;
    std::hint::black_box(&raw const here) as usize
}

/// A slice of a section and the budget its reads are paid from.
#[derive(Clone, Copy, Debug)]
pub(super) struct BoundedReader<'a> {
    slice: EndianSlice<'a, LittleEndian>,
    budget: &'a Budget,
}

impl<'a> BoundedReader<'a> {
    pub(super) fn new(bytes: &'a [u8], budget: &'a Budget) -> Self {
        Self {
            slice: EndianSlice::new(bytes, LittleEndian),
            budget,
        }
    }
}

impl Reader for BoundedReader<'_> {
    type Endian = LittleEndian;
    type Offset = usize;

    #[inline]
    fn endian(&self) -> LittleEndian {
        LittleEndian
    }

    #[inline]
    fn len(&self) -> usize {
        self.slice.len()
    }

    #[inline]
    fn is_empty(&self) -> bool {
        self.slice.is_empty()
    }

    #[inline]
    fn empty(&mut self) {
        self.slice.empty();
    }

    #[inline]
    fn truncate(&mut self, len: usize) -> gimli::Result<()> {
        self.slice.truncate(len)
    }

    #[inline]
    fn offset_from(&self, base: &Self) -> usize {
        self.slice.offset_from(base.slice)
    }

    #[inline]
    fn offset_id(&self) -> ReaderOffsetId {
        self.slice.offset_id()
    }

    #[inline]
    fn lookup_offset_id(&self, id: ReaderOffsetId) -> Option<usize> {
        self.slice.lookup_offset_id(id)
    }

    #[inline]
    fn find(&self, byte: u8) -> gimli::Result<usize> {
        let found = Reader::find(&self.slice, byte)?;
        // A search goes through many bytes at once.
        self.budget.spend(1 + found / 16)?;
        Ok(found)
    }

    #[inline]
    fn skip(&mut self, len: usize) -> gimli::Result<()> {
        self.budget.spend(1)?;
        self.slice.skip(len)
    }

    #[inline]
    fn split(&mut self, len: usize) -> gimli::Result<Self> {
        self.budget.spend(1)?;
        Ok(Self {
            slice: self.slice.split(len)?,
            budget: self.budget,
        })
    }

    fn to_slice(&self) -> gimli::Result<Cow<'_, [u8]>> {
        self.slice.to_slice()
    }

    fn to_string(&self) -> gimli::Result<Cow<'_, str>> {
        Reader::to_string(&self.slice)
    }

    /// The one that copies: every source file's name starts with its directory's.
    fn to_string_lossy(&self) -> gimli::Result<Cow<'_, str>> {
        self.budget.spend(self.slice.len())?;
        Reader::to_string_lossy(&self.slice)
    }

    #[inline]
    fn read_slice(&mut self, buffer: &mut [u8]) -> gimli::Result<()> {
        self.budget.spend(1)?;
        Reader::read_slice(&mut self.slice, buffer)
    }

    #[inline]
    fn read_u8(&mut self) -> gimli::Result<u8> {
        self.budget.spend(1)?;
        self.slice.read_u8()
    }

    /// Every entry of `.debug_info` starts with one, so this is where recursion comes by.
    #[inline]
    fn read_uleb128(&mut self) -> gimli::Result<u64> {
        self.budget.check_stack()?;
        self.budget.spend(1)?;
        self.slice.read_uleb128()
    }
}
