//! Saved profiles, and exit codes.

use std::fs;

use anyhow::{Result, ensure};
use tests::process;
use tests::tracing::tracer;

use super::series::{Course, Place, SNAPSHOTS, lossy, snapshot, without_peak, write};

fn contains(text: &str, expected: &[&str]) -> Result<()> {
    for expected in expected {
        ensure!(text.contains(expected), "no `{expected}` in\n{text}");
    }
    Ok(())
}

pub(super) fn a_leak_is_1() -> Result<()> {
    let place = Place::with(Course::Leak, SNAPSHOTS)?;
    let text = place.expect(1, &["profiles"])?;
    contains(
        &text,
        &[
            "1 leak found",
            "leak of 64 B/s, confidence medium",
            "at service::remember  /build/src/cache.rs:5",
            "64 B/s, 1 objects/s",
            "live 2.44 kB in 39 objects (1%)",
            "service::handle",
            "40 snapshots over 39 s, 2 stacks",
        ],
    )?;
    ensure!(
        !text.contains("alloc::alloc"),
        "the allocator's frame\n{text}"
    );
    // The same files by name, and a limit.
    let files = fs::read_dir(place.at("profiles"))?;
    let files: Vec<_> = files.map(|file| Ok(file?.path())).collect::<Result<_>>()?;
    let mut command = place.command(&["--memory-limit=1MB", "--operations-per-second=4"])?;
    let ended = process::run(command.args(files), b"")?;
    ended.expect_code(1)?;
    let text = String::from_utf8(ended.stdout)?;
    contains(
        &text,
        &["16 B per operation", "memory limit reached in 4 h 32 min"],
    )
}

pub(super) fn nothing_found_is_0() -> Result<()> {
    let place = Place::with(Course::Churn, SNAPSHOTS)?;
    contains(&place.expect(0, &["profiles"])?, &["nothing found"])?;
    let leaky = Place::with(Course::Leak, SNAPSHOTS)?;
    leaky.expect(0, &["profiles", "--allow-leaks", "--max-peak=1GB"])?;
    // One profile decides what is not about time.
    let one = "profiles/heap-00.pb.gz";
    contains(
        &leaky.expect(0, &[one, "--max-peak=1GB"])?,
        &["leaks were not judged"],
    )?;
    Ok(())
}

pub(super) fn too_little_is_3() -> Result<()> {
    let place = Place::with(Course::Churn, 5)?;
    contains(
        &place.expect(3, &["profiles"])?,
        &["inconclusive", "it takes 8 steps"],
    )?;
    let one = "profiles/heap-00.pb.gz";
    contains(&place.expect(3, &[one])?, &["one profile does not tell"])?;
    // Asked for, it is not left out.
    place.expect(3, &[one, "--no-leaks", "--max-peak=1GB"])?;
    place.expect(3, &[one, "--max-growth=1kB/s"])?;
    // Losses, also of a profile in the middle, and also where something is found.
    let leaky = Place::with(Course::Leak, SNAPSHOTS)?;
    let middle = leaky.at("profiles/lossy.pb.gz");
    write(&lossy(snapshot(Course::Leak, SNAPSHOTS)), &middle)?;
    contains(
        &leaky.expect(3, &["profiles"])?,
        &[
            "inconclusive (unproven: 1 leak)",
            "The live table was full.",
        ],
    )?;
    leaky.expect(3, &["profiles/lossy.pb.gz", "--max-peak=1B"])?;
    // Nothing was seen at all.
    let silent = Place::with(Course::Churn, 0)?;
    for second in 0..SNAPSHOTS {
        let mut profile = snapshot(Course::Churn, second);
        profile.samples.clear();
        write(&profile, &silent.at(&format!("profiles/{second}.pb.gz")))?;
    }
    contains(
        &silent.expect(3, &["profiles"])?,
        &["no allocation was seen"],
    )?;
    silent.expect(3, &["profiles/0.pb.gz", "--max-peak=1GB"])?;
    // Snapshots without the peak between them show that a limit was exceeded, not that it was kept.
    let other = leaky.at("other.pb.gz");
    write(&without_peak(snapshot(Course::Leak, SNAPSHOTS)), &other)?;
    contains(
        &leaky.expect(3, &["other.pb.gz", "--max-peak=1GB"])?,
        &["the peak could not be judged"],
    )?;
    contains(
        &leaky.expect(1, &["other.pb.gz", "--max-peak=1kB"])?,
        &["Only snapshots were seen"],
    )?;
    let mut report = tracer(["report", "--value", "peak_space"])?;
    let ended = process::run(report.arg(&other), b"")?;
    ended.expect_code(2)?;
    contains(&ended.stderr, &["has no peak_space"])?;
    // Growth that happened too few times to tell.
    let few = Place::with(Course::Churn, 0)?;
    for second in 0..SNAPSHOTS {
        let mut profile = snapshot(Course::Churn, second);
        profile.samples[0].values.inuse_objects = second / 7;
        profile.samples[0].values.inuse_space = second / 7 * 64;
        write(&profile, &few.at(&format!("profiles/{second}.pb.gz")))?;
    }
    contains(&few.expect(3, &["profiles"])?, &["too few times to tell"])?;
    few.expect(0, &["profiles", "--allow-undecided"])?;
    Ok(())
}

