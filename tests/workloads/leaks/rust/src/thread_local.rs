//! Threads that come and go, each with a buffer of its own in a thread-local.
//!
//! Healthy: the thread-local owns it. Leaky: it only has a pointer.

use std::cell::{Cell, RefCell};
use std::ptr::null_mut;
use std::thread::JoinHandle;

use crate::{Pattern, Turn};

type Buffer = [u8; 800];

thread_local! {
    static OWNED: RefCell<Option<Box<Buffer>>> = const { RefCell::new(None) };
    static POINTER: Cell<*mut Buffer> = const { Cell::new(null_mut()) };
}

#[inline(never)]
fn thread_local_buffer() -> Box<Buffer> {
    Box::new([3; 800]) // LEAK: thread_local_buffer
}

fn work(leaky: bool) {
    if leaky {
        POINTER.set(Box::leak(thread_local_buffer()));
    } else {
        OWNED.with_borrow_mut(|owned| *owned = Some(thread_local_buffer()));
    }
}

pub fn pattern() -> Pattern {
    let mut thread: Option<JoinHandle<()>> = None;
    Box::new(move |turn: &mut Turn| {
        let leaky = turn.leaky;
        if turn.tick % 25 == 0 {
            thread = Some(std::thread::spawn(move || work(leaky)));
        }
        if turn.tick % 25 == 20
            && let Some(thread) = thread.take()
        {
            thread.join().expect("it does not panic");
        }
    })
}
