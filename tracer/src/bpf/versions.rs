//! Numbers for lists of mappings, by which the kernel side's caches tell them apart: 16 bits, so that they
//! are used up after 65,535 lists and begin anew. Must not touch the maps.

use std::collections::BTreeSet;

/// The numbers of a session.
#[derive(Debug, Default)]
pub(super) struct Versions {
    /// The last one given out.
    last: u16,
    /// Those in use when the caches were last emptied: what the caches hold since then may be theirs.
    kept: BTreeSet<u16>,
}

impl Versions {
    /// The next number: of no other list that is in use, or was since the caches were emptied. `empty` must
    /// empty them, of what programs that run now are about to write, too. `None` where all are in use.
    ///
    /// # Errors
    ///
    /// Those of `empty`; the same is tried again next time.
    pub(super) fn next<E>(
        &mut self,
        in_use: impl Iterator<Item = u16>,
        empty: impl FnOnce() -> Result<(), E>,
    ) -> Result<Option<u16>, E> {
        if let Some(version) = self.free_after(self.last) {
            self.last = version;
            return Ok(Some(version));
        }
        let in_use = in_use.collect();
        empty()?;
        self.kept = in_use;
        let version = self.free_after(0);
        self.last = version.unwrap_or(u16::MAX);
        Ok(version)
    }

    fn free_after(&self, last: u16) -> Option<u16> {
        (last.checked_add(1)?..=u16::MAX).find(|version| !self.kept.contains(version))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    use super::*;

    /// Spaces that stay for ever, ones that change now and then, and one that always does; the caches hold
    /// what any of them may have written since they were emptied.
    #[test]
    fn a_number_that_the_caches_may_hold_is_not_given_out() -> Result<(), Infallible> {
        let mut versions = Versions::default();
        let mut heads: BTreeMap<u64, u16> = BTreeMap::new();
        let mut cached = BTreeSet::new();
        let mut emptied = 0;
        for round in 0..400_000_u64 {
            let heap = match round {
                0..50 => round,
                _ if round % 997 == 0 => 100 + round % 7,
                _ => 1_000,
            };
            let in_use: Vec<u16> = heads.values().copied().collect();
            let version = versions.next(in_use.iter().copied(), || {
                cached.clear();
                cached.extend(&in_use);
                emptied += 1;
                Ok::<(), Infallible>(())
            })?;
            let version = version.unwrap_or(0);
            assert!(version != 0 && cached.insert(version), "{version} again");
            heads.insert(heap, version);
        }
        assert_eq!(emptied, 6);
        Ok(())
    }

    #[test]
    fn what_could_not_be_emptied_is_tried_again() {
        let mut versions = Versions {
            last: u16::MAX,
            kept: BTreeSet::new(),
        };
        let in_use = || [1, 3].into_iter();
        assert_eq!(
            versions.next(in_use(), || Err("no memory")),
            Err("no memory")
        );
        let mut next = || versions.next(in_use(), || Ok::<_, Infallible>(()));
        assert_eq!(next(), Ok(Some(2)));
        assert_eq!(next(), Ok(Some(4)));
    }

    #[test]
    fn there_may_be_none() {
        let mut versions = Versions {
            last: u16::MAX,
            kept: BTreeSet::new(),
        };
        let next = versions.next(1..=u16::MAX, || Ok::<_, Infallible>(()));
        assert_eq!(next, Ok(None));
    }
}
