//! Rust's ways into the allocator, from several threads, with a ledger: boxes, strings, vectors
//! that grow (realloc), zeroed and over-aligned memory, requests that fail, and channels that move
//! blocks to the thread that frees them.
//!
//! The ledger is the global allocator: it counts and forwards to `System`, which is the C library.
//!
//! Usage: `ledger_rust [CALLS]`

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::HashMap;
use std::hint::black_box;
use std::io::Write as _;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Barrier, Mutex};

const THREADS: usize = 3;
const SLOTS: usize = 1024;

unsafe extern "C" {
    fn read(fd: i32, buffer: *mut u8, length: usize) -> isize;
    fn write(fd: i32, buffer: *const u8, length: usize) -> isize;
}

/// Counts between the gate and the report.
struct Ledger {
    open: AtomicBool,
    calls: AtomicU64,
    failed: AtomicU64,
    alloc_objects: AtomicU64,
    alloc_bytes: AtomicU64,
    free_objects: AtomicU64,
    free_bytes: AtomicU64,
    reallocs: AtomicU64,
    zeroed: AtomicU64,
    aligned: AtomicU64,
    sent: AtomicU64,
}

#[global_allocator]
static LEDGER: Ledger = Ledger {
    open: AtomicBool::new(false),
    calls: AtomicU64::new(0),
    failed: AtomicU64::new(0),
    alloc_objects: AtomicU64::new(0),
    alloc_bytes: AtomicU64::new(0),
    free_objects: AtomicU64::new(0),
    free_bytes: AtomicU64::new(0),
    reallocs: AtomicU64::new(0),
    zeroed: AtomicU64::new(0),
    aligned: AtomicU64::new(0),
    sent: AtomicU64::new(0),
};

impl Ledger {
    fn count_alloc(&self, block: *mut u8, size: usize) {
        if !self.open.load(Relaxed) {
            return;
        }
        self.calls.fetch_add(1, Relaxed);
        if block.is_null() {
            self.failed.fetch_add(1, Relaxed);
        } else {
            self.alloc_objects.fetch_add(1, Relaxed);
            self.alloc_bytes.fetch_add(size as u64, Relaxed);
        }
    }

    fn count_free(&self, size: usize) {
        if self.open.load(Relaxed) {
            self.calls.fetch_add(1, Relaxed);
            self.free_objects.fetch_add(1, Relaxed);
            self.free_bytes.fetch_add(size as u64, Relaxed);
        }
    }
}

// SAFETY: every call is handed to `System` unchanged.
unsafe impl GlobalAlloc for Ledger {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract is System's.
        let block = unsafe { System.alloc(layout) };
        self.aligned
            .fetch_add(u64::from(layout.align() > 16), Relaxed);
        self.count_alloc(block, layout.size());
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract is System's.
        let block = unsafe { System.alloc_zeroed(layout) };
        self.zeroed.fetch_add(1, Relaxed);
        self.count_alloc(block, layout.size());
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        self.count_free(layout.size());
        // SAFETY: the caller's contract is System's.
        unsafe { System.dealloc(block, layout) };
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's contract is System's.
        let new = unsafe { System.realloc(block, layout, new_size) };
        if !new.is_null() {
            self.reallocs.fetch_add(1, Relaxed);
            self.count_free(layout.size());
            self.calls
                .fetch_sub(u64::from(self.open.load(Relaxed)), Relaxed);
        }
        self.count_alloc(new, new_size);
        new
    }
}

/// What a worker holds in one place.
#[expect(dead_code, reason = "held for the memory alone")]
enum Held {
    Nothing,
    Number(Box<[u64; 4]>),
    Text(String),
    Bytes(Vec<u8>),
    Aligned(Box<Line>),
}

#[repr(align(64))]
#[expect(dead_code, reason = "held for the memory alone")]
struct Line([u8; 192]);

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }
}

#[inline(never)]
fn step(random: &mut Random, held: &mut [Held], to_next: &Sender<Held>, inbox: &Receiver<Held>) {
    let r = random.next();
    let place = &mut held[(r >> 8) as usize % SLOTS];
    match r % 16 {
        0..4 => *place = Held::Number(Box::new([r; 4])),
        4..6 => *place = Held::Text(format!("{r:x} and {}", r >> 7)),
        6 => *place = Held::Bytes(vec![0; 1 + (r >> 20) as usize % 3000]),
        7 => *place = Held::Aligned(Box::new(Line([r as u8; 192]))),
        8..11 => match place {
            Held::Bytes(bytes) if bytes.len() < 20_000 => {
                bytes.extend(std::iter::repeat_n(1, 40));
            }
            Held::Bytes(bytes) => {
                bytes.truncate(10);
                bytes.shrink_to_fit();
            }
            Held::Text(text) if text.len() < 4000 => text.push_str("grows by a little each time"),
            _ => *place = Held::Bytes(Vec::with_capacity(8)),
        },
        11 if r >> 40 & 7 == 0 => {
            let mut vector: Vec<u8> = vec![1, 2, 3];
            let grown = vector.try_reserve_exact(isize::MAX as usize - 64);
            assert!(black_box(grown).is_err());
        }
        12 => {
            let held = std::mem::replace(place, Held::Nothing);
            LEDGER
                .sent
                .fetch_add(u64::from(!matches!(held, Held::Nothing)), Relaxed);
            to_next.send(held).expect("the next worker lives");
        }
        13 => {
            let mut map = HashMap::<u64, String, std::hash::BuildHasherDefault<Plain>>::default();
            for i in 0..r >> 30 & 7 {
                map.insert(i, i.to_string());
            }
            black_box(&map);
        }
        _ => *place = Held::Nothing,
    }
    if let Ok(block) = inbox.try_recv() {
        drop(block);
    }
}

