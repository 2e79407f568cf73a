//! What makes two stacks the same one, in two recordings or in two builds.
//!
//! An address says nothing beyond one life of one process: ASLR moves it, and so does a rebuild. A
//! build id says nothing beyond one build. A line moves with every line put in above it. So a
//! fingerprint is made of what a person would compare, frame by frame from the root to the leaf:
//!
//! - **Function**: its demangled name without what a compiler adds to tell builds or copies apart
//!   ([`stable_name`]). A name with parameters keeps them: they tell overloads apart.
//! - **Module**: the name of the mapped file, without folder, without what follows the major version
//!   of a library (`libstdc++.so.6.0.30` is `libstdc++.so.6`), without cargo's hash
//!   (`service-0123456789abcdef`). The first mapping, by pprof's convention the program itself, has
//!   no name: programs are compared with their own copies called `service.old`. Only a module
//!   without any name is known by its build id.
//! - **A frame nothing names** is known by its module's file name and the offset in the file, which
//!   ASLR does not move but a rebuild may: there is nothing better. Where it lies in no file (code
//!   made at run time), its address is of no use either: all such frames are alike, and a run of them is one,
//!   for the same script takes them in other numbers from call to call.
//!
//! Not part of it: build id, address, line, source file (a moved function is the same function),
//! process, and whether a frame was inlined, which is the optimiser's choice. Frames of the allocator
//! are left out as in every report ([`super::prune`]): another release of the standard library takes
//! other ways to the same allocation, and nobody would call that another stack.
//!
//! So stacks that differ only in the above are one. Nothing promises that a fingerprint is the same
//! in the next version of this program: whoever keeps something to compare with keeps the profile.

use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;

use regex::Regex;
use serde::{Serialize, Serializer};
use tracer_common::StackHash;

use super::{FrameRules, Function, Location, Mapping, Profile, prune};

/// What makes a stack the same in two recordings or builds; among 100,000 different stacks two have
/// the same one with a chance of about 3 in 10 billion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(u64);

impl fmt::Display for Fingerprint {
    /// Sixteen hex digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Profile {
    /// The fingerprint of each sample, in their order.
    #[must_use]
    pub fn fingerprints(&self) -> Vec<Fingerprint> {
        let profile = prune(self, FrameRules::allocators());
        let names: Vec<u64> = profile
            .functions
            .iter()
            .map(|function| hash(&[stable_name(function).as_bytes()]))
            .collect();
        let modules: Vec<u64> = profile
            .mappings
            .iter()
            .enumerate()
            .map(|(index, mapping)| hash(&[module_identity(index, mapping).as_bytes()]))
            .collect();
        let nameless = in_no_file();
        // Frames of all locations, of each one outermost first, and where its own are.
        let mut all = Vec::with_capacity(profile.locations.len());
        let mut frames = Vec::with_capacity(profile.locations.len());
        for location in &profile.locations {
            let first = all.len();
            match &location.unknown {
                Some(_) => all.push(unnamed_frame(&profile, location)),
                None => {
                    let module = location.mapping.and_then(|index| modules.get(index));
                    let module = module.copied().unwrap_or_default();
                    let lines = location.lines.iter().rev();
                    let named = lines.filter_map(|line| names.get(line.function));
                    all.extend(named.map(|&name| mixed(&[module, name])));
                }
            }
            frames.push(first..all.len());
        }
        profile
            .samples
            .iter()
            .map(|sample| {
                let mut hash = StackHash::default();
                let mut last = None;
                for &location in sample.locations.iter().rev() {
                    let own = frames
                        .get(location.position())
                        .and_then(|own| all.get(own.clone()));
                    for &frame in own.unwrap_or_default() {
                        let in_run = frame == nameless && last == Some(frame);
                        if !in_run {
                            hash = hash.push(frame);
                        }
                        last = Some(frame);
                    }
                }
                Fingerprint(hash.finish())
            })
            .collect()
    }
}

/// Module and offset; nothing where it lies in no file.
fn unnamed_frame(profile: &Profile, location: &Location) -> u64 {
    let mapping = location
        .mapping
        .and_then(|index| Some((index, profile.mappings.get(index)?)));
    match mapping {
        Some((index, mapping)) if has_file(mapping) => {
            let offset = location
                .address
                .wrapping_sub(mapping.start)
                .wrapping_add(mapping.file_offset);
            let module = module_identity(index, mapping);
            hash(&[module.as_bytes(), b"+", &offset.to_le_bytes()])
        }
        _ => in_no_file(),
    }
}

/// Code that lies in no file; all of it is alike.
fn in_no_file() -> u64 {
    hash(&[b"[unknown]"])
}

/// Whether offsets in the mapping mean something in another process.
fn has_file(mapping: &Mapping) -> bool {
    !mapping.build_id.is_empty() || file_name(&mapping.path).is_some()
}

/// What a module is known by; the program itself by nothing.
fn module_identity(index: usize, mapping: &Mapping) -> Cow<'_, str> {
    const PROGRAM: &str = "";
    match file_name(&mapping.path) {
        Some(_) if index == 0 => PROGRAM.into(),
        Some(name) => stable_file_name(name),
        None => mapping.build_id.as_str().into(),
    }
}

