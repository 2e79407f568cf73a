//! Symbols of real programs and what people call them, `symbol<TAB>name` a line: counter-service and tracer,
//! Debian's libstdc++, LLVM and clang, node, and a few small programs in Rust, C++, Go and D.

use crate::names::short;
use crate::symbolize::demangle::demangle;

const CORPUS: &str = include_str!("corpus.tsv");

fn corpus() -> impl Iterator<Item = (&'static str, &'static str)> {
    let lines = CORPUS.lines().filter(|line| !line.starts_with("# "));
    lines.filter_map(|line| line.split_once('\t'))
}

#[test]
fn real_names_read_as_people_say_them() {
    let wrong: Vec<String> = corpus()
        .map(|(symbol, name)| (symbol, name, short(&demangle(symbol), "").into_owned()))
        .filter(|(_, name, shown)| name != shown)
        .map(|(symbol, _, shown)| format!("{symbol}\t{shown}"))
        .collect();
    assert!(
        wrong.is_empty(),
        "these are others now:\n{}",
        wrong.join("\n")
    );
    assert!(corpus().count() > 500);
}

#[test]
fn most_of_their_length_goes() {
    let lengths = |name: fn(&'static str, &'static str) -> usize| {
        let mut lengths: Vec<usize> = corpus()
            .map(|(symbol, shown)| name(symbol, shown))
            .collect();
        lengths.sort_unstable();
        (lengths[lengths.len() / 2], lengths[lengths.len() - 1])
    };
    let full = lengths(|symbol, _| demangle(symbol).chars().count());
    let shown = lengths(|_, shown| shown.chars().count());
    insta::assert_snapshot!(
        format!("median and longest, full {full:?}, short {shown:?}"),
        @"median and longest, full (74, 1931), short (26, 83)"
    );
}
