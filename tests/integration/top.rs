//! `tracer top` in a terminal: what is shown is true, keys do what they say, and the terminal is left as it was.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use rustix::process::{Pid, Signal, kill_process};
use tests::ledger::Ledger;
use tests::process::run;
use tests::terminal::Terminal;
use tests::tracing::tracer;
use tests::workload::Workload;
use tests::{binaries, trial, wait};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial::root("top::figures", figures),
        trial::root("top::keys", keys),
        trial::root("top::sizes", sizes),
        trial::root("top::signals", signals),
        trial::root("top::target_ends", target_ends),
        trial::root("top::as_sudo", as_sudo),
        trial::root("top::windows", windows),
        trial::root("top::refusals", refusals),
    ]
}

/// A `tracer top` in a terminal of its own.
struct Top {
    terminal: Terminal,
    /// Of the tracer.
    pid: u32,
}

impl Top {
    /// Starts it and waits until it shows something.
    fn start(pid: u32, arguments: &str, columns: u16, rows: u16) -> Result<Self> {
        Self::start_in(Terminal::new(columns, rows)?, "", pid, arguments)
    }

    /// `environment` is what the shell gives the tracer beside its own.
    fn start_in(terminal: Terminal, environment: &str, pid: u32, arguments: &str) -> Result<Self> {
        let tracer = binaries::tracer()?;
        // A line of its own each time: the shell's echo of a line is not its output.
        terminal.run("stty -a >../before")?;
        terminal.run(&format!(
            "{environment} sh -c 'echo $$ >../pid; exec {} top --pid {pid} {arguments}'; echo exit=$?; stty -a >../after",
            tracer.display()
        ))?;
        let name = format!("(pid {pid})  ");
        terminal.wait("the display", |screen| {
            screen.contains(&name) && screen.contains(" in all, ")
        })?;
        let pid = fs::read_to_string(terminal.folder().join("../pid"))?;
        Ok(Self {
            terminal,
            pid: pid.trim().parse()?,
        })
    }

    /// The figures of the rows of a function, once `wanted` accepts them.
    fn rows(
        &self,
        function: &str,
        wanted: impl Fn(&[Vec<String>]) -> bool,
    ) -> Result<Vec<Vec<String>>> {
        let find = |screen: &str| {
            // Below its head: the line on the selected site has its name, too.
            let table = screen.lines().skip_while(|line| !line.contains(" where"));
            let rows = table.skip(1).filter(|line| !line.starts_with('>'));
            let rows = rows.filter_map(|line| {
                let cells: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
                let name = cells.iter().position(|cell| cell == function)?;
                Some(cells.into_iter().take(name).collect())
            });
            Some(rows.collect()).filter(|rows: &Vec<Vec<String>>| wanted(rows))
        };
        let what = format!("the rows of {function}");
        let screen = self.terminal.wait(&what, |screen| find(screen).is_some())?;
        find(&screen).context("the rows have gone")
    }

    /// Waits until all live objects of a function are shown.
    fn expect_objects(&self, function: &str, objects: u64) -> Result<Vec<Vec<String>>> {
        self.rows(function, |rows| sum(rows, 2) == objects)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid)?;
        kill_process(Pid::from_raw(pid).context("a pid")?, signal)?;
        Ok(())
    }

    /// Waits for its end, and checks that the terminal is as it was before.
    fn expect_left(&self, said: &str) -> Result<()> {
        let after = self.terminal.folder().join("../after");
        let screen = self
            .terminal
            .wait("the end", |screen| screen.lines().any(is_exit))?;
        ensure!(
            screen.contains("exit=0") && screen.contains(said),
            "{screen}"
        );
        let modes = |path: &Path| -> Result<Option<String>> {
            let text = fs::read_to_string(path).unwrap_or_default();
            Ok(text.ends_with('\n').then_some(text))
        };
        let before = fs::read_to_string(self.terminal.folder().join("../before"))?;
        let after = wait::until("the terminal's modes", || modes(&after))?;
        ensure!(before == after, "{before}\nbecame\n{after}");
        let (is_other_screen, has_cursor) = self.terminal.flags()?;
        ensure!(!is_other_screen && has_cursor, "{screen}");
        Ok(())
    }
}

