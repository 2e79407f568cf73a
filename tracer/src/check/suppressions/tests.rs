//! Tests of suppressions: what files may say, and what they match.

use proptest::prelude::*;

use super::pattern::Pattern;
use super::{SuppressionFrame, Suppressions, frames, write};
use crate::export::example::counter_service;

fn frame<'a>(function: &'a str, file: &'a str, line: u32, module: &'a str) -> SuppressionFrame<'a> {
    SuppressionFrame {
        function,
        system_name: function,
        file,
        line,
        module,
        allocator: false,
    }
}

/// `operator new` < `parse(char*)` < `load` < `main`, as a C++ program has it.
fn stack() -> Vec<SuppressionFrame<'static>> {
    vec![
        SuppressionFrame {
            system_name: "_Znwm",
            allocator: true,
            ..frame(
                "operator new(unsigned long)",
                "",
                0,
                "/usr/lib/libstdc++.so.6",
            )
        },
        SuppressionFrame {
            system_name: "_Z5parsePc",
            ..frame(
                "parse(char*)",
                "/src/parse.cc",
                12,
                "/usr/lib/libparse.so.1",
            )
        },
        frame("load", "/src/load.c", 40, "/usr/bin/app"),
        frame("main", "/src/main.c", 7, "/usr/bin/app"),
    ]
}

fn matches(text: &str) -> bool {
    let suppressions = Suppressions::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    suppressions.matching(&stack()).is_some()
}

#[test]
fn lsan_patterns_look_at_function_file_and_module_of_every_frame() {
    for pattern in [
        "parse",
        "^parse(",
        "load$",
        "^load$",
        "pa*char",
        "^main",
        "parse.cc",
        "libparse",
        "*so.1$",
        "^/usr/bin/app$",
        "l*d",
        "^l*d$",
        "new(unsigned long)",
    ] {
        assert!(matches(&format!("leak:{pattern}\n")), "{pattern}");
    }
    for pattern in [
        "^arse", "loa$", "^oad$", "parse.c$", "Parse", "p.rse", "^l*a$", "l?ad", "_Z5parse",
    ] {
        assert!(!matches(&format!("leak:{pattern}\n")), "{pattern}");
    }
}

#[test]
fn lsan_files_have_comments_and_spaces() {
    let text = "# a comment\n\n  leak:nothing  \r\n\tleak:load\n";
    let suppressions = Suppressions::parse(text).unwrap_or_default();
    let found = suppressions.matching(&stack());
    assert_eq!(found.map(|s| (s.name.as_str(), s.line)), Some(("load", 4)));
    assert_eq!(suppressions.list().len(), 2);
    assert!(
        Suppressions::parse("")
            .unwrap_or_default()
            .matching(&stack())
            .is_none()
    );
}

fn memcheck(frames: &[&str]) -> bool {
    matches(&format!(
        "{{\n a name\n Memcheck:Leak\n {}\n}}\n",
        frames.join("\n ")
    ))
}

#[test]
fn memcheck_frames_are_matched_from_the_leaf() {
    assert!(memcheck(&["fun:_Znwm", "fun:_Z5parsePc"]));
    assert!(memcheck(&[
        "fun:_Znwm",
        "fun:_Z5parse*",
        "fun:load",
        "fun:main"
    ]));
    assert!(memcheck(&[
        "fun:_Z?wm",
        "obj:*/libparse.so.*",
        "src:load.c",
        "src:/src/main.c:7"
    ]));
    assert!(!memcheck(&["fun:load"]), "not at the leaf");
    assert!(!memcheck(&["fun:_Znwm", "fun:load"]), "a frame between");
    assert!(!memcheck(&["fun:_Znwm", "fun:_Z5parsePc", "src:load.c:41"]));
    assert!(!memcheck(&["fun:_Znwm", "obj:/usr/bin/app"]));
    assert!(!memcheck(&["fun:_Znw"]), "names are whole");
    assert!(
        !memcheck(&["fun:_Znwm", "fun:*", "fun:*", "fun:*", "fun:*", "fun:*"]),
        "longer than the stack"
    );
}

#[test]
fn memcheck_ellipses_are_any_number_of_frames() {
    assert!(memcheck(&["...", "fun:main"]));
    assert!(memcheck(&["fun:_Znwm", "...", "fun:_Z5parsePc"]), "none");
    assert!(memcheck(&["...", "fun:load", "...", "fun:main", "..."]));
    assert!(
        memcheck(&["...", "obj:/usr/bin/app", "fun:main"]),
        "back to a later match"
    );
    assert!(!memcheck(&["...", "fun:main", "fun:load"]));
    assert!(!memcheck(&["fun:_Znwm", "...", "fun:nobody"]));
}

