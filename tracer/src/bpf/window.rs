//! Windows: the probes of an allocator are there for some milliseconds, all by one link, and gone again.
//!
//! What makes them short, with figures: `docs/design/0031-windows.md`.

use std::fs::File;
use std::io;
use std::num::NonZeroU32;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use aya::maps::{MapData, PerCpuArray};
use tracer_common::{
    Callee, GATE_STATE, GATE_UNTIL, GATE_WORDS, Gate, WINDOW_OUTSIDE, WINDOW_RAN_NS, WINDOW_WORDS,
};

use super::BpfError;
use super::calls::Calls;
use super::error::map_error;
use super::probes::{Probed, path_of};
use super::to_the_end::to_the_end;
use super::uprobe_session::{SessionProbe, link};
use super::view::View;
use super::work::{Gauge, Work, own_time};

/// It is looked so many times in a window whether it has taken what it may,
const LOOKS: u32 = 16;
/// and not more often than this.
const LOOK: Duration = Duration::from_micros(500);

/// What is seen in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowKind {
    /// Every call, with all that is done with it.
    Full,
    /// How often one function is called, and nothing else: the target runs on nearly as it does without.
    Progress(Callee),
}

impl WindowKind {
    const fn gate(self) -> Gate {
        match self {
            Self::Full => Gate::Open,
            Self::Progress(_) => Gate::Marks,
        }
    }
}

/// A file, and where the probes of a window go in it.
pub struct Site {
    file: File,
    places: Vec<SessionProbe>,
}

impl Site {
    /// Those of modules, for the functions that are wanted. What frees comes first: what is given out must be seen
    /// freed.
    ///
    /// # Errors
    ///
    /// There are no descriptors left.
    pub fn all(
        modules: &[Probed<'_>],
        is_wanted: impl Fn(Callee) -> bool,
    ) -> io::Result<Vec<Self>> {
        let mut sites = Vec::new();
        for module in modules {
            let plan = module.plan;
            let probes = plan.freeing.iter().chain(&plan.throwing);
            let probes = probes
                .chain(&plan.allocating)
                .map(|probe| (probe.point, Callee::Allocator(probe.function)));
            let counting = plan.counting.iter();
            let places: Vec<_> = counting
                .map(|probe| (probe.point, Callee::Io(probe.function)))
                .chain(probes)
                .filter(|&(_, callee)| is_wanted(callee))
                .map(|(point, callee)| SessionProbe {
                    offset: point.0,
                    cookie: callee.cookie(),
                })
                .collect();
            if !places.is_empty() {
                let file = module.file.try_clone()?;
                sites.push(Self { file, places });
            }
        }
        Ok(sites)
    }
}

/// A window to be held.
pub struct Window {
    /// What is seen.
    pub kind: WindowKind,
    /// Where the probes go.
    pub sites: Vec<Site>,
    /// How long the gate is open.
    pub length: Duration,
    /// For how long the program may run before the gate is closed earlier.
    pub budget: Duration,
}

/// A window that was held.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// When its gate was opened.
    pub begun: Instant,
    /// How long it was open, at least and at most: this process may have been interrupted when it opened it. It
    /// closes by itself.
    pub exposure: [Duration; 2],
    /// What the target did meanwhile; `None` where it has ended.
    pub work: Option<Work>,
    /// From the first look at that to the last: some microseconds more than the gate was open.
    pub looked: Duration,
    /// CPU time that it took to place the probes.
    pub placing: Duration,
    /// CPU time that it took this process in all, without that.
    pub own: Duration,
}

/// Holds windows on a process, in whatever thread.
pub struct Windows {
    program: OwnedFd,
    process: NonZeroU32,
    gauge: Gauge,
    gate: View<u64>,
    /// Keeps the view's memory known as the map's.
    _gate: MapData,
    words: PerCpuArray<MapData, u64>,
    /// Where [`Self::warm_up`] makes a link, once it is known.
    own: Option<(File, u64)>,
    /// The last one, which is being closed.
    cooling: Option<JoinHandle<()>>,
}

