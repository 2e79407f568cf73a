//! The tracer in its target's control group, where its memory is the target's loss.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use libtest_mimic::Trial;
use tests::process;
use tests::tracing::tracer;
use tests::workload::Workload;
use tests::{binaries, profile, trial};

const MIB: u64 = 1 << 20;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial::heavy("unseen::group_without_room", group_without_room),
        trial::heavy("unseen::group_with_room", group_with_room),
    ]
}

/// A control group of the test's own with a limit, in the version that has the memory here.
struct Group {
    folder: PathBuf,
    most: PathBuf,
}

impl Group {
    fn new(name: &str, limit: u64) -> Result<Self> {
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let first = PathBuf::from("/sys/fs/cgroup/memory");
        let is_first = first.join("memory.limit_in_bytes").is_file();
        let (root, file, most) = if is_first {
            (first, "memory.limit_in_bytes", "memory.max_usage_in_bytes")
        } else {
            (PathBuf::from("/sys/fs/cgroup"), "memory.max", "memory.peak")
        };
        if !is_first {
            // The controller is passed down from the root; it is on already where systemd runs.
            drop(fs::write(root.join("cgroup.subtree_control"), "+memory"));
        }
        let folder = root.join(format!("tracer-test-{name}-{}", std::process::id()));
        fs::create_dir(&folder)
            .with_context(|| format!("no control group at {}; own: {own}", folder.display()))?;
        let group = Self {
            most: folder.join(most),
            folder,
        };
        if !group.folder.join(file).is_file() {
            bail!("no memory controller at {}", group.folder.display());
        }
        fs::write(group.folder.join(file), limit.to_string())?;
        Ok(group)
    }

    /// Lets a command run in it.
    fn enter(&self, command: &Command) -> Command {
        let mut shell = Command::new("sh");
        let script = "echo $$ > \"$0\" && exec \"$@\"";
        shell
            .args(["-c", script])
            .arg(self.folder.join("cgroup.procs"));
        shell.arg(command.get_program()).args(command.get_args());
        shell
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A process that has just ended may still be in it.
        for _ in 0..50 {
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

/// A service that has all but `room` of its group; attached to from inside it.
fn attach(group: &Group, held: u64) -> Result<(process::Ended, tempfile::TempDir, process::Ended)> {
    let mut service = Command::new(binaries::workload("blocks")?);
    service.args(["0", "0", "200", &(held / MIB).to_string()]);
    let mut workload = Workload::start_command(&mut group.enter(&service))?;
    let folder = tempfile::tempdir()?;
    let mut command = tracer(["attach", "--duration=1s", "--format=json", "--pid"])?;
    command.arg(workload.pid().to_string());
    command.arg("-o").arg(folder.path().join("profile.json"));
    workload.open_gate()?;
    let ended = process::run(&mut group.enter(&command), b"")?;
    // Alive, and content.
    let service = workload.finish()?;
    Ok((ended, folder, service))
}

/// The target is left alone, and the message says why.
fn group_without_room() -> Result<()> {
    let group = Group::new("full", 300 * MIB)?;
    let (ended, ..) = attach(&group, 220 * MIB)?;
    ended.expect_code(2)?;
    for words in [
        "control group",
        "limited to 300 MB",
        "outside the container",
    ] {
        ensure!(
            ended.stderr.contains(words),
            "no {words:?}\n{}",
            ended.printed()
        );
    }
    Ok(())
}

/// There is room for smaller tables: it is said, and the target has what it needs.
fn group_with_room() -> Result<()> {
    let group = Group::new("some", 600 * MIB)?;
    let (ended, folder, _) = attach(&group, 100 * MIB)?;
    ended.expect_code(0)?;
    let profile = profile::read_json(&fs::read(folder.path().join("profile.json"))?)?;
    profile::check_sane(&profile)?;
    let notes = profile.metadata.notes.join("\n");
    ensure!(notes.contains("control group"), "{notes}");
    let most: u64 = fs::read_to_string(&group.most)?.trim().parse()?;
    ensure!(most < 260 * MIB, "{} MB were used at most", most / MIB);
    Ok(())
}
