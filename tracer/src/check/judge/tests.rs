//! What a recording is judged to be, rule by rule. Recordings are made here: no kernel, no files.

use crate::check::leaks::{Lack, MemoryLimit};
use crate::check::{
    Finding, Judgement, Outcome, Policy, Recorded, RuleId, SavedSeries, What, judge,
};
use crate::export::example::counter_service;
use crate::profile::{LocationIndex, Peak, Profile, ValueKind, Values, Verdict};

type Checked<T> = Result<T, Box<dyn std::error::Error>>;

/// Amounts of the example's second stack, `counter::walk`, in a second.
type Amounts = fn(i64) -> Values;

fn profile(second: i64, walk: Amounts) -> Profile {
    let mut profile = counter_service();
    profile.verdict = Verdict::Complete;
    profile.metadata.time_nanos += second * 1_000_000_000;
    // Something that comes and goes.
    profile.samples[0].values.alloc_objects += second * 100;
    profile.samples[0].values.alloc_space += second * 100_000;
    profile.samples[1].values = walk(second);
    profile
}

/// A snapshot a second.
pub(crate) fn recorded(seconds: i64, walk: Amounts) -> Checked<Recorded> {
    let mut series = SavedSeries::default();
    for second in 0..seconds {
        series.push(profile(second, walk), &ValueKind::ALL)?;
    }
    Ok(series.finish().ok_or("no profiles")?)
}

/// Ten objects of 64 bytes a second, of which one is lost.
pub(crate) fn leaking(second: i64) -> Values {
    Values {
        alloc_objects: second * 10,
        alloc_space: second * 640,
        inuse_objects: second,
        inuse_space: second * 64,
        ..Values::default()
    }
}

fn resting(_: i64) -> Values {
    Values {
        alloc_objects: 40,
        alloc_space: 4_000,
        inuse_objects: 10,
        inuse_space: 1_000,
        ..Values::default()
    }
}

/// Five objects, at moments of its own.
fn now_and_then(second: i64) -> Values {
    let objects = second / 7;
    Values {
        alloc_objects: objects,
        alloc_space: objects * 64,
        inuse_objects: objects,
        inuse_space: objects * 64,
        ..Values::default()
    }
}

/// Ten objects a second of which one is lost, and from the twentieth second on a fifth of that.
fn slower(second: i64) -> Values {
    let objects = second.min(20) + (second - 20).max(0) / 5;
    Values {
        alloc_objects: objects * 10,
        alloc_space: objects * 640,
        inuse_objects: objects,
        inuse_space: objects * 64,
        ..Values::default()
    }
}

fn judged(recorded: &Recorded, policy: &str) -> Checked<Judgement> {
    Ok(judge(recorded, &Policy::parse(policy)?, None, None)?)
}

#[test]
fn a_leak_is_found_with_all_that_is_known_of_it() -> Checked<()> {
    let limit = MemoryLimit {
        limit_bytes: 1 << 20,
        used_bytes: (1 << 20) - 640,
    };
    let policy = Policy::parse("[growth]\nmax-per-second = \"1MB\"\noperations-per-second = 10")?;
    let found = judge(&recorded(40, leaking)?, &policy, None, Some(limit))?;
    assert_eq!(found.outcome, Outcome::Found);
    assert_eq!(found.rules, [RuleId::Leak, RuleId::Growth]);
    let [finding] = &found.findings[..] else {
        panic!("{:#?}", found.findings);
    };
    let What::Leak(leak) = &finding.what else {
        panic!("{finding:#?}");
    };
    assert!((leak.bytes_per_second - 64.0).abs() < 1.0, "{leak:?}");
    assert!(
        leak.bytes_per_operation
            .is_some_and(|bytes| (bytes - 6.4).abs() < 0.1)
    );
    assert!(
        leak.seconds_to_limit
            .is_some_and(|left| (left - 10.0).abs() < 1.0)
    );
    let place = finding
        .place()
        .map(|frame| (frame.function.as_str(), frame.line));
    assert_eq!(place, Some(("counter::walk", 3)));
    let values = finding.stack.as_ref().map(|stack| stack.values);
    assert_eq!(values, Some(leaking(39)));
    Ok(())
}

