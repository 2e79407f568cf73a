//! Healthy: visitors come in waves, as over days that are ten seconds long, and each stays for half
//! a second.

use std::collections::VecDeque;

use crate::{Pattern, Turn};

const DAY: u64 = 10_000;
const STAY: u64 = 500;

struct Visitor {
    leaves: u64,
    basket: Vec<u64>,
}

#[inline(never)]
fn waves_visitor(now: u64, items: usize) -> Box<Visitor> {
    Box::new(Visitor {
        leaves: now + STAY,
        basket: Vec::with_capacity(items),
    })
}

pub fn pattern() -> Pattern {
    let mut visitors: VecDeque<Box<Visitor>> = VecDeque::with_capacity(4_000);
    Box::new(move |turn: &mut Turn| {
        let phase = (turn.tick % DAY) as f64 / DAY as f64;
        let wave = 1.0 - (phase * std::f64::consts::TAU).cos();
        // Up to four a tick at noon, none at midnight.
        for _ in 0..(wave * 2.0 + turn.random(100) as f64 / 100.0) as u64 {
            let items = 1 + turn.random(20) as usize;
            visitors.push_back(waves_visitor(turn.tick, items));
        }
        while visitors
            .front()
            .is_some_and(|first| first.leaves <= turn.tick)
        {
            let gone = visitors.pop_front();
            assert!(gone.is_some_and(|gone| gone.basket.is_empty()));
        }
    })
}
