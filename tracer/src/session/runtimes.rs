//! What keeps memory of its own beside `malloc`: language runtimes, known by what is mapped.

use std::path::Path;

/// A runtime whose heap the probes do not see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Runtime {
    /// What it is and what can be done, for a sentence.
    pub(super) words: &'static str,
    /// A garbage collector decides how large the heap is.
    pub(super) is_collected: bool,
}

const CPYTHON: Runtime = Runtime {
    words: "CPython keeps small objects in arenas of its own: start it with PYTHONMALLOC=malloc to see them",
    is_collected: false,
};

const fn collected(words: &'static str) -> Runtime {
    Runtime {
        words,
        is_collected: true,
    }
}

/// What the file's name begins with, and whose it is.
const KNOWN: [(&str, Runtime); 16] = [
    ("libpython", CPYTHON),
    ("python", CPYTHON),
    (
        "libjvm.so",
        collected(
            "the JVM keeps Java's objects in a heap of its own: `jcmd PID GC.class_histogram` shows it",
        ),
    ),
    (
        "libcoreclr.so",
        collected(".NET keeps its objects in a heap of its own: `dotnet-gcdump` shows it"),
    ),
    ("libnode.so", V8),
    ("node", V8),
    ("libv8", V8),
    (
        "libruby",
        collected("Ruby keeps its objects in a heap of its own: ObjectSpace shows it"),
    ),
    ("libphp", PHP),
    ("php", PHP),
    ("cc1", GCC),
    ("lto1", GCC),
    (
        "beam.smp",
        collected("Erlang's runtime has allocators of its own: `recon_alloc` shows them"),
    ),
    (
        "libgc.so",
        collected("the Boehm collector keeps the program's objects in a heap of its own"),
    ),
    (
        "libluajit",
        collected("LuaJIT has an allocator of its own: collectgarbage(\"count\") tells its size"),
    ),
    (
        "sbcl",
        collected("SBCL keeps its objects in a heap of its own: `(room)` shows it"),
    ),
];

const V8: Runtime = collected(
    "V8 keeps JavaScript's objects in a heap of its own: node's --heapsnapshot-signal shows it",
);
const PHP: Runtime = Runtime {
    words: "PHP keeps its values in chunks of its own: start it with USE_ZEND_ALLOC=0 to see them",
    is_collected: false,
};
const GCC: Runtime = collected(
    "GCC's compilers keep their trees in pages of their own, and give them back at the end",
);

/// What Go's programs have a section of, by its name.
const GO: Runtime = collected("Go keeps its objects in a heap of its own: runtime/pprof shows it");

/// The runtime that a file is part of, by its name.
pub(super) fn of_file(path: &Path) -> Option<Runtime> {
    let name = path.file_name()?.to_str()?;
    let found = KNOWN.iter().find(|(start, _)| name.starts_with(start));
    found.map(|&(_, runtime)| runtime)
}

/// Go's, where a program is one of its.
pub(super) fn of_program(is_go: bool) -> Option<Runtime> {
    is_go.then_some(GO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_are_known_by_their_files() {
        let words = |path: &str| of_file(Path::new(path)).map(|runtime| runtime.words);
        let python = words("/usr/bin/python3.11");
        assert!(python.is_some_and(|words| words.contains("PYTHONMALLOC=malloc")));
        assert_eq!(
            words("/usr/lib/x86_64-linux-gnu/libpython3.11.so.1.0"),
            python
        );
        assert!(words("/usr/lib/jvm/lib/server/libjvm.so").is_some());
        assert_eq!(
            words("/usr/lib/gcc/x86_64-linux-gnu/12/cc1plus"),
            words("/x/cc1")
        );
        assert_eq!(words("/usr/bin/sort"), None);
    }
}
