//! Names as people say them: `Vec::with_capacity_in` for
//! `<alloc::vec::Vec<u8>>::with_capacity_in`.
//!
//! The rule: of a path the crate or outermost namespace and the last two names, without generic
//! arguments, parameters and return type. A type of Rust's own library stands without its crate. Of `<T as
//! Trait>::method` the type remains, of a closure `{closure}` at its function. What is no name of Rust,
//! C++ or Go stays as it is. [`Names`] tells apart what would look the same in one profile.

mod brackets;
mod go;
mod path;
mod set;
mod suffix;
#[cfg(test)]
mod tests;
mod types;

use std::borrow::Cow;

use path::Detail;
pub use set::Names;

/// Longest name that is looked into, bytes: a little more than symbols have at most.
const MAX_NAME: usize = 9 << 10;
/// Times that a name is shortened again, until nothing changes.
const MAX_ROUNDS: u32 = 8;

/// How names are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NameStyle {
    /// As people say them.
    #[default]
    Short,
    /// As they are in the profile.
    Full,
}

/// The name a person would say; never longer than the full one, and the same for a short one. `file` is
/// the function's source file, or empty: it tells Go, whose functions may be called `cold`.
#[must_use]
pub fn short<'a>(name: &'a str, file: &str) -> Cow<'a, str> {
    let mut shown = Cow::Borrowed(name);
    for _ in 0..MAX_ROUNDS {
        match shorter(&shown, file, Detail::default()) {
            Some(shorter) => shown = Cow::Owned(shorter),
            None => break,
        }
    }
    shown
}

/// A name with some of its details; `None` where nothing is left out.
fn shorter(name: &str, file: &str, detail: Detail) -> Option<String> {
    if name.len() > MAX_NAME || stands_for_itself(name) {
        return None;
    }
    let shown = if file.ends_with(".go") || go::is_go(name) {
        go::short(name)
    } else {
        let (own, added) = suffix::split(name);
        let (wrapped, own) = suffix::split_thunk(own);
        let path = path::function(own, detail);
        let mut shown = path.map_or_else(|| own.to_owned(), |path| path.show(2, detail));
        if detail.numbers {
            shown = format!("{wrapped}{shown}{added}");
        }
        shown
    };
    (!shown.is_empty() && shown.len() < name.len()).then_some(shown)
}

/// What is no function's name: `libc.so.6+0x8f2c1`, `[unknown]`, and names that are still mangled.
fn stands_for_itself(name: &str) -> bool {
    let unnamed = name.rsplit_once("+0x").is_some_and(|(_, offset)| {
        !offset.is_empty() && offset.bytes().all(|byte| byte.is_ascii_hexdigit())
    });
    let first = name.trim_start_matches(['-', '+']);
    unnamed || first.starts_with('[') || name.starts_with("_Z") || name.starts_with("_R")
}