/// A hasher without random keys: those are asked from the system once a thread.
#[derive(Default)]
struct Plain(u64);

impl std::hash::Hasher for Plain {
    fn finish(&self) -> u64 {
        self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }
}

/// The measured part of one thread; all of its allocations are made below it.
#[inline(never)]
fn measured(worker: usize, calls: u64, held: &mut [Held]) {
    if worker == 0 {
        make_channels();
    }
    REST.wait();
    let ends = ENDS[worker].lock().expect("no worker has died").take();
    let (to_next, inbox) = ends.expect("channels are made");
    let mut random = Random(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(worker as u64 + 1));
    let mut steps = 0_u64;
    while steps % 64 != 0 || LEDGER.calls.load(Relaxed) < calls {
        step(&mut random, held, &to_next, &inbox);
        steps += 1;
    }
    REST.wait();
    while let Ok(block) = inbox.try_recv() {
        drop(block);
    }
    for place in held.iter_mut().step_by(2) {
        *place = Held::Nothing;
    }
    // A channel goes with the last of its ends: all of them before the report.
    drop((to_next, inbox));
}

type Ends = Mutex<Option<(Sender<Held>, Receiver<Held>)>>;

/// What each worker sends to and receives from, made by the first of them.
static ENDS: [Ends; THREADS] = [const { Mutex::new(None) }; THREADS];
static START: [Barrier; 2] = [const { Barrier::new(THREADS + 1) }; 2];
static REST: Barrier = Barrier::new(THREADS);
static END: Barrier = Barrier::new(THREADS + 1);

fn make_channels() {
    let mut receivers: [Option<Receiver<Held>>; THREADS] = Default::default();
    let mut senders: [Option<Sender<Held>>; THREADS] = Default::default();
    for i in 0..THREADS {
        let (sender, receiver) = channel();
        receivers[i] = Some(receiver);
        senders[(i + THREADS - 1) % THREADS] = Some(sender);
    }
    for (i, place) in ENDS.iter().enumerate() {
        let pair = senders[i].take().zip(receivers[i].take());
        *place.lock().expect("no worker has died") = pair;
    }
}

fn print(text: &str) {
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        // SAFETY: the pointer and length are those of a live slice.
        let n = unsafe { write(1, rest.as_ptr(), rest.len()) };
        let Ok(n @ 1..) = usize::try_from(n) else {
            std::process::exit(90)
        };
        rest = &rest[n..];
    }
}

/// One byte of standard input, or `false` at its end.
fn read_byte() -> bool {
    let mut byte = 0_u8;
    // SAFETY: one byte is room enough for a read of one byte.
    unsafe { read(0, &raw mut byte, 1) == 1 }
}

fn report() {
    let mut buffer = [0_u8; 1024];
    let mut unused = &mut buffer[..];
    let get = |counter: &AtomicU64| counter.load(Relaxed);
    let amount = format_args!(
        "\"alloc_objects\":{},\"alloc_bytes\":{},\"free_objects\":{},\"free_bytes\":{}",
        get(&LEDGER.alloc_objects),
        get(&LEDGER.alloc_bytes),
        get(&LEDGER.free_objects),
        get(&LEDGER.free_bytes)
    );
    writeln!(
        unused,
        "{{\"calls\":{},\"failed\":{},\"null_frees\":0,\"total\":{{{amount}}},\
         \"parts\":{{\"ledger_rust::measured\":{{{amount}}}}},\
         \"cases\":{{\"reallocs\":{},\"zeroed\":{},\"aligned\":{},\"sent\":{}}}}}",
        get(&LEDGER.calls),
        get(&LEDGER.failed),
        get(&LEDGER.reallocs),
        get(&LEDGER.zeroed),
        get(&LEDGER.aligned),
        get(&LEDGER.sent),
    )
    .expect("the line fits");
    let used = 1024 - unused.len();
    print(std::str::from_utf8(&buffer[..used]).expect("JSON is text"));
}

fn main() {
    let calls: u64 = std::env::args()
        .nth(1)
        .map_or(2_500_000, |text| text.parse().expect("a number"));
    for i in 0..THREADS {
        std::thread::spawn(move || {
            let mut held: Vec<Held> = (0..SLOTS).map(|_| Held::Nothing).collect();
            // Whatever the standard library sets up once a thread: before the gate.
            let (sender, receiver) = channel();
            for _ in 0..100 {
                sender.send(Held::Nothing).expect("both ends are here");
                receiver.recv().expect("both ends are here");
            }
            drop((sender, receiver));
            START[0].wait();
            START[1].wait();
            measured(i, calls, &mut held);
            END.wait();
            // For ever: nobody else comes.
            END.wait();
        });
    }
    START[0].wait();
    print("ready\n");
    assert!(read_byte(), "gate closed before it opened");
    LEDGER.open.store(true, Relaxed);
    START[1].wait();
    END.wait();
    LEDGER.open.store(false, Relaxed);
    report();
    while read_byte() {}
    // Not by the threads' ends: what they hold is live to the last.
    std::process::exit(0);
}
