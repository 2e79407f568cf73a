//! Threads by name, where stacks are told apart by them.

use core::mem::MaybeUninit;

use aya_ebpf::bindings::BPF_ANY;
use aya_ebpf::helpers::generated::bpf_get_current_comm;
use tracer_common::{THREAD_NAME_WORDS, thread_id};

use crate::maps::{THREAD_NAMES, config};

/// The current thread's name as a number; 0 where threads are not told apart.
#[inline(always)]
pub(crate) fn current() -> u32 {
    // A constant to the verifier, which drops the rest.
    if config!(by_thread) == 0 {
        return 0;
    }
    number()
}

/// Not a part of its callers, which have no room left on the stack.
#[inline(never)]
fn number() -> u32 {
    let name = name();
    thread_id(name)
}

/// Lets user space know a thread's name: the current one's, which has this number.
#[inline(always)]
pub(crate) fn remember(thread: u32) {
    if thread != 0 {
        keep(thread);
    }
}

#[inline(never)]
fn keep(thread: u32) -> u32 {
    let name = name();
    // Where there is no room the number stands without a name.
    u32::from(
        THREAD_NAMES
            .insert(&thread, &name, u64::from(BPF_ANY))
            .is_ok(),
    )
}

#[inline(always)]
fn name() -> [u64; THREAD_NAME_WORDS] {
    // Not cleared beforehand: LLVM makes a loop over bytes of that.
    let mut words = MaybeUninit::<[u64; THREAD_NAME_WORDS]>::uninit();
    // SAFETY: the helper writes as much as the size says, and zeros where it has no name.
    unsafe {
        bpf_get_current_comm(
            words.as_mut_ptr().cast(),
            size_of::<[u64; THREAD_NAME_WORDS]>() as u32,
        );
        words.assume_init()
    }
}
