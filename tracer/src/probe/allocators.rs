//! Whose allocator the symbols of a module are, and which of them are its functions.

use std::fmt;

use serde::Serialize;
use tracer_common::AllocatorFn;

/// An allocator that is known: how its functions call each other, and what else goes around them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AllocatorKind {
    /// The GNU C library's.
    Glibc,
    /// musl's.
    Musl,
    /// jemalloc.
    Jemalloc,
    /// tcmalloc, of gperftools.
    Tcmalloc,
}

impl AllocatorKind {
    /// Those that can be traced, for a sentence.
    pub const NAMES: &str = "glibc's, musl's, jemalloc's and gperftools'";

    /// Several, for a sentence.
    #[must_use]
    pub fn names(kinds: &[Self]) -> String {
        let names: Vec<_> = kinds.iter().map(Self::to_string).collect();
        names.join(", ")
    }
}

impl fmt::Display for AllocatorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Glibc => "glibc",
            Self::Musl => "musl",
            Self::Jemalloc => "jemalloc",
            Self::Tcmalloc => "tcmalloc",
        })
    }
}

/// The kinds of names that allocator functions have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    /// C's: `malloc`.
    C,
    /// jemalloc's beside C's: `mallocx`.
    Jemalloc,
    /// jemalloc's where it was built with a prefix: `_rjem_malloc`, `_rjem_mallocx`.
    Prefixed,
    /// C++'s.
    Operator,
    /// C++'s for alignments of the caller's choice.
    AlignedOperator,
}

/// What jemalloc's names begin with where it does not take the place of the C library's: in Rust's
/// crates, and by its own advice.
const PREFIXES: [&str; 2] = ["_rjem_", "je_"];

/// `operator new` and `operator new[]`, plain and `nothrow`.
const OPERATORS: [&str; 4] = [
    "_Znwm",
    "_Znam",
    "_ZnwmRKSt9nothrow_t",
    "_ZnamRKSt9nothrow_t",
];

/// The same with an alignment.
const ALIGNED_OPERATORS: [&str; 4] = [
    "_ZnwmSt11align_val_t",
    "_ZnamSt11align_val_t",
    "_ZnwmSt11align_val_tRKSt9nothrow_t",
    "_ZnamSt11align_val_tRKSt9nothrow_t",
];

/// The function that a symbol names, if the name is one of an allocator's functions.
pub(crate) fn named_function(symbol: &str) -> Option<(AllocatorFn, Naming)> {
    if OPERATORS.contains(&symbol) {
        return Some((AllocatorFn::OperatorNew, Naming::Operator));
    }
    if ALIGNED_OPERATORS.contains(&symbol) {
        return Some((AllocatorFn::OperatorNew, Naming::AlignedOperator));
    }
    let prefix = PREFIXES
        .iter()
        .find_map(|prefix| symbol.strip_prefix(prefix));
    let function = AllocatorFn::ALL
        .into_iter()
        .filter(|function| !function.may_throw())
        .find(|function| function.name() == prefix.unwrap_or(symbol))?;
    let naming = match function {
        _ if prefix.is_some() => Naming::Prefixed,
        AllocatorFn::Mallocx
        | AllocatorFn::Rallocx
        | AllocatorFn::Xallocx
        | AllocatorFn::Dallocx
        | AllocatorFn::Sdallocx => Naming::Jemalloc,
        _ => Naming::C,
    };
    Some((function, naming))
}

/// What tells the allocators apart: which of the symbols that only one of them has are defined.
///
/// That a program is linked with a C library does not make its `malloc` that library's: it may
/// bring one of its own.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    start_main: bool,
    libc_malloc: bool,
    musl_loader: bool,
    musl_init: bool,
    musl_heap: bool,
    malloc: bool,
    weak_malloc: bool,
    mallctl: bool,
    prefixed_mallctl: bool,
    tc_malloc: bool,
}

impl Marks {
    /// Notes a symbol that is defined.
    pub(crate) fn note(&mut self, name: &str, is_weak: bool) {
        let mark = match name {
            "__libc_start_main" => &mut self.start_main,
            "__libc_malloc" => &mut self.libc_malloc,
            "__dls3" => &mut self.musl_loader,
            "__init_libc" => &mut self.musl_init,
            "__expand_heap" => &mut self.musl_heap,
            "malloc" => {
                self.weak_malloc |= is_weak;
                &mut self.malloc
            }
            "mallctl" => &mut self.mallctl,
            "_rjem_mallctl" | "je_mallctl" => &mut self.prefixed_mallctl,
            "tc_malloc" => &mut self.tc_malloc,
            _ => return,
        };
        *mark = true;
    }

    /// The known allocators that the module holds.
    pub(crate) fn allocators(&self) -> Vec<AllocatorKind> {
        let mut found: Vec<_> = self.malloc().into_iter().collect();
        if self.prefixed_mallctl && !found.contains(&AllocatorKind::Jemalloc) {
            found.push(AllocatorKind::Jemalloc);
        }
        found
    }

