//! Programs with a known nature, whose allocations are replayed with windows: who is accused.

mod heap;
mod program;

use super::super::whole::Whole;
use super::Seen;
use crate::check::leaks::{Class, Confidence, Lack, Options, leaks};
use crate::profile::series::StackId;
use program::{Kind, Program, Sight};

/// What is said of a program.
#[derive(Clone, Debug, Default, PartialEq)]
struct Said {
    /// Stacks that are accused.
    accused: Vec<usize>,
    /// Stacks that grow and are not accused.
    undecided: usize,
    grows: bool,
    /// A leak would have shown.
    is_enough: bool,
}

fn judge(program: &Program, seed: u64) -> Said {
    judge_as(program, seed, |stack| stack)
}

/// Judges stacks as one that `into` gives the same id.
fn judge_as(program: &Program, seed: u64, into: impl Fn(StackId) -> StackId) -> Said {
    let (series, share) = program.recorded(seed);
    let series = series.merged(into);
    let seen = Seen::of(&series, share).expect("a recording in windows");
    let options = Options::default();
    let (by_exposure, adapted) = seen.by_exposure(&options);
    let mut report = leaks(by_exposure, &adapted);
    let whole = Whole::of(&series, &options);
    seen.interpret(&mut report, &whole);
    let mut said = Said {
        grows: whole.grows(),
        is_enough: seen.sensitivity(12.0).1,
        ..Said::default()
    };
    for one in &report.assessments {
        match &one.class {
            Class::Leak(leak) if leak.confidence >= Confidence::Medium => {
                said.accused.push(one.stack.0 as usize);
            }
            Class::Leak(_)
            | Class::BoundedFilling { .. }
            | Class::TooLittleData {
                lack: Lack::Events { .. } | Lack::Load { .. },
            } => said.undecided += 1,
            _ => {}
        }
    }
    said
}