/// Whether a line is the exit code, and not the command that prints it.
fn is_exit(line: &str) -> bool {
    let code = line.strip_prefix("exit=");
    code.is_some_and(|code| code.starts_with(|c: char| c.is_ascii_digit()))
}

/// Of counts in a column; 0 where one is none.
fn sum(rows: &[Vec<String>], column: usize) -> u64 {
    let counts = rows.iter().map(|row| row.get(column)?.parse::<u64>().ok());
    counts.sum::<Option<u64>>().unwrap_or(0)
}

/// A workload that has done all it does, and the display that shows it.
fn done(columns: u16, rows: u16) -> Result<(Workload, Ledger, Top)> {
    let mut workload = Workload::start("midlife", &[])?;
    let top = Top::start(workload.pid(), "--exact", columns, rows)?;
    workload.open_gate()?;
    let ledger = workload.ledger()?;
    Ok((workload, ledger, top))
}

/// Bytes of a figure such as `6152.34kB`.
fn bytes(figure: &str) -> Result<f64> {
    let at = figure.find(|c: char| c.is_ascii_alphabetic());
    let (number, unit) = figure.split_at(at.unwrap_or(figure.len()));
    let power = ["B", "kB", "MB", "GB"].iter().position(|one| *one == unit);
    let power = i32::try_from(power.context("an unknown unit")?)?;
    Ok(number.parse::<f64>()? * 1024_f64.powi(power))
}

/// Whether figures in the first column are this amount together, but for the digits that they do not show.
fn agree(rows: &[Vec<String>], amount: u64) -> Result<bool> {
    let (mut shown, mut unsure) = (0.0, 0.0);
    for row in rows {
        let figure = row.first().context("no figure")?;
        let unit = figure.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        shown += bytes(figure)?;
        unsure += bytes(&format!("0.01{unit}"))?;
    }
    Ok(!rows.is_empty() && (shown - amount as f64).abs() <= unsure)
}

/// All four values agree with the ledger.
fn figures() -> Result<()> {
    for (columns, rows) in [(80, 24), (200, 50)] {
        let (workload, ledger, top) = done(columns, rows)?;
        let part = ledger.parts["midlife_new"];
        let live_objects = part.alloc_objects - part.free_objects;
        let live_bytes = part.alloc_bytes - part.free_bytes;
        let rows = top.expect_objects("midlife_new", live_objects)?;
        ensure!(agree(&rows, live_bytes)?, "{rows:?}, not {live_bytes}");
        let screen = top.terminal.screen()?;
        for said in ["complete  nothing lost", "resident ", "live bytes over "] {
            ensure!(screen.contains(said), "no {said}:\n{screen}");
        }
        for (key, name, value) in [
            ("2", "inuse_objects", live_objects),
            ("3", "alloc_space", part.alloc_bytes),
            ("4", "alloc_objects", part.alloc_objects),
        ] {
            top.terminal.write(key)?;
            let title = format!("{name}: ");
            top.terminal.wait(name, |screen| screen.contains(&title))?;
            let rows = top.rows("midlife_new", |rows| !rows.is_empty())?;
            let is_right = match name {
                "alloc_space" => agree(&rows, value)?,
                _ => sum(&rows, 0) == value,
            };
            ensure!(is_right, "{name}: {rows:?}, not {value}");
        }
        top.terminal.write("q")?;
        top.expect_left("stopped after ")?;
        workload.finish()?;
    }
    Ok(())
}

