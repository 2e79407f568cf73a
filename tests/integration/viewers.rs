//! The files are what viewers take them for: Go's pprof, speedscope in a browser, the tracer's own
//! report.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use libtest_mimic::Trial;
use rustix::process::Signal;
use tempfile::TempDir;
use tests::http::FileServer;
use tests::ledger::Ledger;
use tests::process::{self, Child, Ended};
use tests::tracing::tracer;
use tests::workload::Workload;
use tests::{binaries, go, trial};

/// The version of speedscope that is installed from npm.
const SPEEDSCOPE: &str = "speedscope@1.25.0";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial::root("viewers::go_pprof_top", go_pprof_top),
        trial::root("viewers::go_pprof_raw", go_pprof_raw),
        trial::root("viewers::go_pprof_svg", go_pprof_svg),
        trial::heavy("viewers::speedscope", speedscope),
        trial::root("viewers::report", report),
        trial::root("viewers::folded", folded),
    ]
}

/// A profile of `midlife` in some format, and the ledger that goes with it.
struct Recorded {
    folder: TempDir,
    file: PathBuf,
    ledger: Ledger,
}

fn record(format: &str, name: &str) -> Result<Recorded> {
    let folder = TempDir::new()?;
    let file = folder.path().join(name);
    let mut workload = Workload::start("midlife", &[])?;
    let mut command = tracer(["attach", "--exact", "--format", format, "--pid"])?;
    command.arg(workload.pid().to_string()).arg("-o").arg(&file);
    let mut tracer = Child::spawn(&mut command)?;
    let attached = |line: &str| line.starts_with("attached to");
    tracer.wait_line(|child| &child.stderr, "`attached to`", attached)?;
    workload.open_gate()?;
    let ledger = workload.ledger()?;
    tracer.signal(Signal::INT)?;
    tracer.wait()?.expect_code(0)?;
    workload.finish()?;
    Ok(Recorded {
        folder,
        file,
        ledger,
    })
}

fn pprof(arguments: &[&str], file: &Path) -> Result<Ended> {
    let file = file.to_string_lossy();
    let ended = go::pprof(arguments.iter().copied().chain([&*file]))?;
    ended.expect_code(0)?;
    Ok(ended)
}

fn go_pprof_top() -> Result<()> {
    let Recorded {
        folder: _folder,
        file,
        ledger,
    } = record("pprof", "heap.pb.gz")?;
    let values = ledger.total.values()?;
    for (kind, value) in [
        ("alloc_objects", values.alloc_objects),
        ("alloc_space", values.alloc_space),
        ("inuse_objects", values.inuse_objects),
        ("inuse_space", values.inuse_space),
    ] {
        let index = format!("-sample_index={kind}");
        // Bytes as bytes, or they are rounded to whatever unit reads well.
        let unit = if kind.ends_with("space") {
            "-unit=B"
        } else {
            "-unit=count"
        };
        let ended = pprof(&["-top", &index, unit, "-nodefraction=0"], &file)?;
        let text = String::from_utf8_lossy(&ended.stdout).into_owned();
        ensure!(
            text.contains(&format!("Type: {kind}")),
            "{}",
            ended.printed()
        );
        let row = text.lines().find(|line| line.ends_with(" midlife_new"));
        let row = row.with_context(|| ended.printed())?;
        let flat = row.split_whitespace().next().unwrap_or_default();
        let digits = flat.trim_end_matches('B');
        ensure!(
            digits == value.to_string(),
            "{kind}: expected {value} in `{row}`"
        );
    }
    Ok(())
}

fn go_pprof_raw() -> Result<()> {
    let Recorded {
        folder: _folder,
        file,
        ..
    } = record("pprof", "heap.pb.gz")?;
    let ended = pprof(&["-raw"], &file)?;
    let text = String::from_utf8_lossy(&ended.stdout).into_owned();
    let program = binaries::workload("midlife")?;
    for expected in [
        "PeriodType: space bytes",
        "Period: 1\n",
        "alloc_objects/count alloc_space/bytes inuse_objects/count inuse_space/bytes",
        "midlife.c:",
        &format!("1: 0x{}", first_mapping(&text)?),
        &program.to_string_lossy(),
    ] {
        ensure!(
            text.contains(expected),
            "no `{expected}`\n{}",
            ended.printed()
        );
    }
    let main = text
        .lines()
        .skip_while(|line| *line != "Mappings")
        .nth(1)
        .unwrap_or_default();
    ensure!(
        main.contains(&*program.to_string_lossy()),
        "the main binary is not the first mapping: {main}"
    );
    Ok(())
}

