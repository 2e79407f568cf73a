//! Bad input, line by line: a clear message and exit code 2, nothing written, the target unharmed.

mod surroundings;

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tempfile::TempDir;
use tests::process::{self, Child};
use tests::tracing::tracer;
use tests::workload::Workload;
use tests::{binaries, trial};

use surroundings::{elf32, no_privilege, no_privilege_over_own_process, without_bpf};

/// Longest message, in lines: one screen.
const SCREEN: usize = 24;

/// One line of the table.
struct Line {
    name: &'static str,
    /// Makes the command that has to fail.
    arrange: fn(&mut Place) -> Result<Command>,
}

/// Where a line is played.
struct Place {
    folder: TempDir,
    /// A target that would notice harm.
    target: Workload,
    /// Further processes, alive until the end.
    others: Vec<Child>,
    /// What the message must contain, in any case of letters.
    expected: Vec<String>,
}

const TABLE: &[Line] = &[
    Line {
        name: "no_such_pid",
        arrange: no_such_pid,
    },
    Line {
        name: "no_such_name",
        arrange: no_such_name,
    },
    Line {
        name: "name_of_several",
        arrange: name_of_several,
    },
    Line {
        name: "report_of_a_folder",
        arrange: report_of_a_folder,
    },
    Line {
        name: "pid_zero",
        arrange: |place| attach_to(place, 0, &["pid", "0"]),
    },
    Line {
        name: "kernel_thread",
        arrange: kernel_thread,
    },
    Line {
        name: "the_tracer_itself",
        arrange: the_tracer_itself,
    },
    Line {
        name: "process_of_32_bits",
        arrange: process_of_32_bits,
    },
    Line {
        name: "no_privilege",
        arrange: no_privilege,
    },
    Line {
        name: "no_privilege_over_own_process",
        arrange: no_privilege_over_own_process,
    },
    Line {
        name: "bpf_forbidden",
        arrange: |place| without_bpf(place, libc_errno::EPERM),
    },
    Line {
        name: "bpf_not_built_in",
        arrange: |place| without_bpf(place, libc_errno::ENOSYS),
    },
    Line {
        name: "output_folder_missing",
        arrange: output_folder_missing,
    },
    Line {
        name: "output_folder_read_only",
        arrange: output_folder_read_only,
    },
    Line {
        name: "output_is_a_folder",
        arrange: output_is_a_folder,
    },
    Line {
        name: "duration_in_words",
        arrange: |place| duration(place, "soon"),
    },
    Line {
        name: "duration_negative",
        arrange: |place| duration(place, "-3s"),
    },
    Line {
        name: "duration_unknown_unit",
        arrange: |place| duration(place, "5 parsecs"),
    },
    Line {
        name: "duration_endless",
        arrange: |place| duration(place, "99999999999999999999h"),
    },
    Line {
        name: "duration_empty",
        arrange: |place| duration(place, ""),
    },
    Line {
        name: "format_unknown",
        arrange: format_unknown,
    },
    Line {
        name: "run_not_executable",
        arrange: run_not_executable,
    },
    Line {
        name: "run_not_a_program",
        arrange: run_not_a_program,
    },
    Line {
        name: "run_missing",
        arrange: run_missing,
    },
    Line {
        name: "run_folder",
        arrange: run_folder,
    },
    Line {
        name: "run_nothing",
        arrange: run_nothing,
    },
];

mod libc_errno {
    //! Numbers of Linux on every architecture the tracer knows.
    pub(super) const EPERM: u32 = 1;
    pub(super) const ENOSYS: u32 = 38;
}

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials: Vec<_> = TABLE
        .iter()
        .map(|line| trial::root(&format!("bad_input::{}", line.name), || play(line)))
        .collect();
    trials.push(trial::root("bad_input::disk_full", disk_full));
    trials
}

fn play(line: &Line) -> Result<()> {
    let mut place = Place {
        folder: TempDir::new()?,
        target: Workload::start("steady", &[])?,
        others: Vec::new(),
        expected: Vec::new(),
    };
    let mut command = (line.arrange)(&mut place)?;
    let before = contents(place.folder.path())?;
    let ended = process::run(&mut command, b"")?;
    ended.expect_code(2)?;
    ensure!(
        ended.stdout.is_empty(),
        "written to standard output\n{}",
        ended.printed()
    );
    let message = ended.stderr.to_lowercase();
    for expected in &place.expected {
        ensure!(
            message.contains(&expected.to_lowercase()),
            "the message does not speak of `{expected}`\n{}",
            ended.stderr
        );
    }
    ensure!(!message.contains("panicked"), "{}", ended.stderr);
    ensure!(
        message.lines().count() <= SCREEN,
        "more than a screen\n{}",
        ended.stderr
    );
    let after = contents(place.folder.path())?;
    ensure!(
        before == after,
        "before {:?}, after {:?}",
        before.keys(),
        after.keys()
    );
    for other in &mut place.others {
        ensure!(other.is_running()?, "another process was harmed");
    }
    finish_unharmed(place.target)
}

