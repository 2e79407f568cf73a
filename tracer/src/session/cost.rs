//! What the tracing takes from the target, as an estimate: events times what one event of its kind
//! costs on this machine, measured on a child of the tracer's own.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::num::NonZeroU32;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::process::Signal;
use tracer_common::{Counter, Unwinding};

use super::allocator::{Found, Searched};
use super::placing::place;
use super::unwinding::Unwinder;
use super::{Options, SessionError};
use crate::bpf::{
    FIRST_HEAP, Heirs, Kernel, Limits, LoadOptions, MAX_TABLE_BYTES, ProbeKind, Scope, Threads,
};
use crate::process::{AddressSpace, Pidfd, Root, pid_namespace, threads_of};

/// Rounds of each measurement; the median counts.
const ROUNDS: usize = 5;
/// Allocations, and then frees, in a round.
const CALLS: usize = 1_000;
/// Frames above the allocation, as in a real program.
const FRAMES: u32 = 20;

/// Added time of one event by its kind, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EventCosts {
    /// An allocation: entry, stack, return.
    pub allocation: f64,
    /// A free.
    pub free: f64,
}

impl EventCosts {
    /// Share of one CPU that so many events took from the target.
    #[must_use]
    pub fn share(&self, events: Events, elapsed: Duration) -> f64 {
        let Events {
            allocations,
            frees,
            others,
        } = events;
        // What only passes by stops the target once, as a free does.
        let nanoseconds =
            allocations as f64 * self.allocation + (frees + others) as f64 * self.free;
        let elapsed = elapsed.as_nanos() as f64;
        if elapsed > 0.0 {
            nanoseconds / elapsed
        } else {
            0.0
        }
    }

    /// The rate of events and what they took from the target, for the profile.
    pub(super) fn note(&self, counters: &[(Counter, u64)], elapsed: Duration) -> Option<String> {
        let events = Events::of(counters);
        let seconds = elapsed.as_secs_f64();
        (seconds > 0.0).then(|| {
            let rate = |events: u64| events as f64 / seconds;
            let mut note = format!(
                "tracing took about {:.1}% of one CPU from the target: {:.0} allocations/s at {:.1} us, \
                 {:.0} frees/s at {:.1} us",
                self.share(events, elapsed) * 100.0,
                rate(events.allocations),
                self.allocation / 1e3,
                rate(events.frees),
                self.free / 1e3,
            );
            if events.others > 0 {
                let others = format!(
                    ", {:.0} calls/s that the allocator makes itself or that do nothing",
                    rate(events.others)
                );
                note.push_str(&others);
            }
            format!("{note} (measured here, under {FRAMES} frames)")
        })
    }
}

/// How often the target was stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// By an allocation: at its entry, and at its return.
    pub allocations: u64,
    /// By a free.
    pub frees: u64,
    /// By a call from inside another, one that frees nothing, or one that is only counted.
    pub others: u64,
}

impl Events {
    /// As the kernel side has counted them.
    pub(super) fn of(counters: &[(Counter, u64)]) -> Self {
        let sum = |wanted: &[Counter]| {
            let events = counters.iter();
            events
                .filter(|(counter, _)| wanted.contains(counter))
                .map(|(_, value)| value)
                .sum()
        };
        Self {
            allocations: sum(&[Counter::AllocObjects, Counter::FailedAllocs]),
            frees: sum(&[Counter::FreeObjects, Counter::UnknownFrees]),
            others: sum(&[
                Counter::NestedCalls,
                Counter::AllocatorFrees,
                Counter::NullFrees,
                Counter::ThrowingCalls,
            ]),
        }
    }

    /// Whether there were none.
    pub(super) fn is_none(self) -> bool {
        self == Self::default()
    }
}

/// Measures, with probes, walks and counters of the session's own kind, in a thread of its own, so that
/// no attach waits for it. Where it fails there is no estimate, and nothing else changes.
pub(super) fn calibrate(kind: Option<ProbeKind>, options: &Options) -> Arc<OnceLock<EventCosts>> {
    let (unwinding, generations) = (options.unwinding, options.series);
    let result = Arc::new(OnceLock::new());
    let slot = Arc::clone(&result);
    let _ = std::thread::Builder::new()
        .name("calibration".to_owned())
        .spawn(move || {
            if let Ok(costs) = measure(kind, unwinding, generations) {
                let _ = slot.set(costs);
            }
        });
    result
}

fn measure(
    kind: Option<ProbeKind>,
    unwinding: Unwinding,
    generations: bool,
) -> Result<EventCosts, SessionError> {
    let mut subject = Subject::start()?;
    let untraced = subject.median()?;
    let pid = subject.child.id();
    let root = Root::of(pid)?;
    let space = AddressSpace::of(pid, &root)?;
    let found = Found::in_space(&space, &mut Searched::default());
    let small = Limits {
        live: 4 * CALLS as u32,
        heap_bytes: 0,
        stacks: 64,
        generations,
        ring: 1 << 20,
        unwind_bytes: MAX_TABLE_BYTES,
    };
    let mut kernel = Kernel::new(&LoadOptions {
        tgid: pid,
        limits: small,
        follow_forks: false,
        pidns: pid_namespace()?,
        kind,
        unwinding,
        audit: false,
        log: None,
    })?;
    let list = move || threads_of(&[pid]);
    let scope = match NonZeroU32::new(pid) {
        Some(process) if kind != Some(ProbeKind::Inherited) => Scope::Process(process),
        _ => Scope::Threads(Threads {
            list: &list,
            heirs: Heirs::Threads,
        }),
    };
    place(&mut kernel, &found.allocators, scope, |maps| {
        Unwinder::new(unwinding).publish(maps, FIRST_HEAP, &space);
    })?;
    kernel.start()?;
    let traced = subject.median()?;
    Ok(EventCosts {
        allocation: (traced.allocation - untraced.allocation).max(0.0),
        free: (traced.free - untraced.free).max(0.0),
    })
}

