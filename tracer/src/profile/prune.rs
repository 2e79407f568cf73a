//! Hides the allocator's own frames from what people look at.
//!
//! A profile keeps every frame. Viewers of pprof files hide those that match the file's
//! `drop_frames` and not its `keep_frames`; this does the same for our own reports, by the rules of
//! pprof's `profile/prune.go`, so that both show the same flat and cumulative amounts. Amounts never
//! change: what a hidden frame held moves to its caller.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use super::{Function, Profile};

/// Frames that are hidden: the inside of the allocators of C, C++ and Rust.
///
/// Matched against whole names without their argument lists. Stacks begin at the caller of the
/// probed function, so the leaves to hide are what stands between that function and the code that
/// wanted memory:
/// - the `malloc` family calling itself, under its plain, glibc-internal and prefixed names;
/// - C++'s `operator new` and the standard allocators above it;
/// - Rust's allocator shims, `alloc::alloc`, whatever implements `GlobalAlloc` or `Allocator`, and
///   the plumbing that all containers share (`alloc::raw_vec`, `box_new_uninit`), which calls
///   nothing but the allocator and would otherwise be the leaf of nearly every stack.
///
/// Not hidden: the containers themselves (`Vec::push`, `std::vector::_M_realloc_insert`),
/// `Box::new` and functions that return memory as part of their purpose (`strdup`). They are not
/// the allocator; a growing container is a finding of its own (reserve the capacity), and the frame
/// is all that tells it apart from an allocation of the final size. pprof cuts from the match
/// nearest the root down to the leaf, so a pattern that matched containers would also take away
/// whatever they call.
///
/// The syntax is what RE2 and the regex crate have in common.
pub const DROP_FRAMES: &str = concat!(
    r"(__libc_|__GI_|__GI___libc_|_int_|je_|_rjem_|tc_|mi_)?",
    r"(malloc|calloc|realloc|reallocarray|memalign|posix_memalign|aligned_alloc|valloc|pvalloc)",
    r"|operator new(\[\])?",
    r"|std::(__[0-9a-z]+::)?(__)?(new_)?allocator(_traits)?(<.*>)?::allocate(_at_least)?(\[.*\])?",
    r"|__gnu_cxx::(__alloc_traits|new_allocator|malloc_allocator)(<.*>)?::allocate",
    r"|(.* )?std::__[0-9a-z]+::__(libcpp_allocate|libcpp_operator_new|allocate_at_least)(\[.*)?(<.*)?",
    r"|(__rustc(\[[0-9a-f]+\])?::)?__(rust|rdl|rg)_(alloc|alloc_zeroed|realloc)",
    r"|alloc::alloc::.*",
    r"|<?alloc::raw_vec::.*",
    r"|alloc::boxed::box_new_uninit",
    r"|hashbrown::alloc::.*",
    r"|std::alloc::System::.*",
    r"|<.* as (core|alloc)::alloc::(global::)?(GlobalAlloc|Allocator)>::.*",
    r"|.*<impl core::alloc::(global::)?GlobalAlloc for .*>::.*",
);

/// Frames that stay although [`DROP_FRAMES`] matches them: none, since each of its patterns names
/// an allocator and nothing else.
pub const KEEP_FRAMES: &str = "";

/// Which frames to hide.
#[derive(Clone, Debug)]
pub struct FrameRules {
    drop: Regex,
    keep: Option<Regex>,
}

impl FrameRules {
    /// Rules from a pair of patterns as in a pprof file. Each must match a whole name; an empty
    /// `keep` keeps nothing.
    ///
    /// # Errors
    /// When a pattern is not a regular expression.
    pub fn new(drop: &str, keep: &str) -> Result<Self, regex::Error> {
        let whole = |pattern: &str| Regex::new(&format!("^({pattern})$"));
        Ok(Self {
            drop: whole(drop)?,
            keep: if keep.is_empty() {
                None
            } else {
                Some(whole(keep)?)
            },
        })
    }

    /// [`DROP_FRAMES`] and [`KEEP_FRAMES`].
    #[must_use]
    pub fn allocators() -> &'static Self {
        #[expect(
            clippy::expect_used,
            reason = "constant patterns; every test that prunes compiles them"
        )]
        static RULES: LazyLock<FrameRules> = LazyLock::new(|| {
            FrameRules::new(DROP_FRAMES, KEEP_FRAMES).expect("the patterns are valid")
        });
        &RULES
    }

    /// Whether a function is one to hide.
    #[must_use]
    pub fn hides(&self, function: &Function) -> bool {
        let name = without_arguments(&function.name);
        !name.is_empty()
            && self.drop.is_match(name)
            && !self.keep.as_ref().is_some_and(|keep| keep.is_match(name))
    }
}

