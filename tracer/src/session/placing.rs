//! From an eBPF side without programs to one whose probes are placed.

use std::panic::resume_unwind;
use std::thread;

use super::{Allocator, SessionError};
use crate::bpf::{Kernel, Scope, UnwindMaps};

/// Loads the programs and probes the allocators, while `publish` compiles and loads unwind tables.
/// Both take tens of milliseconds, most of it in the kernel, and neither needs the other.
pub(super) fn place(
    kernel: &mut Kernel,
    allocators: &[Allocator],
    scope: Scope<'_>,
    publish: impl FnOnce(&mut UnwindMaps),
) -> Result<(), SessionError> {
    let (probes, maps) = kernel.parts();
    thread::scope(|threads| {
        let placed = threads.spawn(|| {
            let modules: Vec<_> = allocators.iter().map(Allocator::probed).collect();
            Ok(probes.load(&modules, scope)?)
        });
        publish(maps);
        placed.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}
