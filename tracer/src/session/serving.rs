//! Modules that define `malloc` and are not probed: whether one of them serves the process.
//!
//! A symbol that several modules define is the first one's, in the order of loading. What comes first and
//! is not probed serves the process unseen, unless it only hands its calls on: then the allocator behind
//! it is called from its code.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::allocator::Found;
use crate::process::{AddressSpace, MappedFile};
use crate::profile::Profile;

/// Frames from the allocator outwards in which a wrapper's own are looked for.
const WRAPPER_FRAMES: usize = 8;

/// A module that defines `malloc` and is not probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Other {
    pub(super) path: PathBuf,
    /// It comes before the allocators that are probed, as far as is known.
    pub(super) is_first: bool,
}

impl Found {
    /// Where a running process says in which order its modules were loaded: those behind an allocator that
    /// is probed serve nobody.
    pub(super) fn order_by(&mut self, space: &AddressSpace, order: &[u64]) {
        // A module's code lies behind its beginning, and before the next module's.
        let rank = |path: &Path| {
            let is_it = |file: &Arc<MappedFile>| file.path == path;
            let (_, first) = space
                .mappings()
                .find(|(_, mapped)| mapped.file.as_ref().is_some_and(is_it))?;
            let start = first.start;
            let (rank, _) = order
                .iter()
                .enumerate()
                .filter(|&(_, &base)| base <= start)
                .max_by_key(|&(_, &base)| base)?;
            Some(rank)
        };
        let probed = self
            .allocators
            .iter()
            .filter_map(|one| rank(&one.path))
            .min();
        for other in &mut self.others {
            other.is_first = match (rank(&other.path), probed) {
                (Some(rank), Some(probed)) => rank < probed,
                _ => true,
            };
        }
    }

    /// A module that was found while it was mapped: it is not first where an allocator that is probed was
    /// mapped before it, in the same image.
    pub(super) fn order_by_time(&mut self, space: &AddressSpace, module: &MappedFile) {
        let probed = &self.allocators;
        let Some(other) = self.others.iter_mut().find(|one| one.path == module.path) else {
            return;
        };
        let is =
            |path: &Path, file: Option<&MappedFile>| file.is_some_and(|file| file.path == path);
        let mut before = space.mapped_before(|file| is(&module.path, Some(file)));
        other.is_first = !before.any(|mapped| {
            probed
                .iter()
                .any(|one| is(&one.path, mapped.file.as_deref()))
        });
    }

    /// Those that serve the process, or may.
    pub(super) fn serving(&self) -> impl Iterator<Item = &Path> {
        let first = self.others.iter().filter(|other| other.is_first);
        first.map(|other| other.path.as_path())
    }

    /// Those whose work is not in the profile.
    pub(super) fn not_probed(&self, profile: &Profile) -> Vec<&Path> {
        self.serving()
            .filter(|path| !hands_on(profile, &path.to_string_lossy()))
            .collect()
    }
}

/// Whether most of what was counted came through a module.
fn hands_on(profile: &Profile, module: &str) -> bool {
    let (mut all, mut through) = (0, 0);
    for sample in &profile.samples {
        let calls = sample.values.alloc_objects;
        all += calls;
        let near = sample.locations.iter().take(WRAPPER_FRAMES);
        let is_there = near
            .filter_map(|&index| profile.mappings.get(profile.location(index)?.mapping?))
            .any(|mapping| mapping.path == module);
        if is_there {
            through += calls;
        }
    }
    through > 0 && through >= all / 2
}
