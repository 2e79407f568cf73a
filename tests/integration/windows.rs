//! A target that is seen in windows only, `--max-overhead`: what is seen is right, what is made of it is
//! within its errors, and between two windows and after the last nothing is in the target.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use rustix::process::Signal;
use tempfile::TempDir;
use tests::process::{self, Ended};
use tests::series::SeriesTracing;
use tests::tracing::{Tracing, tracer};
use tests::workload::Workload;
use tests::{memory, profile, trial};
use tracer::profile::{CounterClass, Profile, SampledBy, ValueKind, Verdict};

/// Enough for several windows a second.
const SHARE: [&str; 3] = ["--max-overhead", "50%", "--never-exact"];

/// Allocator calls of a workload: seconds of them, as fast as they are between windows.
const CALLS: &str = "100000000";

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial::root("windows::come_and_go", come_and_go),
        trial::heavy("windows::estimates", estimates),
        trial::root("windows::calls_under_way", calls_under_way),
        trial::root("windows::first_thread_ends", first_thread_ends),
        trial::root("windows::first_thread_is_gone", first_thread_is_gone),
        trial::root("windows::need_sessions", need_sessions),
        trial::root("windows::kills", kills),
        trial::root("windows::exact_where_that_fits", exact_where_that_fits),
        trial::heavy("windows::by_default", by_default),
        trial::heavy("windows::exact_again", exact_again),
        trial::heavy("windows::marks", marks),
        trial::heavy("windows::kernel_marks", kernel_marks),
        trial::heavy("windows::no_marks", no_marks),
        trial::root("windows::series", series),
        trial::root("windows::checked", checked),
        trial::plain("windows::refusals", refusals),
        trial::plain("windows::not_judged", not_judged),
    ];
    for language in ["c", "cpp", "rust"] {
        trials.push(trial::heavy(
            &format!("windows::ledger_{language}"),
            move || ledger(&format!("ledger_{language}")),
        ));
    }
    trials
}

/// A target that has nothing to spare, and is four and more times slower in a window: what it allocated is known
/// nevertheless, within the errors that are stated.
fn estimates() -> Result<()> {
    // A mark that is rare enough for the probe on it to cost next to nothing.
    // So long that there are enough windows where other tests keep the machine busy.
    const SECONDS: u32 = 20;
    let workload = Workload::start("windowed", &[&SECONDS.to_string(), "2", "400"])?;
    let tracing = Tracing::attach_with(workload.pid(), &["--max-overhead", "20%"])?;
    let (ledger, profile) = tracing.record(workload)?;
    check_sampled(&profile)?;
    let summary = || profile::summary(&profile);
    let sampled = profile.sampled.with_context(summary)?;
    ensure!(sampled.by == SampledBy::Marks, "{sampled:?}\n{}", summary());
    for (function, amount) in &ledger.parts {
        let truth = amount.values()?;
        let (sum, own) = profile::estimated_through(&profile, function);
        for (kind, own) in [
            (ValueKind::AllocObjects, own.objects),
            (ValueKind::AllocSpace, own.space),
        ] {
            let (estimate, truth) = (sum.get(kind), truth.get(kind));
            let error = sampled.error(kind, estimate, own * own).unwrap_or(0.0);
            let off = estimate.abs_diff(truth) as f64;
            ensure!(
                error > 0.0 && off <= 5.0 * error + 0.02 * truth as f64,
                "{function}: {estimate} for {truth} {kind:?}, of which {error:.0} may be error\n{sampled:?}\n{}",
                summary()
            );
        }
    }
    // Neither what was seen nor that by the length of windows would be near.
    let truth = ledger.total.values()?.alloc_objects as f64;
    let seen = profile::counter(&profile, "alloc_objects")? as f64;
    let length =
        profile::counter(&profile, "windows_microseconds")? as f64 / 1e6 / f64::from(SECONDS);
    ensure!(
        seen < truth / 10.0 && seen / length < truth / 2.0,
        "{seen} of {truth} were seen in {length} of the time"
    );
    Ok(())
}