#[test]
fn stacks_that_leak_at_one_place_are_one_leak() -> Checked<()> {
    let mut series = SavedSeries::default();
    for second in 0..40 {
        let mut profile = profile(second, leaking);
        // The same function, called in another way.
        let mut other = profile.samples[1].clone();
        other.locations = [3, 1, 0].map(LocationIndex::new).to_vec();
        profile.samples.push(other);
        series.push(profile, &ValueKind::ALL)?;
    }
    let found = judged(&series.finish().ok_or("no profiles")?, "")?;
    let [finding] = &found.findings[..] else {
        panic!("{:#?}", found.findings);
    };
    let What::Leak(leak) = &finding.what else {
        panic!("{finding:#?}");
    };
    assert!((leak.bytes_per_second - 128.0).abs() < 1.0, "{leak:?}");
    let stack = finding.stack.as_ref().ok_or("no stack")?;
    assert_eq!((stack.stacks, stack.values.inuse_objects), (2, 78));
    Ok(())
}

#[test]
fn nothing_found_takes_enough_to_look_at() -> Checked<()> {
    let fine = judged(&recorded(40, resting)?, "")?;
    assert_eq!(
        (fine.outcome, fine.reasons),
        (Outcome::NothingFound, vec![])
    );
    for (seconds, reason) in [(1, "one profile"), (5, "it takes 8 steps")] {
        let short = judged(&recorded(seconds, leaking)?, "")?;
        assert_eq!(short.outcome, Outcome::Inconclusive, "{seconds}");
        assert!(short.reasons[0].contains(reason), "{:?}", short.reasons);
    }
    let mut idle = SavedSeries::default();
    for second in 0..40 {
        let mut profile = profile(0, resting);
        profile.metadata.time_nanos += second;
        idle.push(profile, &ValueKind::ALL)?;
    }
    let idle = judged(&idle.finish().ok_or("no profiles")?, "")?;
    assert_eq!(idle.outcome, Outcome::Inconclusive);
    assert!(
        idle.reasons[0].contains("after the warm-up"),
        "{:?}",
        idle.reasons
    );
    Ok(())
}

#[test]
fn a_stack_that_grew_a_few_times_is_undecided() -> Checked<()> {
    let undecided = judged(&recorded(40, now_and_then)?, "")?;
    assert_eq!(undecided.outcome, Outcome::Inconclusive);
    assert_eq!(undecided.warnings.len(), 1);
    assert!(
        undecided.reasons[0].contains("too few times"),
        "{:?}",
        undecided.reasons
    );
    let allowed = judged(&recorded(40, now_and_then)?, "allow-undecided = true")?;
    assert_eq!(
        (allowed.outcome, allowed.warnings.len()),
        (Outcome::NothingFound, 1)
    );
    Ok(())
}

/// It was once taken for a cache that fills, and passed.
#[test]
fn a_stack_that_grew_more_slowly_with_the_load_is_undecided() -> Checked<()> {
    let mut series = SavedSeries::default();
    for second in 0..60 {
        let mut profile = profile(second, slower);
        let slowed = slower(second).alloc_objects;
        let passing = &mut profile.samples[0].values;
        passing.alloc_objects += slowed * 10 - second * 100;
        series.push(profile, &ValueKind::ALL)?;
    }
    let slowed = series.finish().ok_or("no profiles")?;
    let undecided = judged(&slowed, "")?;
    assert_eq!(undecided.outcome, Outcome::Inconclusive);
    assert!(
        matches!(
            undecided.warnings[..],
            [Finding {
                what: What::Undecided(Lack::Load { .. }),
                ..
            }]
        ),
        "{:#?}",
        undecided.warnings
    );
    assert!(
        undecided.reasons[0].contains("while the load fell"),
        "{:?}",
        undecided.reasons
    );
    let allowed = judged(&slowed, "allow-undecided = true")?;
    assert_eq!(allowed.outcome, Outcome::NothingFound);
    // With something else that does not slow down, it is a stack that fills.
    let filling = judged(&recorded(60, slower)?, "")?;
    assert_eq!(filling.outcome, Outcome::NothingFound);
    Ok(())
}

