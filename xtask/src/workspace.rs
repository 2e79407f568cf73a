//! Where things lie in this repository, and how programs are started in it.

use std::env;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;

use crate::ebpf;

/// The repository.
pub(crate) struct Workspace {
    /// Folder of the root `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Cargo's target folder; always the workspace's own, wherever `CARGO_TARGET_DIR` points.
    pub(crate) target: PathBuf,
}

/// What [`Workspace::build_release`] built.
pub(crate) struct Binaries {
    /// The `tracer` command.
    pub(crate) tracer: PathBuf,
    /// The service that demo and bench trace.
    pub(crate) counter_service: PathBuf,
}

impl Workspace {
    /// Finds the repository by the folder that cargo says this package lies in.
    pub(crate) fn find() -> Result<Self> {
        let package =
            env::var_os("CARGO_MANIFEST_DIR").context("run this as ./x or as cargo xtask")?;
        let root = Path::new(&package)
            .parent()
            .context("the package has no parent folder")?
            .to_owned();
        let target = root.join("target");
        Ok(Self { root, target })
    }

    /// A program to be started in the root folder.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        command
    }

    /// The cargo that started this program.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", &self.target);
        command
    }

    /// Builds everything that is run in release mode.
    pub(crate) fn build_release(&self) -> Result<Binaries> {
        let object = ebpf::build(self)?;
        step("building tracer and counter-service");
        run(self
            .cargo()
            .args(["build", "--release"])
            .args(["--package", "tracer", "--package", "counter-service"])
            .env(ebpf::OBJECT_VARIABLE, &object))?;
        let release = self.target.join("release");
        Ok(Binaries {
            tracer: release.join("tracer"),
            counter_service: release.join("counter-service"),
        })
    }
}

/// Says what is being done.
pub(crate) fn step(what: &str) {
    eprintln!("==> {what}");
}

/// Runs a program to its end; an error when it does not succeed.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", line(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", line(command));
    }
    Ok(())
}

/// Runs a program to its end and returns its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let Output { status, stdout, .. } = command
        .stderr(std::process::Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {}", line(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", line(command));
    }
    String::from_utf8(stdout).with_context(|| format!("output of {}", line(command)))
}

/// The first file of that name in the folders of `PATH`.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// A command as one would type it.
pub(crate) fn line(command: &Command) -> String {
    let mut line = Path::new(command.get_program())
        .file_name()
        .unwrap_or_default()
        .display()
        .to_string();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}
