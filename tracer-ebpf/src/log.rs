//! Rare events told to whoever looks into a recording (`--log`).
//!
//! Each is a line where its counter is bumped. The level lies in constant data: where the event's is off, the
//! verifier finds that nothing leads to the function that tells it. Where all are, it removes that as well:
//! what is left of a line is the load of the level, off the paths that calls and frees usually take.
//!
//! One function tells all of them, by their numbers: one each, with the words in it, made the programs three
//! times as long, and each attach waited for the verifier to remove them again.

use aya_log_ebpf::macro_support::{AYA_LOG_LEVEL, Level};
use tracer_common::limits::{LOG_ALLOWED, LOG_REFUSED, LOG_TRIED};
use tracer_common::{LogLevel, RareEvent, StackEnd};

use crate::count::{atomic_add, take_number};
use crate::maps::LOG_BUDGET;
use crate::task;

/// Tells of an event and its values.
macro_rules! rare {
    ($event:ident) => {
        $crate::log::rare!($event, 0_u64, 0_u64, 0_u64)
    };
    ($event:ident, $a:expr) => {
        $crate::log::rare!($event, $a, 0_u64, 0_u64)
    };
    ($event:ident, $a:expr, $b:expr) => {
        $crate::log::rare!($event, $a, $b, 0_u64)
    };
    ($event:ident, $a:expr, $b:expr, $c:expr) => {{
        const EVENT: ::tracer_common::RareEvent = ::tracer_common::RareEvent::$event;
        if $crate::log::is_on(EVENT.level()) {
            $crate::log::tell(EVENT, u64::from($a), u64::from($b), u64::from($c));
        }
    }};
}
pub(crate) use rare;

/// Whether events of a level are told.
#[inline(always)]
pub(crate) fn is_on(level: LogLevel) -> bool {
    level as u8 <= AYA_LOG_LEVEL.load()
}

/// Tells of an event: aya-log's text is its numbers, those of the process and of the thread among them. A
/// function of its own, which has its own part of the stack.
#[cold]
#[inline(never)]
pub(crate) fn tell(event: RareEvent, a: u64, b: u64, c: u64) {
    if is_allowed() {
        let (tgid, tid) = task::ids().unwrap_or_default();
        // The level was looked at before, and is told by the event.
        aya_log_ebpf::log!(
            &(),
            Level::Error,
            "{} {} {} {} {} {}",
            event as u32,
            tgid,
            tid,
            a,
            b,
            c
        );
    }
}

/// Whether there may be one more: user space allows some each second, so that neither it nor the target is
/// slowed by a flood.
#[inline(never)]
fn is_allowed() -> bool {
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
    if is_on(LogLevel::Debug) {
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
    const SWITCHED: u32 = StackEnd::Switched as u32;
    let event = match end {
        NO_RULE => RareEvent::CutNoRule,
        UNSUPPORTED => RareEvent::CutUnsupportedRule,
        UNREADABLE => RareEvent::CutUnreadable,
        NOT_RISING => RareEvent::CutNotRising,
        UNMAPPED => RareEvent::CutUnmapped,
        SWITCHED => RareEvent::CutSwitched,
        _ => RareEvent::CutTooDeep,
    };
    tell(event, ip, sp, frames);
}
