//! What a probe reads from the registers.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::{bpf_get_attach_cookie, bpf_get_func_ip};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};

/// Bytes that a return takes off the stack: on x86-64 the return address.
pub(crate) const RETURN_SIZE: u64 = 8;

/// Registers at a probe.
pub(crate) trait Probe {
    /// Stack pointer.
    fn stack_pointer(&self) -> u64;
    /// Instruction pointer.
    fn instruction_pointer(&self) -> u64;
    /// Frame pointer.
    fn frame_pointer(&self) -> u64;
    /// Cookie of the probed function.
    fn cookie(&self) -> u64;
    /// Whether a session's program runs for the return of a call: the probed instruction is then not
    /// the one that comes next.
    fn is_return(&self) -> bool;
}

macro_rules! probe {
    ($($ty:ty),+) => {$(
        impl Probe for $ty {
            #[inline(always)]
            fn stack_pointer(&self) -> u64 {
                // SAFETY: the kernel hands every probe a valid register set.
                unsafe { (*self.regs).rsp }
            }

            #[inline(always)]
            fn instruction_pointer(&self) -> u64 {
                // SAFETY: as above.
                unsafe { (*self.regs).rip }
            }

            #[inline(always)]
            fn frame_pointer(&self) -> u64 {
                // SAFETY: as above.
                unsafe { (*self.regs).rbp }
            }

            #[inline(always)]
            fn cookie(&self) -> u64 {
                // SAFETY: the context is the one the program was called with.
                unsafe { bpf_get_attach_cookie(self.as_ptr()) }
            }

            #[inline(always)]
            fn is_return(&self) -> bool {
                // SAFETY: as above.
                self.instruction_pointer() != unsafe { bpf_get_func_ip(self.as_ptr()) }
            }
        }
    )+};
}

probe!(ProbeContext, RetProbeContext);
