//! Programs whose load falls while they are watched: leaks are found or said to be undecided, and what only
//! fills is not accused. The figures in `docs/design/0010-leak-verdict.md` come from the same draws.

use super::super::*;
use super::demand::Demand;
use super::populations::{HEALTHY, LEAKING, healthy, leaking};
use super::simulation::{Nature, Random, SECONDS, simulate_under};

/// Stacks of a program that are judged; the others only come and go.
const JUDGED: usize = 8;

/// Loads that fall and go on, by kind.
fn falling(random: &mut Random, kind: usize) -> Demand {
    match kind {
        0 => Demand::Step {
            at: random.between(15.0, 45.0) as usize,
            to: 0.5,
        },
        1 => Demand::Step { at: 30, to: 0.4 },
        2 => Demand::Step {
            at: random.between(20.0, 40.0) as usize,
            to: 0.33,
        },
        3 => Demand::Stairs {
            steps: 4,
            to: random.between(0.3, 0.5),
        },
        4 => Demand::Line {
            to: random.between(0.3, 0.5),
        },
        _ => Demand::Ebbing {
            period: random.between(4.0, 12.0),
        },
    }
}
const FALLING: usize = 6;

/// Loads that end, or nearly.
fn ending(_: &mut Random, kind: usize) -> Demand {
    match kind {
        0 => Demand::Line { to: 0.0 },
        1 => Demand::Step { at: 45, to: 0.0 },
        _ => Demand::Step { at: 30, to: 0.1 },
    }
}
const ENDING: usize = 3;

fn even(_: &mut Random, _: usize) -> Demand {
    Demand::Even
}

/// A stack that comes and goes with the load.
fn passing(random: &mut Random) -> Nature {
    match (random.uniform() * 4.0) as usize {
        0 => Nature::Sessions {
            rate: random.scale(10.0, 2_000.0),
            lifetime: random.scale(0.5, 5.0),
        },
        1 => Nature::Queue {
            rate: random.scale(10.0, 2_000.0),
        },
        _ => Nature::Churn {
            rate: random.scale(5.0, 5_000.0),
        },
    }
}

/// A healthy stack that has done by the end what it does: a cache is full.
fn settled(random: &mut Random, kind: usize, demand: Demand) -> Nature {
    let work: f64 = (0..SECONDS).map(|second| demand.at(second, SECONDS)).sum();
    match healthy(random, kind % HEALTHY) {
        Nature::Cache { rate, bound } => Nature::Cache {
            rate,
            bound: 1 + (bound as f64 * work / SECONDS as f64) as u64,
        },
        other => other,
    }
}

/// How many stacks were judged how.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Tally {
    accused: usize,
    /// Leaks of low confidence.
    possible: usize,
    /// For the load.
    undecided: usize,
    other: usize,
}

impl Tally {
    fn add(&mut self, class: &Class) {
        *match class {
            Class::Leak(leak) if leak.confidence >= Confidence::Medium => &mut self.accused,
            Class::Leak(_) => &mut self.possible,
            Class::TooLittleData {
                lack: Lack::Load { .. },
            } => &mut self.undecided,
            _ => &mut self.other,
        } += 1;
    }

    /// In thousandths of all.
    fn share(&self, count: usize) -> usize {
        1_000 * count / (self.accused + self.possible + self.undecided + self.other)
    }
}

/// Programs of ten passing stacks, `steady` more that do not follow the load, and those to be judged.
fn programs(
    kinds: usize,
    demand: fn(&mut Random, usize) -> Demand,
    steady: usize,
    judged: impl Fn(&mut Random, usize, Demand) -> Nature,
) -> Tally {
    let mut tally = Tally::default();
    for seed in 0..seeds() {
        for kind in 0..kinds {
            let mut random = Random(seed ^ 0x5555);
            let demand = demand(&mut random, kind);
            let mut natures: Vec<_> = (0..10 + steady).map(|_| passing(&mut random)).collect();
            let first = natures.len();
            let judged = (0..JUDGED).map(|i| judged(&mut random, seed as usize + i, demand));
            natures.extend(judged);
            let follows = |stack| !(10..first).contains(&stack);
            let demand = |stack| if follows(stack) { demand } else { Demand::Even };
            let series = simulate_under(&natures, demand, seed, SECONDS, 8);
            for one in leaks(&series, &Options::default()).assessments {
                if one.stack.0 as usize >= first {
                    tally.add(&one.class);
                }
            }
        }
    }
    tally
}

/// More where someone wants figures.
fn seeds() -> u64 {
    let wanted = std::env::var("TRACER_LEAK_SEEDS");
    wanted
        .ok()
        .and_then(|seeds| seeds.parse().ok())
        .unwrap_or(26)
}

fn leak(random: &mut Random, kind: usize, _: Demand) -> Nature {
    leaking(random, kind % LEAKING)
}

fn warm_up(random: &mut Random, _: usize, _: Demand) -> Nature {
    Nature::WarmUp {
        rate: random.scale(0.5, 2_000.0),
        time: random.between(2.0, 20.0),
    }
}

#[test]
fn leaks_under_a_load_that_falls_are_found() {
    let tally = programs(FALLING, falling, 0, leak);
    println!("leaks, falling: {tally:?}");
    assert!(tally.share(tally.accused) >= 780, "{tally:?}");
    assert!(tally.share(tally.other) <= 8, "{tally:?}");
}

