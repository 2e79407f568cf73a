//! The harness itself: a comparison that cannot fail would prove nothing.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::ledger::{Amount, Ledger};
use tests::process::{self, Child};
use tests::{profile, trial};
use tracer::profile::{
    CounterClass, CounterValue, Function, Line, Location, LocationIndex, Profile, Sample, Values,
    Verdict,
};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial::plain(
            "harness::ledger_finds_every_difference",
            ledger_finds_every_difference,
        ),
        trial::plain("harness::losses_are_not_complete", losses_are_not_complete),
        trial::plain("harness::children_are_reaped", children_are_reaped),
        trial::root("harness::like_nohup_and_cron", like_nohup_and_cron),
        trial::root("harness::in_a_terminal", in_a_terminal),
    ]
}

fn counter(name: &str, value: u64, class: CounterClass) -> CounterValue {
    CounterValue {
        name: name.to_owned(),
        value,
        class,
        help: String::new(),
    }
}

/// A profile of one stack, and the ledger that agrees with it.
fn agreeing() -> (Ledger, Profile) {
    let total = Amount {
        alloc_objects: 5,
        alloc_bytes: 500,
        free_objects: 2,
        free_bytes: 150,
    };
    let ledger = Ledger {
        calls: 8,
        failed: 1,
        null_frees: 0,
        total,
        parts: [("work".to_owned(), total)].into(),
        cases: [("happened".to_owned(), 1)].into(),
    };
    let values = Values {
        alloc_objects: 5,
        alloc_space: 500,
        inuse_objects: 3,
        inuse_space: 350,
        ..Values::default()
    };
    let profile = Profile {
        functions: vec![Function {
            name: "work(Worker&)".to_owned(),
            ..Default::default()
        }],
        locations: vec![Location {
            lines: vec![Line::default()],
            ..Default::default()
        }],
        samples: vec![Sample {
            locations: vec![LocationIndex::new(0)],
            values,
            ..Sample::default()
        }],
        counters: vec![
            counter("alloc_objects", 5, CounterClass::Traffic),
            counter("alloc_bytes", 500, CounterClass::Traffic),
            counter("free_objects", 2, CounterClass::Traffic),
            counter("free_bytes", 150, CounterClass::Traffic),
            counter("failed_allocs", 1, CounterClass::Note),
            counter("unknown_frees", 0, CounterClass::Note),
            counter("missed_frees", 0, CounterClass::AmountLoss),
        ],
        ..Profile::default()
    };
    (ledger, profile)
}

fn ledger_finds_every_difference() -> Result<()> {
    let (ledger, profile) = agreeing();
    ledger.check_cases()?;
    ledger.check_totals(&profile)?;
    ledger.check_parts(&profile)?;

    let changes: [fn(&mut Profile); 5] = [
        |profile| profile.samples[0].values.alloc_objects += 1,
        |profile| profile.samples[0].values.alloc_space -= 1,
        |profile| profile.samples[0].values.inuse_objects -= 1,
        |profile| profile.samples[0].values.inuse_space += 1,
        |profile| profile.samples.clear(),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut changed = profile.clone();
        change(&mut changed);
        ensure!(
            ledger.check_totals(&changed).is_err(),
            "change {number} went by in the totals"
        );
        ensure!(
            ledger.check_parts(&changed).is_err(),
            "change {number} went by in the parts"
        );
    }
    for index in 0..6 {
        let mut changed = profile.clone();
        changed.counters[index].value += 1;
        let name = &profile.counters[index].name;
        ensure!(
            ledger.check_totals(&changed).is_err(),
            "a wrong {name} went by"
        );
    }
    ledger.check_parts_or_cut(&profile)?;
    let mut elsewhere = profile.clone();
    elsewhere.functions[0].name = "rework".to_owned();
    ensure!(
        ledger.check_parts(&elsewhere).is_err() && ledger.check_parts_or_cut(&elsewhere).is_err(),
        "another function's amounts went by"
    );
    let mut cut = profile.clone();
    cut.functions[0].name = "[stack cut: code in no known mapping]".to_owned();
    ensure!(
        ledger.check_parts(&cut).is_err(),
        "a cut stack's amounts went by"
    );
    ledger.check_parts_or_cut(&cut)?;
    cut.samples[0].values.alloc_space -= 1;
    ensure!(
        ledger.check_parts_or_cut(&cut).is_err(),
        "a byte is nowhere"
    );
    let idle = Ledger {
        cases: [("never".to_owned(), 0)].into(),
        ..ledger
    };
    ensure!(
        idle.check_cases().is_err(),
        "a case that never happened went by"
    );
    Ok(())
}

