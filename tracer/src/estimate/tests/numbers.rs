//! Estimates that can be worked out by hand.

use std::time::Duration;

use super::super::{
    Amount, Clock, Estimate, Estimates, Impossible, Sensitivity, StackEstimate, Window, Windows,
    difference,
};

fn window(marks: u64) -> Window {
    Window {
        elapsed: Duration::from_secs(1),
        exposure: Duration::from_secs(1),
        marks: marks as f64,
    }
}

fn amount(objects: u64) -> Amount {
    Amount {
        objects,
        bytes: objects * 16,
    }
}

/// Full windows of two marks in which one stack has 10 to 40 objects.
fn four_windows() -> Windows<u32> {
    let mut windows = Windows::default();
    for objects in [10, 20, 30, 40] {
        windows.full(&window(2), [(7, amount(objects))]);
    }
    windows
}

fn estimate(windows: &Windows<u32>, seconds: u64) -> Estimates<u32> {
    let estimates = windows.estimate(Duration::from_secs(seconds));
    estimates.expect("there are enough windows")
}

fn stack(estimates: &Estimates<u32>, key: u32) -> StackEstimate {
    let found = estimates.stacks.iter().find(|(stack, _)| *stack == key);
    found.expect("the stack was seen").1
}

fn near(value: f64, expected: f64) {
    assert!(
        (value - expected).abs() <= 1e-9 * expected.abs(),
        "{value} for {expected}"
    );
}

#[test]
fn by_the_wall_a_second_is_like_another() {
    let estimates = estimate(&four_windows(), 14);
    assert_eq!(estimates.clock, Clock::Wall);
    assert_eq!((estimates.full_windows, estimates.progress_windows), (4, 0));
    near(estimates.share_seen, 4.0 / 14.0);
    // 25 in each of the 10 s outside, and 100 seen.
    let objects = stack(&estimates, 7).objects;
    near(objects.value, 350.0);
    near(objects.known, 100.0);
    // A window's variance is 500 / 3; a quarter of it is the mean's; and 4 s tell of 10 s.
    near(
        objects.standard_error,
        10.0 * (500.0_f64 / 3.0 / 4.0 * 1.4).sqrt(),
    );
    near(objects.degrees, 3.0);
    // All is of this stack, and has 16 bytes.
    assert_eq!(estimates.total, stack(&estimates, 7));
    near(estimates.total.bytes.value, 16.0 * 350.0);
    near(
        estimates.total.bytes.standard_error,
        16.0 * objects.standard_error,
    );
}

#[test]
fn by_marks_a_call_of_the_mark_is_like_another() {
    let mut windows = four_windows();
    for marks in [8, 10, 10, 12] {
        windows.progress(&window(marks));
    }
    let estimates = estimate(&windows, 20);
    assert_eq!(estimates.clock, Clock::Marks);
    assert_eq!(estimates.in_windows, Duration::from_secs(8));
    // 40 marks counted and 12 s of 10 a second, each with 12.5 objects.
    near(estimates.share_seen, 8.0 / 168.0);
    let objects = estimates.total.objects;
    near(objects.value, 2100.0);
    // The ratio: 1 / 15 for four windows, and 8 marks tell of 160. The rate: 8 / 3 / 4 of 10 squared, for
    // the 120 of 160 that were not counted.
    near(
        objects.standard_error,
        2000.0 * (1.05_f64 / 15.0 + 0.005).sqrt(),
    );
    near(
        objects.degrees,
        3.0 * 0.075_f64.powi(2) / (0.07_f64.powi(2) + 0.005_f64.powi(2)),
    );
}

#[test]
fn the_time_of_the_probes_is_no_exposure() {
    let mut windows = four_windows();
    for marks in [8, 10, 10, 12] {
        windows.progress(&Window {
            exposure: Duration::from_millis(500),
            ..window(marks)
        });
    }
    // The rate is 20 a second, and what is outside is 12 s as before.
    near(
        estimate(&windows, 20).total.objects.value,
        100.0 + 12.5 * (40.0 + 240.0),
    );
}

#[test]
fn exact_phases_are_added_and_stand_for_nothing() {
    let mut windows = four_windows();
    windows.exact(Duration::from_secs(30), [(7, amount(1000)), (8, amount(5))]);
    let estimates = estimate(&windows, 44);
    near(stack(&estimates, 7).objects.value, 1350.0);
    near(stack(&estimates, 7).objects.known, 1100.0);
    near(estimates.total.objects.value, 1355.0);
    // No window saw it: 2.5 objects outside would be one in them. Up to 3.7 in them are possible.
    let unseen = stack(&estimates, 8);
    assert_eq!((unseen.objects.value, unseen.windows), (5.0, 0));
    near(unseen.objects.standard_error, 2.5);
    near(unseen.bytes.standard_error, 2.5 * 16.0);
    let (lower, upper) = unseen.objects.interval(0.95);
    assert!(lower == 5.0 && upper > 5.0 + 3.6 * 2.5, "{upper}");
}

#[test]
fn what_was_seen_as_a_whole_has_no_error() {
    let mut windows = Windows::default();
    windows.exact(Duration::from_secs(3), [(1, amount(9))]);
    let seen = estimate(&windows, 3);
    assert_eq!(seen.total.objects, Estimate::exact(9.0));
    assert_eq!(seen.total.objects.interval(0.95), (9.0, 9.0));
    assert!(!seen.total.objects.is_rough());
    assert_eq!(seen.share_seen, 1.0);
}

