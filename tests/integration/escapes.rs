//! What a target chooses (its name, its paths, its symbols) reaches no terminal and no report as it is,
//! whatever command shows it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use libtest_mimic::Trial;
use rustix::process::Signal;
use tempfile::TempDir;
use tests::process::{self, Ended};
use tests::tracing::tracer;
use tests::workload::Workload;
use tests::{binaries, trial, wait};

/// For the name of the library: escape and its C1 form, bidi, and a space that is none.
const LIBRARY: &str = "l\x1b[31m\u{9b}31m\u{202e}\u{200b}ib.so";
/// For the name of the program.
const PROGRAM: &str = "t\x1b[2J\x7f";
/// For the name of a function, in place of `QQQQ`.
const SYMBOL: &[u8; 4] = b"\x1b[2J";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial::root("escapes::all_commands", all_commands),
        trial::plain("escapes::harness_sees_them", harness_sees_them),
    ]
}

/// The odd files, and what comes of them.
struct Place {
    folder: TempDir,
    program: PathBuf,
    library: PathBuf,
}

impl Place {
    fn new() -> Result<Self> {
        let folder = TempDir::new()?;
        let program = folder.path().join(PROGRAM);
        let mut code = fs::read(binaries::workload("odd_names")?)?;
        let mut patched = 0;
        for at in 0..code.len().saturating_sub(4) {
            if code[at..at + 4] == *b"QQQQ" {
                code[at..at + 4].copy_from_slice(SYMBOL);
                patched += 1;
            }
        }
        ensure!(patched > 0, "the workload has lost its mark");
        process::write_program(&program, &code)?;
        let library = folder.path().join(LIBRARY);
        process::write_program(&library, &fs::read(binaries::preload("odd_library")?)?)?;
        // Without symbols its frames are named by its path.
        process::run(Command::new("strip").arg(&library), b"")?.expect_code(0)?;
        Ok(Self {
            folder,
            program,
            library,
        })
    }

    fn start(&self) -> Result<Workload> {
        Workload::start_command(Command::new(&self.program).arg(&self.library))
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs the tracer in the folder and looks at what it prints.
    fn show(&self, arguments: &[&str]) -> Result<Ended> {
        let mut command = tracer(arguments)?;
        command
            .current_dir(self.folder.path())
            .env("GITHUB_STEP_SUMMARY", self.at("summary"));
        let ended = process::run(&mut command, b"")?;
        let line = arguments.join(" ");
        check_plain(&ended.stdout)
            .and_then(|()| check_plain(ended.stderr.as_bytes()))
            .with_context(|| format!("tracer {}\n{}", line.escape_debug(), ended.printed()))?;
        Ok(ended)
    }

    /// The same, and the output must speak of the odd name.
    fn shows(&self, what: &str, arguments: &[&str]) -> Result<()> {
        let ended = self.show(arguments)?;
        ensure!(
            ended.printed().contains(what),
            "no `{what}` in the output of tracer {}\n{}",
            arguments.join(" ").escape_debug(),
            ended.printed()
        );
        Ok(())
    }

    /// Looks at what a command has written.
    fn wrote(&self, what: &str, name: &str) -> Result<()> {
        let bytes = fs::read(self.at(name)).with_context(|| name.to_owned())?;
        check_plain(&bytes).with_context(|| name.to_owned())?;
        let text = String::from_utf8(bytes)?;
        ensure!(text.contains(what), "no `{what}` in {name}\n{text}");
        Ok(())
    }
}

/// Refuses what a terminal would obey, or an eye not see.
fn check_plain(bytes: &[u8]) -> Result<()> {
    let text = std::str::from_utf8(bytes)?;
    for c in text.chars() {
        if matches!(c, '\n' | '\t') {
            continue;
        }
        if c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}') {
            bail!("{} came out", c.escape_unicode());
        }
    }
    Ok(())
}

fn harness_sees_them() -> Result<()> {
    check_plain("größe\n\t…".as_bytes())?;
    for text in [LIBRARY, PROGRAM, "\x07", "\u{202e}"] {
        ensure!(check_plain(text.as_bytes()).is_err(), "{text:?} went by");
    }
    Ok(())
}

/// As people read an escape character, and as JSON has it.
const SHOWN: &str = "\\u{1b}";
const IN_JSON: &str = "\\u001b";