/// The target went through its lists until now and found every byte in its place.
fn finish_unharmed(target: Workload) -> Result<()> {
    let ended = target.finish()?;
    let text = String::from_utf8(ended.stdout)?;
    let line = text.lines().last().context("the target said nothing")?;
    let report: HashMap<String, u64> = serde_json::from_str(line)?;
    ensure!(
        report.get("errors") == Some(&0),
        "the target was harmed: {line}"
    );
    ensure!(
        report.get("rounds").is_some_and(|&rounds| rounds > 0),
        "the target stood: {line}"
    );
    Ok(())
}

/// Every file below a folder, with its bytes.
fn contents(folder: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(contents(&path)?);
            found.insert(path, Vec::new());
        } else {
            found.insert(path.clone(), fs::read(&path)?);
        }
    }
    Ok(found)
}

impl Place {
    fn output(&self) -> PathBuf {
        self.folder.path().join("heap.pb.gz")
    }

    fn expect(&mut self, texts: &[&str]) {
        self.expected
            .extend(texts.iter().map(|&text| text.to_owned()));
    }

    /// `tracer attach` to the good target, into a good file: the line adds what is bad.
    fn attach(&self) -> Result<Command> {
        tracer([
            OsString::from("attach"),
            "--duration=1s".into(),
            "--pid".into(),
            self.target.pid().to_string().into(),
            "-o".into(),
            self.output().into(),
        ])
    }
}

fn attach_to(place: &mut Place, pid: u32, expected: &[&str]) -> Result<Command> {
    place.expect(expected);
    let mut command = tracer(["attach", "--duration=1s", "--pid", &pid.to_string()])?;
    command.arg("-o").arg(place.output());
    Ok(command)
}

fn no_such_pid(place: &mut Place) -> Result<Command> {
    // A process that has been reaped; the kernel gives its number away again only much later.
    let mut gone = Child::spawn(&mut Command::new("true"))?;
    gone.wait()?;
    attach_to(place, gone.pid(), &[&gone.pid().to_string()])
}

fn no_such_name(place: &mut Place) -> Result<Command> {
    place.expect(&["`nobody-is-called-so`", "ps -e"]);
    let mut command = tracer(["attach", "nobody-is-called-so"])?;
    command.arg("-o").arg(place.output());
    Ok(command)
}

fn name_of_several(place: &mut Place) -> Result<Command> {
    let program = place.folder.path().join("twice-there");
    let sleep = fs::read("/bin/sleep").context("there is no /bin/sleep")?;
    process::write_program(&program, &sleep)?;
    for seconds in ["1001", "1002"] {
        let child = Child::spawn(Command::new(&program).arg(seconds))?;
        // Until it runs that program, it has the test's name.
        let name = format!("/proc/{}/comm", child.pid());
        tests::wait::until("the program runs", || {
            Ok((fs::read_to_string(&name)? == "twice-there\n").then_some(()))
        })?;
        place.expect(&[&child.pid().to_string(), seconds]);
        place.others.push(child);
    }
    place.expect(&["more than one", "tracer attach"]);
    let mut command = tracer(["attach", "twice-there"])?;
    command.arg("-o").arg(place.output());
    Ok(command)
}

fn report_of_a_folder(place: &mut Place) -> Result<Command> {
    place.expect(&["is a folder", "tracer series"]);
    let mut command = tracer(["report"])?;
    command.arg(place.folder.path());
    Ok(command)
}

fn kernel_thread(place: &mut Place) -> Result<Command> {
    let parent = procfs::process::Process::new(2)
        .and_then(|process| process.stat())
        .context("needs to see the kernel's threads: not in a container of its own")?;
    ensure!(parent.comm == "kthreadd", "process 2 is {}", parent.comm);
    attach_to(place, 2, &["kernel thread", "2"])
}

fn the_tracer_itself(place: &mut Place) -> Result<Command> {
    place.expect(&["itself"]);
    let mut command = Command::new("sh");
    command
        .args(["-c", "exec \"$0\" attach --duration=1s -o \"$1\" --pid $$"])
        .arg(binaries::tracer()?)
        .arg(place.output());
    Ok(command)
}