    /// Whether the module defines a `malloc` that is none of theirs.
    pub(crate) fn malloc_is_unknown(&self) -> bool {
        self.malloc && self.malloc().is_none()
    }

    /// Whether the module is a C library, or is linked with one.
    pub(crate) const fn is_c_library(&self) -> bool {
        self.start_main
    }

    /// Whether functions with such names are those of the known allocators.
    pub(crate) fn explain(&self, naming: Naming) -> bool {
        match naming {
            Naming::C => self.malloc().is_some(),
            Naming::Jemalloc => self.malloc() == Some(AllocatorKind::Jemalloc),
            Naming::Prefixed => self.prefixed_mallctl,
            Naming::Operator => matches!(
                self.malloc(),
                Some(AllocatorKind::Jemalloc | AllocatorKind::Tcmalloc)
            ),
            // jemalloc's call `aligned_alloc`.
            Naming::AlignedOperator => self.malloc() == Some(AllocatorKind::Tcmalloc),
        }
    }

    /// Whose the module's `malloc` is.
    ///
    /// jemalloc and tcmalloc: each has a function under a name of its own.
    ///
    /// musl: the shared library is its own loader, the third stage of which has kept the name
    /// `__dls3` since 1.1. Static programs are started by its `__init_libc`. Its `malloc` is weak
    /// since 1.2.1, so that one of the program's own replaces it; before, it came with the function
    /// that gets memory from the kernel, `__expand_heap`. (`__libc_malloc` says nothing: musl's own
    /// functions keep the original under that name beside a replacement.)
    ///
    /// glibc: a static one defines `__libc_malloc`, as do allocators made to replace it (tcmalloc,
    /// mimalloc), and `__libc_start_main`, which those don't.
    fn malloc(&self) -> Option<AllocatorKind> {
        if !self.malloc {
            return None;
        }
        if self.mallctl {
            return Some(AllocatorKind::Jemalloc);
        }
        if self.tc_malloc {
            return Some(AllocatorKind::Tcmalloc);
        }
        if !self.start_main {
            return None;
        }
        if self.musl_loader || self.musl_init {
            let own = self.musl_loader || self.weak_malloc || self.musl_heap;
            return own.then_some(AllocatorKind::Musl);
        }
        self.libc_malloc.then_some(AllocatorKind::Glibc)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(names: &[&str]) -> Marks {
        let mut marks = Marks::default();
        for name in names {
            marks.note(name, false);
        }
        marks
    }

    #[test]
    fn names_are_told_apart() {
        let cases = [
            ("malloc", Some((AllocatorFn::Malloc, Naming::C))),
            ("mallocx", Some((AllocatorFn::Mallocx, Naming::Jemalloc))),
            (
                "_rjem_malloc",
                Some((AllocatorFn::Malloc, Naming::Prefixed)),
            ),
            (
                "je_sdallocx",
                Some((AllocatorFn::Sdallocx, Naming::Prefixed)),
            ),
            ("_Znam", Some((AllocatorFn::OperatorNew, Naming::Operator))),
            ("_rjem_je_malloc_default", None),
            ("operator new", None),
            ("je_", None),
        ];
        for (symbol, expected) in cases {
            assert_eq!(named_function(symbol), expected, "{symbol}");
        }
    }

    #[test]
    fn an_allocator_is_known_by_what_only_it_has() {
        let cases: [(&[&str], &[AllocatorKind]); 7] = [
            (
                &["malloc", "__libc_malloc", "__libc_start_main"],
                &[AllocatorKind::Glibc],
            ),
            (&["malloc", "__libc_malloc"], &[]),
            (&["malloc", "mallctl"], &[AllocatorKind::Jemalloc]),
            (
                &["malloc", "__libc_malloc", "tc_malloc"],
                &[AllocatorKind::Tcmalloc],
            ),
            // A Rust program, and one that is linked with the C library, too.
            (&["_rjem_mallctl"], &[AllocatorKind::Jemalloc]),
            (
                &[
                    "_rjem_mallctl",
                    "malloc",
                    "__libc_malloc",
                    "__libc_start_main",
                ],
                &[AllocatorKind::Glibc, AllocatorKind::Jemalloc],
            ),
            (&["mallctl", "mi_malloc"], &[]),
        ];
        for (names, expected) in cases {
            assert_eq!(marks(names).allocators(), expected, "{names:?}");
        }
    }

    #[test]
    fn only_what_is_known_is_explained() {
        let own = marks(&["malloc"]);
        let rust = marks(&["malloc", "_rjem_mallctl"]);
        let jemalloc = marks(&["malloc", "mallctl"]);
        assert!(!own.explain(Naming::C));
        assert!(rust.explain(Naming::Prefixed) && !rust.explain(Naming::C));
        assert!(rust.malloc_is_unknown() && !jemalloc.malloc_is_unknown());
        assert!(jemalloc.explain(Naming::Jemalloc) && jemalloc.explain(Naming::Operator));
        assert!(!jemalloc.explain(Naming::Prefixed));
    }
}