pub(super) fn could_not_is_2() -> Result<()> {
    let place = Place::with(Course::Leak, SNAPSHOTS)?;
    fs::write(place.at("text.pb.gz"), "not a profile")?;
    fs::create_dir(place.at("empty"))?;
    fs::write(place.at("bad.toml"), "[peak]\nmax-live = \"1 k B\"\n")?;
    fs::write(place.at("bad.supp"), "leek:x\n")?;
    let mut other = snapshot(Course::Leak, 99);
    other.metadata.pids = vec![1];
    write(&other, &place.at("other.pb.gz"))?;
    let mut same = snapshot(Course::Leak, 3);
    same.samples[0].values.alloc_objects += 1;
    write(&same, &place.at("same.pb.gz"))?;
    let mut restarted = snapshot(Course::Leak, 3);
    restarted.metadata.time_nanos += 1_000_000_000_000;
    write(&restarted, &place.at("restarted.pb.gz"))?;
    let mut sampled = snapshot(Course::Leak, 99);
    sampled.metadata.period = 4_096;
    write(&sampled, &place.at("sampled.pb.gz"))?;
    let ten = "profiles/heap-20.pb.gz";
    let table: &[(&[&str], &[&str])] = &[
        (&[], &["PROFILE", "--pid", "CMD"]),
        (&["missing.pb.gz"], &["missing.pb.gz", "No such file"]),
        (&["text.pb.gz"], &["text.pb.gz", "not a heap profile"]),
        (&["empty"], &["empty holds no profiles"]),
        (&["-", ten], &["standard input"]),
        (&[ten, "other.pb.gz"], &["other.pb.gz", "process 1", "4711"]),
        (&[ten, ten], &["same time"]),
        (
            &[ten, "restarted.pb.gz"],
            &["restarted.pb.gz", "less was allocated", "one recording"],
        ),
        (&[ten, "sampled.pb.gz"], &["sampled.pb.gz", "4096"]),
        (&["profiles", "--policy=none.toml"], &["none.toml"]),
        (
            &["profiles", "--policy=bad.toml"],
            &["bad.toml", "line 2", "is not an amount"],
        ),
        (
            &["profiles", "--suppressions=bad.supp"],
            &["bad.supp", "line 1", "leek"],
        ),
        (&["profiles", "--suppressions=none"], &["none", "No such"]),
        (
            &["profiles", "--baseline=none.pb.gz"],
            &["baseline", "none.pb.gz"],
        ),
        (
            &["profiles", "--baseline=sampled.pb.gz"],
            &["baseline", "cannot be compared", "4096"],
        ),
        (&["profiles", "--tolerance=10%"], &["--baseline"]),
        (&["profiles", "--max-growth=5kB"], &["1kB/s or 16B/op"]),
        (
            &["profiles", "--max-growth=5B/op"],
            &["--operations-per-second"],
        ),
        (&["profiles", "--max-peak=5XB"], &["is not an amount"]),
        (&["profiles", "--report=xml"], &["junit, sarif and github"]),
        (
            &["profiles", "--report=sarif", "--report=text"],
            &["--report junit=FILE"],
        ),
        (
            &["profiles", "--report=junit=no/such/folder.xml"],
            &["no/such", "does not exist"],
        ),
        (&["profiles", "--step-summary"], &["GITHUB_STEP_SUMMARY"]),
        (&["profiles", "--duration=3s"], &["--duration"]),
        (
            &["profiles", "--no-leaks", "--allow-leaks"],
            &["--allow-leaks"],
        ),
        (&["profiles", "--pid=1"], &["--pid"]),
    ];
    for (arguments, expected) in table {
        let ended = place.check(arguments)?;
        ended.expect_code(2)?;
        ensure!(ended.stdout.is_empty(), "{arguments:?} printed something");
        contains(&ended.stderr, expected)?;
        ensure!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    }
    Ok(())
}