#[test]
fn stacks_begin_above_malloc() {
    // As valgrind writes them for C, where the allocator itself is the leaf.
    assert!(memcheck(&["fun:malloc", "fun:_Z5parsePc"]));
    assert!(memcheck(&["fun:*alloc", "fun:_Znwm", "fun:_Z5parsePc"]));
    assert!(
        memcheck(&["fun:parse(char\\*)"]),
        "a name as people read it"
    );
    assert!(!memcheck(&["fun:malloc", "fun:load"]));
    assert!(!memcheck(&["fun:malloc", "fun:malloc", "fun:_Z5parsePc"]));
    assert!(!memcheck(&["fun:malloc"]), "it would match every leak");
}

#[test]
fn memcheck_files_serve_other_errors_and_tools_too() {
    let text = "\
{
   a system call
   Memcheck:Param
   write(buf)
   fun:__write_nocancel
}
# a comment
{
   a race
   Helgrind:Race
   fun:load
}
{
   several tools
   Memcheck,Addrcheck:Leak
   match-leak-kinds: definite,reachable
   ...
   # another
   fun:load
}
";
    let suppressions = Suppressions::parse(text).unwrap_or_default();
    assert_eq!(suppressions.list().len(), 1);
    let found = suppressions.matching(&stack());
    assert_eq!(
        found.map(|s| (s.name.as_str(), s.line)),
        Some(("several tools", 13))
    );
}

#[test]
fn bad_files_are_refused_with_line_and_reason() {
    let leak = |frames: &str| format!("{{\nname\nMemcheck:Leak\n{frames}\n}}\n");
    for (text, expected) in [
        (
            "leak:a\n\nrace:b\n",
            "line 3: unknown kind `race`: suppressions of leaks begin with `leak:`",
        ),
        ("leak:a\nb\n", "line 2: expected `leak:PATTERN`"),
        ("leak:\n", "line 1: the pattern is empty"),
        ("leak:*\n", "line 1: `*` would match every leak"),
        ("leak:^$\n", "line 1: `^$` would match every leak"),
        (
            &format!("leak:{}\n", "x".repeat(9_000)),
            "line 1: the pattern is longer than 8192 bytes",
        ),
        (
            "{\n}\n",
            "line 1: expected a name and a kind such as `Memcheck:Leak`",
        ),
        ("{\nname\nfun:f\n", "line 1: the suppression has no `}`"),
        (
            "{\nname\nMemcheck:Leak\nfun:f\n{\n",
            "line 5: the suppression of line 1 has no `}`",
        ),
        (
            "{\nname\nLeak\nfun:f\n}\n",
            "line 3: expected a kind such as `Memcheck:Leak`, found `Leak`",
        ),
        ("leak:a\n{\n", "line 1: expected `{`, found `leak:a`"),
        (
            &leak("fun:f\nfunc:g"),
            "line 5: expected `fun:`, `obj:`, `src:` or `...`, found `func:g`",
        ),
        (&leak("fun:"), "line 4: `fun:` names nothing"),
        (&leak("src:a.c:x"), "line 4: `x` is not a line number"),
        (
            &leak("..."),
            "line 1: without a `fun:`, `obj:` or `src:` it would match every leak",
        ),
        (&leak(&"fun:f\n".repeat(25)), "line 1: more than 24 frames"),
        (
            &leak("match-leak-kinds: definite,some\nfun:f"),
            "line 4: unknown kind of leak `some`: there are definite, indirect, possible, reachable, all, none",
        ),
    ] {
        let error = Suppressions::parse(text)
            .map(|_| ())
            .map_err(|error| error.to_string());
        assert_eq!(error, Err(expected.to_owned()), "{text}");
    }
}

#[test]
fn what_is_written_names_code_of_ones_own() {
    assert_eq!(
        write(&stack()).as_deref(),
        Some("# parse(char*) < load < main\nleak:^parse(char*)$\n")
    );
    let profile = counter_service();
    assert_eq!(
        write(&frames(&profile, &profile.samples[0])).as_deref(),
        Some("# counter::Cache::insert < counter::handle < main\nleak:^counter::Cache::insert$\n")
    );
    let library = [
        frame("<alloc::vec::Vec<u8>>::push", "", 0, ""),
        frame("mine", "", 0, ""),
    ];
    assert_eq!(
        write(&library).as_deref(),
        Some("# <alloc::vec::Vec<u8>>::push < mine\nleak:^mine$\n")
    );
    assert_eq!(
        write(&library[..1]).as_deref(),
        Some("# <alloc::vec::Vec<u8>>::push\nleak:^<alloc::vec::Vec<u8>>::push$\n")
    );
    assert_eq!(write(&[]), None);
}

