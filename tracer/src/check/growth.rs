//! What is live altogether, window by window, and how fast that grows.

use super::evaluate::Live;
use crate::profile::series::{Counters, Series, StackId};

/// What the stacks that `counts` accepts hold together at the end of each window.
pub(super) fn totals(series: &Series, counts: impl Fn(StackId) -> bool) -> Vec<Live> {
    let mut steps = vec![(0_i64, 0_i64); series.marks().len()];
    for (stack, history) in series.stacks() {
        if !counts(stack) {
            continue;
        }
        let (mut bytes, mut objects) = (0, 0);
        for point in history.points() {
            let now_bytes = signed(point.counters.live_bytes());
            let now_objects = signed(point.counters.live_objects());
            if let Some(step) = steps.get_mut(point.window as usize) {
                step.0 = step.0.saturating_add(now_bytes.saturating_sub(bytes));
                step.1 = step.1.saturating_add(now_objects.saturating_sub(objects));
            }
            (bytes, objects) = (now_bytes, now_objects);
        }
    }
    let mut live = Live::default();
    steps
        .into_iter()
        .map(|(bytes, objects)| {
            live.bytes = live.bytes.saturating_add(bytes);
            live.objects = live.objects.saturating_add(objects);
            live
        })
        .collect()
}

/// The largest amounts, each by itself.
pub(super) fn peak(totals: &[Live]) -> Live {
    Live {
        bytes: totals.iter().map(|live| live.bytes).max().unwrap_or(0),
        objects: totals.iter().map(|live| live.objects).max().unwrap_or(0),
    }
}

/// What each stack had come to at the end of a window.
pub(super) fn counters_at(
    series: &Series,
    window: usize,
) -> impl Iterator<Item = (StackId, Counters)> {
    series.stacks().filter_map(move |(stack, history)| {
        let mut points = history.points().iter();
        let point = points.rfind(|point| point.window as usize <= window)?;
        Some((stack, point.counters))
    })
}

/// Growth in bytes a second from a window on: the slope of the straight line with the least squares,
/// so that neither the first nor the last moment decides. `None` with fewer than two windows.
pub(super) fn bytes_per_second(series: &Series, totals: &[Live], from: usize) -> Option<f64> {
    let at: Vec<(f64, f64)> = series
        .marks()
        .iter()
        .zip(totals)
        .skip(from)
        .map(|(mark, live)| (mark.seconds, live.bytes as f64))
        .collect();
    if at.len() < 2 {
        return None;
    }
    let count = at.len() as f64;
    let seconds = at.iter().map(|(seconds, _)| seconds).sum::<f64>() / count;
    let bytes = at.iter().map(|(_, bytes)| bytes).sum::<f64>() / count;
    let (mut products, mut squares) = (0.0, 0.0);
    for (second, byte) in at {
        products += (second - seconds) * (byte - bytes);
        squares += (second - seconds) * (second - seconds);
    }
    Some(products / squares)
}

/// By how much each stack grew from a window on, in bytes, the largest growth first.
pub(super) fn growing(series: &Series, from: usize) -> Vec<(StackId, i64)> {
    let mut grown: Vec<(StackId, i64)> = series
        .stacks()
        .map(|(stack, history)| {
            let points = history.points();
            let before = points.iter().rfind(|point| point.window as usize <= from);
            let held = before.map_or(0, |point| point.counters.live_bytes());
            let holds = history.counters().live_bytes();
            (stack, signed(holds).saturating_sub(signed(held)))
        })
        .filter(|&(_, bytes)| bytes > 0)
        .collect();
    grown.sort_by_key(|&(stack, bytes)| (std::cmp::Reverse(bytes), stack));
    grown
}

/// Objects allocated after a window.
pub(super) fn allocated_after(series: &Series, from: usize) -> u64 {
    let stacks = series.stacks().map(|(_, history)| {
        let mut points = history.points().iter();
        let before = points.rfind(|point| point.window as usize <= from);
        let before = before.map_or(0, |point| point.counters.alloc_objects);
        history.counters().alloc_objects.saturating_sub(before)
    });
    stacks.fold(0, u64::saturating_add)
}

fn signed(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Invalid;
    use crate::profile::series::{Counters, Mark, StackWindow, Window};

    /// Stack 1 grows by 100 bytes a second, stack 2 comes and goes.
    fn series() -> Result<Series, Invalid> {
        let mut series = Series::new(0);
        for second in 0..10_u64 {
            let stack = |id, allocated: u64, freed| StackWindow {
                stack: StackId(id),
                counters: Counters {
                    alloc_objects: allocated,
                    alloc_bytes: allocated * 10,
                    freed_objects: freed,
                    freed_bytes: freed * 10,
                },
                survivors: Vec::new(),
            };
            series.push(Window {
                mark: Mark {
                    seconds: second as f64,
                    ..Mark::default()
                },
                stacks: vec![
                    stack(1, second * 10, 0),
                    stack(2, second * 5, second * 5 - second % 2 * 5),
                ],
            })?;
        }
        Ok(series)
    }

    #[test]
    fn totals_are_sums_over_stacks() -> Result<(), Invalid> {
        let series = series()?;
        let all = totals(&series, |_| true);
        let bytes: Vec<_> = all.iter().map(|live| live.bytes).take(4).collect();
        assert_eq!(bytes, [0, 150, 200, 350]);
        assert_eq!(peak(&all).objects, 95);
        let first = totals(&series, |stack| stack == StackId(1));
        assert_eq!(first[9].bytes, 900);
        Ok(())
    }

    #[test]
    fn the_slope_is_that_of_the_line() -> Result<(), Invalid> {
        let series = series()?;
        let first = totals(&series, |stack| stack == StackId(1));
        let slope = bytes_per_second(&series, &first, 2).unwrap_or_default();
        assert!((slope - 100.0).abs() < 1e-9, "{slope}");
        let all = totals(&series, |_| true);
        let slope = bytes_per_second(&series, &all, 0).unwrap_or_default();
        assert!((slope - 100.0).abs() < 2.0, "{slope}");
        assert_eq!(bytes_per_second(&series, &all, 9), None);
        assert_eq!(growing(&series, 4), [(StackId(1), 500), (StackId(2), 50)]);
        Ok(())
    }
}
