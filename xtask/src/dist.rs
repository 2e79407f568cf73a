//! What a package of the tracer is made of: binary, completions, man pages, licences.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::Context as _;
use anyhow::Result;

use crate::workspace::Workspace;
use crate::workspace::output;
use crate::workspace::run;
use crate::workspace::step;

/// Shells to complete for, and the name under which each looks for its file.
const SHELLS: [(&str, &str); 3] = [
    ("bash", "tracer.bash"),
    ("zsh", "_tracer"),
    ("fish", "tracer.fish"),
];

/// Fills `target/dist` anew.
pub(crate) fn collect(workspace: &Workspace) -> Result<()> {
    let folder = workspace.target.join("dist");
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot empty {}", folder.display()));
        }
        _ => {}
    }
    let binaries = workspace.build_release()?;
    step("collecting the files");
    let completions = folder.join("completions");
    let manual = folder.join("man");
    for folder in [&completions, &manual] {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let copy = |from: &Path, name: &str| {
        fs::copy(from, folder.join(name)).with_context(|| format!("cannot copy {}", from.display()))
    };
    copy(&binaries.tracer, "tracer")?;
    for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
        copy(&workspace.root.join(licence), licence)?;
    }
    let tracer = binaries.tracer.to_str().context("the path is not UTF-8")?;
    for (shell, file) in SHELLS {
        let script = output(workspace.command(tracer).args(["completions", shell]))?;
        let path = completions.join(file);
        fs::write(&path, script).with_context(|| format!("cannot write {}", path.display()))?;
    }
    run(workspace.command(tracer).arg("man").arg(&manual))?;
    println!("{}", folder.display());
    Ok(())
}
