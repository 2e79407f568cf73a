//! Where a finding is: of a stack the frame that belongs to whoever reads the report.
//!
//! An allocator, a standard library and the C library allocate on behalf of others, and so mostly
//! does a dependency. The place is the innermost frame of the user's own code; a dependency's where
//! there is none, and a library's where that is all there is.

use serde::Serialize;

use super::suppressions::{SuppressionFrame, frames};
use crate::profile::{Profile, Sample};

/// Frames of a stack that a finding keeps.
const KEPT: usize = 64;

/// A frame of a finding's stack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Frame {
    /// Function.
    pub function: String,
    /// Its name as people say it, where that is another; whoever shows it says it.
    pub short: Option<String>,
    /// Source file as the profile has it, or empty.
    pub file: String,
    /// Line in it, or 0.
    pub line: u32,
    /// The file in the checkout, relative to its root with `/`; whoever knows the checkout says it.
    pub path: Option<String>,
}

impl Frame {
    /// The function's name for people.
    #[must_use]
    pub fn shown_function(&self) -> &str {
        self.short.as_deref().unwrap_or(&self.function)
    }

    /// The file as it is best shown: in the checkout, where it is.
    #[must_use]
    pub fn shown_file(&self) -> &str {
        self.path.as_deref().unwrap_or(&self.file)
    }
}

/// Whose code a frame is, the nearest to the user last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    /// An allocator, a language's or a system's library.
    System,
    /// A package that was fetched.
    Dependency,
    /// The user.
    Own,
}

/// A sample's frames without those of the allocator, leaf first, and which of them is the place.
pub(super) fn stack(profile: &Profile, sample: &Sample) -> (Vec<Frame>, Option<usize>) {
    let all = frames(profile, sample);
    // As in every report: from the outermost frame of the allocator down to the leaf.
    let inside = all.iter().rposition(|frame| frame.allocator);
    let seen = match all.get(inside.map_or(0, |at| at + 1)..) {
        Some([]) | None => &all[..],
        Some(seen) => seen,
    };
    let seen = &seen[..seen.len().min(KEPT)];
    // A frame without a line is no place to go to, if there is another of the same owner.
    let rank = |frame: &SuppressionFrame<'_>| (owner(frame), has_line(frame));
    let place = seen
        .iter()
        .enumerate()
        .rev()
        .max_by_key(|(_, frame)| rank(frame))
        .map(|(index, _)| index);
    let kept = seen.iter().map(|frame| Frame {
        function: frame.function.to_owned(),
        short: None,
        file: frame.file.to_owned(),
        line: frame.line,
        path: None,
    });
    (kept.collect(), place)
}

const fn has_line(frame: &SuppressionFrame<'_>) -> bool {
    !frame.file.is_empty() && frame.line > 0
}

fn owner(frame: &SuppressionFrame<'_>) -> Owner {
    if frame.allocator
        || is_system_name(frame.function)
        || is_system_file(frame.file)
        || is_system_module(frame.module)
    {
        Owner::System
    } else if is_dependency(frame.file) {
        Owner::Dependency
    } else {
        Owner::Own
    }
}

/// Names of standard libraries: `std::vector<int>::push_back`, `<alloc::vec::Vec<T>>::push`.
fn is_system_name(name: &str) -> bool {
    let name = name.trim_start_matches('<');
    // C++ puts the result's type before the names of templates.
    let name = name.strip_prefix("void ").unwrap_or(name);
    [
        "alloc::",
        "core::",
        "std::",
        "hashbrown::",
        "__gnu_cxx::",
        "__libc_start",
        "__rust_begin_short_backtrace",
    ]
    .iter()
    .any(|library| name.starts_with(library))
        || ["_start", "start_thread", "clone3", "__clone3"].contains(&name)
}

/// Sources that come with a compiler or a system.
fn is_system_file(file: &str) -> bool {
    file.starts_with("/rustc/")
        || file.starts_with("/rust/deps/")
        || file.starts_with("/usr/include/")
        || file.starts_with("/usr/src/")
        || file.starts_with("/usr/lib/")
        || file.starts_with("/usr/local/go/src/")
        || file.contains("/lib/rustlib/src/")
        || file.contains("/sysdeps/")
}