/// The last part of a file's path; `None` for what has no file, such as `[heap]`, `//anon` or an
/// empty path. The vDSO is as good as a file.
fn file_name(path: &str) -> Option<&str> {
    if path == "[vdso]" {
        return Some(path);
    }
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    if path.starts_with('[') || path.starts_with("//anon") {
        return None;
    }
    path.rsplit('/').next().filter(|name| !name.is_empty())
}

/// A file's name without what tells releases and builds of it apart.
fn stable_file_name(name: &str) -> Cow<'_, str> {
    #[expect(
        clippy::expect_used,
        reason = "constant patterns; every test compiles them"
    )]
    static RELEASE: LazyLock<[Regex; 2]> = LazyLock::new(|| {
        [
            r"^(?<kept>.+\.so\.\d+)\.[\d.]+$",
            r"^(?<kept>.+)-[0-9a-f]{16}$",
        ]
        .map(|pattern| Regex::new(pattern).expect("the pattern is valid"))
    });
    RELEASE.iter().fold(name.into(), |name, pattern| {
        match pattern.captures(&name).and_then(|found| found.name("kept")) {
            Some(kept) => kept.as_str().to_owned().into(),
            None => name,
        }
    })
}

/// A function's name without what a compiler adds to tell builds and copies apart: Rust's hashes
/// (`::h0123456789abcdef`, `core[0123456789abcdef]`), the suffixes of clones (`.isra.0`,
/// `.llvm.123`, ` [clone .cold]`), which come and go with the optimiser's mood, and the numbers of
/// closures and lambdas (`{closure#1}`, `{lambda(int)#2}`, clang's `$_3`): another one put in above
/// gives them others. Those of one function are as good as one, as its lines are.
///
/// In Go a dot stands before every function's name, which may be `cold`.
fn stable_name(function: &Function) -> Cow<'_, str> {
    #[expect(
        clippy::expect_used,
        reason = "constant patterns; every test compiles them"
    )]
    static ADDED: LazyLock<[Regex; 5]> = LazyLock::new(|| {
        [
            r" \[clone [^\]]*\]",
            r"(\.(isra|constprop|part|llvm|lto_priv)\.\d+|\.cold(\.\d+)?)+$",
            r"::h[0-9a-f]{16}$",
            r"\[[0-9a-f]{8,16}\]",
            r"(#|\$_)\d+\b",
        ]
        .map(|pattern| Regex::new(pattern).expect("the pattern is valid"))
    });
    let name = function.name.as_str();
    if function.file.ends_with(".go") {
        return name.into();
    }
    ADDED.iter().fold(name.into(), |name, added| {
        match added.replace_all(&name, "") {
            Cow::Borrowed(_) => name,
            Cow::Owned(stable) => stable.into(),
        }
    })
}

/// FNV-1a over all parts, with the length of each.
fn hash(parts: &[&[u8]]) -> u64 {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let push = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(PRIME);
    parts.iter().fold(BASIS, |hash, part| {
        let length = (part.len() as u64).to_le_bytes();
        length
            .iter()
            .chain(*part)
            .fold(hash, |h, &byte| push(h, byte))
    })
}

fn mixed(words: &[u64]) -> u64 {
    let pushed = words
        .iter()
        .fold(StackHash::default(), |h, &word| h.push(word));
    pushed.finish()
}

#[cfg(test)]
mod tests {
    use super::{Fingerprint, stable_file_name, stable_name};
    use crate::export::example::counter_service;
    use crate::profile::{Function, Location, LocationIndex, Mapping, Profile};

    fn name(name: &str, file: &str) -> String {
        stable_name(&Function {
            name: name.to_owned(),
            file: file.to_owned(),
            ..Function::default()
        })
        .into_owned()
    }

    #[test]
    fn names_lose_what_a_build_adds() {
        for (built, stable) in [
            ("main", "main"),
            ("core::fmt::write::h0123456789abcdef", "core::fmt::write"),
            ("core::fmt::write::hello", "core::fmt::write::hello"),
            (
                "<core[0123456789abcdef]::X as y[89abcdef01]::Z>::f",
                "<core::X as y::Z>::f",
            ),
            ("walk.isra.0", "walk"),
            ("walk.part.0.constprop.12", "walk"),
            ("walk.cold", "walk"),
            ("walk.llvm.1234567890", "walk"),
            ("f(int) [clone .cold] [clone .part.0]", "f(int)"),
            ("f(int)", "f(int)"),
            (
                "core::iter::map_fold::<u8, a::f::{closure#1}>::{closure#0}",
                "core::iter::map_fold::<u8, a::f::{closure}>::{closure}",
            ),
            (
                "f()::{lambda(int)#12}::operator()(int) const",
                "f()::{lambda(int)}::operator()(int) const",
            ),
            ("f()::$_0::operator()() const", "f()::::operator()() const"),
            ("g[abi:cxx11](int [12])", "g[abi:cxx11](int [12])"),
            ("", ""),
        ] {
            assert_eq!(name(built, "x.rs"), stable);
        }
        assert_eq!(name("main.cold", "main.go"), "main.cold");
    }

