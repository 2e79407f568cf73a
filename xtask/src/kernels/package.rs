//! Kernels out of Debian's packages, fetched by apt with lists and sources of its own: neither this
//! machine's sources nor its kernels matter, and no privilege is needed.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;

use super::Kernel;
use crate::workspace::output;
use crate::workspace::run;
use crate::workspace::step;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The image to boot of a kernel, from below `folder` where it is there already.
pub(super) fn fetch(folder: &Path, kernel: &Kernel) -> Result<PathBuf> {
    let boot = folder.join(format!("vmlinuz-{}", kernel.name));
    if boot.is_file() {
        return Ok(boot);
    }
    step(&format!(
        "fetching {} of Debian {}",
        kernel.package, kernel.suite
    ));
    let work = folder.join(format!("apt-{}", kernel.suite));
    let apt = Apt::new(&work, kernel.suite)?;
    run(apt.command("apt-get").arg("update"))?;
    let described = output(apt.command("apt-cache").args(["depends", kernel.package]))?;
    let package = image_package(&described)
        .with_context(|| format!("{} is of no kernel's image", kernel.package))?;
    run(apt
        .command("apt-get")
        .args(["download", package])
        .current_dir(&work))?;
    let archive = only_entry(&work, |name| name.ends_with(".deb"))?;
    let files = work.join("files");
    run(Command::new("dpkg-deb")
        .arg("--extract")
        .arg(&archive)
        .arg(&files))?;
    let found = only_entry(&files.join("boot"), |name| name.starts_with("vmlinuz-"))?;
    fs::rename(&found, &boot).with_context(|| format!("cannot move {}", found.display()))?;
    fs::remove_dir_all(&work).with_context(|| format!("cannot remove {}", work.display()))?;
    Ok(boot)
}

/// apt with everything below one folder.
struct Apt {
    options: Vec<String>,
}

impl Apt {
    /// Begins with an empty folder.
    fn new(folder: &Path, suite: &str) -> Result<Self> {
        ensure!(
            Path::new(KEYRING).is_file(),
            "{KEYRING} is missing; it is in the package debian-archive-keyring"
        );
        if folder.exists() {
            fs::remove_dir_all(folder)
                .with_context(|| format!("cannot empty {}", folder.display()))?;
        }
        for part in ["lists/partial", "cache/archives/partial"] {
            let part = folder.join(part);
            fs::create_dir_all(&part)
                .with_context(|| format!("cannot create {}", part.display()))?;
        }
        let sources = folder.join("sources.list");
        let line = format!("deb [signed-by={KEYRING}] http://deb.debian.org/debian {suite} main\n");
        fs::write(&sources, line).with_context(|| format!("{}", sources.display()))?;
        let folder = folder.display();
        let options = [
            format!("Dir::State={folder}"),
            format!("Dir::State::lists={folder}/lists"),
            format!("Dir::State::status={folder}/status"),
            format!("Dir::Cache={folder}/cache"),
            format!("Dir::Etc::sourcelist={folder}/sources.list"),
            "Dir::Etc::sourceparts=-".to_owned(),
            "APT::Architecture=amd64".to_owned(),
            "APT::Architectures=amd64".to_owned(),
            "Acquire::Languages=none".to_owned(),
            // The user that apt would take need not be able to write here.
            "APT::Sandbox::User=root".to_owned(),
        ];
        fs::write(format!("{folder}/status"), "").context("cannot write apt's status")?;
        Ok(Self {
            options: options.into(),
        })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("--quiet");
        for option in &self.options {
            command.args(["--option", option]);
        }
        command
    }
}

/// The package with the image, out of what `apt-cache depends` says of one that stands for it.
fn image_package(described: &str) -> Option<&str> {
    described
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|package| package.starts_with("linux-image-"))
}

/// The one entry of a folder with such a name.
fn only_entry(folder: &Path, wanted: impl Fn(&str) -> bool) -> Result<PathBuf> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut found = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default();
            wanted(&name.to_string_lossy())
        });
    let first = found.next();
    ensure!(
        found.next().is_none(),
        "several files in {} could be meant",
        folder.display()
    );
    first.with_context(|| format!("nothing in {} is what was sought", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_with_the_image_is_found() {
        let described = "\
linux-image-cloud-amd64
  Depends: linux-image-6.1.0-56-cloud-amd64
  Recommends: firmware
";
        assert_eq!(
            image_package(described),
            Some("linux-image-6.1.0-56-cloud-amd64")
        );
        assert_eq!(image_package("linux-image-amd64\n"), None);
    }
}