/// A series holds, at the end of each of its windows, what was seen until then and what is made of it.
fn series() -> Result<()> {
    let workload = Workload::start("requests", &["write"])?;
    let mut tracing = SeriesTracing::attach(workload.pid(), "1s", &SHARE)?;
    tracing.wait_windows(6)?;
    let recorded = tracing.stop()?;
    workload.finish()?;
    check_sampled(&recorded.profile)?;
    let whole = profile::total(&recorded.profile).alloc_objects;
    let stacks = recorded.series.stacks();
    let seen: u64 = stacks
        .map(|(_, stack)| stack.counters().alloc_objects)
        .sum();
    ensure!(
        seen > 0 && (seen as i64) < whole,
        "{seen} were seen of {whole}"
    );
    let mut estimated = 0;
    for file in &recorded.files {
        let profile = tracer::export::read(&fs::read(file)?)?;
        estimated += u32::from(profile.sampled.is_some());
    }
    ensure!(estimated > 1, "{estimated} windows have estimates");
    // Estimates may fall from one to the next: it is one recording nevertheless.
    let folder = recorded.files[0].parent().context("no folder")?;
    let mut command = tracer(["check"])?;
    process::run(command.arg(folder), b"")?.expect_code(3)
}

/// `check` records in windows, and says nothing of what they don't tell.
fn checked() -> Result<()> {
    let workload = Workload::start("requests", &["write"])?;
    let pid = workload.pid().to_string();
    let mut command = tracer(["check", "--pid", &pid, "--duration=3s"])?;
    let ended = process::run(command.args(SHARE), b"")?;
    workload.finish()?;
    ended.expect_code(3)?;
    ensure!(
        ended.printed().contains("profile sampled"),
        "{}",
        ended.printed()
    );
    let refused_with = |arguments: &[&str], words: &str| {
        let mut command = tracer(["check", "--max-overhead", "2%"])?;
        refused(&process::run(command.args(arguments), b"")?, words)
    };
    refused_with(&["--pid", "1", "--follow-forks"], "cannot be used with")?;
    refused_with(&["saved.pb.gz"], "cannot be used with")?;
    refused_with(
        &[
            "--pid",
            &std::process::id().to_string(),
            "--source",
            "growth",
        ],
        "--max-overhead",
    )
}

/// What was seen happened, and nothing got lost in a window.
fn ledger(workload: &str) -> Result<()> {
    let workload = Workload::start(workload, &[CALLS])?;
    let tracing = Tracing::attach_with(workload.pid(), &SHARE)?;
    let (ledger, profile) = tracing.record(workload)?;
    check_sampled(&profile)?;
    // Before its gate and after its ledger it calls next to nothing.
    let all = ledger.total;
    for (name, all) in [
        ("alloc_objects", all.alloc_objects),
        ("alloc_bytes", all.alloc_bytes),
    ] {
        let seen = profile::counter(&profile, name)?;
        ensure!(seen < all, "{seen} {name} were seen of {all}");
    }
    for (function, amount) in &ledger.parts {
        let (told, all) = (profile::through(&profile, function), amount.values()?);
        // What is live was seen.
        ensure!(
            told.inuse_objects <= all.alloc_objects && told.inuse_space <= all.alloc_space,
            "{function}: {told:?} of {all:?}"
        );
    }
    Ok(())
}

/// Sampled, with something seen, and nothing of that lost.
fn check_sampled(profile: &Profile) -> Result<()> {
    check_seen(profile)?;
    let notes = &profile.metadata.notes;
    ensure!(
        profile.verdict.reasons().len() == 1
            && !notes.iter().any(|note| note.contains("first thread")),
        "{}",
        profile::summary(profile)
    );
    Ok(())
}

