//! A baseline and a rebuild: code that moved is no news, memory that is kept is.
//!
//! Nothing here is judged over time: each build does the same work from its start to its end.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use tests::process::{self, Child, Ended};
use tests::tracing::tracer;
use tests::workload::Workload;
use tests::{binaries, profile};
use tracer::profile::Profile;

/// A source below `tests/workloads/rebuild`, and what a second build of it has that the first has not.
pub(super) struct Service {
    source: &'static str,
    /// Opens each of its parts, which can stand in any order.
    part: &'static str,
    /// Functions, and comments above them.
    functions: &'static str,
    /// What takes the place of which line.
    calls: &'static [(&'static str, &'static str)],
    /// A line that frees, and one in its place that does not.
    leak: (&'static str, &'static str),
    /// Allocates what is lost then.
    leaks: &'static str,
}

pub(super) const C: Service = Service {
    source: "service.c",
    part: "/* PART */\n",
    functions: r#"
#include <stdio.h>

static char digits[100];

/* What this is for takes
 * some lines to say. */
void service_more(int rounds) {
	snprintf(digits, sizeof digits, "%d", rounds);
	free(service_copy(digits));
}
"#,
    calls: &[(
        "/* ADDED TO main */",
        "for (int i = 0; i < 3; i++)\n\t\tservice_more(i);",
    )],
    leak: ("free(answer); /* FREED */", ""),
    leaks: "service_answer",
};

pub(super) const RUST: Service = Service {
    source: "service.rs",
    part: "// PART\n",
    functions: "
/// What this is for takes
/// some lines to say.
#[inline(never)]
fn more(round: u32) -> usize {
    let numbers = black_box(vec![round; 10]);
    numbers.iter().filter(|&&number| number > 1).count()
}
",
    calls: &[
        (
            "// ADDED TO main",
            "for round in 0..3 {\n        black_box(more(round));\n    }",
        ),
        // A closure in front of the others of the function, which are numbered.
        (
            "// ADDED TO measure",
            "let boxed = numbers.iter().map(|&number| black_box(Box::new(number)));\n        \
             black_box(boxed.map(|number| *number).sum::<u32>());",
        ),
    ],
    leak: ("drop(text); // FREED", "std::mem::forget(text);"),
    leaks: "service::Echo::handle",
};

impl Service {
    fn original(&self) -> Result<String> {
        let path = binaries::rebuild_sources().join(self.source);
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    }

    /// The source with its parts in the opposite order, and with more in it.
    fn moved(&self) -> Result<String> {
        let mut source = self.original()?;
        for (place, call) in self.calls {
            ensure!(source.contains(place), "{place} is not there");
            source = source.replacen(place, call, 1);
        }
        let mut parts: Vec<&str> = source.split(self.part).collect();
        ensure!(parts.len() > 5, "{} parts", parts.len());
        parts[1..].reverse();
        parts.insert(1, self.functions);
        Ok(parts.concat())
    }

    fn leaking(&self, source: &str) -> Result<String> {
        let (freed, kept) = self.leak;
        ensure!(source.contains(freed), "{freed} is not there");
        Ok(source.replacen(freed, kept, 1))
    }
}

/// A folder with builds of a service, each in a folder of its own, and what was recorded of them.
struct Builds {
    folder: TempDir,
    service: &'static Service,
}

impl Builds {
    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn build(&self, name: &str, source: &str) -> Result<()> {
        fs::create_dir(self.at(name))?;
        let path = self.at(name).join(self.service.source);
        fs::write(&path, source)?;
        binaries::build(&path, &self.at(name).join("service"))
    }

    fn check(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = tracer(["check", "--allow-leaks"])?;
        command.args(arguments).current_dir(self.folder.path());
        Ok(command)
    }