/// A link. Dropping it takes its breakpoints out at once, and waits for some 40 ms until the kernel is sure that
/// none of its programs runs.
struct Link(Option<OwnedFd>);

impl Drop for Link {
    fn drop(&mut self) {
        let link = self.0.take();
        to_the_end(move || drop(link));
    }
}

impl Windows {
    pub(super) fn new(
        program: BorrowedFd<'_>,
        process: NonZeroU32,
        gauge: Gauge,
        gate: MapData,
        words: PerCpuArray<MapData, u64>,
    ) -> Result<Self, BpfError> {
        let program = program.try_clone_to_owned();
        Ok(Self {
            program: program.map_err(|error| map_error("a program", "shared", &error))?,
            process,
            gauge,
            gate: View::new("GATE", gate.fd().as_fd(), GATE_WORDS as usize)?,
            _gate: gate,
            words,
            own: None,
            cooling: None,
        })
    }

    /// Holds a window, and waits until its probes are gone and none of its programs runs any more, some 60 ms.
    ///
    /// # Errors
    ///
    /// The kernel refused a link, with `ESRCH` where the process has ended, or its first thread has; or a map could
    /// not be read. No probe is left.
    pub fn hold(&mut self, window: &Window) -> io::Result<Held> {
        let begun = own_time();
        let warm = self.warm_up()?;
        let (held, left, elsewhere) = to_the_end(|| {
            let _first = First::go();
            let begun = own_time();
            let (held, left) = self.hold_here(window);
            (held, left, own_time().saturating_sub(begun))
        });
        // The breakpoints of one do not wait for the programs of another.
        thread::scope(|threads| {
            for link in left {
                threads.spawn(|| drop(Link(Some(link))));
            }
        });
        self.cooling = thread::Builder::new().spawn(|| drop(warm)).ok();
        let mut held = held?;
        let own = own_time().saturating_sub(begun) + elsewhere;
        held.own = own.saturating_sub(held.placing);
        Ok(held)
    }

    /// The window itself, by a process that ends by itself. Returns the links that are still to be closed.
    fn hold_here(&self, window: &Window) -> (io::Result<Held>, Vec<OwnedFd>) {
        let begun = own_time();
        let mut links = Vec::new();
        for Site { file, places } in &window.sites {
            match link(&self.program, &path_of(file), places, Some(self.process)) {
                Ok(link) => links.push(link),
                Err(error) => return (Err(error), links),
            }
        }
        let placing = own_time().saturating_sub(begun);
        let (before, from) = ((self.gauge)(), Instant::now());
        let exposure = self.expose(window);
        let (after, until) = ((self.gauge)(), Instant::now());
        let work = before.zip(after);
        let work = work.map(|(before, after)| after.since(before));
        if links.len() == 1 {
            // At once, by who is running already.
            links.clear();
        }
        let held = exposure.map(|(begun, exposure)| Held {
            begun,
            exposure,
            work,
            looked: until - from,
            placing,
            own: Duration::ZERO,
        });
        (held, links)
    }

    /// Opens the gate for some time.
    fn expose(&self, window: &Window) -> io::Result<(Instant, [Duration; 2])> {
        let ran = || self.word(WINDOW_RAN_NS).map_err(io::Error::other);
        let most = ran()?.saturating_add(nanoseconds(window.budget));
        let earliest = Instant::now();
        // After that it counts as closed, however late this process is.
        self.write(
            GATE_UNTIL,
            monotonic().saturating_add(nanoseconds(window.length)),
        );
        self.set_gate(window.kind.gate());
        let opened = Instant::now();
        let look = LOOK.max(window.length / LOOKS);
        let is_over = loop {
            let left = window.length.saturating_sub(opened.elapsed());
            match ran() {
                Ok(ran) if !left.is_zero() && ran <= most => thread::sleep(left.min(look)),
                other => break other,
            }
        };
        let closing = Instant::now();
        self.set_gate(Gate::Closed);
        let latest = Instant::now();
        is_over?;
        let exposed = |from, to: Instant| window.length.min(to - from);
        Ok((
            opened,
            [exposed(opened, closing), exposed(earliest, latest)],
        ))
    }