/// The same, but stacks may be cut.
fn check_seen(profile: &Profile) -> Result<()> {
    ensure!(
        profile.verdict.name() == "sampled" && profile.peak.is_none(),
        "{}",
        profile::summary(profile)
    );
    let lost = profile
        .counters
        .iter()
        .find(|counter| counter.class == CounterClass::AmountLoss && counter.value > 0);
    ensure!(lost.is_none(), "{lost:?} was lost");
    let seen = profile::counter(profile, "windows")?;
    ensure!(
        seen > 0 && profile::total(profile).alloc_objects > 0,
        "nothing was seen in {seen} windows"
    );
    Ok(())
}

/// The probes are there, are gone, and are there again; at the end they are gone, and the target is content.
fn come_and_go() -> Result<()> {
    let mut workload = Workload::start("steady", &[])?;
    workload.open_gate()?;
    let pid = workload.pid();
    let tracing = Tracing::attach_with(pid, &SHARE)?;
    wait_for(12, pid)?;
    let profile = tracing.stop()?;
    let left = memory::changed_code_bytes(pid)?;
    ensure!(left == 0, "{left} bytes of code are changed after the end");
    check_sampled(&profile)?;
    workload.finish()?;
    Ok(())
}

/// Until so many windows were seen from outside.
fn wait_for(windows: u32, pid: u32) -> Result<()> {
    let (mut came, mut were_there) = (0, false);
    let begun = Instant::now();
    while came < windows {
        ensure!(
            begun.elapsed() < Duration::from_secs(60),
            "{came} windows were seen from outside"
        );
        let are_there = memory::changed_code_bytes(pid)? > 0;
        came += u32::from(are_there && !were_there);
        were_there = are_there;
    }
    Ok(())
}

/// What is recorded of a program that allocates and, or not, writes in proportion, in enough windows to choose a mark
/// and to use it; nothing is left in the program.
fn requests(mode: &str) -> Result<Profile> {
    let workload = Workload::start("requests", &[mode])?;
    let pid = workload.pid();
    let tracing = Tracing::attach_with(pid, &SHARE)?;
    wait_for(30, pid)?;
    let profile = tracing.stop()?;
    let left = memory::changed_code_bytes(pid)?;
    ensure!(left == 0, "{left} bytes of code are changed after the end");
    check_sampled(&profile)?;
    workload.finish()?;
    Ok(profile)
}

/// A program that calls `malloc` and `free`, and is measured by how often it writes, which the kernel counts.
fn kernel_marks() -> Result<()> {
    let profile = requests("write")?;
    check_marks(&profile, "by system calls that write")?;
    ensure!(
        profile::counter(&profile, "progress_windows")? == 0,
        "{}",
        profile::summary(&profile)
    );
    Ok(())
}

/// One that is measured by how often it looks at a socket, which takes a probe.
fn marks() -> Result<()> {
    let profile = requests("recv")?;
    check_marks(&profile, "by calls of recv")?;
    let of = |name| profile::counter(&profile, name);
    ensure!(
        of("progress_windows")? > 0 && of("progress_marks")? > 0,
        "{}",
        profile::summary(&profile)
    );
    Ok(())
}

fn check_marks(profile: &Profile, by: &str) -> Result<()> {
    let notes = &profile.metadata.notes;
    ensure!(notes.iter().any(|note| note.contains(by)), "{notes:?}");
    let sampled = profile.sampled.as_ref().context("no estimate")?;
    let seen = profile::total(profile).alloc_objects as f64 * sampled.share_seen;
    // Each request has twenty; windows begin and end in mid-request.
    let each = seen / profile::counter(profile, "marks")? as f64;
    ensure!((18.0..22.0).contains(&each), "{each} allocations a request");
    Ok(())
}

/// One that does nothing else has no mark, and the profile says it.
fn no_marks() -> Result<()> {
    let profile = requests("none")?;
    let notes = &profile.metadata.notes;
    ensure!(
        notes
            .iter()
            .any(|note| note.contains("there is no measure")),
        "{notes:?}"
    );
    ensure!(
        profile::counter(&profile, "progress_windows")? == 0
            && profile::counter(&profile, "marks")? == 0,
        "{}",
        profile::summary(&profile)
    );
    Ok(())
}

