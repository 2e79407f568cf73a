//! Rare events told in words, for whoever looks into a recording (`--log`).
//!
//! Each is a line where its counter is bumped. The level lies in constant data: where the event's is off, the
//! verifier finds that nothing leads to the function that tells it, and removes it. All that is left of a
//! line is the load of the level, off the paths that calls and frees usually take.

pub(crate) use aya_log_ebpf::macro_support::Level;
use tracer_common::StackEnd;
use tracer_common::limits::{LOG_ALLOWED, LOG_REFUSED, LOG_TRIED};

use crate::count::{atomic_add, take_number};
use crate::maps::LOG_BUDGET;

/// Tells of an event: level, text, and its values. The text begins with `[{}:{}]`, for process and thread. A
/// function of its own, which has its own part of the stack.
macro_rules! rare {
    ($level:ident, $text:literal $(, $name:ident = $value:expr)* $(,)?) => {
        if $crate::log::is_on($crate::log::Level::$level) {
            #[cold]
            #[inline(never)]
            fn tell($($name: u64),*) {
                if $crate::log::is_allowed() {
                    let (tgid, tid) = $crate::task::ids().unwrap_or_default();
                    ::aya_log_ebpf::log!(
                        &(), $crate::log::Level::$level, $text, tgid, tid $(, $name)*
                    );
                }
            }
            tell($(u64::from($value)),*);
        }
    };
}
pub(crate) use rare;

/// Whether events of a level are told.
#[inline(always)]
pub(crate) fn is_on(level: Level) -> bool {
    aya_log_ebpf::macro_support::level_enabled(level)
}

/// Whether there may be one more: user space allows some each second, so that neither it nor the target is
/// slowed by a flood.
#[inline(never)]
pub(crate) fn is_allowed() -> bool {
    let (Some(tried), Some(allowed), Some(refused)) = (
        LOG_BUDGET.get_ptr_mut(LOG_TRIED),
        LOG_BUDGET.get_ptr_mut(LOG_ALLOWED),
        LOG_BUDGET.get_ptr_mut(LOG_REFUSED),
    ) else {
        return false;
    };
    // SAFETY: a valid map value; volatile, since user space writes it at any time.
    if take_number(tried) < unsafe { allowed.read_volatile() } {
        return true;
    }
    atomic_add(refused, 1);
    false
}

/// A stack was cut.
#[inline(always)]
pub(crate) fn cut(end: u32, ip: u64, sp: u64, frames: u64) {
    if is_on(Level::Debug) {
        tell_cut(end, ip, sp, frames);
    }
}

#[cold]
#[inline(never)]
fn tell_cut(end: u32, ip: u64, sp: u64, frames: u64) {
    const NO_RULE: u32 = StackEnd::NoRule as u32;
    const UNSUPPORTED: u32 = StackEnd::UnsupportedRule as u32;
    const UNREADABLE: u32 = StackEnd::Unreadable as u32;
    const NOT_RISING: u32 = StackEnd::NotRising as u32;
    const UNMAPPED: u32 = StackEnd::Unmapped as u32;
    match end {
        NO_RULE => {
            rare!(
                Debug,
                "[{}:{}] stack cut: no rule for {:x}, sp {:x}, frame {}",
                ip = ip,
                sp = sp,
                frame = frames
            );
        }
        UNSUPPORTED => {
            rare!(
                Debug,
                "[{}:{}] stack cut: unsupported rule for {:x}, sp {:x}, frame {}",
                ip = ip,
                sp = sp,
                frame = frames
            );
        }
        UNREADABLE => {
            rare!(
                Debug,
                "[{}:{}] stack cut: unreadable memory at {:x}, sp {:x}, frame {}",
                ip = ip,
                sp = sp,
                frame = frames
            );
        }
        NOT_RISING => {
            rare!(
                Debug,
                "[{}:{}] stack cut: caller below its callee at {:x}, sp {:x}, frame {}",
                ip = ip,
                sp = sp,
                frame = frames
            );
        }
        UNMAPPED => {
            rare!(
                Debug,
                "[{}:{}] stack cut: no known mapping has {:x}, sp {:x}, frame {}",
                ip = ip,
                sp = sp,
                frame = frames
            );
        }
        _ => {
            rare!(
                Debug,
                "[{}:{}] stack cut: too deep at {:x}, sp {:x}, frame {}",
                ip = ip,
                sp = sp,
                frame = frames
            );
        }
    }
}
