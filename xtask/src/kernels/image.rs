//! The virtual machine's only file system: an archive that the kernel unpacks into memory. In it are
//! the tracer, the tests, the workloads, the libraries of all these, and a shell.

use std::collections::BTreeSet;
use std::fs;
use std::fs::File;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;

use crate::workspace::Workspace;
use crate::workspace::find_program;
use crate::workspace::line;
use crate::workspace::run;
use crate::workspace::step;

/// Programs from this machine: the shell that runs `init`, and what the tests start beside the workloads.
/// They trace some of that, for which busybox, being static, would not do.
const PROGRAMS: [&str; 6] = ["busybox", "cat", "sh", "sleep", "true", "unshare"];

/// What goes into it, and where it is made.
pub(super) struct Contents<'a> {
    pub(super) workspace: &'a Workspace,
    pub(super) tracer: &'a Path,
    pub(super) tests: &'a Path,
    pub(super) workloads: &'a Path,
    pub(super) folder: &'a Path,
}

/// Makes the archive anew and returns its path.
pub(super) fn build(contents: &Contents<'_>) -> Result<PathBuf> {
    step("packing the virtual machine's files");
    let Contents {
        workspace,
        tracer,
        tests,
        workloads,
        folder,
    } = *contents;
    let root = Root::new(folder.join("root"))?;
    root.copy(&workspace.root.join("xtask/kernels/init"), "/init")?;
    // They carry debug information of some hundred megabytes.
    root.strip(tracer, "/tracer")?;
    root.strip(tests, "/integration")?;
    root.libraries(&[tracer, tests])?;
    for name in PROGRAMS {
        let program = find_program(name).with_context(|| format!("there is no {name}"))?;
        root.copy(&program, &format!("/bin/{name}"))?;
        root.libraries(&[&program])?;
    }
    let built = programs_below(workloads)?;
    for program in &built {
        let place = program.strip_prefix(workloads)?;
        root.copy(program, &format!("/workloads/{}", place.display()))?;
    }
    root.libraries(&built.iter().map(PathBuf::as_path).collect::<Vec<_>>())?;
    // The tests look into the sources of the workloads, where they were compiled.
    let sources = workspace.root.join("tests/workloads");
    for source in files_below(&sources)? {
        root.copy(&source, &source.display().to_string())?;
    }
    root.pack(&folder.join("initramfs"))
}

/// Every file below a folder.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            files.extend(files_below(&entry.path())?);
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    Ok(files)
}

/// The workloads among what lies in their folder, which cargo builds in, too.
fn programs_below(workloads: &Path) -> Result<Vec<PathBuf>> {
    let mut programs = Vec::new();
    for folder in [workloads.to_owned(), workloads.join("cargo/release")] {
        let entries =
            fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_file() && metadata.permissions().mode() & 0o100 != 0 {
                programs.push(entry.path());
            }
        }
    }
    Ok(programs)
}

/// The files, before they are packed.
struct Root {
    path: PathBuf,
}

impl Root {
    fn new(path: PathBuf) -> Result<Self> {
        if path.exists() {
            fs::remove_dir_all(&path)
                .with_context(|| format!("cannot empty {}", path.display()))?;
        }
        for folder in ["bin", "dev", "proc", "root", "sys", "tmp"] {
            let folder = path.join(folder);
            fs::create_dir_all(&folder)
                .with_context(|| format!("cannot create {}", folder.display()))?;
        }
        Ok(Self { path })
    }

    /// Where an absolute path of the virtual machine is here.
    fn place(&self, to: &str) -> Result<PathBuf> {
        let place = self.path.join(to.trim_start_matches('/'));
        let folder = place.parent().context("no folder")?;
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(place)
    }

    fn copy(&self, from: &Path, to: &str) -> Result<()> {
        fs::copy(from, self.place(to)?)
            .with_context(|| format!("cannot copy {}", from.display()))?;
        Ok(())
    }

    /// Copies a program without its debug information.
    fn strip(&self, from: &Path, to: &str) -> Result<()> {
        run(Command::new("objcopy")
            .arg("--strip-debug")
            .arg(from)
            .arg(self.place(to)?))
    }

    /// Copies the libraries that programs are linked with.
    fn libraries(&self, programs: &[&Path]) -> Result<()> {
        let listed = Command::new("ldd")
            .args(programs)
            .output()
            .context("cannot start ldd")?;
        // It fails where one of them is static.
        let listed = String::from_utf8_lossy(&listed.stdout);
        for library in libraries(&listed) {
            self.copy(Path::new(library), library)?;
        }
        Ok(())
    }

    /// Packs all of it in the form that kernels unpack.
    fn pack(&self, into: &Path) -> Result<PathBuf> {
        let mut names = String::new();
        collect_names(&self.path, &self.path, &mut names)?;
        let list = self.path.with_extension("list");
        fs::write(&list, names).with_context(|| format!("cannot write {}", list.display()))?;
        let mut cpio = Command::new("cpio");
        cpio.args(["--create", "--quiet", "--format=newc", "--owner=0:0"])
            .current_dir(&self.path)
            .stdin(Stdio::from(File::open(&list)?))
            .stdout(Stdio::from(
                File::create(into).with_context(|| format!("{}", into.display()))?,
            ));
        let status = cpio.status().context("cannot start cpio")?;
        ensure!(status.success(), "{} failed ({status})", line(&cpio));
        Ok(into.to_owned())
    }
}

/// Names of everything below a folder, each folder before what is in it.
fn collect_names(root: &Path, folder: &Path, names: &mut String) -> Result<()> {
    let mut entries = fs::read_dir(folder)
        .with_context(|| format!("cannot read {}", folder.display()))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()?;
    entries.sort();
    for path in entries {
        let name = path.strip_prefix(root)?.to_str();
        names.push_str(name.context("a name is not UTF-8")?);
        names.push('\n');
        if path.is_dir() {
            collect_names(root, &path, names)?;
        }
    }
    Ok(())
}

/// Paths of files in what ldd prints.
fn libraries(listed: &str) -> BTreeSet<&str> {
    listed
        .lines()
        // A program's name stands before a colon, where there are several.
        .filter_map(|line| line.strip_suffix(')')?.rsplit_once(" (0x"))
        .filter_map(|(library, _)| {
            let path = library.rsplit_once("=> ").map_or(library, |(_, path)| path);
            Some(path.trim()).filter(|path| path.starts_with('/'))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_ldds_output() {
        let listed = "\
/bin/a:
\tlinux-vdso.so.1 (0x00007ffe6b5e2000)
\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f4664c1e000)
\t/lib64/ld-linux-x86-64.so.2 (0x00007f4665863000)
/bin/static:
\tnot a dynamic executable
";
        let expected = [
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert_eq!(libraries(listed), expected.into());
    }
}
