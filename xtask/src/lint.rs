//! Formatting, clippy and shellcheck.

use anyhow::Result;

use crate::workspace::Workspace;
use crate::workspace::find_program;
use crate::workspace::run;
use crate::workspace::step;

/// Formats all packages.
pub(crate) fn format(workspace: &Workspace) -> Result<()> {
    run(workspace.cargo().args(["fmt", "--all"]))
}

/// Runs all checks that need no kernel; the first that fails ends it.
pub(crate) fn lint(workspace: &Workspace) -> Result<()> {
    step("formatting");
    run(workspace.cargo().args(["fmt", "--all", "--check"]))?;

    step("clippy");
    run(workspace
        .cargo()
        .args(["clippy", "--quiet", "--workspace"])
        .args(["--exclude", "tracer-ebpf", "--all-targets"])
        .args(["--", "--deny", "warnings"]))?;

    step("clippy on tracer-ebpf");
    run(workspace
        .cargo()
        .args(["clippy", "--quiet", "--package", "tracer-ebpf"])
        .args(["--target", "bpfel-unknown-none", "-Z", "build-std=core"])
        .args(["--", "--deny", "warnings"])
        .env("CARGO_TARGET_DIR", workspace.target.join("ebpf"))
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            // As in the build: the assembly takes what this CPU has.
            format!(
                "--cfg=bpf_target_arch=\"{}\"\x1f-Ctarget-cpu=v3",
                std::env::consts::ARCH
            ),
        )
        .env("RUSTC_BOOTSTRAP", "1"))?;

    if find_program("shellcheck").is_some() {
        step("shellcheck");
        let scripts = [
            "x",
            ".ci/run",
            "xtask/kernels/init",
            "contrib/alertmanager/check",
        ];
        run(workspace.command("shellcheck").args(scripts))?;
    } else {
        eprintln!("./x: no shellcheck here, so the shell scripts were not checked");
    }
    Ok(())
}