/// The policy file beside the command counts, what it names is beside it, and flags win.
pub(super) fn policy_and_flags() -> Result<()> {
    let place = Place::with(Course::Churn, SNAPSHOTS)?;
    fs::write(place.at("tracer.toml"), "max-peak = \"100B\"\n")?;
    let text = place.expect(1, &["profiles"])?;
    contains(
        &text,
        &[
            "640 B live at once, more than 100 B",
            "rules of tracer.toml",
        ],
    )?;
    // As earlier versions had it.
    fs::write(place.at("tracer.toml"), "[peak]\nmax-live = \"100B\"\n")?;
    contains(
        &place.expect(1, &["profiles"])?,
        &[
            "more than 100 B",
            "tracer.toml: the table [peak]",
            "max-peak",
        ],
    )?;
    place.expect(0, &["profiles", "--max-peak=1kB"])?;
    place.expect(1, &["profiles", "--max-peak=1kB", "--max-peak-objects=9"])?;
    fs::create_dir(place.at("ci"))?;
    write(&snapshot(Course::Churn, 0), &place.at("ci/base.pb.gz"))?;
    fs::write(place.at("ci/known.supp"), "leak:service::remember\n")?;
    let policy = "allow-undecided = true\nwarm-up = \"2s\"\n[suppressions]\nfiles = [\"known.supp\"]\n\
                  [baseline]\nfile = \"base.pb.gz\"\n";
    fs::write(place.at("ci/tracer.toml"), policy)?;
    let text = place.expect(0, &["profiles", "--policy=ci/tracer.toml"])?;
    contains(
        &text,
        &["warm-up 2 s", "unused suppression: service::remember"],
    )?;
    let text = place.expect(0, &["profiles", "--policy=ci/tracer.toml", "--warm-up=4s"])?;
    contains(&text, &["warm-up 4 s"])?;
    // Budgets and growth.
    let budget = "no-leaks = false\n[[budget]]\nfunction = \"handle$\"\nmax-allocated = \"1kB\"\n";
    fs::write(place.at("tracer.toml"), budget)?;
    contains(
        &place.expect(1, &["profiles"])?,
        &["through functions matching handle$", "more than 1 kB"],
    )?;
    fs::remove_file(place.at("tracer.toml"))?;
    let leaky = Place::with(Course::Leak, SNAPSHOTS)?;
    let growth = |limit: &str, code| {
        leaky.expect(code, &["profiles", "--allow-leaks", "--max-growth", limit])
    };
    growth("65B/s", 0)?;
    contains(
        &growth("63B/s", 1)?,
        &[
            "what is live grows by 64 B/s, more than 63 B/s",
            "cache.rs:5",
        ],
    )?;
    Ok(())
}