    #[test]
    fn files_lose_what_a_release_adds() {
        for (file, stable) in [
            ("libc.so.6", "libc.so.6"),
            ("libstdc++.so.6.0.30", "libstdc++.so.6"),
            ("libfoo-1.2.so", "libfoo-1.2.so"),
            ("service-0123456789abcdef", "service"),
            ("service-v2", "service-v2"),
        ] {
            assert_eq!(stable_file_name(file), stable);
        }
    }

    fn differ(change: impl Fn(&mut Profile)) -> bool {
        let before = counter_service();
        let mut after = counter_service();
        change(&mut after);
        before.fingerprints() != after.fingerprints()
    }

    #[test]
    fn aslr_rebuild_and_moved_code_change_nothing() {
        assert!(!differ(|profile| {
            for mapping in &mut profile.mappings {
                mapping.start += 0x7000;
                mapping.limit += 0x7000;
            }
            for location in &mut profile.locations {
                location.address += 0x7000;
            }
        }));
        assert!(!differ(|profile| {
            profile.mappings[0].build_id = "0badcafe".to_owned();
            profile.mappings[0].path = "/home/somebody/counter-service.old".to_owned();
            // Named frames may lie anywhere, in other lines and files.
            for location in &mut profile.locations[..4] {
                location.address += 0x1230;
                for line in &mut location.lines {
                    line.line += 17;
                }
            }
            for function in &mut profile.functions {
                function.start_line += 17;
                function.file = format!("/elsewhere/{}", function.file);
                function.system_name.push_str(".llvm.77");
            }
        }));
        assert!(!differ(|profile| {
            for sample in &mut profile.samples {
                sample.pid = Some(1);
            }
        }));
    }

    #[test]
    fn what_was_inlined_is_the_optimisers_choice() {
        assert!(!differ(|profile| {
            // handle, which called insert, has it inlined now.
            let inner = profile.locations[2].lines.clone();
            profile.locations[1].lines.splice(0..0, inner);
            profile.samples[0].locations = [1, 0].map(LocationIndex::new).to_vec();
            profile.samples[2].locations = [4, 5, 0].map(LocationIndex::new).to_vec();
            profile.locations.push(Location {
                mapping: Some(0),
                address: 1,
                lines: counter_service().locations[1].lines.clone(),
                unknown: None,
            });
        }));
    }

    #[test]
    fn the_allocators_own_frames_do_not_count() {
        assert!(!differ(|profile| {
            profile.functions[3].name = "alloc::alloc::Global::alloc_impl_runtime".to_owned();
        }));
        assert!(!differ(|profile| {
            profile.locations[2].lines.remove(0);
        }));
    }

    #[test]
    fn another_function_module_or_order_is_another_stack() {
        assert!(differ(|profile| profile.functions[2].name.push('2')));
        assert!(differ(|profile| profile.locations[1].mapping = Some(1)));
        assert!(differ(|profile| profile.samples[0].locations.swap(1, 2)));
        assert!(differ(|profile| {
            profile.samples[1].locations.pop();
        }));
    }

    #[test]
    fn unnamed_frames_are_known_by_file_and_offset() {
        assert!(differ(|profile| profile.locations[4].address += 1));
        assert!(differ(
            |profile| profile.mappings[1].path = "/lib/libm.so.6".to_owned()
        ));
        assert!(!differ(|profile| {
            profile.mappings[1].path = "/usr/lib32/libc.so.6.1 (deleted)".to_owned();
        }));
        // The name of such a frame is made up from the same facts and adds nothing.
        assert!(!differ(
            |profile| profile.functions[5].name = "x+0x1".to_owned()
        ));
    }

    #[test]
    fn code_made_at_run_time_is_all_alike() {
        let anonymous = |address, mapping: Option<Mapping>| {
            let mut profile = counter_service();
            profile.locations[4].address = address;
            profile.locations[4].mapping = mapping.map(|mapping| {
                profile.mappings.push(mapping);
                profile.mappings.len() - 1
            });
            profile.fingerprints()[3]
        };
        let heap = Mapping {
            path: "[heap]".to_owned(),
            ..Mapping::default()
        };
        assert_eq!(anonymous(1, None), anonymous(2, None));
        assert_eq!(anonymous(1, None), anonymous(2, Some(heap)));
        let without_name = |build_id: &str| Mapping {
            build_id: build_id.to_owned(),
            ..Mapping::default()
        };
        assert_ne!(
            anonymous(1, Some(without_name("aa"))),
            anonymous(1, Some(without_name("bb")))
        );
    }

    #[test]
    fn they_read_as_sixteen_digits() -> serde_json::Result<()> {
        assert_eq!(Fingerprint(0xabc).to_string(), "0000000000000abc");
        assert_eq!(
            serde_json::to_string(&Fingerprint(1))?,
            "\"0000000000000001\""
        );
        Ok(())
    }
}