#[test]
fn frames_of_a_profile_have_all_that_is_matched() {
    let profile = counter_service();
    let stack = frames(&profile, &profile.samples[0]);
    let names: Vec<_> = stack
        .iter()
        .map(|frame| (frame.function, frame.allocator))
        .collect();
    assert_eq!(
        names,
        [
            ("alloc::alloc::alloc", true),
            ("counter::Cache::insert", false),
            ("counter::handle", false),
            ("main", false)
        ]
    );
    assert_eq!(stack[1].system_name, "_ZN7counter5Cache6insertE");
    assert_eq!((stack[1].file, stack[1].line), ("src/cache.rs", 9));
    assert_eq!(stack[1].module, "/usr/bin/counter-service");
}

/// The same question answered the slow way.
fn glob(pattern: &[char], text: &[char]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        (['*', rest @ ..], _) => (0..=text.len()).any(|skip| glob(rest, &text[skip..])),
        (['?', rest @ ..], [_, text @ ..]) => glob(rest, text),
        ([one, rest @ ..], [other, text @ ..]) => one == other && glob(rest, text),
        _ => false,
    }
}

proptest! {
    #[test]
    fn wildcards_match_as_they_should(pattern in "[ab*?.]{0,8}", text in "[ab.]{1,8}") {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        let whole = Pattern::whole(&pattern).map_err(TestCaseError::fail)?;
        prop_assert_eq!(whole.matches(&text), glob(&chars(&pattern), &chars(&text)));

        // For LeakSanitizer `?` is a letter like any other.
        let letters = pattern.replace('?', "");
        let anywhere = Pattern::anywhere(&letters).map_err(TestCaseError::fail)?;
        let expected = glob(&chars(&format!("*{letters}*")), &chars(&text));
        prop_assert_eq!(anywhere.matches(&text), expected);
        let from_start = Pattern::anywhere(&format!("^{letters}")).map_err(TestCaseError::fail)?;
        prop_assert_eq!(from_start.matches(&text), glob(&chars(&format!("{letters}*")), &chars(&text)));
    }

    #[test]
    fn frame_wildcards_match_as_they_should(
        pattern in proptest::collection::vec(prop::sample::select(vec!["...", "fun:a", "fun:b"]), 1..7),
        names in proptest::collection::vec(prop::sample::select(vec!["a", "b"]), 0..7),
    ) {
        prop_assume!(pattern.iter().any(|line| *line != "..."));
        let text = format!("{{\nname\nMemcheck:Leak\n{}\n}}\n", pattern.join("\n"));
        let suppressions = Suppressions::parse(&text)
            .map_err(|error| TestCaseError::fail(error.to_string()))?;
        let stack: Vec<_> = names.iter().map(|name| frame(name, "", 0, "")).collect();
        let letters = |lines: &[&str]| -> Vec<char> {
            lines.iter().map(|line| match *line {
                "..." => '*',
                name => name.chars().last().unwrap_or_default(),
            }).collect()
        };
        let mut expected = letters(&pattern);
        // The frames further out do not matter.
        expected.push('*');
        prop_assert_eq!(
            suppressions.matching(&stack).is_some(),
            glob(&expected, &letters(&names))
        );
    }

    #[test]
    fn what_is_written_is_read_and_matches(
        names in proptest::collection::vec("\\PC{0,12}|[ -~\\n]{0,12}|\\*+", 1..5),
    ) {
        let stack: Vec<_> = names.iter().map(|name| frame(name, "", 0, "")).collect();
        if let Some(text) = write(&stack) {
            let suppressions = Suppressions::parse(&text)
                .map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
            prop_assert_eq!(suppressions.list().len(), 1);
            prop_assert!(suppressions.matching(&stack).is_some(), "{}", text);
        }
    }

    #[test]
    fn no_text_does_harm(text in "(leak:|fun:|src:|\\{|\\}|\\.\\.\\.|Memcheck:Leak|[ -~]|\\PC|\n){0,40}") {
        match Suppressions::parse(&text) {
            Ok(suppressions) => {
                let _ = suppressions.matching(&stack());
            }
            Err(error) => prop_assert!((1..=text.lines().count()).contains(&error.line)),
        }
    }
}
