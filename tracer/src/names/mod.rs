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

/// All modules and namespaces of a function and its own name, without type arguments: `alloc::vec::Vec::push`
/// for `<alloc::vec::Vec<u8>>::push`. What a name is matched by, where a table says whose code it is.
#[must_use]
pub fn path<'a>(name: &'a str, file: &str) -> Cow<'a, str> {
    const ALL_MODULES: Detail = Detail {
        path: true,
        traits: false,
        numbers: false,
        arguments: 0,
        only_own_arguments: false,
        parameters: false,
    };
    shorter(name, file, ALL_MODULES).map_or(Cow::Borrowed(name), Cow::Owned)
}

/// The same of the function that a closure or an async block is in.
#[must_use]
pub fn function_of(name: &str, file: &str) -> String {
    let shown = short(name, file);
    let mut parts = brackets::split(&shown, "::");
    while parts.len() > 1 && parts.last().is_some_and(|last| last.starts_with('{')) {
        parts.pop();
    }
    match parts.join("::") {
        // `::{closure}` is a closure of nothing.
        function if function.is_empty() => shown.into_owned(),
        function => function,
    }
}

/// The type that a method belongs to, with its arguments one level deep, `Vec<u8>` for
/// `<alloc::vec::Vec<u8>>::push`; the function's own short name where there is no type. `longest` is in
/// characters: a longer type stands without arguments.
#[must_use]
pub fn type_of(name: &str, file: &str, longest: usize) -> String {
    const ONE_LEVEL: Detail = Detail {
        path: false,
        traits: false,
        numbers: false,
        arguments: 1,
        only_own_arguments: false,
        parameters: false,
    };
    let bare = short(name, file);
    let without_method = |name: &str| {
        let mut parts = brackets::split(name, "::");
        // A closure is a part of its function.
        while parts.last().is_some_and(|last| last.starts_with('{')) {
            parts.pop();
        }
        let method = parts.pop()?;
        let known = parts.iter().map(|part| part.len() + "::".len()).sum();
        // Arguments of a function stand apart in Rust.
        let of = name.get(..known)?.trim_end_matches("::");
        let is_type = !of.is_empty() && !method.starts_with('<');
        is_type.then(|| of.to_owned())
    };
    let detailed = shorter(name, file, ONE_LEVEL).and_then(|name| without_method(&name));
    let detailed = detailed.map(|of| of.replace(" >", ">"));
    // `Vec<T,A>` says no more than `Vec`.
    let is_parameter = |c: char| c.is_ascii_uppercase() || "<>, ".contains(c);
    let says_more = |of: &String| {
        let arguments = of.find('<').and_then(|at| of.get(at..));
        arguments.is_none_or(|arguments| !arguments.chars().all(is_parameter))
    };
    detailed
        .filter(|of| of.chars().count() <= longest && says_more(of))
        .or_else(|| without_method(&bare))
        .unwrap_or_else(|| bare.into_owned())
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
    is_place_in_module(name) || is_remark(name) || name.starts_with("_Z") || name.starts_with("_R")
}

/// Whether it stands for a function without a name: `libc.so.6+0x8f2c1`.
#[must_use]
pub fn is_place_in_module(name: &str) -> bool {
    name.rsplit_once("+0x").is_some_and(|(_, offset)| {
        !offset.is_empty() && offset.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// Whether it stands in place of a function: `[unknown]`.
#[must_use]
pub fn is_remark(name: &str) -> bool {
    name.trim_start_matches(['-', '+']).starts_with('[')
}
