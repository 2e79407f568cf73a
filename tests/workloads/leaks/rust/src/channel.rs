//! Events go through a channel to whoever wants them.
//!
//! Leaky: nobody takes them out, and the receiver is still there.

use std::sync::mpsc::{Sender, channel};

use crate::{Pattern, Turn};

struct Event {
    number: u64,
    text: Vec<u8>,
}

#[inline(never)]
fn channel_event(number: u64) -> Box<Event> {
    let text = channel_text();
    Box::new(Event { number, text }) // LEAK: channel_event
}

#[inline(never)]
fn channel_text() -> Vec<u8> {
    vec![b'e'; 80] // LEAK: channel_text
}

#[inline(never)]
fn channel_send(sender: &Sender<Box<Event>>, event: Box<Event>) {
    // The channel keeps events in blocks of 31.
    sender.send(event).expect("the receiver is there"); // LEAK: channel_send
}

pub fn pattern() -> Pattern {
    let (sender, receiver) = channel();
    Box::new(move |turn: &mut Turn| {
        channel_send(&sender, channel_event(turn.tick));
        if !turn.leaky && turn.tick % 20 == 0 {
            while let Ok(event) = receiver.try_recv() {
                assert!(event.number <= turn.tick && !event.text.is_empty());
            }
        }
    })
}
