//! Which functions of a module are probed, and where: symbols in, [`AttachPlan`] out.
//!
//! Pure: no I/O and no aya. The plan takes each function's first instruction.

use std::collections::BTreeSet;

use tracer_common::AllocatorFn;

use crate::address::FileOffset;

/// A function of the allocator and where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocatorSymbol {
    /// The function.
    pub function: AllocatorFn,
    /// Its first instruction.
    pub offset: FileOffset,
}

/// The probes to place into one module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttachPlan {
    /// Functions probed at entry and return.
    pub allocating: Vec<AllocatorSymbol>,
    /// Functions probed at entry only.
    pub freeing: Vec<AllocatorSymbol>,
}

impl AttachPlan {
    /// Plans the probes for a module's allocator functions.
    ///
    /// Aliases (`cfree` of `free`, `aligned_alloc` of `memalign`) share an offset and get one
    /// probe: two would count every call twice. The first name in [`AllocatorFn::ALL`]'s order
    /// stands for all; names that share code take the same arguments.
    #[must_use]
    pub fn new(symbols: &[AllocatorSymbol]) -> Self {
        let mut plan = Self::default();
        let mut taken = BTreeSet::new();
        let mut sorted = symbols.to_vec();
        sorted.sort_by_key(|symbol| (symbol.function, symbol.offset));
        for symbol in sorted {
            if !taken.insert(symbol.offset) {
                continue;
            }
            if symbol.function.is_free() {
                plan.freeing.push(symbol);
            } else {
                plan.allocating.push(symbol);
            }
        }
        plan
    }

    /// Whether there is nothing to probe.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.allocating.is_empty() && self.freeing.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbol(function: AllocatorFn, offset: u64) -> AllocatorSymbol {
        AllocatorSymbol {
            function,
            offset: FileOffset(offset),
        }
    }

    #[test]
    fn aliases_get_one_probe() {
        let plan = AttachPlan::new(&[
            symbol(AllocatorFn::Cfree, 0x200),
            symbol(AllocatorFn::Free, 0x200),
            symbol(AllocatorFn::Memalign, 0x300),
            symbol(AllocatorFn::AlignedAlloc, 0x300),
            symbol(AllocatorFn::Malloc, 0x100),
        ]);
        assert_eq!(
            plan.allocating,
            [
                symbol(AllocatorFn::Malloc, 0x100),
                symbol(AllocatorFn::AlignedAlloc, 0x300)
            ]
        );
        assert_eq!(plan.freeing, [symbol(AllocatorFn::Free, 0x200)]);
    }

    #[test]
    fn two_versions_of_one_function_get_a_probe_each() {
        let plan = AttachPlan::new(&[
            symbol(AllocatorFn::Malloc, 0x100),
            symbol(AllocatorFn::Malloc, 0x180),
        ]);
        assert_eq!(plan.allocating.len(), 2);
        assert!(!plan.is_empty());
    }
}