#[test]
fn nothing_is_proven_by_what_missed_too_much() -> Checked<()> {
    let mut lossy = recorded(40, leaking)?;
    lossy.profile.verdict = Verdict::Inconclusive {
        reasons: vec!["The table was full.".to_owned()],
    };
    let judged = judged(&lossy, "")?;
    assert_eq!(judged.outcome, Outcome::Inconclusive);
    assert_eq!(judged.findings.len(), 1, "it is shown all the same");
    assert!(judged.reasons[0].contains("The table was full."));
    Ok(())
}

#[test]
fn no_allocation_is_no_evidence() -> Checked<()> {
    let mut series = SavedSeries::default();
    let mut profile = profile(0, resting);
    profile.samples.clear();
    series.push(profile, &ValueKind::ALL)?;
    let silent = series.finish().ok_or("no profiles")?;
    let judged = judged(&silent, "[peak]\nmax-live = \"1GB\"")?;
    assert_eq!(judged.outcome, Outcome::Inconclusive);
    assert!(judged.reasons[0].contains("no allocation was seen"));
    Ok(())
}

#[test]
fn one_profile_is_enough_for_amounts() -> Checked<()> {
    let one = recorded(1, resting)?;
    let peak = judged(&one, "[peak]\nmax-live = \"1GB\"")?;
    // One profile shows what was live at its moment, not what was before.
    assert_eq!(peak.outcome, Outcome::Inconclusive);
    assert!(peak.reasons[0].contains("the peak could not be judged"));
    assert_eq!(peak.rules, [RuleId::Peak]);
    assert!(peak.notes[0].contains("leaks were not judged"));
    let over = judged(&one, "[peak]\nmax-live = \"1MB\"")?;
    assert_eq!(over.outcome, Outcome::Found);
    assert_eq!(over.findings[0].place().map(|frame| frame.line), Some(9));
    let budget = judged(&one, "[[budget]]\nfunction = \"walk\"\nmax-live = \"1B\"")?;
    assert_eq!(budget.findings.len(), 1);
    // Who asks for leaks gets an answer, or none.
    let both = judged(&one, "no-leaks = true\n[peak]\nmax-live = \"1GB\"")?;
    assert_eq!(both.outcome, Outcome::Inconclusive);
    let growth = judged(&one, "[growth]\nmax-per-second = 1")?;
    assert_eq!(growth.outcome, Outcome::Inconclusive);
    Ok(())
}

#[test]
fn the_peak_is_the_mark_and_its_holders() -> Checked<()> {
    let mut one = recorded(5, resting)?;
    let mark = Peak {
        bytes: 9 << 20,
        objects: 5_000,
        after_nanos: Some(1_500_000_000),
    };
    one.profile.peak = Some(mark);
    // At the end others hold more.
    one.profile.samples[2].values.peak_space = 7 << 20;
    one.profile.samples[2].values.peak_objects = 70;
    one.profile.samples[1].values.peak_space = 2 << 20;
    one.profile.samples[1].values.peak_objects = 4_900;
    let limit = |text: &str| judged(&one, &format!("no-leaks = false\n[peak]\n{text}"));
    let kept = limit("max-live = \"9MB\"\nmax-live-objects = 5000")?;
    assert_eq!(kept.outcome, Outcome::NothingFound);
    assert_eq!(kept.peak, Some(mark));
    let over = limit("max-live = \"8MB\"\nmax-live-objects = 4999")?;
    assert_eq!((over.outcome, over.findings.len()), (Outcome::Found, 2));
    let held = |finding: &Finding| -> Vec<i64> {
        let stacks = finding.stack.iter().chain(&finding.others);
        stacks.map(|stack| stack.values.peak_space >> 20).collect()
    };
    assert_eq!(held(&over.findings[0]), [7, 2]);
    assert_eq!(
        held(&over.findings[1]),
        [2],
        "by objects, the other has too few"
    );
    Ok(())
}

