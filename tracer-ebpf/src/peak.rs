//! The peak: the most that was live at once, and what each stack held of it. How exactly, and what races
//! remain: `docs/design/0020-peak.md`.

use core::ffi::c_void;
use core::ptr;

use aya_ebpf::helpers::generated::{bpf_get_smp_processor_id, bpf_ktime_get_ns, bpf_loop};
use tracer_common::{
    Amount, Counter, LiveTotal, PeakMark, PeakWord, StackCounters, is_new_peak, may_be_kept,
    peak_step,
};

use crate::count::{add, atomic_add, atomic_swap, exchange, exchange_half, fetch_add};
use crate::maps::{FLOWS, LIVE_TOTAL, PEAK, STACK_COUNTERS, STACKS_USED, config};
use crate::task::Task;

/// How often a peak is declared where another CPU declares one in between.
const TRIES: u32 = 4;

/// CPUs, at most; there is an entry of [`FLOWS`] for each that the machine may have.
const MAX_CPUS: u32 = 8_192;

/// Iterations of one `bpf_loop`, at most.
const MAX_LOOPS: u64 = 1 << 23;

/// Before a stack's counters change: keeps what it holds of the last peak, once.
///
/// What it holds is read before it is claimed, and nobody who knows of the peak changes the counters
/// before somebody has claimed it.
#[inline(always)]
pub(crate) fn keep(counters: *mut StackCounters) {
    let Some(peak) = PEAK.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: valid map values; volatile, since other CPUs write them at any time.
    unsafe {
        let epoch = PeakWord((&raw const (*peak).word).read_volatile()).epoch();
        let kept = (&raw const (*counters).peak_epoch).read_volatile();
        if kept == epoch {
            return;
        }
        let (objects, bytes) = live(counters);
        if exchange_half(&raw mut (*counters).peak_epoch, kept, epoch) {
            (&raw mut (*counters).peak_objects).write_volatile(objects);
            (&raw mut (*counters).peak_bytes).write_volatile(bytes);
        }
    }
}

/// Objects and bytes that a stack holds. The freed side first, as a free comes after its allocation.
///
/// # Safety
///
/// The pointer is that of a map value.
#[inline(always)]
unsafe fn live(counters: *mut StackCounters) -> (u64, u64) {
    // SAFETY: the caller's promise; volatile, since other CPUs write at any time.
    unsafe {
        let freed_objects = (&raw const (*counters).freed_objects).read_volatile();
        let freed_bytes = (&raw const (*counters).freed_bytes).read_volatile();
        let objects = (&raw const (*counters).alloc_objects).read_volatile();
        let bytes = (&raw const (*counters).alloc_bytes).read_volatile();
        (
            objects.wrapping_sub(freed_objects),
            bytes.wrapping_sub(freed_bytes),
        )
    }
}

/// Counts an allocation that is live, and whose stack has it.
#[inline(always)]
pub(crate) fn came(size: u64) {
    let (Some(flow), Some(mark)) = (FLOWS.get_ptr_mut(cpu()), mark()) else {
        return;
    };
    // SAFETY: a valid map value; only addresses are formed here.
    let (came, went) = unsafe { (&raw mut (*flow).came, &raw mut (*flow).went) };
    let large = if size < mark.step { 0 } else { size };
    if !is_kept(came, size - large, went, &mark) || large != 0 {
        hand_on(large, 0);
    }
}

/// Counts an allocation that is not live any more.
#[inline(always)]
pub(crate) fn went(size: u64) {
    let (Some(flow), Some(mark)) = (FLOWS.get_ptr_mut(cpu()), mark()) else {
        return;
    };
    // SAFETY: as in `came`.
    let (came, went) = unsafe { (&raw mut (*flow).came, &raw mut (*flow).went) };
    let large = if size < mark.step { 0 } else { size };
    if !is_kept(went, size - large, came, &mark) || large != 0 {
        hand_on(0, large);
    }
}

