//! Made-up windows, and what is told from them.

use tracer_common::{AllocatorFn, Callee};

use super::*;

const CALLOC: Callee = Callee::Allocator(AllocatorFn::Calloc);
const MARK: Mark = Mark::Function(CALLOC);

const LENGTH: Duration = Duration::from_millis(5);
const SPAN: Duration = Duration::from_secs(10);

fn cpu(cpu: Duration) -> Work {
    Work {
        cpu,
        ..Work::default()
    }
}

fn key(stack: u64) -> StackKey {
    StackKey {
        stack,
        ..StackKey::default()
    }
}

fn delta(stack: u64, objects: u64) -> StackDelta {
    StackDelta {
        stack: Stack::Known(key(stack)),
        objects,
        bytes: objects * 10,
    }
}

fn calls(each: &[(AllocatorFn, u64)]) -> Calls {
    let mut calls = Calls::default();
    for (callee, known) in Callee::all().zip(&mut calls.by_function) {
        let of = |(f, _): &&(AllocatorFn, u64)| Callee::Allocator(*f) == callee;
        *known = each.iter().find(of).map_or(0, |c| c.1);
    }
    calls
}

fn full(estimator: &mut Estimator, calloc: u64, stacks: &[StackDelta]) {
    full_with(estimator, None, calloc, stacks);
}

fn full_with(estimator: &mut Estimator, mark: Option<Mark>, calloc: u64, stacks: &[StackDelta]) {
    let calls = calls(&[
        (AllocatorFn::Malloc, 1_000),
        (AllocatorFn::Free, 1_000),
        (AllocatorFn::Calloc, calloc),
    ]);
    estimator.take(&Closed {
        mark,
        kind: WindowKind::Full,
        exposure: LENGTH,
        is_sure: true,
        work: cpu(LENGTH),
        looked: LENGTH,
        took: LENGTH.mul_f64(0.8),
        calls: &calls,
        stacks,
    });
}

fn progress(estimator: &mut Estimator, marks: u64) {
    estimator.take(&Closed {
        mark: Some(MARK),
        kind: WindowKind::Progress(CALLOC),
        exposure: LENGTH,
        is_sure: true,
        work: cpu(LENGTH),
        looked: LENGTH,
        took: Duration::ZERO,
        calls: &calls(&[(AllocatorFn::Calloc, marks)]),
        stacks: &[],
    });
}

fn of(estimated: &Estimated, stack: Stack) -> [i64; 2] {
    estimated.stacks.get(&stack).map_or([0; 2], |stack| stack.0)
}

#[test]
fn the_mark_is_chosen_once_and_knows_the_windows_before() -> Result<(), Impossible> {
    let mut estimator = Estimator::default();
    for nth in 0..8 {
        assert_eq!(estimator.mark(), None, "after {nth}");
        full(&mut estimator, 20, &[delta(1, 1_000)]);
    }
    for _ in 0..20 {
        full_with(&mut estimator, Some(MARK), 900, &[delta(1, 45_000)]);
        assert_eq!(estimator.mark(), Some(MARK));
        progress(&mut estimator, 1_000);
    }
    let estimated = estimator.estimate(SPAN, cpu(SPAN), None)?;
    assert_eq!(estimated.sampled.by, SampledBy::Marks);
    assert!(estimated.by.contains("calloc"), "{}", estimated.by);
    // 50 objects a mark and 200 marks a millisecond, and what was seen.
    let unseen = (SPAN - 28 * LENGTH).as_secs_f64() * 1e3 * 200.0 * 50.0;
    let [objects, bytes] = of(&estimated, Stack::Known(key(1)));
    let seen = (8 * 1_000 + 20 * 45_000) as f64;
    assert!((objects as f64 / (unseen + seen) - 1.0).abs() < 0.001);
    assert_eq!(bytes, objects * 10);
    Ok(())
}

#[test]
fn without_a_mark_time_is_the_clock_and_a_busy_target_is_told() -> Result<(), Impossible> {
    let mut estimator = Estimator::default();
    for _ in 0..=PATIENCE {
        full(&mut estimator, 0, &[delta(1, 1_000)]);
    }
    assert!(matches!(estimator.mark, Choosing::Chosen(None)));
    let busy = estimator.estimate(SPAN, cpu(SPAN), None)?;
    assert_eq!(busy.sampled.by, SampledBy::TimeAlone);
    assert!(busy.sampled.may_be_low);
    let doubt = busy.doubt.unwrap_or_default();
    assert!(doubt.contains("by 5.0 times at most"), "{doubt}");
    // In bursts, or beside others.
    let half_idle = estimator.estimate(SPAN, cpu(SPAN / 10), None)?;
    assert!(half_idle.sampled.may_be_low && half_idle.doubt.is_some());
    Ok(())
}

#[test]
fn without_a_mark_a_target_that_is_hardly_slowed_down_is_told_by_time() -> Result<(), Impossible> {
    let mut estimator = Estimator::default();
    for _ in 0..=PATIENCE {
        estimator.take(&Closed {
            mark: None,
            kind: WindowKind::Full,
            exposure: LENGTH,
            is_sure: true,
            work: cpu(LENGTH / 5),
            looked: LENGTH,
            took: LENGTH / 10,
            calls: &Calls::default(),
            stacks: &[delta(1, 1_000)],
        });
    }
    let idle = estimator.estimate(SPAN, cpu(SPAN / 10), None)?;
    assert!(!idle.sampled.may_be_low && idle.doubt.is_none());
    Ok(())
}