/// Seeds: `TRACER_SURVIVOR_SEEDS` for the figures of the note.
fn seeds() -> u64 {
    let asked = std::env::var("TRACER_SURVIVOR_SEEDS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// What healthy programs do, over and over: all that could leave survivors behind.
fn healthy() -> Vec<Kind> {
    vec![
        Kind::Requests {
            rate: 2_000.0,
            objects: 4,
        },
        Kind::Sessions {
            rate: 200.0,
            lifetime: 0.3,
        },
        Kind::Sessions {
            rate: 100.0,
            lifetime: 2.0,
        },
        Kind::Sessions {
            rate: 20.0,
            lifetime: 10.0,
        },
        Kind::Cache {
            rate: 300.0,
            bound: 3_000,
        },
        Kind::Waves {
            rate: 400.0,
            period: 5.0,
        },
        Kind::Waves {
            rate: 100.0,
            period: 13.0,
        },
        Kind::OneOff {
            at: 20.0,
            objects: 2_000,
        },
        Kind::Dense {
            slots: 64,
            rate: 3_000.0,
        },
    ]
}

/// A minute in which a tenth is seen says nothing of a leak of one object in two seconds; one in which all is seen does.
#[test]
fn nothing_found_takes_as_much_as_exact_recording_sees() {
    let elapsed = std::time::Duration::from_secs(49);
    let smallest = |share| {
        let sensitivity = crate::estimate::Sensitivity::new(share)?;
        sensitivity.smallest_leak(super::SURVIVORS, elapsed)
    };
    assert!(smallest(0.114).is_some_and(|rate| rate > super::SMALLEST));
    assert!(smallest(1.0).is_some_and(|rate| rate <= super::SMALLEST));
}

#[test]
fn no_healthy_program_is_accused() {
    for sight in [Sight::EVEN, Sight::SLOWED] {
        let mut undecided = 0;
        for seed in 1..=seeds() {
            let said = judge(&Program::new(healthy(), sight), seed);
            assert!(said.accused.is_empty(), "{sight:?} {seed}: {said:?}");
            undecided += said.undecided;
        }
        println!(
            "{sight:?}: {undecided} stacks undecided in {} programs",
            seeds()
        );
    }
}

/// Found, passed over, and others accused, of as many programs as there are seeds.
fn with(leak: Kind, sight: Sight) -> [u64; 3] {
    let mut counts = [0; 3];
    for seed in 1..=seeds() {
        let mut kinds = healthy();
        let place = kinds.len();
        kinds.push(leak);
        let said = judge(&Program::new(kinds, sight), seed);
        let others = said.accused.iter().filter(|&&one| one != place).count();
        counts[0] += u64::from(said.accused.contains(&place));
        counts[1] += u64::from(
            said.accused.is_empty() && said.undecided == 0 && said.is_enough && !said.grows,
        );
        counts[2] += others as u64;
    }
    let [found, passed, others] = counts;
    let of = seeds();
    println!(
        "{sight:?} {leak:?}: {found} of {of} found, {passed} passed over, {others} others accused"
    );
    counts
}

#[test]
fn leaks_are_found_and_nobody_else_is_accused() {
    for sight in [Sight::EVEN, Sight::SLOWED] {
        let fast = Kind::Leak {
            rate: 2_000.0,
            size: 64,
        };
        let [found, passed, others] = with(fast, sight);
        // What is not found is undecided.
        assert!(found * 10 >= seeds() * 8, "{found} of {}", seeds());
        assert_eq!((passed, others), (0, 0));
        for slow in [
            Kind::LeakSome {
                rate: 2_000.0,
                share: 0.1,
                size: 100,
            },
            Kind::Leak {
                rate: 100.0,
                size: 1_000,
            },
            Kind::Leak {
                rate: 20.0,
                size: 5_000,
            },
        ] {
            let [_, passed, others] = with(slow, sight);
            assert_eq!((passed, others), (0, 0));
        }
    }
}

/// Places that a pool hands out again and again are taken for survivors until all are known; what leaks beside it goes on.
#[test]
fn a_pool_does_not_hide_a_leak() {
    for seed in 1..=seeds() {
        let pool = Kind::Dense {
            slots: 300,
            rate: 3_000.0,
        };
        let leak = Kind::Leak {
            rate: 1_000.0,
            size: 64,
        };
        let other = Kind::Sessions {
            rate: 1.0,
            lifetime: 0.3,
        };
        // The fourth has the largest blocks.
        let program = Program::new(vec![other, other, other, pool, leak], Sight::SLOWED);
        let said = judge(&program, seed);
        assert_eq!(said.accused, [4], "{seed}: {said:?}");
    }
}

/// Memory that no allocator hands out, and that grows, is nobody's whose blocks are replaced meanwhile.
#[test]
fn growth_without_a_stack_accuses_nobody() {
    for seed in 1..=seeds() {
        let mut kinds = healthy();
        kinds.push(Kind::Mapped {
            rate: 10.0,
            bytes: 20_000,
        });
        let said = judge(&Program::new(kinds, Sight::EVEN), seed);
        assert!(said.grows, "{seed}: {said:?}");
        assert!(said.accused.is_empty(), "{seed}: {said:?}");
    }
}

/// A leak that several threads come to by ways of their own is found once these are one.
#[test]
fn a_leak_of_several_stacks_is_found_by_its_site() {
    let mut found = 0;
    for seed in 1..=seeds() {
        let mut kinds = healthy();
        let first = StackId(kinds.len() as u64);
        let way = Kind::Leak {
            rate: 1_000.0,
            size: 64,
        };
        kinds.extend([way, way]);
        let program = Program::new(kinds, Sight::SLOWED);
        let said = judge_as(&program, seed, |stack| stack.min(first));
        let others = said.accused.iter().filter(|&&one| one as u64 != first.0);
        assert_eq!(others.count(), 0, "{seed}: {said:?}");
        found += u64::from(said.accused.contains(&(first.0 as usize)));
    }
    assert!(found * 10 >= seeds() * 8, "{found} of {}", seeds());
}
