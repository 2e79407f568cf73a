//! Address spaces: which one a task is in, and where its mappings are.

use tracer_common::{Owner, SpaceHead};

use crate::maps::SPACE_HEADS;
use crate::task::Task;

/// Whose stack it is that a task is on.
#[inline(always)]
pub(crate) fn owner_of(task: &Task) -> Owner {
    owner(task, SpaceHead::from_word(head(space_of(task))))
}

/// As [`owner_of`], where the address space is known.
#[inline(always)]
pub(crate) fn owner(task: &Task, space: SpaceHead) -> Owner {
    Owner {
        version: u64::from(space.version),
        image: task.image,
    }
}

/// The number of a task's address space: its own, or the one it was forked with.
#[inline(always)]
pub(crate) fn space_of(task: &Task) -> u32 {
    if head(task.heap) != 0 {
        task.heap
    } else {
        task.space
    }
}

/// Where an address space's mappings are, as a word.
#[inline(always)]
pub(crate) fn head(space: u32) -> u64 {
    match SPACE_HEADS.get_ptr(space) {
        // SAFETY: a valid map value, which user space replaces whole.
        Some(head) => unsafe { core::ptr::read_volatile(head) },
        None => 0,
    }
}
