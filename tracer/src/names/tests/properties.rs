//! What holds for every name, whatever is in it.

use proptest::prelude::*;

use crate::names::path::Detail;
use crate::names::{MAX_NAME, NameStyle, Names, function_of, path, short, shorter, type_of};

/// Names with everything that the parser could trip over.
fn name() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        any::<char>().prop_map(|c| c.to_string()),
        "[a-zA-Z_]{1,4}",
        prop::sample::select(vec![
            "::",
            "<",
            ">",
            "(",
            ")",
            "[",
            "]",
            "{",
            "}",
            " ",
            " as ",
            " for ",
            "impl ",
            "&",
            "&mut ",
            "dyn ",
            "operator",
            "operator<",
            "operator()",
            "operator new",
            "->",
            "<<",
            "{{closure}}",
            "{closure#0}",
            "{lambda(int)#1}",
            "(anonymous namespace)",
            " const",
            "[abi:cxx11]",
            ".cold",
            ".llvm.12",
            " [clone .cold]",
            "::h0123456789abcdef",
            "std",
            "core",
            "alloc",
            "__cxx11",
            "basic_string<char>",
            "~",
            "~basic_string",
            "call_once",
            "thunk to ",
            "net/http.",
            ".(*conn)",
            "+0x1f",
            ", ",
            "'a ",
            "T",
            "Vec",
            "…",
            "std::allocator",
            "type.",
            "/v2.",
        ])
        .prop_map(str::to_owned),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// Names whose brackets are all closed.
fn balanced() -> impl Strategy<Value = String> {
    let leaf = "[a-zA-Z_]{1,6}".boxed();
    leaf.prop_recursive(5, 40, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 1..4).prop_map(|parts| parts.join("::")),
            (inner.clone(), inner.clone()).prop_map(|(name, of)| format!("{name}<{of}>")),
            (inner.clone(), inner.clone()).prop_map(|(name, of)| format!("{name}({of})")),
            (inner.clone(), inner.clone()).prop_map(|(of, by)| format!("<{of} as {by}>::f")),
            inner
                .clone()
                .prop_map(|name| format!("{name}::{{closure#0}}")),
            inner
                .clone()
                .prop_map(|name| format!("int {name}(int) const")),
            inner.prop_map(|name| format!("&[{name}]")),
        ]
    })
}

fn is_balanced(name: &str) -> bool {
    let mut open = Vec::new();
    name.chars().all(|c| match c {
        '<' | '(' | '[' | '{' => {
            open.push(c);
            true
        }
        '>' => open.pop() == Some('<'),
        ')' => open.pop() == Some('('),
        ']' => open.pop() == Some('['),
        '}' => open.pop() == Some('{'),
        _ => true,
    }) && open.is_empty()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn a_short_name_is_there_is_no_longer_and_stays(name in name(), file in "(x\\.go)?") {
        let shown = short(&name, &file);
        prop_assert_eq!(shown.is_empty(), name.is_empty());
        prop_assert!(shown.len() <= name.len());
        prop_assert_eq!(short(&shown, &file), shown.as_ref());
    }

    #[test]
    fn what_a_name_belongs_to_is_there_and_no_longer(name in name(), file in "(x\\.go)?", longest in 0_usize..40) {
        for part in [path(&name, &file).into_owned(), type_of(&name, &file, longest), function_of(&name, &file)] {
            prop_assert_eq!(part.is_empty(), name.is_empty(), "{}", part);
            prop_assert!(part.len() <= name.len(), "{}", part);
        }
    }

    #[test]
    fn brackets_stay_in_pairs(name in balanced()) {
        prop_assert!(is_balanced(&name));
        let shown = short(&name, "");
        prop_assert!(is_balanced(&shown), "{} of {}", shown, name);
    }

    #[test]
    fn no_two_of_a_profile_are_alike(names in proptest::collection::vec(name(), 0..8)) {
        let functions = || names.iter().map(|name| (name.as_str(), ""));
        let shown = Names::of(functions(), NameStyle::Short);
        for one in &names {
            prop_assert_eq!(shown.show(one).is_empty(), one.is_empty());
            prop_assert!(shown.show(one).len() <= one.len());
            for other in &names {
                prop_assert_eq!(one == other, shown.show(one) == shown.show(other));
            }
        }
        let reversed = Names::of(functions().rev(), NameStyle::Short);
        prop_assert_eq!(shown, reversed);
    }

    #[test]
    fn details_break_nothing(
        name in name(),
        flags in any::<[bool; 5]>(),
        arguments in 0_u32..9,
    ) {
        let [path, traits, numbers, parameters, only_own_arguments] = flags;
        let detail = Detail { path, traits, numbers, arguments, only_own_arguments, parameters };
        if let Some(shown) = shorter(&name, "", detail) {
            prop_assert!(!shown.is_empty() && shown.len() < name.len());
        }
    }
}

#[test]
fn a_closure_of_nothing_is_itself() {
    assert_eq!(function_of("::{closure}", "x.go"), "::{closure}");
}

#[test]
fn long_and_deep_names_come_to_an_end() {
    // A few seconds, where little else runs.
    let started = std::time::Instant::now();
    let nested = |begin: &str, end: &str| {
        let times = MAX_NAME / (begin.len() + end.len());
        begin.repeat(times) + "a" + &end.repeat(times)
    };
    for name in [
        nested("<", ">::b"),
        nested("<&", " as b>::c"),
        nested("a<", ">"),
        nested("a::<", ">::b"),
        nested("f(", ")"),
        nested("(<", ">)"),
        nested("<impl b for ", ">::c"),
        nested("operator ", "(x)"),
    ] {
        assert!(!short(&name, "").is_empty());
        let twice = name.replacen('a', "z", 1);
        let _ = Names::of(
            [(name.as_str(), ""), (twice.as_str(), "")],
            NameStyle::Short,
        );
    }
    for piece in [
        "<",
        "a<",
        "<a as b>::",
        "(",
        "operator ",
        "{",
        "a::",
        " ",
        "<>",
        "&",
        "operator<",
        "[",
        "f(",
        "[abi:a]",
        " const",
        "[]",
        "{}",
        "()",
    ] {
        let name = piece.repeat(MAX_NAME / piece.len());
        let other = format!("{name}>");
        for name in [&name, &other] {
            assert!(!short(name, "").is_empty());
            let twice = format!("{name}x");
            let _ = Names::of(
                [(name.as_str(), ""), (twice.as_str(), "")],
                NameStyle::Short,
            );
        }
    }
    assert!(started.elapsed().as_secs() < 120, "{:?}", started.elapsed());
    let beyond = "a::".repeat(MAX_NAME);
    assert_eq!(short(&beyond, ""), beyond);
}
