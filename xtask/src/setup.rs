//! Programs from outside that a command needs, and the Debian packages they come from.

use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;

use crate::workspace::find_program;
use crate::workspace::run;
use crate::workspace::step;

/// jemalloc, where Debian has it.
pub(crate) const JEMALLOC: &str = "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2";

/// What a program is needed for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    /// Building, the demo included.
    Build,
    /// `./x test`.
    Test,
    /// `./x bench`.
    Bench,
    /// `./x lint`.
    Lint,
    /// `./x fuzz`.
    Fuzz,
    /// `./x programs`.
    Programs,
    /// `./x kernels`.
    Kernels,
}

impl Purpose {
    /// All of them.
    pub(crate) const ALL: &[Self] = &[
        Self::Build,
        Self::Test,
        Self::Bench,
        Self::Lint,
        Self::Fuzz,
        Self::Programs,
        Self::Kernels,
    ];
}

/// A program and where it comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Need {
    /// Its name, or the path of a file.
    program: &'static str,
    packages: &'static [&'static str],
    purpose: Purpose,
    /// Without it the command makes no sense; otherwise only a part of it is missing.
    required: bool,
}

impl Need {
    fn not_installed(&self) -> String {
        let packages = self.packages.join(" ");
        format!(
            "not installed: {}, apt-get install {packages}",
            self.program
        )
    }
}

const fn required(
    purpose: Purpose,
    program: &'static str,
    packages: &'static [&'static str],
) -> Need {
    Need {
        program,
        packages,
        purpose,
        required: true,
    }
}

const fn optional(
    purpose: Purpose,
    program: &'static str,
    packages: &'static [&'static str],
) -> Need {
    Need {
        program,
        packages,
        purpose,
        required: false,
    }
}

/// All of them. Building needs no more than the C compiler that links: the BPF linker is built
/// from source against the toolchain's own LLVM.
const NEEDS: &[Need] = &[
    required(Purpose::Build, "cc", &["gcc", "libc6-dev"]),
    // Workloads in C++.
    required(Purpose::Test, "g++", &["g++"]),
    // `go tool pprof`, and `dot` for its pictures.
    optional(Purpose::Test, "go", &["golang-go"]),
    optional(Purpose::Test, "dot", &["graphviz"]),
    // speedscope, and a browser to open it.
    optional(Purpose::Test, "npm", &["nodejs", "npm"]),
    optional(Purpose::Test, "chromium", &["chromium"]),
    // Workloads with another C library; musl itself comes with its compiler.
    optional(Purpose::Test, "musl-gcc", &["musl-tools"]),
    // Other allocators: files instead of programs.
    optional(Purpose::Test, JEMALLOC, &["libjemalloc2"]),
    optional(
        Purpose::Test,
        "/usr/lib/x86_64-linux-gnu/libmimalloc.so.2",
        &["libmimalloc2.0"],
    ),
    optional(
        Purpose::Test,
        "/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4",
        &["libtcmalloc-minimal4"],
    ),
    // A terminal whose screen can be read.
    required(Purpose::Test, "tmux", &["tmux"]),
    // Metrics, alerts and their rules.
    optional(Purpose::Test, "promtool", &["prometheus"]),
    // Certificates.
    required(Purpose::Test, "openssl", &["openssl"]),
    // Debian's own programs, and a second opinion of their stacks.
    required(Purpose::Test, "gdb", &["gdb"]),
    required(Purpose::Test, "/usr/bin/perl", &["perl-base"]),
    required(Purpose::Test, "/usr/bin/python3", &["python3"]),
    required(Purpose::Test, "/usr/bin/sqlite3", &["sqlite3"]),
    required(Purpose::Programs, "/usr/bin/git", &["git"]),
    required(Purpose::Programs, "/usr/sbin/nginx", &["nginx-light"]),
    required(
        Purpose::Programs,
        "/usr/lib/postgresql/15/bin/postgres",
        &["postgresql-15"],
    ),
    required(
        Purpose::Programs,
        "/usr/bin/redis-server",
        &["redis-server"],
    ),
    // The peer and the floor; load; peers that a service is started with.
    required(Purpose::Bench, "bpftrace", &["bpftrace"]),
    required(Purpose::Bench, "wrk", &["wrk"]),
    optional(Purpose::Bench, "heaptrack", &["heaptrack"]),
    optional(Purpose::Bench, JEMALLOC, &["libjemalloc2"]),
    optional(Purpose::Lint, "shellcheck", &["shellcheck"]),
    // libFuzzer is C++.
    required(Purpose::Fuzz, "g++", &["g++"]),
    // The virtual machine, its kernel and its files.
    required(Purpose::Kernels, "qemu-system-x86_64", &["qemu-system-x86"]),
    required(Purpose::Kernels, "g++", &["g++"]),
    required(Purpose::Kernels, "busybox", &["busybox-static"]),
    required(Purpose::Kernels, "cpio", &["cpio"]),
    required(
        Purpose::Kernels,
        "/usr/share/keyrings/debian-archive-keyring.gpg",
        &["debian-archive-keyring"],
    ),
];