#[test]
fn windows_that_wait_for_a_mark_count_and_are_few() -> Result<(), Impossible> {
    let mut estimator = Estimator::default();
    for _ in 0..5 {
        full(&mut estimator, 20, &[delta(1, 1_000)]);
    }
    assert_eq!(
        estimator.estimate(SPAN, cpu(SPAN), None)?.sampled.windows,
        5
    );
    let many: Vec<_> = (0..KEPT_STACKS as u64).map(|nth| delta(nth, 1)).collect();
    full(&mut estimator, 20, &many);
    assert!(matches!(estimator.mark, Choosing::Chosen(_)));
    Ok(())
}

#[test]
fn a_window_of_unknown_length_counts_for_what_it_saw() -> Result<(), Impossible> {
    let mut estimator = Estimator::default();
    for _ in 0..5 {
        full(&mut estimator, 20, &[delta(1, 1_000)]);
    }
    estimator.take(&Closed {
        mark: None,
        kind: WindowKind::Full,
        exposure: LENGTH,
        is_sure: false,
        work: cpu(LENGTH),
        looked: LENGTH,
        took: Duration::ZERO,
        calls: &Calls::default(),
        stacks: &[delta(2, 7)],
    });
    let estimated = estimator.estimate(SPAN, cpu(SPAN), None)?;
    assert_eq!(of(&estimated, Stack::Known(key(2)))[0], 7);
    assert_eq!(estimated.sampled.windows, 5);
    Ok(())
}

#[test]
fn stacks_that_have_ended_are_found_by_their_sample() -> Result<(), Impossible> {
    let mut estimator = Estimator::default();
    for nth in 0..20 {
        if nth == 4 || nth == 12 {
            estimator.retire(&[(key(1), 3), (key(2), 3)]);
        }
        let stack = 1 + u64::from(nth >= 4);
        full(&mut estimator, 20, &[delta(stack, 100), delta(5, 100)]);
    }
    estimator.retire(&[(key(1), 3), (key(2), 3)]);
    let estimated = estimator.estimate(SPAN, cpu(SPAN), None)?;
    let ended = of(&estimated, Stack::Ended(3));
    assert_eq!(ended, of(&estimated, Stack::Known(key(5))));
    assert_eq!(estimated.stacks.len(), 2);
    Ok(())
}

#[test]
fn a_mark_that_is_called_too_often_is_told() -> Result<(), Impossible> {
    let mut estimator = Estimator::default();
    for _ in 0..20 {
        full_with(&mut estimator, Some(MARK), 20, &[delta(1, 1_000)]);
        estimator.take(&Closed {
            mark: Some(MARK),
            kind: WindowKind::Progress(CALLOC),
            exposure: LENGTH,
            is_sure: true,
            work: cpu(LENGTH),
            looked: LENGTH,
            took: LENGTH / 2,
            calls: &calls(&[(AllocatorFn::Calloc, 100)]),
            stacks: &[],
        });
    }
    let estimated = estimator.estimate(SPAN, cpu(SPAN), None)?;
    assert!(estimated.sampled.may_be_low);
    assert!(
        estimated
            .doubt
            .is_some_and(|doubt| doubt.contains("so often"))
    );
    Ok(())
}

#[test]
fn too_few_windows_tell_nothing() {
    let mut estimator = Estimator::default();
    full(&mut estimator, 20, &[delta(1, 1_000)]);
    assert!(estimator.estimate(SPAN, cpu(SPAN), None).is_err());
}

#[test]
fn what_the_kernel_counts_needs_no_windows_of_its_own() -> Result<(), Impossible> {
    let mut estimator = Estimator::default();
    let calls = calls(&[(AllocatorFn::Malloc, 1_000), (AllocatorFn::Free, 1_000)]);
    let mut window = |writes: u64, looked: Duration, is_sure: bool| {
        estimator.take(&Closed {
            mark: Some(Mark::Writes),
            kind: WindowKind::Full,
            exposure: LENGTH,
            is_sure,
            work: Work {
                cpu: LENGTH,
                io: [7, writes],
            },
            looked,
            took: LENGTH.mul_f64(0.8),
            calls: &calls,
            stacks: &[delta(1, 50 * 20)],
        });
    };
    for _ in 0..20 {
        // A twenty-first lies beside the window.
        window(21, LENGTH.mul_f64(1.05), true);
    }
    window(20, LENGTH, false);
    estimator.take_exact(
        Duration::from_secs(1),
        Work {
            cpu: Duration::ZERO,
            io: [0, 1_000],
        },
        &[delta(1, 50 * 1_000)],
    );
    let all = Work {
        cpu: SPAN,
        io: [70_000, 1_000_000],
    };
    let estimated = estimator.estimate(SPAN, all, None)?;
    assert_eq!(estimated.sampled.by, SampledBy::Marks);
    assert!(estimated.by.contains("write"), "{}", estimated.by);
    assert_eq!(estimated.doubt, None);
    let [objects, _] = of(&estimated, Stack::Known(key(1)));
    // 50 for each.
    assert!((objects - 50_000_000).abs() < 50, "{objects}");
    assert_eq!(estimated.sampled.progress_windows, 0);
    Ok(())
}
