//! A tree whose nodes know their parent.
//!
//! Healthy: by a weak reference. Leaky: by a strong one, so that parent and child keep each other.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use crate::{Pattern, Turn};

#[derive(Default)]
struct Node {
    parent: RefCell<Weak<Node>>,
    strong_parent: RefCell<Option<Rc<Node>>>,
    child: RefCell<Option<Rc<Node>>>,
    text: [u64; 12],
}

#[inline(never)]
fn cycle_parent() -> Rc<Node> {
    Rc::new(Node::default()) // LEAK: cycle_parent
}

#[inline(never)]
fn cycle_child(parent: &Rc<Node>, strong: bool) -> Rc<Node> {
    let child = Rc::new(Node::default()); // LEAK: cycle_child
    if strong {
        *child.strong_parent.borrow_mut() = Some(Rc::clone(parent));
    } else {
        *child.parent.borrow_mut() = Rc::downgrade(parent);
    }
    child
}

pub fn pattern() -> Pattern {
    Box::new(|turn: &mut Turn| {
        let parent = cycle_parent();
        let child = cycle_child(&parent, turn.leaky && turn.tick % 3 == 0);
        assert_eq!(child.text, parent.text);
        *parent.child.borrow_mut() = Some(child);
    })
}