/// Adds an object of some bytes to one side of a CPU's flow. Returns whether the CPU may keep it to itself.
#[inline(always)]
fn is_kept(side: *mut u64, bytes: u64, other: *mut u64, mark: &PeakMark) -> bool {
    let object = Amount::object(bytes);
    let sum = Amount(fetch_add(side, object.0)).plus(object);
    // SAFETY: a valid map value; volatile, since another task may have been here in between.
    let other = Amount(unsafe { other.read_volatile() });
    may_be_kept(sum, other, mark, config!(peak_shift))
}

/// The number of this CPU, which the program stays on.
#[inline(always)]
fn cpu() -> u32 {
    // SAFETY: no arguments.
    unsafe { bpf_get_smp_processor_id() as u32 }
}

/// Hands on what this CPU has kept, and bytes that are more than a step by themselves. The total may then be a peak,
/// or come near it.
///
/// A global function, as each place that allocates or frees comes here: the verifier looks at it once. Returns
/// nothing of use: such a function has a result.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn hand_on(came: u64, went: u64) -> u64 {
    let (Some(total), Some(peak)) = (LIVE_TOTAL.get_ptr_mut(0), PEAK.get_ptr_mut(0)) else {
        return 0;
    };
    // SAFETY: a valid map value; volatile, since other CPUs write it at any time. Before the total: who has set
    // another step since then knows better.
    let step = unsafe { (&raw const (*peak).step).read_volatile() };
    let live = add_kept(total, peak, cpu(), (came, went)).unwrap_or(0);
    let wanted = declare(peak, live);
    let is_nearer = wanted < step / 2;
    if !is_nearer && wanted / 2 <= step {
        return 0;
    }
    // SAFETY: a valid map value; only an address is formed here.
    let is_set = exchange(unsafe { &raw mut (*peak).step }, step, wanted);
    if is_set && is_nearer {
        // The others may have kept more than they may now.
        // SAFETY: the callback has the helper's signature, and needs no context.
        unsafe { bpf_loop(MAX_CPUS, collect as *mut c_void, ptr::null_mut(), 0) };
        // SAFETY: a valid map value; volatile, since other CPUs write it at any time.
        declare(peak, unsafe { (&raw const (*total).bytes).read_volatile() });
    }
    0
}

/// Takes what a CPU has kept, as a callback of `bpf_loop`; 1 ends it.
extern "C" fn collect(cpu: u64, _context: *mut c_void) -> u64 {
    let (Some(total), Some(peak)) = (LIVE_TOTAL.get_ptr_mut(0), PEAK.get_ptr_mut(0)) else {
        return 1;
    };
    u64::from(add_kept(total, peak, cpu as u32, (0, 0)).is_none())
}

/// Adds what a CPU has kept, and more bytes, to the totals; returns that of the live bytes, or `None` where there is
/// no such CPU.
#[inline(always)]
fn add_kept(total: *mut LiveTotal, peak: *mut PeakMark, cpu: u32, more: (u64, u64)) -> Option<u64> {
    let flow = FLOWS.get_ptr_mut(cpu)?;
    // SAFETY: valid map values; only addresses are formed here.
    let (came, went, bytes, objects, most) = unsafe {
        (
            &raw mut (*flow).came,
            &raw mut (*flow).went,
            &raw mut (*total).bytes,
            &raw mut (*total).objects,
            &raw mut (*peak).objects,
        )
    };
    let (came, went) = (Amount(atomic_swap(came, 0)), Amount(atomic_swap(went, 0)));
    add(Counter::AllocObjects, came.objects());
    add(Counter::FreeObjects, went.objects());
    let change = came.objects().wrapping_sub(went.objects());
    raise(most, fetch_add(objects, change).wrapping_add(change));

    let (came, went) = (came.bytes() + more.0, went.bytes() + more.1);
    add(Counter::AllocBytes, came);
    add(Counter::FreeBytes, went);
    let change = came.wrapping_sub(went);
    Some(fetch_add(bytes, change).wrapping_add(change))
}

