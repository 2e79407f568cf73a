//! Which function's calls tell how much the target does: one that is called now and then, so that a probe on it
//! costs next to nothing, and yet often enough to be counted.

use tracer_common::AllocatorFn;

use crate::bpf::Calls;

/// What a mark may be of all calls.
const SHARE: f64 = 0.06;
/// Calls that must be known before one is chosen.
const CALLS: u64 = 1_000;
/// Of these, calls of the mark.
const LEAST: u64 = 8;

/// The function that is called most often of those that are called rarely; `None` where there is none, or too
/// little is known.
pub(super) fn mark(known: &Calls) -> Option<AllocatorFn> {
    let sum = known.sum();
    let most = sum as f64 * SHARE;
    let rare = AllocatorFn::ALL
        .into_iter()
        .map(|function| (known.of(function), function))
        .filter(|&(calls, _)| sum >= CALLS && calls >= LEAST && calls as f64 <= most);
    rare.max().map(|(_, function)| function)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(each: &[(AllocatorFn, u64)]) -> Calls {
        let mut calls = Calls::default();
        for (function, known) in AllocatorFn::ALL.iter().zip(&mut calls.by_function) {
            *known = each.iter().find(|(f, _)| f == function).map_or(0, |c| c.1);
        }
        calls
    }

    #[test]
    fn the_most_frequent_of_the_rare_ones() {
        let known = calls(&[
            (AllocatorFn::Malloc, 5_000),
            (AllocatorFn::Free, 5_000),
            (AllocatorFn::Realloc, 300),
            (AllocatorFn::Calloc, 100),
            (AllocatorFn::Memalign, 1),
        ]);
        assert_eq!(mark(&known), Some(AllocatorFn::Realloc));
    }

    #[test]
    fn none_where_little_is_known_or_all_are_called_often() {
        let few = calls(&[(AllocatorFn::Malloc, 900), (AllocatorFn::Realloc, 20)]);
        assert_eq!(mark(&few), None);
        let even = calls(&[(AllocatorFn::Malloc, 9_000), (AllocatorFn::Free, 9_000)]);
        assert_eq!(mark(&even), None);
    }
}
