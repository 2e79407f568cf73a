//! Interned strings with a static life: `Box::leak`, once for each text.
//!
//! Healthy: texts are from a vocabulary. Leaky: some contain the number of the request.

use std::collections::HashSet;

use crate::{Pattern, Turn};

#[inline(never)]
fn intern_text(texts: &mut HashSet<&'static str>, text: &str) -> &'static str {
    if let Some(known) = texts.get(text) {
        return known;
    }
    let new: Box<str> = Box::from(text); // LEAK: intern_text
    let new = Box::leak(new);
    texts.insert(new);
    new
}

pub fn pattern() -> Pattern {
    let mut texts = HashSet::with_capacity(200_000);
    Box::new(move |turn: &mut Turn| {
        let word = turn.random(2_000);
        let request = if turn.leaky { turn.tick / 2 } else { 0 };
        intern_text(&mut texts, &format!("metric-{word}"));
        intern_text(&mut texts, &format!("metric-of-request-{request}"));
    })
}
