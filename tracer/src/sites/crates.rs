//! Crates, where names are all there is: which of them are the program's own.

use std::collections::HashSet;

use crate::profile::{Mapping, Profile};

/// The crate or outermost namespace of a function's path; `None` for what has none.
pub(super) fn crate_of(path: &str) -> Option<&str> {
    let (first, _) = path.split_once("::")?;
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let is_crate = !first.is_empty() && first.chars().all(is_name);
    is_crate.then_some(first)
}

/// What is known of a program's crates.
#[derive(Debug, Default)]
pub(super) struct Crates {
    /// Of a Rust program: elsewhere, what is in the program is its own.
    is_rust: bool,
    /// Its C `main` is the compiler's.
    has_generated_main: bool,
    own: HashSet<String>,
}

impl Crates {
    /// From the functions' paths, of each whether its source file is the program's own.
    pub(super) fn new<'a>(
        profile: &Profile,
        functions: impl Iterator<Item = (&'a str, bool)>,
    ) -> Self {
        let mut crates = Self::default();
        for (path, has_own_file) in functions {
            crates.is_rust |= ["core::", "alloc::", "std::rt::"]
                .iter()
                .any(|library| path.starts_with(library));
            crates.has_generated_main |= path.starts_with("std::rt::lang_start");
            let is_main = path.split("::").nth(1) == Some("main");
            if let Some(name) = crate_of(path).filter(|_| has_own_file || is_main) {
                crates.own.insert(name.to_owned());
            }
        }
        if let Some(program) = profile.mappings.first() {
            crates.own.insert(file_name(program).replace('-', "_"));
        }
        crates
    }

    /// Whether `main` only calls the one that somebody wrote.
    pub(super) const fn has_generated_main(&self) -> bool {
        self.has_generated_main
    }

    /// Whether a function of the program that no source file and no rule tells is of a package.
    pub(super) fn is_dependency(&self, path: &str) -> bool {
        self.is_rust && crate_of(path).is_some_and(|name| !self.own.contains(name))
    }

    /// Whether a function is of one of its crates; only in a Rust program.
    pub(super) fn is_own(&self, path: &str) -> bool {
        self.is_rust && crate_of(path).is_some_and(|name| self.own.contains(name))
    }

    /// The first path of an own crate that a name is about, as of
    /// `<service::count as axum::Handler>::call`; only in a Rust program.
    pub(super) fn mentioned<'a>(&self, name: &'a str) -> Option<&'a str> {
        if !self.is_rust {
            return None;
        }
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let mut from = 0;
        while let Some(found) = name.get(from..)?.find("::") {
            let at = from + found;
            let before = name.get(..at)?;
            let begin = before.rfind(|c| !is_word(c)).map_or(0, |at| at + 1);
            // Only where a path begins.
            let starts = !before.get(..begin)?.ends_with("::");
            if starts && self.own.contains(before.get(begin..)?) {
                let rest = name.get(at..)?;
                let end = rest
                    .find(|c: char| !is_word(c) && !":{}#".contains(c))
                    .unwrap_or(rest.len());
                let path = name.get(begin..at + end)?;
                return Some(path.trim_end_matches(':'));
            }
            from = at + 2;
        }
        None
    }
}

/// The name of a mapped file, without what the kernel says of deleted ones.
pub(super) fn file_name(mapping: &Mapping) -> &str {
    let path = without_deleted(&mapping.path);
    path.rsplit('/').next().unwrap_or(path)
}

pub(super) fn without_deleted(path: &str) -> &str {
    path.strip_suffix(" (deleted)").unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::{Crates, crate_of};
    use crate::profile::{Mapping, Profile};

    #[test]
    fn own_crates_are_recognised_in_the_names_of_others() {
        let profile = Profile {
            mappings: vec![Mapping {
                path: "/srv/my-service (deleted)".to_owned(),
                ..Mapping::default()
            }],
            ..Profile::default()
        };
        let functions = [
            ("core::ops::FnOnce::call_once", false),
            ("other::main", false),
        ];
        let crates = Crates::new(&profile, functions.into_iter());
        for (name, mentioned) in [
            (
                "<my_service::count as axum::Handler>::call::{closure#0}",
                Some("my_service::count"),
            ),
            (
                "axum::Json<my_service::Count>::from",
                Some("my_service::Count"),
            ),
            (
                "tokio::spawn::<other::main::{closure#0}>",
                Some("other::main::{closure#0}"),
            ),
            ("hyper::my_service::f", None),
            ("not_my_service::f", None),
            ("my_service", None),
        ] {
            assert_eq!(crates.mentioned(name), mentioned, "{name}");
        }
        assert!(crates.is_dependency("hyper::f"));
        assert!(!crates.is_dependency("my_service::f"));
        assert!(!crates.is_dependency("f"));
    }

    #[test]
    fn outside_of_rust_a_namespace_says_nothing() {
        let crates = Crates::new(
            &Profile::default(),
            [("shop::Cart::add", false)].into_iter(),
        );
        assert!(!crates.is_dependency("boost::asio::run"));
    }

    #[test]
    fn a_crate_is_a_word() {
        assert_eq!(crate_of("a_1::b"), Some("a_1"));
        for path in ["a", "(anonymous namespace)::f", "<T>::f", "::f", ""] {
            assert_eq!(crate_of(path), None, "{path}");
        }
    }
}
