//! `./x demo`: the tracer's main job on a live service, told step by step.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::anyhow;
use anyhow::bail;

use crate::load;
use crate::service::Service;
use crate::workspace::Workspace;
use crate::workspace::find_program;
use crate::workspace::line;
use crate::workspace::run;
use crate::workspace::step;

const RATE: u32 = 2_000;
const LOAD: Duration = Duration::from_secs(5);
const TRACED: &str = "3s";
const OUTPUT: &str = "target/demo/heap.pb.gz";

/// Builds, traces the service under load, reports, and stops it again.
pub(crate) fn run_demo(workspace: &Workspace) -> Result<()> {
    let privilege = Privilege::find()?;
    let binaries = workspace.build_release()?;
    let tracer = binaries.tracer.to_str().context("the path is not UTF-8")?;
    let profile = workspace.root.join(OUTPUT);
    prepare(&profile)?;

    let service = Service::start(&binaries.counter_service)?;
    let pid = service.pid().to_string();
    step(&format!(
        "counter-service runs as process {pid} on {}; it knows nothing of the tracer",
        service.address
    ));

    let address = service.address.clone();
    step(&format!(
        "a client asks it for /count {RATE} times a second for {} s",
        LOAD.as_secs()
    ));
    let client = thread::spawn(move || load::run(&address, "/count", RATE, LOAD));

    let mut attach = privilege.command(workspace, tracer);
    attach.args(["attach", "--pid", &pid, "--duration", TRACED, "-o", OUTPUT]);
    step(&format!(
        "meanwhile tracer attaches for {TRACED}: {}",
        line(&attach)
    ));
    run(&mut attach)?;
    if !profile.exists() {
        bail!("tracer has written no {OUTPUT}");
    }

    let outcome = client
        .join()
        .map_err(|_| anyhow!("the client panicked"))?
        .context("the service did not answer as it should while traced")?;
    step(&format!(
        "the client got {} answers, half of them within {:.0?}",
        outcome.answered, outcome.median_latency
    ));

    for (question, value) in [
        ("who holds the memory", "inuse_space"),
        ("who allocated the most meanwhile", "alloc_space"),
    ] {
        let mut report = workspace.command(tracer);
        report.args(["report", OUTPUT, "--value", value, "-n", "6"]);
        step(&format!("{question}: {}", line(&report)));
        run(&mut report)?;
    }

    service.stop()?;
    step(&format!(
        "the service has stopped; the profile is {OUTPUT}, for go tool pprof and speedscope too"
    ));
    Ok(())
}

/// Makes the folder and removes an earlier profile, which could pass for this run's.
fn prepare(profile: &Path) -> Result<()> {
    let folder = profile.parent().context("the profile has no folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    match fs::remove_file(profile) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", profile.display()))
        }
        _ => Ok(()),
    }
}

/// How a program gets the rights to trace another one.
enum Privilege {
    Root,
    Sudo,
}

impl Privilege {
    fn find() -> Result<Self> {
        if rustix::process::geteuid().is_root() {
            Ok(Self::Root)
        } else if find_program("sudo").is_some() {
            eprintln!("./x: tracing needs root; sudo may ask for your password");
            Ok(Self::Sudo)
        } else {
            bail!(
                "tracing another process needs root: you are not root, and there is no sudo here; \
                 run ./x demo as root"
            );
        }
    }

    fn command(&self, workspace: &Workspace, program: &str) -> Command {
        match self {
            Self::Root => workspace.command(program),
            Self::Sudo => {
                let mut command = workspace.command("sudo");
                command.arg(program);
                command
            }
        }
    }
}