fn losses_are_not_complete() -> Result<()> {
    let (_, profile) = agreeing();
    profile::check_complete(&profile)?;
    profile::check_sane(&profile)?;

    let mut lossy = profile.clone();
    lossy.counters[6].value = 1;
    ensure!(profile::check_complete(&lossy).is_err(), "a loss went by");
    let degraded = Profile {
        verdict: Verdict::Degraded { reasons: vec![] },
        ..profile.clone()
    };
    ensure!(
        profile::check_complete(&degraded).is_err(),
        "a verdict went by"
    );
    let silent = Profile {
        counters: vec![],
        ..profile.clone()
    };
    ensure!(
        profile::check_complete(&silent).is_err(),
        "a profile without counters went by"
    );
    let mut negative = profile;
    negative.samples[0].values.inuse_objects = -1;
    ensure!(
        profile::check_sane(&negative).is_err(),
        "less than nothing went by"
    );
    Ok(())
}

/// Tests that go by signals and standard streams, which their surroundings could change.
const SENSITIVE: [&str; 3] = [
    "run::signals_are_forwarded",
    "run::ignored_hangup_stays_ignored",
    "run::streams_are_untouched",
];

/// This test binary without an environment, but for what it needs to find what it tests.
fn itself(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    let needed = |name: &str| {
        ["PATH", "CI"].contains(&name)
            || name.starts_with("TRACER_")
            || name.starts_with("COUNTER_SERVICE_")
    };
    command.envs(std::env::vars().filter(|(name, _)| needed(name)));
    command
}

fn expect_passed(command: &mut Command, test: &str) -> Result<()> {
    let ended = process::run(command, b"")?;
    let text = String::from_utf8_lossy(&ended.stdout);
    ensure!(
        ended.status.success() && text.contains("1 passed"),
        "{test}: {}",
        ended.printed()
    );
    Ok(())
}

/// Without HOME and TERM, with nothing to read, and with signals ignored that nohup, cron or a shell in the
/// background ignores.
fn like_nohup_and_cron() -> Result<()> {
    let tests = std::env::current_exe()?;
    for test in SENSITIVE {
        let mut command = itself("sh");
        command
            .args([
                "-c",
                "trap '' HUP INT QUIT PIPE; exec \"$0\" --exact \"$1\" </dev/null",
            ])
            .arg(&tests)
            .arg(test);
        expect_passed(&mut command, test)?;
    }
    Ok(())
}

/// With a terminal on all three streams.
fn in_a_terminal() -> Result<()> {
    let tests = std::env::current_exe()?;
    let tests = tests.to_str().context("the path is not UTF-8")?;
    for test in SENSITIVE {
        let mut command = itself("script");
        command.env("TERM", "xterm").args([
            "-qec",
            &format!("'{tests}' --exact {test}"),
            "/dev/null",
        ]);
        expect_passed(&mut command, test)?;
    }
    Ok(())
}

fn children_are_reaped() -> Result<()> {
    let child = Child::spawn(Command::new("sleep").arg("1000"))?;
    let entry = format!("/proc/{}", child.pid());
    ensure!(Path::new(&entry).exists(), "the child never lived");
    drop(child);
    ensure!(!Path::new(&entry).exists(), "the child outlived its guard");
    Ok(())
}
