//! The gallery of leaks: which programs there are, how they are started, and where each allocates
//! what it does not free.
//!
//! A pattern's source names its places itself: a comment `LEAK: FUNCTION` stands on each line that
//! allocates something which is lost, in that function.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::binaries;
use crate::process::{self, Child};

/// The language a program is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// C.
    C,
    /// C++.
    Cpp,
    /// Rust.
    Rust,
}

/// The leaking program or its healthy twin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twin {
    /// It leaks.
    Leaky,
    /// It does not, and looks as if it did.
    Healthy,
}

/// A pattern in one language.
#[derive(Clone, Copy, Debug)]
pub struct Pattern {
    /// Language.
    pub language: Language,
    /// Name, as in the program's first argument.
    pub name: &'static str,
    /// File with the places of the leak, below `tests/workloads/leaks`; `None` where there is only
    /// a healthy program.
    source: Option<&'static str>,
    /// Ticks after which half as many more show in what is live.
    ticks: u64,
    /// Bytes that these must add in the leaky program. The healthy one adds less than half of it.
    growth: u64,
}

/// A place in the source that allocates what is never freed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeakSite {
    /// Function, without namespace, module or parameters.
    pub function: String,
    /// Source file, without its folder.
    pub file: String,
    /// Line.
    pub line: u32,
}

/// What a program says of itself.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Report {
    /// Ticks it has done, a millisecond each unless it was told how many.
    pub ticks: u64,
    /// Bytes live, by the C library's count.
    pub live_bytes: u64,
}

use Language::{C, Cpp, Rust};

/// All of them.
pub const GALLERY: &[Pattern] = &[
    leak(C, "blocked", "c/blocked.c", 500_000),
    healthy(C, "bursts"),
    leak(C, "cache", "c/cache.c", 5_000_000),
    leak(C, "error_path", "c/error_path.c", 40_000),
    leak(C, "forgotten", "c/forgotten.c", 1_000_000),
    leak(C, "intern", "c/intern.c", 250_000),
    leak(C, "library", "c/parcel.c", 1_500_000),
    leak(C, "pool", "c/pool.c", 2_000_000),
    leak(C, "queue", "c/queue.c", 2_500_000),
    Pattern {
        // 300 tickets of 32 bytes each.
        ticks: 1_200_000,
        ..leak(C, "rare", "c/rare.c", 6_000)
    },
    leak(C, "thread_local", "c/thread_local.c", 500_000),
    leak(C, "vector", "c/vector.c", 500_000),
    leak(Cpp, "cache", "cpp/cache.cpp", 5_000_000),
    leak(Cpp, "cycle", "cpp/cycle.cpp", 2_000_000),
    leak(Cpp, "error_path", "cpp/error_path.cpp", 60_000),
    leak(Cpp, "listener", "cpp/listener.cpp", 700_000),
    leak(Cpp, "map", "cpp/map.cpp", 700_000),
    leak(Cpp, "pool", "cpp/pool.cpp", 10_000_000),
    leak(Cpp, "thread_local", "cpp/thread_local.cpp", 400_000),
    leak(Cpp, "view", "cpp/view.cpp", 7_000_000),
    healthy(Cpp, "warm_up"),
    leak(Rust, "channel", "rust/src/channel.rs", 2_500_000),
    leak(Rust, "cycle", "rust/src/cycle.rs", 2_000_000),
    leak(Rust, "forgotten", "rust/src/forgotten.rs", 500_000),
    leak(Rust, "intern", "rust/src/intern.rs", 250_000),
    leak(Rust, "map", "rust/src/map.rs", 1_500_000),
    leak(Rust, "task", "rust/src/task.rs", 1_000_000),
    leak(Rust, "thread_local", "rust/src/thread_local.rs", 500_000),
    healthy(Rust, "waves"),
];

const fn leak(
    language: Language,
    name: &'static str,
    source: &'static str,
    growth: u64,
) -> Pattern {
    Pattern {
        language,
        name,
        source: Some(source),
        ticks: 60_000,
        growth,
    }
}

/// A pattern without a leak. After a minute it may still add a little.
const fn healthy(language: Language, name: &'static str) -> Pattern {
    Pattern {
        language,
        name,
        source: None,
        ticks: 60_000,
        growth: 400_000,
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let language = match self.language {
            C => "c",
            Cpp => "cpp",
            Rust => "rust",
        };
        write!(f, "{language}/{}", self.name)
    }
}

