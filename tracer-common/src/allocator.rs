//! The allocator functions that are probed. The discriminant is the attach cookie that tells the
//! shared BPF programs which function they run for.

/// An allocator function.
///
/// Signatures are those of the C standard, POSIX and glibc's manual (`man 3 malloc`,
/// `man 3 posix_memalign`); the `_sized` ones are C23's, the `…x` ones jemalloc's (`man 3 jemalloc`).
/// Functions that differ in what is not looked at are one: the forms of `operator new`.
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
    /// `void *mallocx(size_t size, int flags)`
    Mallocx = 14,
    /// `void *rallocx(void *ptr, size_t size, int flags)`
    Rallocx = 15,
    /// `size_t xallocx(void *ptr, size_t size, size_t extra, int flags)`: resizes in place, or not at
    /// all, and returns how large the block then is.
    Xallocx = 16,
    /// `void dallocx(void *ptr, int flags)`
    Dallocx = 17,
    /// `void sdallocx(void *ptr, size_t size, int flags)`
    Sdallocx = 18,
    /// `void *operator new(size_t size, …)` and `operator new[]`, where it does not call `malloc`
    OperatorNew = 19,
}

impl AllocatorFn {
    /// Every function, in the order of the discriminants.
    pub const ALL: [Self; 19] = [
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
        Self::Mallocx,
        Self::Rallocx,
        Self::Xallocx,
        Self::Dallocx,
        Self::Sdallocx,
        Self::OperatorNew,
    ];

    /// The function's name in its language; of C's functions also the symbol.
    #[must_use]
    pub const fn name(self) -> &'static str {
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
            Self::Mallocx => "mallocx",
            Self::Rallocx => "rallocx",
            Self::Xallocx => "xallocx",
            Self::Dallocx => "dallocx",
            Self::Sdallocx => "sdallocx",
            Self::OperatorNew => "operator new",
        }
    }

    /// Whether the function only gives memory back. It is then probed at its entry alone: the
    /// address must leave the live table before the allocator can hand it out again.
    #[must_use]
    pub const fn is_free(self) -> bool {
        matches!(
            self,
            Self::Free
                | Self::Cfree
                | Self::FreeSized
                | Self::FreeAlignedSized
                | Self::Dallocx
                | Self::Sdallocx
        )
    }

    /// Whether the function may throw an exception. A return probe replaces the return address by one
    /// that nobody can unwind through: the exception would not reach its handler, and end the process.
    #[must_use]
    pub const fn may_throw(self) -> bool {
        matches!(self, Self::OperatorNew)
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
