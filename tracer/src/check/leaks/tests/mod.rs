//! The detector on stacks of a known nature, one by one; [`populations`] has them by the thousand.

mod demand;
mod loads;
mod populations;
mod simulation;

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::profile::series::{Counters, Mark, StackId, StackWindow, Survivors, Window};
use simulation::{Nature, SECONDS, simulate};

/// The class of one stack.
fn class(nature: Nature, seconds: usize) -> Class {
    let report = leaks(&simulate(&[nature], 7, seconds, 8), &Options::default());
    report.assessments[0].class.clone()
}

#[test]
fn each_nature_has_its_class() {
    use Nature as N;
    let is = |nature, expected: fn(&Class) -> bool| {
        let class = class(nature, SECONDS);
        assert!(expected(&class), "{nature:?}: {class:?}");
    };
    is(N::Churn { rate: 5_000.0 }, |class| *class == Class::Churn);
    let steady_cache = N::Cache {
        rate: 50.0,
        bound: 300,
    };
    is(steady_cache, |class| *class == Class::Flat);
    let filled = N::Cache {
        rate: 50.0,
        bound: 1_500,
    };
    is(filled, |class| {
        matches!(class, Class::BoundedFilling { .. })
    });
    let warm_up = N::WarmUp {
        rate: 100.0,
        time: 15.0,
    };
    is(warm_up, |class| {
        matches!(class, Class::BoundedFilling { .. })
    });
    let tooth = N::Sawtooth {
        rate: 100.0,
        period: 13,
    };
    is(
        tooth,
        |class| matches!(class, Class::Sawtooth { peak_bytes } if *peak_bytes > 0),
    );
    let one_off = N::OneOff {
        at: 30,
        objects: 10,
    };
    is(
        one_off,
        |class| matches!(class, Class::OneOff { seconds, .. } if *seconds == 31.0),
    );
    is(
        N::KeepAll { rate: 100.0 },
        |class| matches!(class, Class::Leak(leak) if leak.caveats == [Caveat::NothingFreed]),
    );
    let some = N::KeepSome {
        rate: 1_000.0,
        share: 0.1,
    };
    is(some, |class| {
        matches!(class, Class::Leak(leak)
            if leak.confidence == Confidence::High && (90.0..110.0).contains(&leak.objects_per_second))
    });
}

#[test]
fn sixteen_bytes_in_a_hundred_thousand_calls_are_found() {
    let leak = class(
        Nature::KeepRarely {
            rate: 50_000.0,
            every: 2.0,
        },
        SECONDS,
    );
    let Class::Leak(leak) = leak else {
        panic!("{leak:?}");
    };
    assert_eq!(leak.confidence, Confidence::High);
    assert_eq!(leak.since_seconds, 2.0);
}

#[test]
fn too_few_windows_are_never_no_leak() {
    for seconds in 0..10 {
        let natures = [Nature::KeepAll { rate: 100.0 }, Nature::Churn { rate: 9.0 }];
        let report = leaks(&simulate(&natures, 1, seconds, 8), &Options::default());
        assert_eq!(report.tested, 0);
        for one in &report.assessments {
            assert!(matches!(
                one.class,
                Class::TooLittleData {
                    lack: Lack::Windows { .. }
                }
            ));
        }
    }
}

/// The series of one stack with other marks.
fn with_marks(nature: Nature, change: impl Fn(&mut Mark)) -> Series {
    let plain = simulate(&[nature], 11, SECONDS, u32::MAX);
    let (_, history) = plain.stacks().next().expect("one stack");
    let mut series = Series::new(u32::MAX);
    let mut survivors: BTreeMap<u32, Survivors> = BTreeMap::new();
    for (window, mark) in (0..).zip(plain.marks()) {
        let mut mark = *mark;
        change(&mut mark);
        let changes = history.changes().iter().filter(|one| one.window == window);
        survivors.extend(changes.map(|one| (one.survivors.generation, one.survivors)));
        let mut points = history.points().iter().filter(|one| one.window <= window);
        let stack = StackWindow {
            stack: StackId(0),
            counters: points.next_back().expect("it allocates").counters,
            survivors: survivors.values().copied().collect(),
        };
        let stacks = vec![stack];
        series.push(Window { mark, stacks }).expect("time goes on");
    }
    series
}