/// Start of mapping 1, which must not be 0: a mapping from nowhere is one pprof made up.
fn first_mapping(text: &str) -> Result<String> {
    let line = text.lines().skip_while(|line| *line != "Mappings").nth(1);
    let line = line.context("no mappings")?;
    let start = line
        .strip_prefix("1: 0x")
        .and_then(|rest| rest.split('/').next());
    let start = start.with_context(|| line.to_owned())?;
    ensure!(
        start.bytes().any(|digit| digit != b'0'),
        "the first mapping starts at 0: {line}"
    );
    Ok(start.to_owned())
}

fn go_pprof_svg() -> Result<()> {
    let Recorded {
        folder: _folder,
        file,
        ..
    } = record("pprof", "heap.pb.gz")?;
    let ended = pprof(&["-svg", "-output=/dev/stdout"], &file)
        .context("needs graphviz: apt-get install graphviz")?;
    let text = String::from_utf8_lossy(&ended.stdout);
    ensure!(
        text.contains("<svg") && text.contains("midlife_new"),
        "{}",
        ended.printed()
    );
    Ok(())
}

/// In the browser, in the view that is a table of functions: the profile's are in the page.
fn speedscope() -> Result<()> {
    let Recorded { folder, ledger, .. } = record("pprof", "heap.pb.gz")?;
    let app = speedscope_folder()?;
    let server = FileServer::start(vec![app, folder.path().to_owned()])?;
    let url = format!(
        "{}#profileURL={}&view=sandwich",
        server.url("index.html"),
        server.url("heap.pb.gz")
    );
    let browser = TempDir::new()?;
    let mut command = Command::new(chromium()?);
    command
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
        ])
        .arg("--virtual-time-budget=60000")
        .arg(format!("--user-data-dir={}", browser.path().display()))
        .args(["--dump-dom", &url]);
    let ended = process::run(&mut command, b"")?;
    ended.expect_code(0)?;
    let page = String::from_utf8_lossy(&ended.stdout);
    // As speedscope writes amounts.
    let live = ledger.total.values()?.inuse_space as f64 / f64::from(1 << 20);
    let live = format!("{live:.2} MB");
    for expected in [
        "<title>heap.pb.gz - speedscope</title>",
        "midlife_new",
        &live,
    ] {
        ensure!(
            page.contains(expected),
            "no `{expected}` in the page\n{}",
            ended.printed()
        );
    }
    Ok(())
}

fn chromium() -> Result<&'static str> {
    for name in ["chromium", "chromium-browser", "google-chrome"] {
        if Command::new(name).arg("--version").output().is_ok() {
            return Ok(name);
        }
    }
    bail!("needs a browser: apt-get install chromium");
}

/// speedscope's page, installed from npm where it is not yet.
fn speedscope_folder() -> Result<PathBuf> {
    let prefix = binaries::target_dir().join("npm");
    let folder = prefix.join("node_modules/speedscope/dist/release");
    if !folder.join("index.html").is_file() {
        fs::create_dir_all(&prefix)?;
        let mut command = Command::new("npm");
        command.args([
            "install",
            "--no-save",
            "--ignore-scripts",
            SPEEDSCOPE,
            "--prefix",
        ]);
        process::run(command.arg(&prefix), b"")
            .context("needs npm: apt-get install npm")?
            .expect_code(0)?;
    }
    Ok(folder)
}

/// The tracer's own report of both formats that it reads.
fn report() -> Result<()> {
    for (format, name) in [("pprof", "heap.pb.gz"), ("json", "heap.json")] {
        let Recorded {
            folder: _folder,
            file,
            ..
        } = record(format, name)?;
        let ended = process::run(tracer(["report"])?.arg(&file), b"")?;
        ended.expect_code(0)?;
        let text = String::from_utf8_lossy(&ended.stdout);
        ensure!(
            text.contains("midlife_new"),
            "{format}\n{}",
            ended.printed()
        );
        ensure!(
            text.contains("complete"),
            "{format}: no verdict\n{}",
            ended.printed()
        );
    }
    Ok(())
}

/// Folded stacks: root first, the leaf and its live bytes last.
fn folded() -> Result<()> {
    let Recorded {
        folder: _folder,
        file,
        ledger,
    } = record("folded", "heap.folded")?;
    let mut text = String::new();
    fs::File::open(&file)?.read_to_string(&mut text)?;
    let mut live = 0;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (stack, value) = line.rsplit_once(' ').with_context(|| line.to_owned())?;
        ensure!(stack.contains("main;midlife_new"), "{line}");
        live += value.parse::<i64>().with_context(|| line.to_owned())?;
    }
    ensure!(
        live == ledger.total.values()?.inuse_space,
        "{live} live bytes\n{text}"
    );
    Ok(())
}
