//! A kernel array mapped into this process.

use std::marker::PhantomData;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

use aya::Pod;
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::BpfError;
use super::error::map_error;

/// The entries of an array map. The kernel side works on them at the same time, so that they are
/// handed out as pointers, for atomic access, and never as references.
pub(super) struct View<T: Pod> {
    first: NonNull<T>,
    len: usize,
    entries: PhantomData<T>,
}

// SAFETY: the mapping belongs to the process, whichever thread uses it, and so do its entries.
unsafe impl<T: Pod + Send> Send for View<T> {}

impl<T: Pod> View<T> {
    /// Maps `len` entries of an array with `BPF_F_MMAPABLE`.
    pub(super) fn new(
        map: &'static str,
        array: BorrowedFd<'_>,
        len: usize,
    ) -> Result<Self, BpfError> {
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let mapped = unsafe {
            mmap(
                std::ptr::null_mut(),
                len * size_of::<T>(),
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                array,
                0,
            )
        };
        let first = mapped
            .and_then(|mapped| NonNull::new(mapped.cast()).ok_or(Errno::FAULT))
            .map_err(|error| map_error(map, "mapped", &error))?;
        Ok(Self {
            first,
            len,
            entries: PhantomData,
        })
    }

    /// Number of entries.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// A pointer to an entry, aligned and valid as long as the view.
    pub(super) fn get(&self, index: usize) -> Option<*mut T> {
        // SAFETY: within the mapping.
        (index < self.len).then(|| unsafe { self.first.add(index) }.as_ptr())
    }

    /// Pointers to the entries, aligned and valid as long as the view.
    pub(super) fn iter(&self) -> impl Iterator<Item = *mut T> {
        // SAFETY: within the mapping.
        (0..self.len).map(|index| unsafe { self.first.add(index) }.as_ptr())
    }
}

impl<T: Pod> Drop for View<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`; no pointer into it outlives the view.
        let _ = unsafe { munmap(self.first.as_ptr().cast(), self.len * size_of::<T>()) };
    }
}