#[test]
fn growth_that_falls_with_the_load_is_a_leak_where_operations_are_counted() {
    // The load dies away, and with it the leak.
    let nature = Nature::WarmUp {
        rate: 1_000.0,
        time: 30.0,
    };
    let options = Options::default();
    let without = leaks(&with_marks(nature, |_| ()), &options);
    assert!(
        matches!(
            without.assessments[0].class,
            Class::BoundedFilling {
                why: Filling::Slowing
            }
        ),
        "{without:?}"
    );
    let served = |mark: &mut Mark| {
        let operations = 10_000.0 * (1.0 - (-mark.seconds / 30.0).exp());
        mark.operations = Some(operations as u64);
    };
    let with = leaks(&with_marks(nature, served), &options);
    let leak = with.assessments[0].leak(Confidence::Medium);
    let leak = leak.unwrap_or_else(|| panic!("{with:?}"));
    let per_operation = leak.bytes_per_operation.expect("operations are counted");
    // About three objects of one size an operation.
    let size = leak.bytes_per_second / leak.objects_per_second;
    assert!((2.7..3.3).contains(&(per_operation / size)), "{leak:?}");
}

#[test]
fn replacing_memory_from_before_the_recording_is_no_accusation() {
    let series = with_marks(Nature::KeepAll { rate: 100.0 }, |mark| {
        mark.unknown_frees = (mark.seconds * 90.0) as u64;
    });
    let report = leaks(&series, &Options::default());
    let leak = report.assessments[0]
        .leak(Confidence::Low)
        .expect("it grows");
    assert_eq!(leak.confidence, Confidence::Low);
    assert!(leak.caveats.contains(&Caveat::OlderMemoryFreed));
}

#[test]
fn the_limit_is_reached_at_the_rate_of_the_growth() {
    let series = simulate(
        &[
            Nature::KeepAll { rate: 100.0 },
            Nature::Churn { rate: 100.0 },
        ],
        5,
        SECONDS,
        8,
    );
    let options = Options {
        limit: Some(MemoryLimit {
            limit_bytes: 1 << 30,
            used_bytes: 1 << 29,
        }),
        ..Options::default()
    };
    let report = leaks(&series, &options);
    let leak = report.assessments[0]
        .leak(Confidence::Medium)
        .expect("a leak");
    let seconds = leak.seconds_to_limit.expect("there is a limit");
    assert_eq!(report.seconds_to_limit, Some(seconds));
    assert!((seconds * leak.bytes_per_second / f64::from(1 << 29) - 1.0).abs() < 1e-9);
    let without = leaks(&series, &Options::default());
    assert_eq!(without.seconds_to_limit, None);
}

#[test]
fn growth_within_the_warm_up_is_not_judged() {
    let nature = Nature::Cache {
        rate: 100.0,
        bound: 2_800,
    };
    let series = simulate(&[nature], 5, SECONDS, 8);
    let filling = leaks(&series, &Options::default());
    assert!(matches!(
        filling.assessments[0].class,
        Class::BoundedFilling { .. }
    ));
    let options = Options {
        warm_up_seconds: Some(31.0),
        ..Options::default()
    };
    let report = leaks(&series, &options);
    assert_eq!(report.warm_up_seconds, 31.0);
    assert_eq!(report.assessments[0].class, Class::Flat, "{report:?}");
}

/// A stack as no allocator would behave.
fn any_history() -> impl Strategy<Value = Vec<(u64, u64, Vec<u64>)>> {
    let amount = prop_oneof![Just(0), 1..50_u64, Just(u64::MAX / 1_000)];
    let survivors = vec(amount.clone(), 0..12);
    vec((amount.clone(), amount, survivors), 0..70)
}

proptest! {
    /// Whatever is in a series, it gets a judgement, and the rates in it are numbers.
    #[test]
    fn nothing_is_too_strange(history in any_history(), exact in 0..10_u32, warm_up in -1.0..90.0) {
        let mut series = Series::new(exact);
        let mut counters = Counters::default();
        for (window, (allocated, freed, survivors)) in (0_u32..).zip(history) {
            counters.alloc_objects += allocated;
            counters.alloc_bytes += allocated.saturating_mul(3);
            counters.freed_objects += freed;
            counters.freed_bytes += freed;
            let survivors = (0..=window).zip(survivors).map(|(generation, objects)| Survivors {
                generation,
                objects,
                bytes: objects,
            });
            let stacks = vec![StackWindow {
                stack: StackId(1),
                counters,
                survivors: survivors.collect(),
            }];
            let seconds = f64::from(window) + 0.5;
            let mark = Mark { seconds, ..Mark::default() };
            series.push(Window { mark, stacks })?;
        }
        let options = Options {
            warm_up_seconds: Some(warm_up),
            ..Options::default()
        };
        let report = leaks(&series, &options);
        for (_, leak) in report.leaks(Confidence::Low) {
            prop_assert!(leak.bytes_per_second.is_finite() && leak.bytes_per_second > 0.0);
            prop_assert!((0.0..=1.0).contains(&leak.false_alarm));
        }
    }
}
