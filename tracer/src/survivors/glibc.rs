//! What glibc's malloc writes beside and into blocks, read from outside.
//!
//! Sources: malloc/malloc.c and malloc/arena.c of glibc 2.31 to 2.41. Whoever reads does so while the target runs:
//! what one word says was true at one moment, and words that are read one after the other need not fit. So a block
//! counts as free only where a word says so that is never like this while the block is in use.

use std::collections::HashMap;

/// Bytes of a word.
const WORD: u64 = 8;
/// `SIZE_SZ`: what a chunk has before the block, beside the size of the one before it.
const HEADER: u64 = 16;
/// `MINSIZE`.
const LEAST: u64 = 32;
/// A chunk that is left over is given away with the block where it is smaller than [`LEAST`]; aligned ones may keep
/// that much.
const SPARE: u64 = 32;
/// `PREV_INUSE`, `IS_MMAPPED`, `NON_MAIN_ARENA`.
const PREV_INUSE: u64 = 1;
const IS_MMAPPED: u64 = 2;
const FLAGS: u64 = 7;
/// What a block of its own may be larger than was asked for, by alignment and rounding to pages.
const MOST_ROUNDED: u64 = 4 << 20;
/// Sizes that the chunk may have which holds a thread's cache (`tcache_perthread_struct`).
const CACHE_SIZES: std::ops::RangeInclusive<u64> = 0x240..=0x1000;
/// Blocks of a cache that must agree on a key.
const AGREEING: usize = 2;
/// Keys that are kept: the process has one from 2.34 on, and each thread before.
const MOST_KEYS: usize = 256;

/// The target's memory.
pub trait Memory {
    /// Reads words from an address on.
    ///
    /// # Errors
    ///
    /// Nothing is mapped there, or it can't be told.
    fn words(&self, address: u64, into: &mut [u64]) -> Result<(), Unread>;
}

/// Why words could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// Nothing is mapped there.
    Unmapped,
    /// The process has ended, or does not let anybody read.
    Unknown,
}

/// What the allocator's memory says of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing that speaks against its being in use, by this owner or a later one.
    Used,
    /// It lies in a thread's cache.
    Cached,
    /// The chunk behind it says that it is free.
    Binned,
    /// The chunk has another size: the block was freed, and its memory is a part of another.
    Resized,
    /// Its memory has been given back.
    Unmapped,
    /// It could not be read.
    Unknown,
}

impl State {
    /// Whether it proves that the block was freed.
    #[must_use]
    pub const fn is_death(self) -> bool {
        match self {
            Self::Cached | Self::Binned | Self::Resized | Self::Unmapped => true,
            Self::Used | Self::Unknown => false,
        }
    }
}

/// The words by which glibc knows blocks in a cache again (`tcache_key`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys(Vec<u64>);

impl Keys {
    /// Learns the key from the cache of the thread whose heap begins at `start`: the blocks that it lists have it as
    /// their second word. Without a cache there, or with fewer than two blocks in it, nothing is learned.
    pub fn learn(&mut self, memory: &impl Memory, start: u64) {
        let mut size = [0; 1];
        if memory.words(start + WORD, &mut size).is_err() {
            return;
        }
        let size = size[0] & !FLAGS;
        if !CACHE_SIZES.contains(&size) {
            return;
        }
        let mut listed = vec![0; ((size - HEADER) / WORD) as usize];
        if memory.words(start + HEADER, &mut listed).is_err() {
            return;
        }
        let mut votes: HashMap<u64, usize> = HashMap::new();
        for block in listed {
            let mut key = [0; 1];
            if block > start
                && block.is_multiple_of(HEADER)
                && memory.words(block + WORD, &mut key).is_ok()
                && key[0] != 0
            {
                *votes.entry(key[0]).or_default() += 1;
            }
        }
        let all: usize = votes.values().sum();
        let most = votes.into_iter().max_by_key(|&(_, votes)| votes);
        if let Some((key, votes)) = most
            && votes >= AGREEING
            && votes * 2 > all
            && !self.0.contains(&key)
            && self.0.len() < MOST_KEYS
        {
            self.0.push(key);
        }
    }

    /// The same where another arena's memory begins at `start`: the cache of its first thread lies behind what glibc
    /// keeps there itself (`heap_info`, `malloc_state`).
    pub fn learn_of_arena(&mut self, memory: &impl Memory, start: u64) {
        const OWN: usize = 512;
        const NON_MAIN_ARENA: u64 = 4;
        let mut words = [0; OWN];
        if memory.words(start, &mut words).is_err() {
            return;
        }
        let first = words.iter().position(|size| {
            size & NON_MAIN_ARENA != 0
                && size & PREV_INUSE != 0
                && CACHE_SIZES.contains(&(size & !FLAGS))
        });
        if let Some(first) = first {
            self.learn(memory, start + first as u64 * WORD - WORD);
        }
    }

    /// Whether any is known.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A heap of glibc's.
#[derive(Clone, Copy, Debug)]
pub struct Heap<'a, M> {
    /// Its memory.
    pub memory: &'a M,
    /// The keys that are known.
    pub keys: &'a Keys,
}

impl<M: Memory> Heap<'_, M> {
    /// What the allocator's memory says of a block that was asked for with so many bytes.
    #[must_use]
    pub fn state(&self, address: u64, asked: u64) -> State {
        if address < HEADER || !address.is_multiple_of(HEADER) {
            return State::Unknown;
        }
        // The size of the chunk, and the first two words of the block.
        let mut words = [0; 3];
        match self.memory.words(address - WORD, &mut words) {
            Ok(()) => {}
            Err(Unread::Unmapped) => return State::Unmapped,
            Err(Unread::Unknown) => return State::Unknown,
        }
        let [size, link, key] = words;
        let (chunk, flags) = (size & !FLAGS, size & FLAGS);
        let Some(least) = chunk_of(asked) else {
            return State::Unknown;
        };
        if flags & IS_MMAPPED != 0 {
            // Whole pages, huge ones where that is tuned so.
            let fits = (least - HEADER..least + MOST_ROUNDED).contains(&chunk);
            return if fits { State::Used } else { State::Resized };
        }
        if !(least..=least + SPARE).contains(&chunk) {
            return State::Resized;
        }
        if self.keys.0.contains(&key) && self.is_link(address, link, chunk) {
            return State::Cached;
        }
        let mut next = [0; 1];
        match self
            .memory
            .words(address - HEADER + chunk + WORD, &mut next)
        {
            Ok(()) if next[0] & PREV_INUSE == 0 => State::Binned,
            Ok(()) => State::Used,
            // A chunk that ends its mapping, which none does.
            Err(_) => State::Unknown,
        }
    }

    /// Whether the first word of a block is one by which a cache links it to the next of its size. The key alone may
    /// be left over in a block that was given out and not written to.
    fn is_link(&self, address: u64, link: u64, chunk: u64) -> bool {
        // `PROTECT_PTR`, from 2.32 on; before, the address itself.
        [link ^ (address >> 12), link].into_iter().any(|next| {
            let mut size = [0; 1];
            next == 0
                || next.is_multiple_of(HEADER)
                    && next >= HEADER
                    && self.memory.words(next - WORD, &mut size).is_ok()
                    && size[0] & !FLAGS == chunk
        })
    }
}

/// The smallest chunk for so many bytes.
fn chunk_of(asked: u64) -> Option<u64> {
    let chunk = asked.checked_add(WORD + HEADER - 1)? & !(HEADER - 1);
    Some(chunk.max(LEAST))
}