/// A baseline that is written is one that is kept to, also by a rebuild.
pub(super) fn baseline() -> Result<()> {
    let place = Place::with(Course::Churn, SNAPSHOTS)?;
    place.expect(0, &["profiles", "--write-baseline=base.pb.gz"])?;
    let mut rebuilt = snapshot(Course::Leak, SNAPSHOTS);
    rebuilt.mappings[0].build_id = "cd".repeat(20);
    for location in &mut rebuilt.locations {
        location.address += 0x100;
        location.lines[0].line += 4;
    }
    write(&rebuilt, &place.at("now.pb.gz"))?;
    let baseline = ["now.pb.gz", "--baseline=base.pb.gz"];
    let text = place.expect(1, &baseline)?;
    contains(
        &text,
        &[
            "2 limits exceeded",
            "2.5 kB live from one stack, more than 0 B (baseline 0 B)",
            "src/cache.rs:9",
        ],
    )?;
    place.expect(0, &[&baseline[..], &["--min-growth=3kB"]].concat())?;
    place.expect(1, &[&baseline[..], &["--tolerance=1000%"]].concat())?;
    // The service that does not leak is as it was.
    let mut same = snapshot(Course::Churn, SNAPSHOTS);
    same.mappings[0].build_id = "cd".repeat(20);
    write(&same, &place.at("same.pb.gz"))?;
    place.expect(0, &["same.pb.gz", "--baseline=base.pb.gz"])?;
    // A policy that names a baseline serves from the first time on.
    let first = Place::with(Course::Churn, SNAPSHOTS)?;
    let policy = "baseline = \"ci.pb.gz\"\ntolerance = \"10%\"\n";
    fs::write(first.at("tracer.toml"), policy)?;
    let missing = first.check(&["profiles"])?;
    missing.expect_code(2)?;
    contains(&missing.stderr, &["--write-baseline ci.pb.gz"])?;
    let write_first = ["profiles", "--write-baseline=ci.pb.gz"];
    contains(
        &first.expect(0, &write_first)?,
        &["this check writes the first one"],
    )?;
    first.expect(0, &["profiles"])?;
    // Another file does not make up for it.
    fs::remove_file(first.at("ci.pb.gz"))?;
    let elsewhere = first.check(&["profiles", "--write-baseline=other.pb.gz"])?;
    elsewhere.expect_code(2)?;
    // What is inconclusive is no baseline, neither a new one nor an old one.
    write(&lossy(same), &place.at("lossy.pb.gz"))?;
    let text = place.expect(3, &["lossy.pb.gz", "--write-baseline=lossy-base.pb.gz"])?;
    contains(&text, &["no baseline was written"])?;
    ensure!(!place.at("lossy-base.pb.gz").exists(), "it was written");
    let text = place.expect(3, &["same.pb.gz", "--baseline=lossy.pb.gz"])?;
    contains(&text, &["the baseline missed too much"])
}

pub(super) fn suppressions() -> Result<()> {
    let place = Place::with(Course::Leak, SNAPSHOTS)?;
    place.expect(1, &["profiles", "--write-suppressions=known.supp"])?;
    let written = place.read("known.supp")?;
    ensure!(
        written.contains("\nleak:^service::remember$\n"),
        "{written}"
    );
    let text = place.expect(0, &["profiles", "--suppressions=known.supp"])?;
    contains(
        &text,
        &[
            "nothing found",
            "suppressed: 1 finding",
            "1 by ^service::remember$",
        ],
    )?;
    // One that another one hides is in use, too.
    fs::write(
        place.at("both.supp"),
        "leak:service::handle\nleak:^service::remember$\n",
    )?;
    let text = place.expect(0, &["profiles", "--suppressions=both.supp"])?;
    contains(&text, &["suppressed: 1 finding"])?;
    ensure!(!text.contains("unused"), "{text}");
    let valgrind = "{\n  the_cache\n  Memcheck:Leak\n  ...\n  fun:service::remember\n}\n";
    fs::write(place.at("valgrind.supp"), valgrind)?;
    fs::write(place.at("more.supp"), "leak:nobody\n")?;
    let text = place.expect(
        0,
        &[
            "profiles",
            "--suppressions=more.supp",
            "--suppressions=valgrind.supp",
        ],
    )?;
    contains(&text, &["1 by the_cache", "unused suppression: nobody"])?;
    // Nothing to suppress: no pattern.
    let healthy = Place::with(Course::Churn, SNAPSHOTS)?;
    healthy.expect(0, &["profiles", "--write-suppressions=none.supp"])?;
    ensure!(!healthy.read("none.supp")?.contains("leak:"), "a pattern");
    Ok(())
}
