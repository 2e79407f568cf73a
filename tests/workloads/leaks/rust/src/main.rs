//! The gallery's patterns in Rust. `../leaks.h` says how the programs are run and what they print;
//! this one does the same, with the same everyday work beside the pattern.

mod channel;
mod cycle;
mod forgotten;
mod intern;
mod map;
mod task;
mod thread_local;
mod waves;

use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

const TICK: Duration = Duration::from_millis(1);

/// What a pattern knows in each tick.
pub struct Turn {
    pub tick: u64,
    pub leaky: bool,
    random: u64,
}

impl Turn {
    /// A number from 0 up to `end`, without `end`.
    pub fn random(&mut self, end: u64) -> u64 {
        // xorshift64*.
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16) % end
    }
}

/// A pattern, with what it holds.
type Pattern = Box<dyn FnMut(&mut Turn)>;

fn pattern(name: &str) -> Pattern {
    match name {
        "channel" => channel::pattern(),
        "cycle" => cycle::pattern(),
        "forgotten" => forgotten::pattern(),
        "intern" => intern::pattern(),
        "map" => map::pattern(),
        "task" => task::pattern(),
        "thread_local" => thread_local::pattern(),
        "waves" => waves::pattern(),
        _ => panic!("there is no pattern {name}"),
    }
}

/// Short lives of all lengths up to a few dozen ticks.
#[inline(never)]
fn everyday_work(turn: &mut Turn, held: &mut [Vec<u8>; 64]) {
    for _ in 0..2 {
        let length = 16 + turn.random(400);
        held[turn.random(64) as usize] = black_box(Vec::with_capacity(length as usize));
    }
}

/// glibc's `struct mallinfo2`.
#[repr(C)]
struct MallocInfo {
    before: [usize; 4],
    /// Bytes in mapped blocks.
    hblkhd: usize,
    between: [usize; 2],
    /// Bytes in use.
    uordblks: usize,
    after: [usize; 2],
}

unsafe extern "C" {
    fn mallinfo2() -> MallocInfo;
}

fn report(turn: &Turn) {
    // SAFETY: it takes nothing and returns numbers.
    let info = unsafe { mallinfo2() };
    let live = info.uordblks + info.hblkhd;
    let text = format!("{{\"ticks\":{},\"live_bytes\":{live}}}\n", turn.tick);
    print(&text);
}

fn print(text: &str) {
    let mut stdout = std::io::stdout();
    let printed = stdout.write_all(text.as_bytes());
    printed
        .and_then(|()| stdout.flush())
        .expect("stdout is open");
}

static ENDED: AtomicBool = AtomicBool::new(false);

/// Waits until the next millisecond begins. A tick that comes late is not made up for.
fn wait(next: &mut Instant) {
    *next += TICK;
    let now = Instant::now();
    match next.checked_duration_since(now) {
        Some(left) => std::thread::sleep(left),
        None => *next = now,
    }
}

fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    let [_, name, kind, rest @ ..] = arguments.as_slice() else {
        panic!("usage: leaks_rust PATTERN leaky|healthy [TICKS]");
    };
    let ticks: Option<u64> = rest.first().map(|text| text.parse().expect("a number"));
    let mut pattern = pattern(name);
    let mut turn = Turn {
        tick: 0,
        leaky: kind == "leaky",
        random: 88_172_645_463_325_252,
    };
    let mut held = [const { Vec::new() }; 64];
    if ticks.is_none() {
        std::thread::spawn(|| {
            let mut bytes = [0; 64];
            while std::io::stdin().read(&mut bytes).is_ok_and(|read| read > 0) {}
            ENDED.store(true, Relaxed);
        });
    }
    print("ready\n");
    let mut next = Instant::now();
    while ticks.map_or(!ENDED.load(Relaxed), |ticks| turn.tick < ticks) {
        if ticks.is_none() {
            wait(&mut next);
        }
        everyday_work(&mut turn, &mut held);
        pattern(&mut turn);
        turn.tick += 1;
        if ticks == Some(turn.tick * 2) {
            report(&turn);
        }
    }
    report(&turn);
    // What is held is held to the last.
    std::process::exit(0);
}
