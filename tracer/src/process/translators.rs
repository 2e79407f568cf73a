//! Programs and libraries that read a process's code as data: they translate it, copy it or patch it. A
//! breakpoint in what they read becomes a part of what they make of it, where the kernel does not know it,
//! and the process dies of SIGTRAP. So nothing may be probed where one of them is.

use std::path::Path;

/// What a file's name begins with, and what it is.
const KNOWN: [(&str, &str); 20] = [
    // Valgrind's launcher, its tools (`memcheck-amd64-linux`), and what it preloads.
    ("valgrind", "valgrind"),
    ("vgpreload_", "valgrind"),
    ("libdynamorio", "DynamoRIO"),
    ("drrun", "DynamoRIO"),
    ("pinbin", "Pin"),
    ("libpinvm", "Pin"),
    ("pin.sh", "Pin"),
    ("sde64", "Intel SDE"),
    ("qemu-", "QEMU user emulation"),
    ("librrpreload", "rr"),
    ("rr_page_", "rr"),
    ("librrpage", "rr"),
    ("frida-agent", "Frida"),
    ("frida-gadget", "Frida"),
    ("libfrida-gum", "Frida"),
    ("libQBDI", "QBDI"),
    ("libfunchook", "funchook"),
    ("libsubhook", "subhook"),
    ("libsyscall_intercept", "syscall_intercept"),
    ("libzpoline", "zpoline"),
];
/// Names that mean it as a whole.
const WHOLE: [(&str, &str); 3] = [("rr", "rr"), ("pin", "Pin"), ("sde", "Intel SDE")];
/// Ends of the names of valgrind's tools: `none-amd64-linux`.
const TOOL: [&str; 2] = ["-amd64-linux", "-x86-linux"];

/// What reads code as data where this file is a process's program or mapped into it.
#[must_use]
pub fn translator(path: &Path) -> Option<&'static str> {
    let name = path.file_name()?.to_str()?;
    let in_valgrind = path
        .parent()
        .and_then(Path::file_name)
        .is_some_and(|folder| folder == "valgrind");
    if in_valgrind || TOOL.iter().any(|end| name.ends_with(end)) {
        return Some("valgrind");
    }
    let begins = KNOWN.iter().find(|(begin, _)| name.starts_with(begin));
    let whole = WHOLE.iter().find(|(whole, _)| name == *whole);
    // The system emulator's companions are no translators of the process they are in.
    begins
        .or(whole)
        .filter(|_| !name.starts_with("qemu-img") && !name.starts_with("qemu-system"))
        .map(|&(_, what)| what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn translators_are_told_by_their_files() {
        for (path, what) in [
            ("/usr/bin/valgrind.bin", "valgrind"),
            ("/usr/libexec/valgrind/memcheck-amd64-linux", "valgrind"),
            ("/opt/vg/lib/none-amd64-linux", "valgrind"),
            (
                "/usr/libexec/valgrind/vgpreload_core-amd64-linux.so",
                "valgrind",
            ),
            ("/opt/dr/lib64/release/libdynamorio.so", "DynamoRIO"),
            ("/usr/bin/qemu-x86_64-static", "QEMU user emulation"),
            ("/usr/bin/rr", "rr"),
        ] {
            assert_eq!(translator(Path::new(path)), Some(what), "{path}");
        }
        for path in [
            "/usr/bin/python3",
            "/usr/lib/libc.so.6",
            "/usr/bin/qemu-img",
            "/bin/rrdtool",
            "",
        ] {
            assert_eq!(translator(Path::new(path)), None, "{path}");
        }
    }
}