/// What pprof knows about a location once the rules have been applied to it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Visibility {
    /// Nothing matches.
    Visible,
    /// Some inlined frames match; those above them stay.
    InlinedPartHidden,
    /// The outermost frame matches.
    Hidden,
}

/// The profile without the frames that `rules` hide; borrowed where they hide none.
///
/// In each stack everything from the hidden frame nearest the root down to the leaf goes, except
/// that nothing goes before the first visible frame: a stack never becomes empty this way.
#[must_use]
pub fn prune<'a>(profile: &'a Profile, rules: &FrameRules) -> Cow<'a, Profile> {
    let hidden: Vec<bool> = profile.functions.iter().map(|f| rules.hides(f)).collect();
    // The outermost matching frame of each location; frames are innermost first.
    let cut: Vec<Option<usize>> = profile
        .locations
        .iter()
        .map(|location| {
            location
                .lines
                .iter()
                .rposition(|line| hidden.get(line.function).is_some_and(|&hidden| hidden))
        })
        .collect();
    if cut.iter().all(Option::is_none) {
        return Cow::Borrowed(profile);
    }

    let mut pruned = profile.clone();
    let visibility: Vec<Visibility> = pruned
        .locations
        .iter_mut()
        .zip(cut)
        .map(|(location, cut)| match cut {
            None => Visibility::Visible,
            Some(outermost) if outermost + 1 == location.lines.len() => Visibility::Hidden,
            Some(outermost) => {
                location.lines.drain(..=outermost);
                Visibility::InlinedPartHidden
            }
        })
        .collect();
    for sample in &mut pruned.samples {
        let mut visible_seen = false;
        for position in (0..sample.locations.len()).rev() {
            let place = sample
                .locations
                .get(position)
                .and_then(|&location| visibility.get(location.position()))
                .copied()
                .unwrap_or(Visibility::Visible);
            match place {
                Visibility::Visible => visible_seen = true,
                _ if !visible_seen => {}
                Visibility::Hidden => {
                    sample.locations.drain(..=position);
                    break;
                }
                Visibility::InlinedPartHidden => {
                    sample.locations.drain(..position);
                    break;
                }
            }
        }
    }
    Cow::Owned(pruned)
}