#[test]
fn leaks_under_a_load_that_ends_are_not_passed_over() {
    let tally = programs(ENDING, ending, 0, leak);
    println!("leaks, ending: {tally:?}");
    assert!(
        tally.share(tally.accused + tally.undecided) >= 930,
        "{tally:?}"
    );
}

#[test]
fn where_a_third_of_the_program_goes_on_it_is_undecided() {
    let tally = programs(FALLING, falling, 5, leak);
    println!("leaks, falling, a third steady: {tally:?}");
    let told = tally.accused + tally.possible + tally.undecided;
    assert!(tally.share(told) >= 985, "{tally:?}");
}

#[test]
fn what_is_full_is_not_accused_however_the_load_falls() {
    for (kinds, demand) in [
        (FALLING, falling as fn(&mut Random, usize) -> Demand),
        (ENDING, ending),
        (1, even),
    ] {
        for steady in [0, 5] {
            let tally = programs(kinds, demand, steady, settled);
            println!("healthy, {kinds} loads, {steady} steady: {tally:?}");
            // A queue whose end wanders may do so as the load ends.
            let accused = if kinds == ENDING { 2 } else { 0 };
            assert!(tally.share(tally.accused) <= accused, "{tally:?}");
            assert!(kinds == ENDING || tally.accused == 0, "{tally:?}");
            let undecided = tally.share(tally.undecided);
            let most = match kinds {
                FALLING => 20,
                ENDING => 45,
                _ => 0,
            };
            assert!(undecided <= most, "{tally:?}");
        }
    }
}

#[test]
fn warm_ups_are_not_accused_however_the_load_falls() {
    let tally = programs(FALLING, falling, 0, warm_up);
    println!("warm-ups, falling: {tally:?}");
    assert!(tally.share(tally.accused) == 0 && tally.share(tally.undecided) <= 30);
    let tally = programs(1, even, 0, warm_up);
    assert_eq!((tally.accused, tally.undecided), (0, 0), "{tally:?}");
}

/// What comes ever more rarely and never ends can't be told from a leak for certain, and less so under a load
/// that falls: that is as if the recording were shorter.
#[test]
fn slow_growth_is_hardly_accused_more_often_than_under_an_even_load() {
    let interning = |random: &mut Random, _: usize, _: Demand| Nature::Interning {
        rate: random.scale(5.0, 2_000.0),
    };
    let falls = programs(FALLING, falling, 0, interning);
    let holds = programs(1, even, 0, interning);
    println!("interning, falling: {falls:?}, even: {holds:?}");
    assert!(
        falls.share(falls.accused) <= 150 + holds.share(holds.accused),
        "{falls:?}, {holds:?}"
    );
}

/// One stack and nothing to compare it with.
#[test]
fn alone_a_growth_that_falls_and_goes_on_is_undecided() {
    let class = |nature, demand| {
        let series = simulate_under(&[nature], |_| demand, 3, SECONDS, 8);
        leaks(&series, &Options::default()).assessments[0]
            .class
            .clone()
    };
    let undecided = |class: &Class| matches!(class, Class::TooLittleData { lack: Lack::Load { bytes } } if *bytes > 0);
    let leak = Nature::KeepAll { rate: 200.0 };
    let half = Demand::Step { at: 30, to: 0.4 };
    let class_of_leak = class(leak, half);
    assert!(undecided(&class_of_leak), "{class_of_leak:?}");
    let warm_up = Nature::WarmUp {
        rate: 200.0,
        time: 15.0,
    };
    for demand in [Demand::Even, half] {
        let class = class(warm_up, demand);
        assert!(matches!(class, Class::BoundedFilling { .. }), "{class:?}");
    }
}

/// A cache that warms up, and what its misses allocate and free: all of it gets rarer, and the load is even.
#[test]
fn a_cold_start_is_not_accused() {
    for (share, accused, undecided) in [(1.0, 10, 500), (0.5, 0, 60), (0.25, 0, 0)] {
        let mut tally = Tally::default();
        for seed in 0..seeds() {
            let mut random = Random(seed);
            let time = random.between(2.0, 20.0);
            let misses = (20.0 * share) as usize;
            let mut natures: Vec<_> = (0..20)
                .map(|stack| match stack < misses {
                    true => Nature::Misses {
                        rate: random.scale(20.0, 5_000.0),
                        time,
                        left: 0.02,
                    },
                    false => passing(&mut random),
                })
                .collect();
            natures.extend((0..JUDGED).map(|_| Nature::WarmUp {
                rate: random.scale(0.5, 2_000.0),
                time,
            }));
            let series = simulate_under(&natures, |_| Demand::Even, seed, SECONDS, 8);
            for one in leaks(&series, &Options::default()).assessments {
                if one.stack.0 >= 20 {
                    tally.add(&one.class);
                }
            }
        }
        println!("cold start, {share} misses: {tally:?}");
        assert!(tally.share(tally.accused) <= accused, "{share}: {tally:?}");
        assert!(
            tally.share(tally.undecided) <= undecided,
            "{share}: {tally:?}"
        );
    }
}
