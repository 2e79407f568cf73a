//! The allocator functions that are probed. The discriminant is the attach cookie that tells the
//! shared BPF programs which function they run for.

/// An allocator function of the C library.
///
/// Signatures are those of the C standard, POSIX and glibc's manual (`man 3 malloc`,
/// `man 3 posix_memalign`); the `_sized` ones are C23's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum AllocatorFn {
    /// `void *malloc(size_t size)`
    Malloc = 1,
    /// `void *calloc(size_t nmemb, size_t size)`
    Calloc = 2,
    /// `void *realloc(void *ptr, size_t size)`
    Realloc = 3,
    /// `void *reallocarray(void *ptr, size_t nmemb, size_t size)`
    Reallocarray = 4,
    /// `int posix_memalign(void **memptr, size_t alignment, size_t size)`
    PosixMemalign = 5,
    /// `void *aligned_alloc(size_t alignment, size_t size)`
    AlignedAlloc = 6,
    /// `void *memalign(size_t alignment, size_t size)`
    Memalign = 7,
    /// `void *valloc(size_t size)`
    Valloc = 8,
    /// `void *pvalloc(size_t size)`: the size is rounded up to whole pages.
    Pvalloc = 9,
    /// `void free(void *ptr)`
    Free = 10,
    /// `void cfree(void *ptr)`, glibc before 2.26
    Cfree = 11,
    /// `void free_sized(void *ptr, size_t size)`
    FreeSized = 12,
    /// `void free_aligned_sized(void *ptr, size_t alignment, size_t size)`
    FreeAlignedSized = 13,
}

impl AllocatorFn {
    /// Every function, in the order of the discriminants.
    pub const ALL: [Self; 13] = [
        Self::Malloc,
        Self::Calloc,
        Self::Realloc,
        Self::Reallocarray,
        Self::PosixMemalign,
        Self::AlignedAlloc,
        Self::Memalign,
        Self::Valloc,
        Self::Pvalloc,
        Self::Free,
        Self::Cfree,
        Self::FreeSized,
        Self::FreeAlignedSized,
    ];

    /// The symbol a C library exports the function under.
    #[must_use]
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Malloc => "malloc",
            Self::Calloc => "calloc",
            Self::Realloc => "realloc",
            Self::Reallocarray => "reallocarray",
            Self::PosixMemalign => "posix_memalign",
            Self::AlignedAlloc => "aligned_alloc",
            Self::Memalign => "memalign",
            Self::Valloc => "valloc",
            Self::Pvalloc => "pvalloc",
            Self::Free => "free",
            Self::Cfree => "cfree",
            Self::FreeSized => "free_sized",
            Self::FreeAlignedSized => "free_aligned_sized",
        }
    }

    /// Whether the function only gives memory back. It is then probed at its entry alone: the
    /// address must leave the live table before the allocator can hand it out again.
    #[must_use]
    pub const fn is_free(self) -> bool {
        matches!(
            self,
            Self::Free | Self::Cfree | Self::FreeSized | Self::FreeAlignedSized
        )
    }

    /// Whether the function frees and is told the size; it may hand on to `free`.
    #[must_use]
    pub const fn is_sized_free(self) -> bool {
        matches!(self, Self::FreeSized | Self::FreeAlignedSized)
    }

    /// The function's attach cookie.
    #[must_use]
    pub const fn cookie(self) -> u64 {
        self as u64
    }

    /// The function of an attach cookie.
    #[must_use]
    pub const fn from_cookie(cookie: u64) -> Option<Self> {
        let mut i = 0;
        while i < Self::ALL.len() {
            if Self::ALL[i] as u64 == cookie {
                return Some(Self::ALL[i]);
            }
            i += 1;
        }
        None
    }
}