/// Keeps the most objects that were live.
#[inline(always)]
fn raise(most: *mut u64, live: u64) {
    let mut tries = 0;
    while tries < TRIES {
        // SAFETY: a valid map value; volatile, since other CPUs write it at any time.
        let last = unsafe { most.read_volatile() };
        if live.cast_signed() <= last.cast_signed() || exchange(most, last, live) {
            return;
        }
        tries += 1;
    }
}

/// Declares a peak where so many live bytes are one. Returns the step from now on.
#[inline(always)]
fn declare(peak: *mut PeakMark, live: u64) -> u64 {
    // Frees may be handed on before their allocations.
    let live = if live.cast_signed() < 0 { 0 } else { live };
    // SAFETY: a valid map value; only an address is formed here.
    let word = unsafe { &raw mut (*peak).word };
    let mut most = live;
    let mut tries = 0;
    while tries < TRIES {
        // SAFETY: a valid map value; volatile, since other CPUs write it at any time.
        let last = PeakWord(unsafe { word.read_volatile() });
        if !is_new_peak(live, last.bytes()) {
            most = last.bytes();
            break;
        }
        if exchange(word, last.0, last.next(live).0) {
            // SAFETY: no arguments; a valid map value.
            unsafe { (&raw mut (*peak).time_ns).write_volatile(bpf_ktime_get_ns()) };
            break;
        }
        tries += 1;
    }
    peak_step(live, most, config!(peak_shift))
}

/// The peak as it stands.
#[inline(always)]
fn mark() -> Option<PeakMark> {
    let peak = PEAK.get_ptr_mut(0)?;
    // SAFETY: a valid map value; volatile, since other CPUs write it at any time.
    Some(unsafe {
        PeakMark {
            word: 0,
            time_ns: 0,
            objects: (&raw const (*peak).objects).read_volatile(),
            step: (&raw const (*peak).step).read_volatile(),
        }
    })
}

/// An image that is gone, and what its stacks held.
#[repr(C)]
struct Gone {
    image: u32,
    reserved: u32,
    bytes: u64,
    objects: u64,
}

/// The task's image is gone, with all that is live in it. Its stacks are looked for one by one: that is
/// rare, and takes some nanoseconds each.
#[inline(never)]
pub(crate) fn release(task: &Task) {
    let Some(used) = STACKS_USED.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: a valid map value; volatile, since other CPUs write it at any time.
    let used = unsafe { used.read_volatile() };
    let used = if used < MAX_LOOPS { used } else { MAX_LOOPS };
    let mut gone = Gone {
        image: task.image,
        reserved: 0,
        bytes: 0,
        objects: 0,
    };
    // SAFETY: the callback has the helper's signature, and its context outlives the call.
    unsafe {
        bpf_loop(
            used as u32,
            release_stack as *mut c_void,
            (&raw mut gone).cast(),
            0,
        );
    }
    let Some(total) = LIVE_TOTAL.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: a valid map value; only addresses are formed here.
    let (bytes, objects) = unsafe { (&raw mut (*total).bytes, &raw mut (*total).objects) };
    atomic_add(bytes, 0_u64.wrapping_sub(gone.bytes));
    atomic_add(objects, 0_u64.wrapping_sub(gone.objects));
}

/// Releases what a stack holds, if it is one of the image's.
extern "C" fn release_stack(index: u64, context: *mut c_void) -> u64 {
    let Some(counters) = STACK_COUNTERS.get_ptr_mut(index as u32) else {
        return 1;
    };
    // SAFETY: `release` passes a pointer to its `Gone`; the counters are a valid map value, which nothing
    // changes any more.
    unsafe {
        let gone = context.cast::<Gone>();
        if (*counters).key.image != (*gone).image {
            return 0;
        }
        // Two threads that are both the last may come here: one of them takes it.
        let flags = (&raw mut (*counters).sent).cast::<u32>();
        let last = flags.read_volatile();
        if last >> 16 != 0 || !exchange_half(flags, last, last | 1 << 16) {
            return 0;
        }
        keep(counters);
        let (objects, bytes) = live(counters);
        (*gone).objects += objects;
        (*gone).bytes += bytes;
    }
    0
}
