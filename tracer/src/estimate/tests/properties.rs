//! What holds whatever was counted.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::{Amount, Clock, Estimate, Estimates, Window, Windows, difference};

/// Small amounts, and some that no target reaches.
fn count() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0..5_u64, 4 => 0..100_000_u64, 1 => any::<u64>()]
}

fn time() -> impl Strategy<Value = Duration> {
    prop_oneof![
        6 => (0..20_000_u64).prop_map(Duration::from_micros),
        1 => any::<u64>().prop_map(Duration::from_nanos),
        1 => any::<u64>().prop_map(Duration::from_secs),
    ]
}

#[derive(Clone, Debug)]
enum Event {
    Exact(Duration, [Amount; 3]),
    Full(Window, [Amount; 3]),
    Progress(Window),
}

fn amounts() -> impl Strategy<Value = [Amount; 3]> {
    let amount = || (count(), count()).prop_map(|(objects, bytes)| Amount { objects, bytes });
    [amount(), amount(), amount()]
}

fn window() -> impl Strategy<Value = Window> {
    (time(), time(), count()).prop_map(|(elapsed, exposure, marks)| Window {
        elapsed,
        exposure,
        marks: marks as f64,
    })
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        1 => (time(), amounts()).prop_map(|(time, amounts)| Event::Exact(time, amounts)),
        8 => (window(), amounts()).prop_map(|(window, amounts)| Event::Full(window, amounts)),
        8 => window().prop_map(Event::Progress),
    ]
}

fn windows<'a>(events: impl Iterator<Item = &'a Event>) -> Windows<usize> {
    let mut windows = Windows::default();
    for event in events {
        match event {
            Event::Exact(time, amounts) => {
                windows.exact(*time, amounts.iter().copied().enumerate());
            }
            Event::Full(window, amounts) => {
                windows.full(window, amounts.iter().copied().enumerate());
            }
            Event::Progress(window) => windows.progress(window),
        }
    }
    windows
}

/// All numbers of the estimates: the total's, then the stacks' in their order.
fn numbers(mut estimates: Estimates<usize>) -> Vec<Estimate> {
    estimates.stacks.sort_by_key(|(stack, _)| *stack);
    let stacks = estimates.stacks.iter().map(|(_, stack)| *stack);
    std::iter::once(estimates.total)
        .chain(stacks)
        .flat_map(|stack| [stack.objects, stack.bytes])
        .collect()
}

fn clock() -> impl Strategy<Value = Clock> {
    prop_oneof![Just(Clock::Marks), Just(Clock::Wall)]
}

proptest! {
    #[test]
    fn estimates_are_numbers_with_bounds(
        events in vec(event(), 0..40),
        span in time(),
        clock in clock(),
    ) {
        let Ok(estimates) = windows(events.iter()).estimate_by(clock, span) else {
            return Ok(());
        };
        prop_assert!((0.0..=1.0).contains(&estimates.share_seen));
        let everything = estimates.share_seen >= 1.0;
        let all = numbers(estimates);
        for estimate in &all {
            prop_assert!(estimate.value.is_finite() && estimate.value >= estimate.known);
            prop_assert!(estimate.known >= 0.0 && estimate.standard_error.is_finite());
            // Nothing looks exact that is not.
            prop_assert!(estimate.standard_error > 0.0 || everything, "{estimate:?}");
            prop_assert!(estimate.degrees > 0.0);
            let mut inner = (estimate.value, estimate.value);
            for level in [0.5, 0.9, 0.95, 0.99, 0.999] {
                let (lower, upper) = estimate.interval(level);
                prop_assert!(upper.is_finite(), "{estimate:?}");
                prop_assert!(lower >= estimate.known * (1.0 - 1e-9), "{estimate:?}");
                // What is much larger than its error is rounded.
                let slack = 1e-9 * estimate.value;
                prop_assert!(lower <= inner.0 + slack && upper >= inner.1 - slack, "{estimate:?}");
                inner = (lower, upper);
            }
        }
        let found = difference(&all[0], &all[1], 0.95);
        prop_assert!(found.interval.0 <= found.value && found.value <= found.interval.1);
        prop_assert!(found.standard_error.is_finite() && !found.degrees.is_nan());
    }

    #[test]
    fn the_order_of_windows_does_not_matter(
        (events, shuffled) in vec(event(), 8..40)
            .prop_flat_map(|events| (Just(events.clone()), Just(events).prop_shuffle())),
        span in time(),
    ) {
        let one = windows(events.iter()).estimate(span).map(numbers);
        let other = windows(shuffled.iter()).estimate(span).map(numbers);
        match (one, other) {
            (Ok(one), Ok(other)) => for (one, other) in one.iter().zip(&other) {
                let near = |a: f64, b: f64| (a - b).abs() <= 1e-6 * one.value;
                prop_assert!(near(one.value, other.value), "{one:?} {other:?}");
                prop_assert!(near(one.standard_error, other.standard_error), "{one:?} {other:?}");
            },
            // At the edge of what counts, rounding decides.
            (one, other) => prop_assert_eq!(one.is_err(), other.is_err()),
        }
    }
}
