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
fn by_a_functions_own_type_arguments() {
    let parser = "shop::detail::parser<shop::basic_json<std::map, std::vector> >";
    let value = |of: &str| format!("bool {parser}::handle_value<{of}>({of})");
    assert_eq!(
        shown(&[
            &value("double&"),
            &value("bool&"),
            &format!("{parser}::run()")
        ]),
        [
            "shop::parser::handle_value<double&>",
            "shop::parser::handle_value<bool&>",
            "shop::parser::run",
        ]
    );
    // The type's, where those say nothing.
    let method = |of: &str| format!("shop::stack<shop::item<{of}>, std::allocator<{of}> >::push()");
    assert_eq!(
        shown(&[&method("int"), "shop::stack<shop::box >::push()"]),
        [
            "shop::stack<shop::item>::push",
            "shop::stack<shop::box>::push"
        ]
    );
}

#[test]
fn a_function_that_stands_for_its_type_has_its_trait() {
    assert_eq!(
        shown(&[
            "<shop::count as axum::handler::Handler<(axum::ViaParts,), S>>::call::{closure#0}",
            "<shop::Count as axum::handler::Handler<(axum::ViaParts,), S>>::call",
            "<shop::main::{closure#0} as core::ops::function::FnOnce<()>>::call_once",
            "<u8 as core::fmt::Display>::fmt",
        ]),
        [
            "<shop::count as Handler>::call::{closure}",
            "shop::Count::call",
            "shop::main::{closure}",
            "u8::fmt",
        ]
    );
}

#[test]
fn lambdas_by_their_numbers() {
    assert_eq!(
        shown(&[
            "uv::ReadStart()::{lambda(uv_handle_s*, unsigned long)#1}::_FUN(uv_handle_s*, unsigned long)",
            "uv::ReadStart()::{lambda(uv_stream_s*, long)#2}::_FUN(uv_stream_s*, long)",
        ]),
        ["uv::ReadStart::{lambda#1}", "uv::ReadStart::{lambda#2}"]
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