impl Twin {
    /// As in the program's second argument.
    const fn argument(self) -> &'static str {
        match self {
            Self::Leaky => "leaky",
            Self::Healthy => "healthy",
        }
    }
}

impl LeakSite {
    /// Whether a frame's function, demangled, and its file and line are this place.
    #[must_use]
    pub fn is(&self, function: &str, file: &str, line: u32) -> bool {
        line == self.line
            && file.rsplit('/').next() == Some(self.file.as_str())
            && bare(function) == self.function
    }
}

/// A demangled name without namespace, module, parameters and hash.
fn bare(function: &str) -> &str {
    let name = function
        .strip_prefix("(anonymous namespace)::")
        .unwrap_or(function);
    let name = name.split(['(', '<']).next().unwrap_or(name);
    name.rsplit("::").next().unwrap_or(name)
}

impl Pattern {
    /// The programs there are of it.
    #[must_use]
    pub const fn twins(&self) -> &'static [Twin] {
        match self.source {
            Some(_) => &[Twin::Leaky, Twin::Healthy],
            None => &[Twin::Healthy],
        }
    }

    /// Where the leaky program allocates what it loses, in the order of the lines; nowhere if there
    /// is no leaky one.
    ///
    /// # Errors
    /// The source cannot be read or marks no place.
    pub fn places(&self) -> Result<Vec<LeakSite>> {
        let Some(source) = self.source else {
            return Ok(Vec::new());
        };
        let path = binaries::gallery_sources().join(source);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let file = source.rsplit('/').next().unwrap_or(source);
        let places: Vec<_> = (1..)
            .zip(text.lines())
            .filter_map(|(line, text)| {
                let (_, mark) = text.split_once("LEAK: ")?;
                Some(LeakSite {
                    function: mark.trim_end_matches("*/").trim_end().to_owned(),
                    file: file.to_owned(),
                    line,
                })
            })
            .collect();
        ensure!(!places.is_empty(), "{source} marks no place of a leak");
        Ok(places)
    }

    /// The built program.
    ///
    /// # Errors
    /// It does not build.
    pub fn program(&self) -> Result<PathBuf> {
        binaries::gallery(self.language)
    }

    /// Starts a program and waits until it is at work, which it does until its standard input ends.
    ///
    /// # Errors
    /// It does not build or does not start.
    pub fn start(&self, twin: Twin) -> Result<Child> {
        let mut child = Child::spawn(&mut self.command(twin)?)?;
        child.wait_line(|child| &child.stdout, "`ready`", |line| line == "ready")?;
        Ok(child)
    }

    /// A command that does so, for whoever starts it otherwise.
    ///
    /// # Errors
    /// It does not build.
    pub fn command(&self, twin: Twin) -> Result<Command> {
        let mut command = Command::new(self.program()?);
        command.args([self.name, twin.argument()]);
        Ok(command)
    }

    /// Runs a program at full speed through its ticks and has it say, after half of them and after
    /// all, what is live.
    ///
    /// # Errors
    /// It fails, or reports something else.
    pub fn run_through(&self, twin: Twin) -> Result<[Report; 2]> {
        let mut command = self.command(twin)?;
        command.arg(self.ticks.to_string());
        let ended = process::run(&mut command, b"")?;
        ended.expect_code(0)?;
        let printed = String::from_utf8_lossy(&ended.stdout).into_owned();
        let reports = printed.lines().filter(|line| line.starts_with('{'));
        let reports = reports.map(serde_json::from_str::<Report>);
        let reports: Vec<_> = reports.collect::<Result<_, _>>()?;
        let [half, all] = reports[..] else {
            anyhow::bail!("{self} made {} reports", reports.len());
        };
        ensure!(
            (half.ticks, all.ticks) == (self.ticks / 2, self.ticks),
            "{self} took other ticks: {half:?}, {all:?}"
        );
        Ok([half, all])
    }

    /// Bytes that the second half of the ticks must add in the leaky program; the healthy one adds
    /// less than half of it.
    #[must_use]
    pub const fn growth(&self) -> u64 {
        self.growth
    }
}
