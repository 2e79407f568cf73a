//! Boxes that are given away as pointers, as to a library in C, and taken back.
//!
//! Leaky: some are never taken back.

use std::collections::VecDeque;

use crate::{Pattern, Turn};

struct Context {
    number: u64,
    state: [u8; 120],
}

#[inline(never)]
fn forgotten_give(number: u64) -> *mut Context {
    let state = [0; 120];
    Box::into_raw(Box::new(Context { number, state })) // LEAK: forgotten_give
}

#[inline(never)]
fn forgotten_take_back(context: *mut Context) -> Box<Context> {
    // SAFETY: it came from a box, and each comes back once at most.
    unsafe { Box::from_raw(context) }
}

pub fn pattern() -> Pattern {
    let mut given = VecDeque::with_capacity(64);
    Box::new(move |turn: &mut Turn| {
        given.push_back(forgotten_give(turn.tick));
        if given.len() < 30 {
            return;
        }
        let Some(context) = given.pop_front() else {
            return;
        };
        if !turn.leaky || turn.tick % 5 != 0 {
            let context = forgotten_take_back(context);
            assert!(context.number <= turn.tick && context.state[7] == 0);
        }
    })
}