    /// Checks a build from the beginning of its work to its end, and writes a baseline.
    fn record(&self, build: &str, rule: &str) -> Result<Ended> {
        let program = self.at(build).join("service");
        let mut service = Workload::start_command(&mut Command::new(program))?;
        let (write, pid) = (
            format!("--write-baseline={build}.pb.gz"),
            service.pid().to_string(),
        );
        // It ends when the service does.
        let arguments = [rule, &write, "--duration=10min", "--pid", &pid];
        let mut check = Child::spawn(&mut self.check(&arguments)?)?;
        let attached = |line: &str| line.starts_with("attached to");
        check.wait_line(|child| &child.stderr, "`attached to`", attached)?;
        service.open_gate()?;
        service.finish()?;
        check.wait()
    }

    /// Checks what was written before, against a baseline.
    fn expect(&self, code: i32, profile: &str, baseline: &str) -> Result<String> {
        let ended = process::run(&mut self.check(&[profile, "--baseline", baseline])?, b"")?;
        ended.expect_code(code)?;
        Ok(String::from_utf8(ended.stdout)?)
    }

    fn profile(&self, name: &str) -> Result<Profile> {
        let profile = tracer::export::read(&fs::read(self.at(name))?)?;
        profile::check_complete(&profile)?;
        Ok(profile)
    }
}

/// What makes a build another one.
struct Identity<'a> {
    build_id: &'a str,
    /// Where the service's own functions call others.
    addresses: HashSet<(&'a str, u64)>,
    lines: HashSet<(&'a str, u32)>,
}

fn identity(profile: &Profile) -> Identity<'_> {
    let (mut addresses, mut lines) = (HashSet::new(), HashSet::new());
    for location in &profile.locations {
        if location.mapping != Some(0) {
            continue;
        }
        for line in &location.lines {
            let function = &profile.functions[line.function];
            // The libraries linked into it stay as they are.
            if function.file.ends_with("/service.c") || function.file.ends_with("/service.rs") {
                let offset = location.address - profile.mappings[0].start;
                addresses.insert((function.name.as_str(), offset));
                lines.insert((function.name.as_str(), line.line));
            }
        }
    }
    Identity {
        build_id: &profile.mappings[0].build_id,
        addresses,
        lines,
    }
}

/// A baseline of one build holds for the next in which code has moved, and finds what that one leaks.
pub(super) fn baseline(service: &'static Service) -> Result<()> {
    let builds = Builds {
        folder: TempDir::new()?,
        service,
    };
    let moved = service.moved()?;
    builds.build("before", &service.original()?)?;
    builds.build("after", &moved)?;
    builds.build("leaky", &service.leaking(&moved)?)?;

    builds.record("before", "--max-peak=1MB")?.expect_code(0)?;
    builds
        .record("after", "--baseline=before.pb.gz")?
        .expect_code(0)?;
    let (before, after) = (
        builds.profile("before.pb.gz")?,
        builds.profile("after.pb.gz")?,
    );

    // It is another build indeed.
    let (was, is) = (identity(&before), identity(&after));
    ensure!(
        !was.build_id.is_empty() && was.build_id != is.build_id,
        "one build: {}",
        was.build_id
    );
    ensure!(
        was.addresses.len() > 5,
        "too few functions: {:?}",
        was.addresses
    );
    ensure!(
        was.addresses.is_disjoint(&is.addresses),
        "not moved: {:?}, {:?}",
        was.addresses,
        is.addresses
    );
    // Here and there a line may have come back to its number.
    ensure!(
        was.lines.intersection(&is.lines).count() * 4 < was.lines.len(),
        "not moved: {:?}, {:?}",
        was.lines,
        is.lines
    );
    // And the same in it is live: neither has more than the other.
    ensure!(profile::total(&before).inuse_objects > 20, "nothing lives");
    builds.expect(0, "before.pb.gz", "after.pb.gz")?;

    let ended = builds.record("leaky", "--baseline=before.pb.gz")?;
    ended.expect_code(1)?;
    let text = String::from_utf8(ended.stdout)?;
    ensure!(text.contains(service.leaks), "{text}");
    let same = builds.expect(1, "leaky.pb.gz", "after.pb.gz")?;
    ensure!(same.contains(service.leaks), "{same}");
    Ok(())
}