/// What takes no more than it may is traced exactly from the beginning to the end.
fn exact_where_that_fits() -> Result<()> {
    let workload = Workload::start("peak", &[])?;
    let tracing = Tracing::attach_with(workload.pid(), &["--max-overhead", "100%"])?;
    let (ledger, profile) = tracing.record(workload)?;
    profile::check_complete(&profile)?;
    ledger.check_parts(&profile)
}

/// A target that is busy for a while is seen in windows until it is not, and then exactly again.
fn exact_again() -> Result<()> {
    let mut workload = Workload::start("ledger_c", &[CALLS])?;
    let pid = workload.pid();
    let tracing = Tracing::attach_with(pid, &["--max-overhead", "2%"])?;
    workload.open_gate()?;
    let all = workload.ledger()?.total.values()?;
    let mut there_since = None;
    // Windows are of 20 ms at most.
    tests::wait::until("exact tracing", || {
        if memory::changed_code_bytes(pid)? == 0 {
            there_since = None;
            return Ok(None);
        }
        let since: &mut Instant = there_since.get_or_insert_with(Instant::now);
        Ok((since.elapsed() > Duration::from_secs(1)).then_some(()))
    })?;
    let profile = tracing.stop()?;
    let left = memory::changed_code_bytes(pid)?;
    ensure!(left == 0, "{left} bytes of code are changed after the end");
    workload.finish()?;
    check_sampled(&profile)?;
    let seen = profile::total(&profile);
    // An estimate: exact tracing and windows must not count the same calls.
    ensure!(
        seen.alloc_objects < all.alloc_objects / 2 * 3,
        "{seen:?} were seen of {all:?}"
    );
    let notes = &profile.metadata.notes;
    ensure!(
        notes.iter().any(|note| note.contains("of exact tracing")),
        "{notes:?}"
    );
    Ok(())
}

/// Calls that are left, interrupted or in other calls when a window ends leave nothing behind that later calls would
/// be taken for.
fn calls_under_way() -> Result<()> {
    let workload = Workload::start("interrupted", &["1", "20000"])?;
    let tracing = Tracing::attach_with(workload.pid(), &SHARE)?;
    let (ledger, profile) = tracing.record(workload)?;
    // Stacks of handlers may be cut, as where every call is seen; no amount is lost.
    check_seen(&profile)?;
    let (seen, all) = (profile::counter(&profile, "alloc_objects")?, ledger.total);
    ensure!(seen <= all.alloc_objects, "{seen} were seen of {all:?}");
    Ok(())
}

/// A link knows its process by the first thread: when that ends, so do the windows, and the profile says it.
fn first_thread_ends() -> Result<()> {
    let mut workload = Workload::start("family", &["first-ends"])?;
    let tracing = Tracing::attach_with(workload.pid(), &SHARE)?;
    crate::family::be_alone(&mut workload)?;
    workload.open_gate()?;
    workload.ledger()?;
    let profile = tracing.stop_with_any_verdict()?;
    workload.finish()?;
    let notes = &profile.metadata.notes;
    ensure!(
        notes
            .iter()
            .any(|note| note.contains("first thread has ended")),
        "{notes:?}"
    );
    Ok(())
}

/// `attach` sees every call of a process that does little, and goes easy on one that is busy.
fn by_default() -> Result<()> {
    let busy = Workload::start("steady", &[])?;
    let quiet = Workload::start("idle", &[])?;
    let folder = TempDir::new()?;
    let record = |pid: u32, arguments: &[&str]| -> Result<Profile> {
        let output = folder.path().join("profile.json");
        let mut command = tracer(["attach", "--format=json"])?;
        command.args(["--pid", &pid.to_string(), "-o"]).arg(&output);
        process::run(command.args(arguments), b"")?;
        profile::read_json(&fs::read(&output)?)
    };
    let windowed = record(busy.pid(), &["--duration=15s"])?;
    ensure!(
        windowed.verdict.name() == "sampled",
        "{}",
        profile::summary(&windowed)
    );
    let notes = &windowed.metadata.notes;
    ensure!(
        notes
            .iter()
            .any(|note| note.contains("--exact sees every call")),
        "{notes:?}"
    );
    for exact in [
        record(busy.pid(), &["--duration=2s", "--exact"])?,
        record(quiet.pid(), &["--duration=2s"])?,
    ] {
        ensure!(exact.sampled.is_none(), "{}", profile::summary(&exact));
    }
    Ok(())
}

