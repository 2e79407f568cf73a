//! Whether a stack reaches the function its process or thread began with.

/// Functions that begin a process or a thread: what a whole stack ends in.
const ROOTS: [&str; 9] = [
    "_start",
    "__libc_start_main",
    "__libc_start_main_impl",
    "__libc_start_call_main",
    "start_thread",
    "clone",
    "__clone",
    "clone3",
    "__clone3",
];

/// Whether a stack whose outermost frame is this one is whole.
///
/// Distributions strip the local names of the C library, so that the functions that call `main`
/// or a thread's start routine have none. Where a walk along frame pointers ends, a nameless outermost
/// frame in the C library is taken for one of these (`may_be_nameless`): of the functions that call back into a program, nearly all others are
/// exported and keep their names.
pub(super) fn is_root(function: Option<&str>, may_be_nameless: bool) -> bool {
    match function {
        Some(name) => ROOTS.contains(&name.split('@').next().unwrap_or(name)),
        None => may_be_nameless,
    }
}

/// The C library by its usual names; only used to recognise where stacks begin.
pub(super) fn is_c_library(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.starts_with("libc.so") || name.starts_with("libc-2.") || name.starts_with("libpthread")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_c_librarys_nameless_frames_and_the_known_names_are_roots() {
        assert!(is_root(None, true));
        assert!(is_root(Some("_start"), false));
        assert!(is_root(Some("__libc_start_main@@GLIBC_2.34"), true));
        assert!(!is_root(None, false));
        assert!(!is_root(Some("main"), false));
        assert!(!is_root(Some("qsort"), true));
    }
}