fn all_commands() -> Result<()> {
    let place = Place::new()?;
    let mut target = place.start()?;
    let pid = target.pid().to_string();
    let pid = pid.as_str();

    place.shows(SHOWN, &["attach", "-p", pid, "-d300ms", "-oa.pb.gz"])?;
    for (format, shown) in [
        ("json", IN_JSON),
        ("text", SHOWN),
        ("folded", SHOWN),
        ("svg", SHOWN),
    ] {
        let output = format!("-ob.{format}");
        place.show(&["attach", "-qp", pid, "-d200ms", "-f", format, &output])?;
        place.wrote(shown, &format!("b.{format}"))?;
    }
    place.shows(SHOWN, &["doctor", "--pid", pid])?;
    place.shows(SHOWN, &["doctor", "--format=json", "--pid", pid])?;
    let allocator = format!("m{PROGRAM}.so");
    fs::copy(binaries::preload("own_malloc")?, place.at(&allocator))?;
    place.shows(SHOWN, &["plan", "--file", &allocator])?;
    place.show(&["plan", "--pid", pid])?;
    place.shows(
        SHOWN,
        &["check", "-p", pid, "-d1s", "--every=200ms", "--max-peak=1B"],
    )?;
    target.child().signal(Signal::KILL)?;
    // Not waited for: a zombie has a name.
    wait::until("its death", || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        Ok(stat.contains(") Z ").then_some(()))
    })?;
    place.shows("zombie", &["attach", "-p", pid, "-d1s"])?;

    for file in ["a.pb.gz", "b.json"] {
        for way in [
            "--cum",
            "--by=line",
            "--tree",
            "--peek=odd_",
            "--value=alloc_space",
        ] {
            place.shows(SHOWN, &["report", way, file])?;
        }
        place.shows(SHOWN, &["report", "--format=svg", file])?;
        place.shows(IN_JSON, &["report", "--format=json", file])?;
        for form in ["text", "markdown", "junit", "github"] {
            let report = format!("--report={form}");
            place.shows(SHOWN, &["check", &report, "--max-peak=1B", file])?;
        }
        place.shows(IN_JSON, &["check", "--report=sarif", "--max-peak=1B", file])?;
    }
    place.show(&["check", "--step-summary", "--max-peak=1B", "b.json"])?;
    place.wrote(SHOWN, "summary")?;
    place.shows(SHOWN, &["diff", "a.pb.gz", "b.json"])?;
    place.shows(IN_JSON, &["diff", "--format=json", "a.pb.gz", "b.json"])?;
    for format in ["--format=folded", "--format=svg"] {
        place.shows(SHOWN, &["diff", format, "a.pb.gz", "b.json"])?;
    }
    let odd = format!("{PROGRAM}.json");
    fs::create_dir(place.at("series"))?;
    fs::copy(place.at("b.json"), place.at("series").join(&odd))?;
    fs::copy(place.at("b.json"), place.at("series/c.json"))?;
    place.shows(SHOWN, &["series", "series"])?;
    errors(&place)?;
    not_utf8(&place)
}

/// What goes wrong is said with the name of what it is about.
fn errors(place: &Place) -> Result<()> {
    let program = place.program.to_str().context("a name of UTF-8")?;
    // At the end of its standard input it ends.
    place.show(&["run", "--format=json", "-o", "r.json", "--", program])?;
    place.wrote(IN_JSON, "r.json")?;
    let none = &format!("none{PROGRAM}");
    place.shows(SHOWN, &["run", "--", &format!("./{none}")])?;
    place.shows(SHOWN, &["report", none])?;
    place.shows(SHOWN, &["diff", none, "b.json"])?;
    place.shows(SHOWN, &["series", none])?;
    place.shows(SHOWN, &["check", none])?;
    place.shows(SHOWN, &["check", "--policy", none, "b.json"])?;
    place.shows(SHOWN, &["check", "--suppressions", none, "b.json"])?;
    place.shows(SHOWN, &["plan", "--file", none])?;
    let inside = format!("{none}/x");
    place.shows(SHOWN, &["diff", "-o", &inside, "b.json", "b.json"])?;
    // A file that is something else, and a message of several lines.
    fs::write(place.at(none), "a = \x1b[2J\n")?;
    place.shows(SHOWN, &["report", none])?;
    place.shows(SHOWN, &["check", "--policy", none, "b.json"])
}

fn not_utf8(place: &Place) -> Result<()> {
    let mut command = tracer(["report"])?;
    command.arg(Path::new(OsStr::from_bytes(b"none\xff\x1b")));
    let ended = process::run(command.current_dir(place.folder.path()), b"")?;
    ensure!(
        ended.stderr.contains("none\\xff\\u{1b}"),
        "{}",
        ended.printed()
    );
    Ok(())
}
