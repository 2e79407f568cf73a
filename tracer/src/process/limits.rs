//! How many files this process may have open.

use std::io;
use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The limit that this process was started with.
static ORIGINAL: OnceLock<Rlimit> = OnceLock::new();

/// Raises the soft limit of open files to the hard one. The soft limit (1,024 as a rule) is for programs that use
/// select(2), which can't take higher descriptors; tracer uses epoll. Where that is refused, the limit stays.
pub fn raise_descriptor_limit() {
    let original = ORIGINAL.get_or_init(|| getrlimit(Resource::Nofile));
    let raised = Rlimit {
        current: original.maximum,
        maximum: original.maximum,
    };
    let _ = setrlimit(Resource::Nofile, raised);
}

/// Gives a child the limit that this process was started with: the program in it may well use select(2).
/// Async-signal-safe.
pub(super) fn restore_descriptor_limit() -> io::Result<()> {
    if let Some(original) = ORIGINAL.get() {
        setrlimit(Resource::Nofile, *original)?;
    }
    Ok(())
}

/// How many files are open and may be, for a message.
pub(super) fn describe_descriptors() -> String {
    let limit = getrlimit(Resource::Nofile).current;
    let limit = limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
    // To list them takes a descriptor, too. There are as many as the limit allows where it fails.
    let open = std::fs::read_dir("/proc/self/fd").map(|files| files.count().saturating_sub(1));
    let open = open.map_or_else(|_| limit.clone(), |open| open.to_string());
    format!("{open} files are open, limit {limit}; raise ulimit -n")
}