#[test]
fn windows_that_are_alike_leave_the_error_of_an_object() {
    let mut windows = Windows::default();
    for _ in 0..10 {
        windows.full(&window(0), [(1, amount(2))]);
    }
    let objects = estimate(&windows, 100).total.objects;
    near(objects.value, 200.0);
    near(objects.standard_error, 9.0);
}

/// Ten full windows: one stack is in the first, with so many marks, and another in the rest.
fn seen_once(marks: u64) -> Windows<u32> {
    let mut windows = Windows::default();
    windows.full(&window(marks), [(1, amount(1000))]);
    for _ in 0..9 {
        windows.full(&window(1), [(2, amount(100))]);
        windows.progress(&window(10));
    }
    windows
}

#[test]
fn a_stack_seen_in_one_window_is_rough() {
    // Also where that window had a third of all marks.
    for marks in [1, 4] {
        let estimates = estimate(&seen_once(marks), 60);
        let once = stack(&estimates, 1);
        assert_eq!(once.windows, 1);
        assert!(once.objects.is_rough() && once.bytes.is_rough());
        assert!(!stack(&estimates, 2).objects.is_rough());
    }
}

#[test]
fn a_window_that_outweighs_the_others_is_no_estimate() {
    // 18 marks, and the sum of their squares is 90.
    let lack = seen_once(9).estimate(Duration::from_secs(60));
    assert_eq!(lack, Err(Impossible::FullWindows { effective: 3.6 }));
}

#[test]
fn too_little_is_no_estimate() {
    let second = Duration::from_secs(1);
    let none = Windows::<u32>::default();
    let effective = 0.0;
    assert_eq!(
        none.estimate(second),
        Err(Impossible::FullWindows { effective })
    );
    assert!(none.estimate(Duration::ZERO).is_ok());

    let mut three = Windows::default();
    for objects in [1, 2, 3] {
        three.full(&window(1), [(1, amount(objects))]);
    }
    let effective = 3.0;
    assert_eq!(
        three.estimate(second * 9),
        Err(Impossible::FullWindows { effective })
    );

    let mut unexposed = Windows::<u32>::default();
    for _ in 0..9 {
        unexposed.full(&Window::default(), []);
    }
    let effective = 0.0;
    let lack = Err(Impossible::FullWindows { effective });
    assert_eq!(unexposed.estimate(second), lack);

    let mut windows = four_windows();
    windows.progress(&window(5));
    let effective = 1.0;
    let lack = windows.estimate(second * 60);
    assert_eq!(lack, Err(Impossible::ProgressWindows { effective }));
    assert!(windows.estimate_by(Clock::Wall, second * 60).is_ok());
    let said = lack.expect_err("it is one").to_string();
    assert_eq!(said, "too few windows for the rate of the mark: 1.0 of 4");

    let mut unmarked = four_windows();
    for _ in 0..9 {
        unmarked.progress(&window(0));
    }
    assert_eq!(unmarked.estimate(second * 60), Err(Impossible::NoMarks));
}

#[test]
fn a_difference_counts_where_it_is_beyond_both_errors() {
    let of = |value, standard_error| Estimate {
        value,
        known: 0.0,
        standard_error,
        degrees: 20.0,
    };
    let found = difference(&of(1000.0, 30.0), &of(1200.0, 40.0), 0.95);
    near(found.value, 200.0);
    near(found.standard_error, 50.0);
    near(
        found.degrees,
        20.0 * 2500.0 * 2500.0 / (900.0 * 900.0 + 1600.0 * 1600.0),
    );
    assert!(found.is_significant());
    // Student's t of 20 degrees is 2.09, and here the errors are nearly even to both sides.
    let (lower, upper) = found.interval;
    assert!((200.0 - lower - 104.5).abs() < 5.0, "{lower}");
    assert!((upper - 200.0 - 104.5).abs() < 5.0, "{upper}");

    assert!(!difference(&of(1000.0, 30.0), &of(1090.0, 40.0), 0.95).is_significant());
    assert!(difference(&of(1200.0, 30.0), &of(1000.0, 40.0), 0.95).is_significant());
    assert!(!difference(&of(1000.0, 30.0), &of(1120.0, 40.0), 0.99).is_significant());
    let exact = Estimate::exact;
    assert!(!difference(&exact(5.0), &exact(5.0), 0.95).is_significant());
    assert!(difference(&exact(5.0), &exact(6.0), 0.95).is_significant());
}

#[test]
fn a_leak_is_caught_in_time() {
    // 27.88 must be expected for 20 to come in 95 of 100 cases, and 2.996 for one.
    let one_percent = Sensitivity::new(0.01).expect("a share");
    let near = |value: f64, expected: f64| {
        assert!(
            (value / expected - 1.0).abs() < 0.01,
            "{value} for {expected}"
        );
    };
    let time = one_percent.time_to_catch(20, 5.0).expect("it leaks");
    near(time.as_secs_f64(), 557.6);
    near(one_percent.smallest_leak(20, time).expect("time"), 5.0);
    let all = Sensitivity::new(1.0).expect("a share");
    near(
        all.smallest_leak(1, Duration::from_secs(1)).expect("time"),
        2.996,
    );
    assert_eq!(all.time_to_catch(0, 1.0), Some(Duration::ZERO));

    assert_eq!(all.time_to_catch(1, 0.0), None);
    assert_eq!(all.time_to_catch(1, f64::NAN), None);
    assert_eq!(all.time_to_catch(1, 1e-300), None);
    assert_eq!(all.smallest_leak(1, Duration::ZERO), None);
    for share in [0.0, -1.0, 1.1, f64::NAN] {
        assert_eq!(Sensitivity::new(share), None);
    }
    let seen = estimate(&four_windows(), 16).sensitivity();
    assert_eq!(seen, Sensitivity::new(0.25));
}