/// Sorted, filtered, looked into, frozen and saved.
fn keys() -> Result<()> {
    let (workload, ledger, top) = done(80, 24)?;
    let part = ledger.parts["midlife_new"];
    top.expect_objects("midlife_new", part.alloc_objects - part.free_objects)?;
    let terminal = &top.terminal;
    let expect = |what: &str| terminal.wait(what, |screen| screen.contains(what));

    terminal.write("s")?;
    expect("objects▼")?;
    terminal.write("r")?;
    expect("objects▲")?;

    terminal.write("/nothing")?;
    expect("filter: nothing_")?;
    expect("no site matches")?;
    terminal.press("Escape")?;
    terminal.wait("all sites", |screen| !screen.contains("filter:"))?;
    terminal.write("/midlife")?;
    terminal.press("Enter")?;
    expect("sites with \"midlife\"")?;

    terminal.press("Enter")?;
    let screen = expect("stack of midlife_new")?;
    ensure!(
        screen.contains("where midlife_new") && screen.contains("midlife.c:"),
        "{screen}"
    );
    terminal.press("Escape")?;
    expect("sites with")?;
    terminal.write("?")?;
    expect("reverse the order")?;
    terminal.press("Escape")?;
    expect("sites with")?;

    // It goes on, and the display does not.
    terminal.write("f")?;
    let frozen = expect("FROZEN")?;
    std::thread::sleep(std::time::Duration::from_secs(2));
    ensure!(
        terminal.screen()? == frozen,
        "{frozen}\n{}",
        terminal.screen()?
    );
    terminal.write("w")?;
    let name = format!("tracer-midlife-{}", workload.pid());
    expect(&format!("wrote {name}.pb.gz"))?;
    terminal.write("f")?;
    terminal.wait("no FROZEN", |screen| !screen.contains("FROZEN"))?;
    let elapsed = |screen: &str| screen.lines().next().map(str::to_owned);
    let before = elapsed(&frozen).map(|line| line.replace("FROZEN  ", ""));
    terminal.wait("time", |screen| elapsed(screen) != before)?;
    terminal.write("w")?;
    expect(&format!("wrote {name}.2.pb.gz"))?;
    for file in [format!("{name}.pb.gz"), format!("{name}.2.pb.gz")] {
        let file = terminal.folder().join(file);
        ledger.check_parts(&tracer::export::read(&fs::read(&file)?)?)?;
        let report = run(tracer(["report"])?.arg(&file), b"")?;
        report.expect_code(0)?;
        let text = String::from_utf8_lossy(&report.stdout);
        ensure!(text.contains("midlife_new"), "{text}");
    }
    terminal.press("C-c")?;
    top.expect_left("nothing is left in it")?;
    workload.finish()?;
    Ok(())
}

/// Each size is drawn, while it runs.
fn sizes() -> Result<()> {
    let (workload, _, top) = done(80, 24)?;
    let site = |screen: &str| screen.contains("midlife_new");
    top.terminal.wait("the site", site)?;
    for (columns, rows) in [(200, 50), (40, 8), (20, 5), (2, 2), (80, 24)] {
        top.terminal.resize(columns, rows)?;
        top.terminal.wait("a display of this size", |screen| {
            let is_drawn = match columns {
                200 => screen.contains(" line") && screen.contains(" change "),
                80 => screen.contains("q quit") && screen.contains(" trend "),
                20 => screen.contains("where"),
                40 => screen.contains("mid"),
                // Nothing but figures.
                _ => true,
            };
            is_drawn
                && screen
                    .lines()
                    .all(|line| line.chars().count() <= columns.into())
        })?;
    }
    top.terminal.write("q")?;
    top.expect_left("stopped after ")?;
    workload.finish()?;
    Ok(())
}

/// Those that end it leave the terminal as it was; it does not stop in the middle of a recording.
fn signals() -> Result<()> {
    let workload = Workload::start("midlife", &[])?;
    for signal in [Signal::TERM, Signal::INT] {
        let top = Top::start(workload.pid(), "--exact", 80, 24)?;
        ensure!(top.terminal.flags()?.0, "it has not taken the terminal");
        top.signal(Signal::TSTP)?;
        top.terminal.press("C-z")?;
        top.terminal
            .wait("why not", |screen| screen.contains("would lose events"))?;
        top.signal(signal)?;
        top.expect_left("nothing is left in it")?;
    }
    Ok(())
}

