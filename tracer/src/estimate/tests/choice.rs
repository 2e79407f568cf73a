//! Which clock is believed, and how errors are told apart.

use std::time::Duration;

use super::super::{Amount, Choice, Clock, Window, Windows};

const SPAN: Duration = Duration::from_secs(100);

fn window(marks: u64) -> Window {
    Window {
        elapsed: Duration::from_millis(100),
        exposure: Duration::from_millis(100),
        marks: marks as f64,
    }
}

/// Full and progress windows with about so many marks each, and two stacks that go with them.
fn windows(full: u64, progress: u64, each: u64) -> Windows<u32> {
    let mut windows = Windows::default();
    for nth in 0..each {
        let marks = full - nth % 3 + 1;
        let amount = |objects| Amount {
            objects,
            bytes: objects * 16,
        };
        let stacks = [
            (1, amount(10 * marks + nth % 2)),
            (2, amount(3 * marks + nth % 5)),
        ];
        windows.full(&window(marks), stacks);
        windows.progress(&window(progress - nth % 3 + 1));
    }
    windows
}

#[test]
fn where_windows_slow_down_marks_are_the_clock() {
    let (estimates, choice) = windows(20, 100, 30)
        .estimate_by_evidence(SPAN, None)
        .expect("there are enough windows");
    let Choice::Marks(slowdown) = choice else {
        panic!("{choice:?}");
    };
    assert_eq!(estimates.clock, Clock::Marks);
    assert!((slowdown.factor - 5.0).abs() < 0.01, "{slowdown:?}");
    assert!(!slowdown.is_none());
}

#[test]
fn where_they_do_not_it_is_the_wall_as_far_as_that_is_known() {
    let (estimates, choice) = windows(100, 100, 30)
        .estimate_by_evidence(SPAN, None)
        .expect("there are enough windows");
    let Choice::Even(slowdown) = choice else {
        panic!("{choice:?}");
    };
    assert_eq!(estimates.clock, Clock::Wall);
    assert!(slowdown.error > 0.0);
    assert_eq!(estimates.clock_error, slowdown.error);
    assert!(estimates.shared().bytes >= slowdown.error * 0.96);
}

#[test]
fn a_difference_that_chance_may_hide_is_not_none() {
    // Of so few marks it can't be told: 40 in each kind.
    let (estimates, choice) = windows(4, 4, 10)
        .estimate_by_evidence(SPAN, None)
        .expect("there are enough windows");
    assert!(matches!(choice, Choice::Marks(_)), "{choice:?}");
    assert_eq!(estimates.clock, Clock::Marks);
}

#[test]
fn without_marks_the_wall_proves_nothing() {
    for windows in [windows(20, 100, 3), {
        let mut windows = Windows::default();
        for nth in 0..10 {
            windows.full(
                &window(0),
                [(
                    1_u32,
                    Amount {
                        objects: 5 + nth,
                        bytes: 9,
                    },
                )],
            );
            windows.progress(&window(0));
        }
        windows
    }] {
        match windows.estimate_by_evidence(SPAN, None) {
            Ok((estimates, choice)) => {
                assert_eq!(choice, Choice::Unproven);
                assert_eq!(estimates.clock, Clock::Wall);
            }
            // Of three windows nothing is known.
            Err(impossible) => assert!(impossible.to_string().contains("too few windows")),
        }
    }
}

#[test]
fn shared_and_own_errors_make_that_of_the_total() {
    let (estimates, _) = windows(20, 100, 30)
        .estimate_by_evidence(SPAN, None)
        .expect("there are enough windows");
    let shared = estimates.shared();
    let own: f64 = estimates
        .stacks
        .iter()
        .map(|(_, stack)| shared.own(stack)[1].powi(2))
        .sum();
    let total = estimates.total.bytes;
    let sum = (own + (shared.bytes * total.value).powi(2)).sqrt();
    assert!(
        (sum / total.standard_error - 1.0).abs() < 0.1,
        "{sum} for {total:?}"
    );
    // That of the clock is in each.
    assert!(shared.bytes * total.value >= estimates.clock_error * (total.value - total.known));
}

#[test]
fn joined_stacks_add_up() {
    let mut windows = windows(20, 100, 30);
    let (before, _) = windows
        .estimate_by_evidence(SPAN, None)
        .expect("there are enough windows");
    windows.join(9, 1);
    windows.join(9, 9);
    windows.join(9, 5);
    let (after, _) = windows
        .estimate_by_evidence(SPAN, None)
        .expect("there are enough windows");
    let value = |estimates: &super::super::Estimates<u32>, key| {
        let found = estimates.stacks.iter().find(|(stack, _)| *stack == key);
        found.map(|(_, stack)| stack.bytes)
    };
    assert_eq!(value(&after, 9), value(&before, 1));
    assert_eq!(value(&after, 1), None);
    assert_eq!(after.stacks.len(), 2);
}

#[test]
fn marks_beside_windows_go_by_what_their_rate_is_measured_in() {
    let windows = windows(20, 100, 30);
    let value = |outside| {
        let estimated = windows.estimate_by_evidence(SPAN, outside);
        let (estimates, _) = estimated.expect("there are enough windows");
        estimates.total.bytes.value
    };
    // 100 s less 6 s in windows.
    assert_eq!(value(Some(Duration::from_secs(94))), value(None));
    let half = value(Some(Duration::from_secs(47)));
    assert!((half / value(None) - 0.5).abs() < 0.03, "{half}");
}
