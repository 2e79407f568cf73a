//! The service of `service.c` in Rust: frames that are inlined, generic, methods of traits, closures.

use std::collections::HashMap;
use std::hint::black_box;
use std::io::{Read as _, Write as _, stdin, stdout};

// PART
#[derive(Default)]
struct Service {
    entries: HashMap<u32, String>,
    history: Vec<u64>,
    handlers: Vec<Box<dyn Handler>>,
}

// PART
trait Handler {
    fn handle(&mut self, number: u32) -> usize;
}

// PART
/// Keeps a part of what it is given.
struct Keeper<T>(Vec<T>);

impl<T: From<u32> + Copy> Handler for Keeper<T> {
    #[inline(never)]
    fn handle(&mut self, number: u32) -> usize {
        if number.is_multiple_of(4) {
            self.0.push(number.into());
        }
        self.0.len()
    }
}

// PART
/// Keeps nothing.
struct Echo;

impl Handler for Echo {
    #[inline(never)]
    fn handle(&mut self, number: u32) -> usize {
        let text = black_box(format!("an answer to {number}"));
        let length = text.len();
        drop(text); // FREED
        length
    }
}

// PART
impl Service {
    #[inline(never)]
    fn remember(&mut self, number: u32) {
        let text = format!("question {number}");
        self.entries.entry(number % 50).or_insert(text);
    }
}

// PART
impl Service {
    #[inline(never)]
    fn measure(&mut self, numbers: &[u32]) {
        // ADDED TO measure
        let boxed: Vec<Box<u64>> = numbers.iter().map(|&n| black_box(Box::new(n.into()))).collect();
        self.history.push(boxed.iter().map(|one| **one).sum());
        if numbers.len() == 1 {
            std::mem::forget(boxed);
        }
    }
}

// PART
#[inline(never)]
fn work(service: &mut Service, rounds: u32) {
    for number in 0..rounds {
        service.remember(number);
        for handler in &mut service.handlers {
            black_box(handler.handle(number));
        }
        let numbers: Vec<u32> = (0..=number % 3).collect();
        service.measure(&numbers);
    }
}

// PART
fn main() {
    stdout().write_all(b"ready\n").unwrap();
    stdin().read_exact(&mut [0]).unwrap();
    let mut service = Service {
        handlers: vec![
            Box::new(Keeper::<u32>(Vec::new())),
            Box::new(Keeper::<u64>(Vec::new())),
            Box::new(Echo),
        ],
        ..Service::default()
    };
    // ADDED TO main
    work(&mut service, 200);
    std::mem::forget(black_box(service));
}
