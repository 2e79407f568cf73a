//! What compilers add to the name of a function that they copied, split or wrapped.

use std::sync::LazyLock;

use regex::Regex;

/// A name, and what was added at its end: `.llvm.123`, ` [clone .cold]`, `::h0123456789abcdef`.
pub(super) fn split(name: &str) -> (&str, &str) {
    #[expect(
        clippy::expect_used,
        reason = "a constant pattern; every test compiles it"
    )]
    static ADDED: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(
            r"(?x)
            (?: \ \[clone\ [^\]]*\]
              | \.(?:isra|constprop|part|llvm|lto_priv|localalias|cold|specialized|warm)(?:\.\d+)*
              | ::h[0-9a-f]{16}
            )+$",
        )
        .expect("the pattern is valid")
    });
    let end = ADDED.find(name).map_or(name.len(), |added| added.start());
    if end == 0 {
        (name, "")
    } else {
        name.split_at(end)
    }
}

/// What wraps a method for another class, such as `virtual thunk to `, and the method.
pub(super) fn split_thunk(name: &str) -> (&str, &str) {
    const END: &str = "thunk to ";
    match name.find(END) {
        Some(at) if name.get(..at).is_some_and(is_words) => name.split_at(at + END.len()),
        _ => ("", name),
    }
}

fn is_words(text: &str) -> bool {
    text.chars()
        .all(|c| c.is_ascii_lowercase() || " -".contains(c))
}
