//! The rules between the rooms, as ARCHITECTURE.md states them, held against the `use` lines.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::trial;

/// A room and what its code must not name: crates, and rooms as `crate::room`.
struct Rule {
    room: &'static str,
    never: &'static [&'static str],
}

const PURE: &[&str] = &[
    "std::fs",
    "std::process",
    "std::net",
    "std::time::SystemTime",
    "std::time::Instant",
    "aya",
    "rustix",
    "libc",
    "tokio",
];

const RULES: &[Rule] = &[
    Rule {
        room: "counter-service/src",
        never: &["tracer", "tracer_common", "aya"],
    },
    Rule {
        room: "tracer-common/src",
        never: &["std", "alloc", "aya_ebpf"],
    },
    Rule {
        room: "tracer/src/process",
        never: &["aya", "crate::bpf", "crate::session", "crate::cli"],
    },
    Rule {
        room: "tracer/src/probe",
        never: PURE,
    },
    Rule {
        room: "tracer/src/unwind",
        never: PURE,
    },
    Rule {
        room: "tracer/src/life",
        never: PURE,
    },
    Rule {
        room: "tracer/src/serve",
        never: &["aya", "crate::bpf", "crate::cli", "crate::symbolize"],
    },
    Rule {
        room: "tracer/src/top",
        never: &[
            "aya",
            "clap",
            "crate::bpf",
            "crate::cli",
            "crate::symbolize",
        ],
    },
    Rule {
        room: "tracer/src/top/state",
        never: PURE,
    },
    Rule {
        room: "tracer/src/top/draw",
        never: PURE,
    },
    Rule {
        room: "tracer/src/page",
        never: PURE,
    },
    Rule {
        room: "tracer/src/bpf",
        never: &[
            "object",
            "addr2line",
            "crate::process",
            "crate::symbolize",
            "crate::session",
        ],
    },
    Rule {
        room: "tracer/src/symbolize",
        never: &[
            "aya",
            "axum",
            "crate::bpf",
            "crate::process",
            "crate::session",
        ],
    },
    Rule {
        room: "tracer/src/profile",
        never: PURE,
    },
    Rule {
        room: "tracer/src/names",
        never: PURE,
    },
    Rule {
        room: "tracer/src/sites",
        never: PURE,
    },
    Rule {
        room: "tracer/src/check",
        never: PURE,
    },
    Rule {
        room: "tracer/src/estimate",
        never: PURE,
    },
    Rule {
        room: "tracer/src/survivors",
        never: PURE,
    },
    Rule {
        room: "tracer/src/export",
        never: &[
            "aya",
            "procfs",
            "crate::bpf",
            "crate::process",
            "crate::session",
        ],
    },
    Rule {
        room: "tracer/src/report",
        never: &[
            "aya",
            "procfs",
            "crate::bpf",
            "crate::process",
            "crate::session",
        ],
    },
    Rule {
        room: "tracer/src/check",
        never: PURE,
    },
    Rule {
        room: "tracer/src/session",
        never: &["aya", "clap", "crate::cli"],
    },
    Rule {
        room: "tracer/src/push",
        never: &["aya", "clap", "procfs", "crate::bpf", "crate::cli"],
    },
    Rule {
        room: "tracer/src/cli",
        never: &["aya", "object", "addr2line"],
    },
];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial::plain("rooms::keep_their_rules", keep_their_rules),
        trial::plain("rooms::a_breach_is_found", a_breach_is_found),
    ]
}

fn keep_their_rules() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut breaches = Vec::new();
    for rule in RULES {
        let files = sources(&root.join(rule.room))?;
        ensure!(!files.is_empty(), "{} has no code: is it gone?", rule.room);
        for file in files {
            let text = fs::read_to_string(&file)?;
            for (line, name) in breaches_in(&text, rule.never) {
                breaches.push(format!("{}:{line}: {name}", file.display()));
            }
        }
    }
    ensure!(breaches.is_empty(), "{}", breaches.join("\n"));
    Ok(())
}

fn a_breach_is_found() -> Result<()> {
    let text = "use std::io;\nuse aya::maps::MapData;\n    use crate::bpf::Kernel;\nuse ayax::y;\n";
    let found = breaches_in(text, &["aya", "crate::bpf", "std::fs"]);
    ensure!(
        found == [(2, "aya".to_owned()), (3, "crate::bpf".to_owned())],
        "{found:?}"
    );
    Ok(())
}

/// Line and name of each forbidden thing in the code before the unit tests, which may do more.
fn breaches_in(text: &str, never: &[&str]) -> Vec<(usize, String)> {
    let code = text.split("#[cfg(test)]").next().unwrap_or(text);
    let mut found = Vec::new();
    for (index, line) in code.lines().enumerate() {
        let line = line.trim_start().trim_start_matches("pub ");
        let Some(path) = line.strip_prefix("use ") else {
            continue;
        };
        for name in never {
            let rest = path.strip_prefix(name);
            if rest.is_some_and(|rest| rest.starts_with("::") || rest.starts_with(';')) {
                found.push((index + 1, (*name).to_owned()));
            }
        }
    }
    found
}

/// The Rust files below a directory, without those of unit tests.
fn sources(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries = fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "tests") {
                files.extend(sources(&path)?);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}