/// Installs what is missing where that can be done without asking, as root on Debian; elsewhere
/// says what to run, and fails if the command cannot do without.
pub(crate) fn install(purposes: &[Purpose]) -> Result<()> {
    let missing = missing(purposes, |program| find_program(program).is_some());
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing
        .iter()
        .flat_map(|need| need.packages)
        .copied()
        .collect();
    let can_do_without = missing.iter().all(|need| !need.required);
    if rustix::process::geteuid().is_root() && is_debian() {
        return match install_packages(&packages) {
            Err(error) if can_do_without => {
                eprintln!("./x: {error:#}\n./x: going on without");
                Ok(())
            }
            installed => installed,
        };
    }
    let programs: Vec<&str> = missing.iter().map(|need| need.program).collect();
    let advice = format!(
        "missing: {}. On Debian: sudo apt-get install --no-install-recommends {}",
        programs.join(", "),
        packages.join(" ")
    );
    if !can_do_without {
        bail!("{advice}");
    }
    eprintln!("./x: {advice}\n./x: going on without");
    Ok(())
}

/// What to say of a program that is not there.
pub(crate) fn not_installed(program: &str) -> Option<String> {
    missing(Purpose::ALL, |program| find_program(program).is_some())
        .iter()
        .find(|need| need.program == program)
        .map(Need::not_installed)
}

fn missing(purposes: &[Purpose], is_there: impl Fn(&str) -> bool) -> Vec<Need> {
    NEEDS
        .iter()
        .filter(|need| purposes.contains(&need.purpose) && !is_there(need.program))
        .copied()
        .collect()
}

fn is_debian() -> bool {
    Path::new("/etc/debian_version").exists() && find_program("apt-get").is_some()
}

fn install_packages(packages: &[&str]) -> Result<()> {
    step(&format!("installing {}", packages.join(" ")));
    apt_get(&["update"])?;
    let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
    arguments.extend(packages);
    apt_get(&arguments)
}

/// Runs apt-get without questions, and once more after a failure: mirrors have moments.
fn apt_get(arguments: &[&str]) -> Result<()> {
    let attempt = || {
        run(std::process::Command::new("apt-get")
            .args(["--quiet", "--option", "DPkg::Lock::Timeout=300"])
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .stdout(std::io::stderr()))
    };
    attempt().or_else(|first| {
        eprintln!("./x: {first:#}; trying once more");
        thread::sleep(Duration::from_secs(3));
        attempt().context("could not install packages; the lines above are apt-get's")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_missing_where_all_is_there() {
        assert_eq!(missing(Purpose::ALL, |_| true), []);
    }

    #[test]
    fn a_command_asks_only_for_its_own_programs() {
        let programs = |purpose| -> Vec<_> {
            missing(&[purpose], |_| false)
                .iter()
                .map(|need| need.program)
                .collect()
        };
        assert_eq!(programs(Purpose::Build), ["cc"]);
        assert_eq!(
            programs(Purpose::Bench),
            ["bpftrace", "wrk", "heaptrack", JEMALLOC]
        );
        assert_eq!(programs(Purpose::Lint), ["shellcheck"]);
        assert_eq!(programs(Purpose::Fuzz), ["g++"]);
        assert!(programs(Purpose::Kernels).contains(&"qemu-system-x86_64"));
    }

    #[test]
    fn only_what_is_missing_is_asked_for() {
        let missing = missing(&[Purpose::Test], |program| program != "dot");
        assert_eq!(missing.len(), 1);
        assert_eq!(missing[0].packages, ["graphviz"]);
        assert_eq!(
            missing[0].not_installed(),
            "not installed: dot, apt-get install graphviz"
        );
    }
}
