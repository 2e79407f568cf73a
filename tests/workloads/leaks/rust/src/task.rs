//! Tasks of an executor, each waiting for an answer with a buffer in its hands.
//!
//! Leaky: some answers never come, and nothing gives the tasks up.

use std::cell::Cell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::{Pattern, Turn};

type Task = Pin<Box<dyn Future<Output = usize>>>;

/// Ready once the cell says so.
struct Answer(Rc<Cell<bool>>);

impl Future for Answer {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.0.get() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

#[inline(never)]
fn task_buffer() -> Vec<u8> {
    vec![1; 900] // LEAK: task_buffer
}

#[inline(never)]
fn task_start(answer: Rc<Cell<bool>>) -> Task {
    let buffer = task_buffer();
    let work = async move {
        Answer(answer).await;
        buffer.len()
    };
    Box::pin(work) // LEAK: task_start
}

#[inline(never)]
fn task_flag() -> Rc<Cell<bool>> {
    Rc::new(Cell::new(false)) // LEAK: task_flag
}

/// A task that waits, and what answers it.
struct Waiting {
    task: Task,
    answer: Rc<Cell<bool>>,
}

impl Waiting {
    fn start() -> Self {
        let answer = task_flag();
        Self {
            task: task_start(Rc::clone(&answer)),
            answer,
        }
    }

    /// Answers it and lets it finish.
    fn finish(mut self) {
        self.answer.set(true);
        let mut context = Context::from_waker(Waker::noop());
        let done = self.task.as_mut().poll(&mut context);
        assert!(done == Poll::Ready(900));
    }
}

pub fn pattern() -> Pattern {
    let mut waiting = VecDeque::with_capacity(64);
    let mut unanswered = Vec::with_capacity(50_000);
    Box::new(move |turn: &mut Turn| {
        if turn.tick % 4 != 0 {
            return;
        }
        waiting.push_back(Waiting::start());
        if waiting.len() < 10 {
            return;
        }
        let Some(first) = waiting.pop_front() else {
            return;
        };
        if turn.leaky && turn.tick % 16 == 0 {
            unanswered.push(first);
        } else {
            first.finish();
        }
    })
}
