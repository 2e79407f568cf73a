//! Policies as people write them, right and wrong.

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::{Growth, Peak, Policy};
use crate::check::{Bytes, SuppressionFrame, Tolerance};

/// The example at the head of this file.
fn example() -> String {
    let source = include_str!("../policy.rs");
    let block = source
        .lines()
        .skip_while(|line| *line != "//! ```toml")
        .skip(1);
    let block = block.take_while(|line| *line != "//! ```");
    block
        .map(|line| line.trim_start_matches("//!").trim_start().to_owned() + "\n")
        .collect()
}

#[test]
fn the_example_means_what_it_says() -> Result<(), super::PolicyError> {
    let policy = Policy::parse(&example())?;
    assert_eq!(policy.no_leaks, Some(true));
    assert!(!policy.allow_undecided);
    assert_eq!(policy.warm_up, Some(Duration::from_secs(10)));
    assert_eq!(
        policy.growth,
        Some(Growth {
            max_per_second: Some(Bytes(1024)),
            max_per_operation: Some(Bytes(16)),
            operations_per_second: Some(1000.0),
        })
    );
    assert_eq!(
        policy.peak,
        Some(Peak {
            max_live: Some(Bytes(512 << 20)),
            max_live_objects: Some(1_000_000),
        })
    );
    let budgets: Vec<_> = policy
        .budgets
        .iter()
        .map(|b| (b.function.as_str(), b.max_allocated))
        .collect();
    assert_eq!(budgets, [("^cache::", Some(Bytes(1 << 30)))]);
    let baseline = policy.baseline.as_ref();
    assert_eq!(
        baseline.map(|b| (b.tolerance, b.min_growth)),
        Some((Tolerance(0.1), Bytes(65_536)))
    );
    assert_eq!(
        baseline.map(|b| b.file.as_path()),
        Some(Path::new("baseline.pb.gz"))
    );
    assert_eq!(policy.suppressions.files, [Path::new("lsan.supp")]);
    let known = SuppressionFrame {
        function: "known_leak",
        ..SuppressionFrame::default()
    };
    assert!(policy.suppressions.leaks.matching(&[known]).is_some());
    Ok(())
}

/// The guide's page about CI says that it has every key.
#[test]
fn the_guide_has_every_key() -> Result<(), super::PolicyError> {
    let guide = include_str!("../../../../docs/guide/04-in-ci.md");
    let block = guide
        .lines()
        .skip_while(|line| !line.starts_with("```toml"));
    let block: Vec<&str> = block.skip(1).take_while(|line| *line != "```").collect();
    let block = block.join("\n");
    let policy = Policy::parse(&block)?;
    let example = Policy::parse(&example())?;
    assert_eq!(
        (policy.growth, policy.peak, policy.baseline),
        (example.growth, example.peak, example.baseline)
    );
    // The parser names all keys there are.
    let Err(error) = Policy::parse("none-such = 1") else {
        panic!("an unknown key was read");
    };
    let keys: Vec<&str> = error.reason.split('`').skip(3).step_by(2).collect();
    assert!(keys.len() > 10, "{}", error.reason);
    for key in keys {
        let is_old = ["growth", "peak"].contains(&key);
        let is_there = [
            format!("{key} = "),
            format!("[{key}]"),
            format!("[[{key}]]"),
        ];
        assert!(
            is_old || is_there.iter().any(|text| block.contains(text)),
            "the guide lacks {key}"
        );
    }
    Ok(())
}

#[test]
fn an_empty_policy_is_no_leaks() -> Result<(), super::PolicyError> {
    for text in ["", "# nothing\n", "[suppressions]\n"] {
        let policy = Policy::parse(text)?;
        assert!(policy.no_leaks.is_none() && !policy.has_other_rules());
    }
    assert_eq!(Policy::parse("no-leaks = false")?.no_leaks, Some(false));
    Ok(())
}