#[test]
fn snapshots_prove_that_a_limit_was_exceeded_and_name_who_did() -> Checked<()> {
    // The second of the stacks holds most, but not at the end.
    let hump = |second: i64| {
        let live = if second == 1 { 64 << 20 } else { 0 };
        Values {
            alloc_objects: second + 1,
            alloc_space: (second + 1) * (64 << 20),
            inuse_objects: i64::from(second == 1),
            inuse_space: live,
            ..Values::default()
        }
    };
    let recorded = recorded(4, hump)?;
    let over = judged(&recorded, "no-leaks = false\n[peak]\nmax-live = \"32MB\"")?;
    assert_eq!(over.outcome, Outcome::Found);
    let stack = over.findings[0].stack.as_ref().ok_or("no stack")?;
    assert_eq!(stack.values.inuse_space, 64 << 20);
    Ok(())
}

#[test]
fn growth_has_a_limit_by_second_and_by_operation() -> Checked<()> {
    let leaking = recorded(40, leaking)?;
    let limits = |text: &str| judged(&leaking, &format!("no-leaks = false\n[growth]\n{text}"));
    assert_eq!(
        limits("max-per-second = 65")?.outcome,
        Outcome::NothingFound
    );
    let over = limits("max-per-second = 63")?;
    assert_eq!(over.outcome, Outcome::Found);
    let place = over.findings[0].place().map(|frame| frame.function.clone());
    assert_eq!(place.as_deref(), Some("counter::walk"));
    let rate = "operations-per-second = 2\nmax-per-operation";
    assert_eq!(
        limits(&format!("{rate} = 33"))?.outcome,
        Outcome::NothingFound
    );
    assert_eq!(limits(&format!("{rate} = 31"))?.outcome, Outcome::Found);
    let unknown = limits("max-per-operation = 31")?;
    assert_eq!(unknown.outcome, Outcome::Inconclusive);
    Ok(())
}

#[test]
fn suppressions_hide_and_are_counted() -> Checked<()> {
    let leaking = recorded(40, leaking)?;
    let known = judged(
        &leaking,
        "[suppressions]\nleaks = [\"counter::walk\", \"nobody\"]\n[growth]\nmax-per-second = 1",
    )?;
    assert_eq!(
        known.outcome,
        Outcome::NothingFound,
        "{:#?}",
        known.findings
    );
    let by: Vec<_> = known
        .suppressed
        .iter()
        .map(|f| f.suppression.as_deref())
        .collect();
    assert_eq!(by, [Some("counter::walk")]);
    assert_eq!(known.unused_suppressions, ["nobody"]);
    Ok(())
}

#[test]
fn the_baseline_is_compared_stack_by_stack() -> Checked<()> {
    let policy = |more: &str| Policy::parse(&format!("[baseline]\nfile = \"b\"\n{more}"));
    let now = recorded(1, |_| leaking(100))?;
    let before = profile(0, resting);
    let found = judge(&now, &policy("")?, Some(&before), None)?;
    assert_eq!(found.outcome, Outcome::Found);
    assert_eq!(found.findings.len(), 2, "the whole and the stack");
    assert!(found.findings.iter().all(|f| f.rule() == RuleId::Baseline));
    let tolerated = judge(&now, &policy("min-growth = \"6kB\"")?, Some(&before), None)?;
    assert_eq!(tolerated.outcome, Outcome::NothingFound);
    let known = policy("[suppressions]\nleaks = [\"walk.rs\"]")?;
    let known = judge(&now, &known, Some(&before), None)?;
    assert_eq!(
        (known.outcome, known.suppressed.len()),
        (Outcome::NothingFound, 1)
    );
    assert!(known.unused_suppressions.is_empty());
    let missing = judge(&now, &policy("")?, None, None)?;
    assert_eq!(missing.outcome, Outcome::Inconclusive);
    Ok(())
}