    /// Makes a link on this process itself, at a function that nobody calls. The kernel waits 10 ms until all CPUs
    /// know that breakpoints come and go, but not again for those that do so within the next moments.
    fn warm_up(&mut self) -> io::Result<Link> {
        if let Some(cooling) = self.cooling.take() {
            let _ = cooling.join();
        }
        let (file, offset) = match &self.own {
            Some(own) => own,
            None => {
                let own = (File::open("/proc/self/exe")?, own_site()?);
                self.own.insert(own)
            }
        };
        let place = SessionProbe {
            offset: *offset,
            cookie: 0,
        };
        let process = NonZeroU32::new(std::process::id());
        let link = to_the_end(|| link(&self.program, &path_of(file), &[place], process))?;
        Ok(Link(Some(link)))
    }

    fn set_gate(&self, gate: Gate) {
        self.write(GATE_STATE, gate as u64);
    }

    fn write(&self, word: u32, value: u64) {
        if let Some(word) = self.gate.get(word as usize) {
            // SAFETY: the view's pointer is valid and aligned.
            unsafe { AtomicU64::from_ptr(word) }.store(value, Ordering::SeqCst);
        }
    }

    /// What was counted.
    ///
    /// # Errors
    ///
    /// The map could not be read.
    pub fn calls(&self) -> Result<Calls, BpfError> {
        const _: () = assert!(WINDOW_WORDS as usize == Callee::COUNT + 2);
        let mut calls = Calls {
            ran_ns: self.word(WINDOW_RAN_NS)?,
            outside: self.word(WINDOW_OUTSIDE)?,
            ..Calls::default()
        };
        for (word, value) in (WINDOW_RAN_NS + 1..).zip(&mut calls.by_function) {
            *value = self.word(word)?;
        }
        Ok(calls)
    }

    fn word(&self, word: u32) -> Result<u64, BpfError> {
        self.words
            .get(&word, 0)
            .map(|values| values.iter().sum())
            .map_err(|error| map_error("WINDOW", "read", &error))
    }
}

impl Drop for Windows {
    fn drop(&mut self) {
        if let Some(cooling) = self.cooling.take() {
            let _ = cooling.join();
        }
    }
}

/// What nobody calls.
#[inline(never)]
extern "C" fn nobody_calls(number: u64) -> u64 {
    std::hint::black_box(number)
}

/// The place of [`nobody_calls`] in this program's file.
fn own_site() -> io::Result<u64> {
    let address = nobody_calls as *const () as u64;
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    maps.lines()
        .find_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let (start, end) = fields.next()?.split_once('-')?;
            let number = |text| u64::from_str_radix(text, 16).ok();
            let (start, end) = (number(start)?, number(end)?);
            let offset = number(fields.nth(1)?)?;
            (start..end)
                .contains(&address)
                .then(|| address - start + offset)
        })
        .ok_or_else(|| io::Error::other("this program's own file is not mapped"))
}

/// Nobody else runs in place of the calling thread as long as this lives: on a busy machine the probes would stay for
/// milliseconds longer. What it does meanwhile is little, and never waits by spinning. Where it is refused, they do.
struct First;

impl First {
    fn go() -> Self {
        // What it starts has no part in it.
        schedule(libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, 1);
        Self
    }
}

impl Drop for First {
    fn drop(&mut self) {
        // It may be a thread of the tracer, where there could be no other process.
        schedule(libc::SCHED_OTHER, 0);
    }
}

fn schedule(policy: i32, priority: i32) {
    let priority = libc::sched_param {
        sched_priority: priority,
    };
    // SAFETY: a valid pointer; 0 is the calling thread.
    unsafe { libc::sched_setscheduler(0, policy, &raw const priority) };
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The clock that the programs go by.
fn monotonic() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    nanoseconds(Duration::new(
        time.tv_sec.cast_unsigned(),
        time.tv_nsec as u32,
    ))
}
