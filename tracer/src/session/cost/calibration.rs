//! What an event costs on this machine, measured on a child of the tracer's own.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::num::NonZeroU32;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::process::Signal;
use tracer_common::Unwinding;

use super::meter::Averages;
use super::{Calibrated, EventCosts};
use crate::bpf::{
    FIRST_HEAP, Heirs, Kernel, Limits, LoadOptions, MAX_TABLE_BYTES, MayWindow, ProbeKind, Scope,
    Taken, Threads, own_time, start_process,
};
use crate::process::{AddressSpace, Pidfd, Root, pid_namespace, threads_of};
use crate::session::allocator::{Found, Searched};
use crate::session::placing::place;
use crate::session::unwinding::Unwinder;
use crate::session::{Options, SessionError};

/// Rounds of each measurement; the median counts.
const ROUNDS: usize = 5;
/// Allocations, and then frees, in a round.
const CALLS: usize = 1_000;
/// Frames above the allocation, as in a real program.
const FRAMES: u32 = 20;

/// Measures, with probes, walks and counters of the session's own kind, in a thread of its own, so that
/// no attach waits for it. Where it fails there is no estimate, and nothing else changes.
pub(super) fn begin(kind: Option<ProbeKind>, options: &Options) -> Arc<OnceLock<Calibrated>> {
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
) -> Result<Calibrated, SessionError> {
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
        windows: MayWindow::No,
        unwinding,
        audit: false,
        by_thread: false,
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
    Ok(Calibrated {
        whole: EventCosts {
            allocation: (traced.allocation - untraced.allocation).max(0.0),
            free: (traced.free - untraced.free).max(0.0),
        },
        programs: run_time(&mut kernel, &mut subject),
    })
}

/// What the programs take in the child.
fn run_time(kernel: &mut Kernel, subject: &mut Subject) -> Taken {
    let mut averages = Averages::default();
    if let Some(programs) = kernel.probes().run_times() {
        for _ in 0..ROUNDS {
            let Ok((Ok(_), look)) = programs.during(|| subject.round()) else {
                break;
            };
            averages.add(look);
        }
    }
    averages.taken()
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
        let mut command = Command::new("/proc/self/exe");
        command
            .arg(SUBJECT_COMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = start_process(&mut command)?;
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
        let start = own_time();
        beneath(FRAMES, &mut blocks);
        let allocated = own_time();
        for block in &mut blocks {
            // SAFETY: `beneath` has put a block of malloc's, or NULL, into each place.
            unsafe { libc::free(*block) };
            *block = std::ptr::null_mut();
        }
        let freed = own_time();
        let each = |time: Duration| time.as_nanos() as f64 / CALLS as f64;
        println!("{} {}", each(allocated - start), each(freed - allocated));
    }
    Ok(())
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
