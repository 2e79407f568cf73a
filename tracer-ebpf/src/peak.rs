//! The peak: the most that was live at once, and what each stack held of it. How exactly, and what races
//! remain: `docs/design/0020-peak.md`.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_loop};
use tracer_common::{LiveChange, PeakMark, PeakWord, StackCounters, is_new_peak};

use crate::count::{atomic_add, atomic_swap, exchange, exchange_half, fetch_add};
use crate::maps::{LIVE_CHANGE, LIVE_TOTAL, PEAK, STACK_COUNTERS, STACKS_USED, config};
use crate::task::Task;

/// How often a peak is declared where another CPU declares one in between.
const TRIES: u32 = 4;

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

/// An allocation is live, and its stack has it.
#[inline(always)]
pub(crate) fn came(size: u64) {
    change(size, LiveChange::came(0), LiveChange::came(size));
}

/// An allocation is not live any more.
#[inline(always)]
pub(crate) fn went(size: u64) {
    change(
        0_u64.wrapping_sub(size),
        LiveChange::went(0),
        LiveChange::went(size),
    );
}

/// `object` is the change without its bytes, `whole` that with them.
#[inline(always)]
fn change(bytes: u64, object: LiveChange, whole: LiveChange) {
    let (Some(kept), Some(peak)) = (LIVE_CHANGE.get_ptr_mut(0), PEAK.get_ptr_mut(0)) else {
        return;
    };
    let shift = config!(peak_shift);
    let mark = read(peak);
    // What is more than a step by itself goes on at once: the CPU's own word would only be a detour.
    let is_large = whole.bytes().unsigned_abs() >= mark.step(shift);
    let change = if is_large { object } else { whole };
    let sum = LiveChange(fetch_add(kept, change.0)).plus(change);
    if !sum.is_small(&mark, shift) {
        let sum = LiveChange(atomic_swap(kept, 0));
        hand_on_bytes(sum.bytes().cast_unsigned());
        hand_on_objects(sum.objects().cast_unsigned());
    }
    if is_large {
        hand_on_bytes(bytes);
    }
}

/// Hands bytes on to the total, which may then be a peak. A global function, as each place that allocates or
/// frees comes here: the verifier looks at it once. Returns nothing of use: such a function has a result.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn hand_on_bytes(bytes: u64) -> u64 {
    let (Some(total), Some(peak)) = (LIVE_TOTAL.get_ptr_mut(0), PEAK.get_ptr_mut(0)) else {
        return 0;
    };
    // SAFETY: valid map values; only addresses are formed here.
    let (total, word) = unsafe { (&raw mut (*total).bytes, &raw mut (*peak).word) };
    let live = fetch_add(total, bytes).wrapping_add(bytes);
    if live.cast_signed() <= 0 {
        return 0;
    }
    let mut tries = 0;
    while tries < TRIES {
        // SAFETY: a valid map value; volatile, since other CPUs write it at any time.
        let last = PeakWord(unsafe { word.read_volatile() });
        if !is_new_peak(live, last.bytes()) {
            return 0;
        }
        if exchange(word, last.0, last.next(live).0) {
            // SAFETY: no arguments; a valid map value.
            unsafe { (&raw mut (*peak).time_ns).write_volatile(bpf_ktime_get_ns()) };
            return 0;
        }
        tries += 1;
    }
    0
}

/// Hands objects on to the total, as [`hand_on_bytes`] does.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn hand_on_objects(objects: u64) -> u64 {
    let (Some(total), Some(peak)) = (LIVE_TOTAL.get_ptr_mut(0), PEAK.get_ptr_mut(0)) else {
        return 0;
    };
    // SAFETY: valid map values; only addresses are formed here.
    let (total, most) = unsafe { (&raw mut (*total).objects, &raw mut (*peak).objects) };
    let live = fetch_add(total, objects).wrapping_add(objects);
    let mut tries = 0;
    while tries < TRIES {
        // SAFETY: a valid map value; volatile, since other CPUs write it at any time.
        let last = unsafe { most.read_volatile() };
        if live.cast_signed() <= last.cast_signed() || exchange(most, last, live) {
            return 0;
        }
        tries += 1;
    }
    0
}

/// The peak as it stands.
#[inline(always)]
fn read(peak: *mut PeakMark) -> PeakMark {
    // SAFETY: a valid map value; volatile, since other CPUs write it at any time.
    unsafe {
        PeakMark {
            word: (&raw const (*peak).word).read_volatile(),
            time_ns: 0,
            objects: (&raw const (*peak).objects).read_volatile(),
        }
    }
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