/// A name up to its argument list; parentheses that belong to the name do not count.
fn without_arguments(name: &str) -> &str {
    const PART_OF_NAME: [&str; 2] = ["(anonymous namespace)", "operator()"];
    let name = name.strip_prefix('.').unwrap_or(name);
    let mut from = 0;
    while let Some(rest) = name.get(from..)
        && let Some(offset) = rest.find('(')
    {
        let at = from + offset;
        let reserved = PART_OF_NAME.iter().find_map(|reserved| {
            let start = at.checked_sub(reserved.find('(')?)?;
            name.get(start..)?
                .starts_with(reserved)
                .then_some(start + reserved.len())
        });
        match reserved {
            Some(end) => from = end,
            None => return &name[..at],
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::{FrameRules, prune, without_arguments};
    use crate::profile::{Function, Line, Location, LocationIndex, Profile, Sample};

    fn hides(name: &str) -> bool {
        FrameRules::allocators().hides(&Function {
            name: name.to_owned(),
            ..Function::default()
        })
    }

    #[test]
    fn allocators_are_hidden_and_their_users_are_not() {
        for name in [
            "malloc",
            "__libc_calloc",
            "_int_malloc",
            "_rjem_malloc",
            "posix_memalign",
            "operator new",
            "operator new(unsigned long)",
            "operator new[](unsigned long, std::nothrow_t const&)",
            "std::__new_allocator<int>::allocate(unsigned long, void const*)",
            "std::allocator_traits<std::allocator<char> >::allocate(std::allocator<char>&, unsigned long)",
            "__gnu_cxx::new_allocator<std::pair<int const, int> >::allocate(unsigned long)",
            "std::__1::allocator<int>::allocate[abi:ne190000](unsigned long)",
            "void* std::__1::__libcpp_operator_new[abi:ne190000]<unsigned long>(unsigned long)",
            "__rust_alloc",
            "__rust_alloc_zeroed",
            "__rustc::__rdl_realloc",
            "__rustc[5224e6b81cd82a8f]::__rust_alloc",
            "alloc::alloc::exchange_malloc",
            "alloc::alloc::Global::alloc_impl",
            "<alloc::alloc::Global as core::alloc::Allocator>::allocate",
            "std::alloc::System::alloc_impl",
            "alloc::raw_vec::finish_grow",
            "alloc::raw_vec::RawVec<T,A>::grow_one",
            "<alloc::raw_vec::RawVecInner>::try_allocate_in",
            "alloc::boxed::box_new_uninit",
            "<std::alloc::System as core::alloc::global::GlobalAlloc>::alloc",
            "<tikv_jemallocator::Jemalloc as core::alloc::global::GlobalAlloc>::realloc",
            "std::sys::alloc::unix::<impl core::alloc::global::GlobalAlloc for std::alloc::System>::alloc",
        ] {
            assert!(hides(name), "{name} is part of an allocator");
        }
        for name in [
            "",
            "main",
            "my_malloc",
            "malloc_users",
            "strdup",
            "Arena::operator new(unsigned long)",
            "operator newline",
            "alloc::vec::Vec<T,A>::push",
            "alloc::boxed::Box<T>::new",
            "std::vector<int, std::allocator<int> >::_M_realloc_insert",
            "std::allocator_user::run",
            "myalloc::alloc::run",
        ] {
            assert!(!hides(name), "{name} is not part of an allocator");
        }
    }

    #[test]
    fn argument_lists_end_a_name() {
        assert_eq!(without_arguments("f(int)"), "f");
        assert_eq!(without_arguments(".f"), "f");
        assert_eq!(without_arguments("f"), "f");
        assert_eq!(
            without_arguments("(anonymous namespace)::f(int)"),
            "(anonymous namespace)::f"
        );
        assert_eq!(
            without_arguments("T::operator()(int) const"),
            "T::operator()"
        );
        assert_eq!(without_arguments("é(anonymous name)"), "é");
    }

    #[test]
    fn keep_wins_over_drop() -> Result<(), regex::Error> {
        let rules = FrameRules::new("a.*", "ab")?;
        let function = |name: &str| Function {
            name: name.to_owned(),
            ..Function::default()
        };
        assert!(rules.hides(&function("ac")));
        assert!(!rules.hides(&function("ab")));
        assert!(!rules.hides(&function("bac")), "patterns match whole names");
        Ok(())
    }

    /// Locations by the names of their frames, innermost first; one sample over all of them.
    fn stack(locations: &[&[&str]]) -> Profile {
        let mut profile = Profile::default();
        for lines in locations {
            let lines = lines
                .iter()
                .map(|name| {
                    profile.functions.push(Function {
                        name: (*name).to_owned(),
                        ..Function::default()
                    });
                    Line {
                        function: profile.functions.len() - 1,
                        line: 0,
                    }
                })
                .collect();
            profile.locations.push(Location {
                lines,
                ..Location::default()
            });
        }
        profile.samples.push(Sample {
            locations: (0..locations.len()).map(LocationIndex::new).collect(),
            ..Sample::default()
        });
        profile
    }

    fn visible(profile: &Profile) -> Vec<String> {
        let pruned = prune(profile, FrameRules::allocators());
        pruned.samples[0]
            .locations
            .iter()
            .flat_map(|&location| &pruned.locations[location.position()].lines)
            .map(|line| pruned.functions[line.function].name.clone())
            .collect()
    }

    #[test]
    fn a_hidden_leaf_goes_with_all_below_it() {
        // A C++ program whose operator new calls back into user code: pprof cuts at the match
        // nearest the root.
        let profile = stack(&[&["malloc"], &["hook"], &["operator new"], &["f"], &["main"]]);
        assert_eq!(visible(&profile), ["f", "main"]);
    }

    #[test]
    fn inlined_allocator_frames_leave_their_caller() {
        let profile = stack(&[&["__rust_alloc", "alloc::alloc::alloc", "f"], &["main"]]);
        assert_eq!(visible(&profile), ["f", "main"]);
    }

    #[test]
    fn a_stack_never_becomes_empty() {
        let profile = stack(&[&["malloc"], &["calloc"]]);
        assert_eq!(visible(&profile), ["malloc", "calloc"]);
        // A hidden root is no reason to hide what it calls.
        let profile = stack(&[&["f"], &["malloc"]]);
        assert_eq!(visible(&profile), ["f", "malloc"]);
    }

    #[test]
    fn nothing_to_hide_costs_no_copy() {
        let profile = stack(&[&["f"], &["main"]]);
        assert!(matches!(
            prune(&profile, FrameRules::allocators()),
            Cow::Borrowed(_)
        ));
    }
}