/// The child that is measured: this program with a hidden command, see [`be_measured`].
struct Subject {
    child: Child,
    handle: Pidfd,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Subject {
    fn start() -> io::Result<Self> {
        let mut child = Command::new("/proc/self/exe")
            .arg(SUBJECT_COMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let (Some(ask), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("the child has no streams"));
        };
        let mut subject = Self {
            handle: Pidfd::of_child(child.id())?,
            child,
            ask,
            answers: BufReader::new(answers),
        };
        // The first round is cold.
        subject.round()?;
        Ok(subject)
    }

    fn round(&mut self) -> io::Result<EventCosts> {
        self.ask.write_all(b"\n")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let mut figures = line.split_whitespace().map(str::parse);
        match (figures.next(), figures.next()) {
            (Some(Ok(allocation)), Some(Ok(free))) => Ok(EventCosts { allocation, free }),
            _ => Err(io::Error::other(format!("the child answered {line:?}"))),
        }
    }

    fn median(&mut self) -> io::Result<EventCosts> {
        let rounds: io::Result<Vec<_>> = (0..ROUNDS).map(|_| self.round()).collect();
        let rounds = rounds?;
        let median = |kind: fn(&EventCosts) -> f64| {
            let mut values: Vec<f64> = rounds.iter().map(kind).collect();
            values.sort_by(f64::total_cmp);
            values[ROUNDS / 2]
        };
        Ok(EventCosts {
            allocation: median(|costs| costs.allocation),
            free: median(|costs| costs.free),
        })
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        self.handle.send(Signal::KILL);
        let _ = self.child.wait();
    }
}

/// The hidden command of the child that is measured.
pub const SUBJECT_COMMAND: &str = "calibration-subject";

/// Runs in the child: for each line on standard input, allocates and frees, and answers with the
/// nanoseconds an allocation and a free took.
///
/// # Errors
///
/// The parent is gone.
pub fn be_measured() -> io::Result<()> {
    let mut blocks = vec![std::ptr::null_mut(); CALLS];
    let mut line = String::new();
    while io::stdin().read_line(&mut line)? > 0 {
        line.clear();
        let start = cpu_time();
        beneath(FRAMES, &mut blocks);
        let allocated = cpu_time();
        for block in &mut blocks {
            // SAFETY: `beneath` has put a block of malloc's, or NULL, into each place.
            unsafe { libc::free(*block) };
            *block = std::ptr::null_mut();
        }
        let freed = cpu_time();
        let each = |time: Duration| time.as_nanos() as f64 / CALLS as f64;
        println!("{} {}", each(allocated - start), each(freed - allocated));
    }
    Ok(())
}

/// Time that this thread was running: on a busy machine more passes.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}

/// Allocates under that many frames.
#[inline(never)]
fn beneath(frames: u32, blocks: &mut [*mut libc::c_void]) {
    if frames > 0 {
        beneath(std::hint::black_box(frames - 1), blocks);
    } else {
        for block in &mut *blocks {
            // SAFETY: any size may be asked for.
            *block = unsafe { libc::malloc(64) };
        }
    }
    // Work after the call keeps it from becoming a jump.
    std::hint::black_box(blocks);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_from_inside_another_is_no_allocation() {
        let counters = [
            (Counter::AllocObjects, 12),
            (Counter::NestedCalls, 9),
            (Counter::FreeObjects, 10),
            (Counter::NullFrees, 2),
        ];
        let events = Events::of(&counters);
        assert_eq!(
            (events.allocations, events.frees, events.others),
            (12, 10, 11)
        );
        let costs = EventCosts {
            allocation: 2_000.0,
            free: 1_000.0,
        };
        let note = costs
            .note(&counters, Duration::from_secs(1))
            .unwrap_or_default();
        assert!(
            note.contains("12 allocations/s") && note.contains("11 calls/s"),
            "{note}"
        );
        assert!(Events::of(&[(Counter::AllocBytes, 5)]).is_none());
    }

    #[test]
    fn a_share_is_time_spent_over_time_passed() {
        let costs = EventCosts {
            allocation: 2_000.0,
            free: 1_000.0,
        };
        let events = Events {
            allocations: 100_000,
            frees: 30_000,
            others: 20_000,
        };
        let share = costs.share(events, Duration::from_secs(1));
        assert!((share - 0.25).abs() < 1e-9, "{share}");
        assert_eq!(costs.share(events, Duration::ZERO), 0.0);
    }
}
