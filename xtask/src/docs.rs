//! `./x docs`: plays the commands of the guide, and compares what they print with what it shows.

mod page;

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;

use crate::load;
use crate::service::Service;
use crate::workspace::Binaries;
use crate::workspace::Workspace;
use crate::workspace::step;
use page::Part;

/// Where the pages are.
const GUIDE: &str = "docs/guide";
/// What the service is called in them.
const NAME: &str = "shop";
/// The page whose first commands stand in the README as well.
const FIRST: &str = "01-first-profile.md";
/// What stands before them there.
const MARK: &str = "<!-- The first commands of docs/guide/01-first-profile.md; ./x docs --write copies them. -->\n";
/// Requests a second that the service answers meanwhile.
const RATE: u32 = 500;
/// Longest time that all pages take together.
const LONGEST: Duration = Duration::from_secs(1_800);

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Write what the commands print into the pages, where it differs
    #[arg(long)]
    write: bool,
    /// Play only pages with this in their name
    #[arg(long, value_name = "NAME")]
    page: Option<String>,
}

/// Builds, and checks the guide.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "the guide traces processes: run ./x docs as root"
    );
    let binaries = workspace.build_release()?;
    check(workspace, &binaries, options)
}

/// Checks all of the guide, with what is built.
pub(crate) fn check_all(workspace: &Workspace, binaries: &Binaries) -> Result<()> {
    let options = Options {
        write: false,
        page: None,
    };
    check(workspace, binaries, &options)
}

fn check(workspace: &Workspace, binaries: &Binaries, options: &Options) -> Result<()> {
    let place = Stage::new(workspace, binaries)?;
    let service = Service::start(&place.folder.join("bin").join(NAME))?;
    let address = service.address.clone();
    // It ends with the service, in the middle of a request.
    let client = thread::spawn(move || load::run(&address, "/count", RATE, LONGEST));
    let mut wrong = Vec::new();
    for path in pages(workspace)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if options
            .page
            .as_ref()
            .is_some_and(|part| !name.contains(&**part))
        {
            continue;
        }
        step(&format!("playing {GUIDE}/{name}"));
        wrong.extend(play(&path, &place, options.write)?);
    }
    ensure!(
        !client.is_finished(),
        "the service did not answer its client"
    );
    service.stop()?;
    wrong.extend(readme(workspace, options.write)?);
    if wrong.is_empty() {
        println!("the guide shows what the commands print");
        return Ok(());
    }
    bail!(
        "{}\n{} place(s) of the guide differ from what the commands print: look at each, then ./x docs --write",
        wrong.join("\n"),
        wrong.len()
    )
}

/// The pages, by name.
fn pages(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    let folder = workspace.root.join(GUIDE);
    let mut pages = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {GUIDE}"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "md") {
            pages.push(path);
        }
    }
    pages.sort();
    ensure!(!pages.is_empty(), "there are no pages in {GUIDE}");
    Ok(pages)
}

/// The folder that the commands run in.
struct Stage {
    folder: PathBuf,
    path: std::ffi::OsString,
}

impl Stage {
    /// An empty one, with `tracer` and the service among its programs.
    fn new(workspace: &Workspace, binaries: &Binaries) -> Result<Self> {
        let folder = workspace.target.join("docs");
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot empty {}", folder.display()));
            }
            _ => {}
        }
        let bin = folder.join("bin");
        fs::create_dir_all(&bin).with_context(|| format!("cannot create {}", bin.display()))?;
        for (from, name) in [
            (&binaries.tracer, "tracer"),
            (&binaries.counter_service, NAME),
        ] {
            fs::copy(from, bin.join(name))
                .with_context(|| format!("cannot copy {}", from.display()))?;
        }
        // The reader is no root; who plays this is.
        let sudo = bin.join("sudo");
        fs::write(&sudo, "#!/bin/sh\nexec \"$@\"\n")?;
        fs::set_permissions(&sudo, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let mut path = bin.into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        Ok(Self { folder, path })
    }

    /// What a command prints, standard error included, as a terminal shows it.
    fn output(&self, command: &str) -> Result<Vec<String>> {
        let output = Command::new("sh")
            .args(["-c", &format!("exec 2>&1\n{command}")])
            .current_dir(&self.folder)
            .env("PATH", &self.path)
            .env_remove("COLUMNS")
            .stdin(std::process::Stdio::null())
            .output()
            .with_context(|| format!("cannot start {command}"))?;
        let text = String::from_utf8(output.stdout).context("an output is not UTF-8")?;
        Ok(text
            .lines()
            .map(|line| line.trim_end().to_owned())
            .collect())
    }
}

/// Plays a page. Returns what differs, a text each.
fn play(path: &Path, place: &Stage, write: bool) -> Result<Vec<String>> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let (mut wrong, mut outputs) = (Vec::new(), Vec::new());
    for part in page::parts(&text) {
        let step = match part {
            Part::File { name, text } => {
                fs::write(place.folder.join(&name), text)?;
                continue;
            }
            Part::Command(step) => step,
        };
        let actual = place.output(&step.command)?;
        if page::agrees(&step.expected, &actual) {
            continue;
        }
        if write {
            outputs.push((step.output, page::shortened(&step.expected, actual)));
        } else {
            wrong.push(format!(
                "{GUIDE}/{name}:{}: $ {}\n--- it shows\n{}\n--- the command prints\n{}",
                step.line,
                step.command,
                step.expected.join("\n"),
                actual.join("\n")
            ));
        }
    }
    if !outputs.is_empty() {
        fs::write(path, page::rewritten(&text, &outputs))?;
    }
    Ok(wrong)
}

/// The README shows the first commands of the guide.
fn readme(workspace: &Workspace, write: bool) -> Result<Option<String>> {
    let first = workspace.root.join(GUIDE).join(FIRST);
    let first = fs::read_to_string(&first).context("cannot read the first page")?;
    let block = page::first_console(&first).context("the first page has no commands")?;
    let path = workspace.root.join("README.md");
    let text = fs::read_to_string(&path).context("cannot read README.md")?;
    let (before, after) = text.split_once(MARK).context("README.md lacks its mark")?;
    let shown = page::first_console(after).context("README.md shows no commands")?;
    if shown == block {
        return Ok(None);
    }
    if write {
        fs::write(
            path,
            format!("{before}{MARK}{}", after.replacen(&shown, &block, 1)),
        )?;
        return Ok(None);
    }
    Ok(Some(format!(
        "README.md: its example is not that of {GUIDE}/{FIRST}"
    )))
}