#[test]
fn errors_name_line_and_reason() {
    for (text, line, reason) in [
        (
            "no-leaks = true\nmax-live = 3\n",
            2,
            "unknown key `max-live`",
        ),
        (
            "\n[growth]\nmax-per-second = \"1 k B\"\n",
            3,
            "is not an amount",
        ),
        (
            "\n[growth]\noperations-per-second = 5\n",
            2,
            "growth needs max-per-second",
        ),
        (
            "[growth]\nmax-per-second = 1\noperations-per-second = 0\n",
            3,
            "must be above 0",
        ),
        ("[peak]\n", 1, "peak needs max-live"),
        ("[peak]\nmax-live-objects = -1\n", 2, "-1"),
        ("[peak]\nmax-live = -1\n", 2, "-1 is below 0"),
        ("[peak]\nmax-live = true\n", 2, "expected an amount"),
        ("[peak]\nmax-life = \"1B\"\n", 2, "unknown key `max-life`"),
        (
            "\n\n[[budget]]\nfunction = \"f\"\n",
            3,
            "a budget needs a limit",
        ),
        ("[[budget]]\nmax-live = 1\n", 1, "missing key `function`"),
        (
            "[[budget]]\nmax-live = 1\nfunction = \"(\"\n",
            3,
            "unclosed group",
        ),
        ("warm-up = \"soon\"\n", 1, "say it as 30s"),
        ("warm-up = [10]\n", 1, "expected a time"),
        ("\nmax-growth = \"1kB\"\n", 2, "say it as 1kB/s or 16B/op"),
        ("\nmax-growth = 3\n", 2, "expected growth such as"),
        ("\noperations-per-second = 0\n", 2, "must be above 0"),
        ("max-peak = 1\nmax-peek = 1\n", 2, "unknown key `max-peek`"),
        ("no-leaks = true\nallow-leaks = true\n", 1, "leave one out"),
        ("\nbaseline = 3\n", 2, "expected the name of a file"),
        ("\nsuppressions = 3\n", 2, "expected names of files"),
        ("\npeak = 3\n", 2, "expected a table with max-live"),
        ("\ngrowth = 3\n", 2, "expected a table with max-per-second"),
        ("\nbudget = [3]\n", 2, "expected a table with function"),
        ("[baseline]\ntolerance = \"10%\"\n", 1, "missing key `file`"),
        (
            "[baseline]\nfile = \"a\"\ntolerance = \"10\"\n",
            3,
            "say it as 10%",
        ),
        (
            // A list is one value.
            "[suppressions]\nleaks = [\n  \"f\",\n  \"*\",\n]\n",
            2,
            "would match every leak",
        ),
        ("[suppressions]\nfile = [\"a\"]\n", 2, "unknown key `file`"),
        ("a = \nb = 1\n", 1, ""),
        ("no-leaks = true\nno-leaks = false\n", 2, "duplicate"),
    ] {
        match Policy::parse(text) {
            Ok(policy) => panic!("{text}: {policy:?}"),
            Err(error) => {
                assert_eq!(error.line, line, "{text}: {error}");
                assert!(error.reason.contains(reason), "{text}: {error}");
                let shown = error.to_string();
                assert_eq!(shown.lines().count(), 1, "{error}");
                for word in ["Table", "Keys", "Raw", "Policy", "struct", "field"] {
                    assert!(!shown.contains(word), "{shown}");
                }
            }
        }
    }
}

#[test]
fn keys_of_earlier_versions_are_read_with_a_note() -> Result<(), super::PolicyError> {
    let old = Policy::parse(
        "[growth]\nmax-per-second = \"1kB\"\nmax-per-operation = 16\noperations-per-second = 10\n\
         [peak]\nmax-live = \"1MB\"\nmax-live-objects = 5\n\
         [baseline]\nfile = \"a\"\ntolerance = \"10%\"\nmin-growth = 7\n",
    )?;
    let new = Policy::parse(
        "max-growth = [\"1kB/s\", \"16/op\"]\noperations-per-second = 10\n\
         max-peak = \"1MB\"\nmax-peak-objects = 5\n\
         baseline = \"a\"\ntolerance = \"10%\"\nmin-growth = 7\n",
    )?;
    assert_eq!(
        (old.growth, old.peak, old.baseline),
        (new.growth, new.peak, new.baseline)
    );
    assert!(new.notes.is_empty(), "{:?}", new.notes);
    let [growth, peak] = &old.notes[..] else {
        panic!("{:?}", old.notes);
    };
    assert!(growth.contains("max-growth") && peak.contains("max-peak"));
    Ok(())
}

#[test]
fn keys_are_the_names_of_the_options() -> Result<(), super::PolicyError> {
    let policy = Policy::parse(
        "allow-leaks = true\nwarm-up = 3\nmax-growth = \"1kB/s\"\nmemory-limit = \"2GB\"\n\
         tolerance = \"5%\"\nmin-growth = \"1kB\"\nsuppressions = [\"a\", \"b\"]\n",
    )?;
    assert_eq!(policy.no_leaks, Some(false));
    assert_eq!(policy.warm_up, Some(Duration::from_secs(3)));
    assert_eq!(policy.memory_limit, Some(Bytes(2 << 30)));
    // For a baseline that the command line names.
    assert_eq!(policy.tolerance, Some(Tolerance(0.05)));
    assert_eq!(policy.min_growth, Some(Bytes(1_024)));
    assert!(policy.baseline.is_none());
    assert_eq!(policy.suppressions.files, [Path::new("a"), Path::new("b")]);
    let one = Policy::parse("suppressions = \"a\"\n")?;
    assert_eq!(one.suppressions.files, [Path::new("a")]);
    Ok(())
}

proptest! {
    #[test]
    fn no_text_does_harm(text in "(\\[|\\]|=|\"|max-live|peak|budget|[ -~]|\\PC|\n){0,30}") {
        if let Err(error) = Policy::parse(&text) {
            prop_assert!((1..=text.lines().count() + 1).contains(&error.line));
        }
    }
}