/// The last state stays until somebody leaves it.
fn target_ends() -> Result<()> {
    let (workload, _, top) = done(80, 24)?;
    workload.finish()?;
    let screen = top.terminal.wait("the end", |screen| {
        screen.contains("the process ended: this is its last state")
    })?;
    ensure!(
        screen.contains("ended after ") && screen.contains("midlife_new"),
        "{screen}"
    );
    ensure!(top.terminal.flags()?.0, "it has left the display");
    top.terminal.write("3")?;
    top.terminal
        .wait("another value", |screen| screen.contains("alloc_space: "))?;
    top.terminal.write("q")?;
    top.expect_left("the process ended after ")
}

/// The threads that show it have no privilege, and save as the user who has called sudo.
fn as_sudo() -> Result<()> {
    const NOBODY: u32 = 65_534;
    let workload = Workload::start("midlife", &[])?;
    let terminal = Terminal::new(80, 24)?;
    chown(terminal.folder(), Some(NOBODY), Some(NOBODY))?;
    // Above it nobody may look, but for this.
    let above = terminal.folder().join("..");
    fs::set_permissions(&above, std::os::unix::fs::PermissionsExt::from_mode(0o711))?;
    let environment = format!("SUDO_UID={NOBODY} SUDO_GID={NOBODY}");
    let top = Top::start_in(terminal, &environment, workload.pid(), "--exact")?;
    let mut seen = 0;
    for task in fs::read_dir(format!("/proc/{}/task", top.pid))? {
        let folder = task?.path();
        let status = fs::read_to_string(folder.join("status"))?;
        let line = |key: &str| {
            let found = status.lines().find_map(|line| line.strip_prefix(key));
            found.unwrap_or_default().trim().to_owned()
        };
        let has = u64::from_str_radix(&line("CapPrm:"), 16)?;
        // BPF, PERFMON, SYS_PTRACE, SYS_ADMIN, SYS_NICE, DAC_READ_SEARCH.
        let needed = 1 << 39 | 1 << 38 | 1 << 19 | 1 << 21 | 1 << 23 | 1 << 2;
        let is_display = line("Name:") == "top";
        seen += usize::from(is_display);
        let most = if is_display { 0 } else { needed };
        ensure!(has & !most == 0, "{status}");
    }
    ensure!(seen > 0, "there is no thread of the display");
    top.terminal.write("w")?;
    top.terminal
        .wait("the file", |screen| screen.contains("wrote tracer-"))?;
    let name = format!("tracer-midlife-{}.pb.gz", workload.pid());
    let file: PathBuf = top.terminal.folder().join(name);
    let metadata = fs::metadata(&file)?;
    ensure!(
        (metadata.uid(), metadata.gid()) == (NOBODY, NOBODY),
        "{metadata:?}"
    );
    top.terminal.write("q")?;
    top.expect_left("stopped after ")
}

/// What windows see is said to be that.
fn windows() -> Result<()> {
    let mut workload = Workload::start("steady", &[])?;
    workload.open_gate()?;
    let top = Top::start(workload.pid(), "--max-overhead=1%", 200, 50)?;
    let screen = top.terminal.wait("windows", |screen| {
        screen.contains("sampled") && screen.contains("steady_build")
    })?;
    ensure!(
        screen.contains("perhaps live ") && screen.contains("live at most"),
        "{screen}"
    );
    top.terminal.write("q")?;
    top.expect_left("stopped after ")
}

/// Without a terminal it says so, and what to do instead.
fn refusals() -> Result<()> {
    let mut command = tracer(["top", "1"])?;
    let ended = run(&mut command, b"")?;
    ended.expect_code(2)?;
    ensure!(
        ended.stderr.contains("top needs a terminal") && ended.stderr.contains("tracer attach"),
        "{}",
        ended.printed()
    );
    let log = format!("{} top 1 --log info", binaries::tracer()?.display());
    let ended = run(
        Command::new("script").args(["-qec", &log, "/dev/null"]),
        b"",
    )?;
    ended.expect_code(2)?;
    let text = String::from_utf8_lossy(&ended.stdout);
    ensure!(text.contains("redirect it"), "{text}");
    Ok(())
}