/// Where it has ended before, there can be none.
fn first_thread_is_gone() -> Result<()> {
    let mut workload = Workload::start("family", &["first-gone"])?;
    crate::family::be_alone(&mut workload)?;
    let mut command = tracer(["attach", "--pid", &workload.pid().to_string()])?;
    let ended = process::run(command.args(SHARE), b"")?;
    refused(&ended, "first thread lives")
}

/// Where the kernel has no sessions, it is said what is missing; and page faults have no windows.
fn need_sessions() -> Result<()> {
    let workload = Workload::start("steady", &[])?;
    for (arguments, words) in [
        (["--probes", "multi"], "6.13"),
        (["--source", "growth"], "page faults"),
    ] {
        let mut command = tracer(["attach", "--pid", &workload.pid().to_string()])?;
        let ended = process::run(command.args(arguments).args(SHARE), b"")?;
        refused(&ended, words)?;
    }
    Ok(())
}

/// The tracer is killed while windows come and go.
fn kills() -> Result<()> {
    let mut workload = Workload::start("steady", &[])?;
    workload.open_gate()?;
    let pid = workload.pid();
    for round in 0..12 {
        let mut tracing = Tracing::attach_with(pid, &SHARE)?;
        // Anywhere in a cycle of some 70 to 150 ms.
        thread::sleep(Duration::from_millis(100 + 17 * round));
        tracing.child().signal(Signal::KILL)?;
        tracing.child().wait()?;
        tests::wait::until("the probes to go", || {
            Ok((memory::changed_code_bytes(pid)? == 0).then_some(()))
        })?;
    }
    workload.finish()?;
    Ok(())
}

fn refused(ended: &Ended, words: &str) -> Result<()> {
    ended.expect_code(2)?;
    let said = &ended.stderr;
    ensure!(said.contains(words), "no {words:?} in {said}");
    Ok(())
}

/// What can't go together, and what is no share.
fn refusals() -> Result<()> {
    let cases: [(&[&str], &str); 7] = [
        (&["--max-overhead", "0%"], "above 0% and at most 100%"),
        (&["--max-overhead", "101%"], "above 0% and at most 100%"),
        (&["--max-overhead", "2"], "there is no %"),
        (&["--max-overhead", "two%"], "not a number"),
        (&["--max-overhead=-1%"], "not a number"),
        (&["--max-overhead", "2%", "--exact"], "cannot be used with"),
        (
            &["--max-overhead", "2%", "--follow-forks"],
            "cannot be used with",
        ),
    ];
    for (arguments, words) in cases {
        let mut command = tracer(["attach", "--pid", "1"])?;
        let ended = process::run(command.args(arguments), b"")?;
        refused(&ended, words)?;
    }
    Ok(())
}

/// A leak can't be told from what was freed between two windows.
fn not_judged() -> Result<()> {
    let folder = TempDir::new()?;
    let profile = Profile {
        verdict: Verdict::Sampled {
            reasons: vec!["only 3 windows were seen".to_owned()],
        },
        ..Profile::default()
    };
    let file = folder.path().join("sampled.json");
    let text = serde_json::json!({
        "format": "tracer-profile", "version": 1, "profile": profile,
    });
    fs::write(&file, text.to_string())?;
    for rules in [&[][..], &["--no-leaks"], &["--max-peak", "1GB"]] {
        let mut command = tracer(["check"])?;
        let ended = process::run(command.arg(&file).args(rules), b"")?;
        ended.expect_code(3)?;
        let said = ended.printed();
        ensure!(
            said.contains("only windows of the target were seen"),
            "{said}"
        );
    }
    Ok(())
}