fn process_of_32_bits(place: &mut Place) -> Result<Command> {
    let folder = TempDir::new()?;
    let program = folder.path().join("program32");
    process::write_program(&program, &elf32())?;
    let child = Child::spawn(&mut Command::new(&program))
        .context("the kernel does not run programs of 32 bits (CONFIG_IA32_EMULATION)")?;
    let pid = child.pid();
    place.others.push(child);
    attach_to(place, pid, &["32-bit", &pid.to_string()])
}

fn output_folder_missing(place: &mut Place) -> Result<Command> {
    let output = place.folder.path().join("missing");
    place.expect(&[&output.to_string_lossy()]);
    let mut command = tracer(["attach", "--duration=1s"])?;
    command
        .args(["--pid", &place.target.pid().to_string(), "-o"])
        .arg(output.join("heap.pb.gz"));
    Ok(command)
}

/// Root can write anywhere but here: a read-only file system, in a mount namespace of its own.
fn output_folder_read_only(place: &mut Place) -> Result<Command> {
    let folder = place.folder.path().join("read-only");
    fs::create_dir(&folder)?;
    place.expect(&[&folder.to_string_lossy()]);
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation=private", "sh", "-ec"])
        .arg("mount -t tmpfs -o ro none \"$1\"; exec \"$0\" attach --duration=1s -o \"$1/heap.pb.gz\" --pid \"$2\"")
        .arg(binaries::tracer()?)
        .arg(&folder)
        .arg(place.target.pid().to_string());
    Ok(command)
}

fn output_is_a_folder(place: &mut Place) -> Result<Command> {
    fs::create_dir(place.output())?;
    place.expect(&[&place.output().to_string_lossy(), "is a "]);
    place.attach()
}

fn duration(place: &mut Place, duration: &str) -> Result<Command> {
    place.expect(&["duration", duration]);
    let mut command = tracer(["attach", "--pid", &place.target.pid().to_string()])?;
    command
        .arg(format!("--duration={duration}"))
        .arg("-o")
        .arg(place.output());
    Ok(command)
}

fn format_unknown(place: &mut Place) -> Result<Command> {
    place.expect(&["format", "punchcards"]);
    let mut command = place.attach()?;
    command.arg("--format=punchcards");
    Ok(command)
}

fn run_on(place: &mut Place, program: &Path) -> Result<Command> {
    place.expect(&[&program.to_string_lossy()]);
    let mut command = tracer(["run", "-o"])?;
    command.arg(place.output()).arg("--").arg(program);
    Ok(command)
}

fn run_not_executable(place: &mut Place) -> Result<Command> {
    let program = place.folder.path().join("notes.txt");
    fs::write(&program, "#!/bin/sh\necho ran\n")?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o644))?;
    place.expect(&["executable"]);
    run_on(place, &program)
}

fn run_not_a_program(place: &mut Place) -> Result<Command> {
    let program = place.folder.path().join("garbage");
    process::write_program(&program, &[0, 1, 2, 3])?;
    run_on(place, &program)
}

fn run_missing(place: &mut Place) -> Result<Command> {
    let program = place.folder.path().join("missing");
    run_on(place, &program)
}

fn run_folder(place: &mut Place) -> Result<Command> {
    let program = place.folder.path().join("folder");
    fs::create_dir(&program)?;
    run_on(place, &program)
}

fn run_nothing(place: &mut Place) -> Result<Command> {
    let mut command = tracer(["run", "-o"])?;
    command.arg(place.output()).arg("--");
    Ok(command)
}

/// The disk fills while the profile is written: exit code 2, and the old file is still whole. On a
/// file system of its own, in a mount namespace of its own.
fn disk_full() -> Result<()> {
    const SCRIPT: &str = "
        mount -t tmpfs -o size=64k none \"$1\"
        cd \"$1\"
        printf 'the old profile' > heap.json
        cat /dev/zero > filler 2>/dev/null || true
        \"$0\" attach --duration=1s --format=json -o heap.json --pid \"$2\" >&2 || status=$?
        echo ${status:-0}
        cat heap.json; echo
        ls -A";
    let folder = TempDir::new()?;
    let target = Workload::start("steady", &[])?;
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation=private", "sh", "-ec", SCRIPT])
        .arg(binaries::tracer()?)
        .arg(folder.path())
        .arg(target.pid().to_string());
    let ended = process::run(&mut command, b"")?;
    ended.expect_code(0)?;
    let stdout = String::from_utf8_lossy(&ended.stdout);
    ensure!(
        stdout == "2\nthe old profile\nfiller\nheap.json\n",
        "{}",
        ended.printed()
    );
    ensure!(
        ended.stderr.contains("heap.json"),
        "the file is not named\n{}",
        ended.stderr
    );
    finish_unharmed(target)
}