/// Libraries of a system.
fn is_system_module(module: &str) -> bool {
    let file = module.strip_suffix(" (deleted)").unwrap_or(module);
    let file = file.rsplit('/').next().unwrap_or(file);
    let name = file.split(".so").next().unwrap_or(file);
    file == "[vdso]"
        || file.starts_with("ld-linux")
        || file.starts_with("ld-musl")
        || (file.contains(".so")
            && [
                "libc",
                "libm",
                "libpthread",
                "libdl",
                "librt",
                "libgcc_s",
                "libstdc++",
                "libc++",
                "libc++abi",
                "libjemalloc",
                "libtcmalloc",
                "libtcmalloc_minimal",
                "libmimalloc",
            ]
            .contains(&name))
}

/// Sources that a package manager has fetched.
pub(crate) fn is_dependency(file: &str) -> bool {
    [
        "/.cargo/registry/",
        "/.cargo/git/",
        "/cargo/registry/",
        "/cargo/git/",
        "/go/pkg/mod/",
        "/site-packages/",
        "/node_modules/",
        "/_deps/",
    ]
    .iter()
    .any(|folder| file.contains(folder))
}

#[cfg(test)]
mod tests {
    use super::{Owner, owner, stack};
    use crate::check::SuppressionFrame;
    use crate::export::example::counter_service;

    fn of(function: &str, file: &str, module: &str) -> Owner {
        owner(&SuppressionFrame {
            function,
            file,
            module,
            ..SuppressionFrame::default()
        })
    }

    #[test]
    fn everybody_has_his_frames() {
        let program = "/srv/service";
        for (function, file, module) in [
            ("<alloc::vec::Vec<u8>>::push", "", program),
            (
                "void std::vector<int>::_M_realloc_insert<int>(int&&)",
                "",
                program,
            ),
            ("fmt::write", "/rustc/abc/library/core/src/fmt.rs", program),
            ("xmalloc", "./malloc/x.c", "/lib/x86_64-linux-gnu/libc.so.6"),
            ("start_thread", "", program),
            ("resolve", "", "/lib64/ld-linux-x86-64.so.2"),
        ] {
            assert_eq!(of(function, file, module), Owner::System, "{function}");
        }
        for file in [
            "/home/me/.cargo/registry/src/index-1/serde-1.0.1/src/lib.rs",
            "/home/a/go/pkg/mod/golang.org/x/net/http2/frame.go",
        ] {
            assert_eq!(of("f", file, program), Owner::Dependency, "{file}");
        }
        for (function, file, module) in [
            ("service::handle", "/build/src/main.rs", program),
            ("<service::Key as core::clone::Clone>::clone", "", program),
            ("stdlib_like", "src/a.c", "/opt/app/libcache.so.1"),
            ("main", "", program),
        ] {
            assert_eq!(of(function, file, module), Owner::Own, "{function}");
        }
    }

    #[test]
    fn the_place_is_the_innermost_own_frame_with_a_line() {
        let mut profile = counter_service();
        let place = |profile: &crate::profile::Profile, sample: usize| {
            let (frames, place) = stack(profile, &profile.samples[sample]);
            place.map(|index| (index, frames[index].function.clone(), frames[index].line))
        };
        // The allocator's frame is gone.
        let insert = (0, "counter::Cache::insert".to_owned(), 9);
        assert_eq!(place(&profile, 0), Some(insert));
        // libc.so.6 has no line.
        assert_eq!(
            place(&profile, 2),
            Some((1, "counter::handle".to_owned(), 44))
        );
        // A library that allocates for its caller.
        profile.functions[2].file = "/home/me/.cargo/registry/src/cache-1.0/src/lib.rs".to_owned();
        assert_eq!(
            place(&profile, 0),
            Some((1, "counter::handle".to_owned(), 44))
        );
        // Nothing of the user's own: the dependency.
        for function in [0, 1] {
            profile.functions[function].file = "/rustc/x/library/std/src/rt.rs".to_owned();
        }
        let (_, name, _) = place(&profile, 0).unwrap_or_default();
        assert_eq!(name, "counter::Cache::insert");
        profile.samples[0].locations.clear();
        assert_eq!(place(&profile, 0), None);
    }
}
