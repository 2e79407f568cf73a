//! Names of one profile, told apart by as much as it takes.

use crate::names::{NameStyle, Names};

fn shown(names: &[&str]) -> Vec<String> {
    let functions = names.iter().map(|name| (*name, ""));
    let shown = Names::of(functions, NameStyle::Short);
    names
        .iter()
        .map(|name| shown.show(name).to_owned())
        .collect()
}

#[test]
fn by_type_arguments() {
    assert_eq!(
        shown(&[
            "<alloc::vec::Vec<u8>>::with_capacity_in",
            "<alloc::vec::Vec<alloc::string::String>>::with_capacity_in",
            "<alloc::vec::Vec<shop::orders::Order<u8>>>::with_capacity_in",
            "<alloc::vec::Vec<u8>>::push",
        ]),
        [
            "Vec<u8>::with_capacity_in",
            "Vec<String>::with_capacity_in",
            "Vec<shop::Order>::with_capacity_in",
            "Vec::push",
        ]
    );
}

#[test]
fn by_trait_module_or_parameters() {
    assert_eq!(
        shown(&[
            "<shop::orders::Order as core::fmt::Debug>::fmt",
            "<shop::orders::Order as core::fmt::Display>::fmt",
            "shop::a::inner::Task::run",
            "shop::b::inner::Task::run",
            "shop::add(int, int)",
            "shop::add(std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char> > const&)",
        ]),
        [
            "<shop::Order as Debug>::fmt",
            "<shop::Order as Display>::fmt",
            "shop::a::inner::Task::run",
            "shop::b::inner::Task::run",
            "shop::add(int, int)",
            "shop::add(std::string const&)",
        ]
    );
}

#[test]
fn by_what_a_compiler_adds() {
    assert_eq!(
        shown(&[
            "shop::main::{closure#0}",
            "shop::main::{closure#1}",
            "walk",
            "walk.cold",
            "non-virtual thunk to shop::Order::run(int)",
            "shop::Order::run(int)",
        ]),
        [
            "shop::main::{closure#0}",
            "shop::main::{closure#1}",
            "walk",
            "walk.cold",
            "non-virtual thunk to shop::Order::run",
            "shop::Order::run",
        ]
    );
}

#[test]
fn by_number_where_nobody_could_read_the_difference() {
    let long = |end: &str| {
        let types = "shop::orders::storage::OrderInTheVeryLargeStorage, ".repeat(8);
        format!("shop::orders::run::<{types}{end}>")
    };
    assert_eq!(
        shown(&[&long("u8"), &long("u16"), "main"]),
        ["shop::orders::run #2", "shop::orders::run #1", "main"]
    );
}

#[test]
fn full_where_that_is_asked() {
    let name = "<alloc::vec::Vec<u8>>::push";
    let names = Names::of([(name, "")], NameStyle::Full);
    assert_eq!(names.show(name), name);
    assert_eq!(names.show("unheard of"), "unheard of");
}
