//! How often the intervals hold the truth, on made-up processes. The trials' figures are printed;
//! `TRACER_ESTIMATE_TRIALS` asks for more of them.

use super::super::{Clock, Estimate, difference};
use super::process::{
    BURSTS, EACH, HUNDREDTH, Load, PHASES, Plan, Process, RARE, Random, STACKS, TAIL, Trial,
};

/// Level of all intervals here.
const LEVEL: f64 = 0.95;

/// All stacks together, behind the stacks.
const TOTAL: usize = STACKS;

const NAMES: [&str; STACKS + 1] = [
    "each",
    "hundredth",
    "bursts",
    "phases",
    "rare",
    "tail",
    "total",
];

/// Those that are seen in many windows.
const OFTEN: [usize; 4] = [EACH, HUNDREDTH, BURSTS, PHASES];

/// Processes that do the same, each by its own chance.
fn processes(threads: usize, seconds: f64) -> Vec<Process> {
    let seeds = 1..=10;
    seeds
        .map(|seed| Process::new(seed, threads, seconds))
        .collect()
}

fn trials() -> usize {
    let asked = std::env::var("TRACER_ESTIMATE_TRIALS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(2000)
}

/// What became of one stack's bytes in all trials.
#[derive(Clone, Copy, Default)]
struct Outcome {
    trials: f64,
    /// Trials in which the stack was seen.
    seen: f64,
    /// Those of them whose interval holds the truth.
    held: f64,
    rough: f64,
    /// Of estimate / truth - 1 over all trials; unseen stacks are estimated at 0.
    errors: f64,
    squares: f64,
}

impl Outcome {
    fn add(&mut self, estimate: Option<&Estimate>, truth: f64) {
        self.trials += 1.0;
        let mut error = -1.0;
        if let Some(estimate) = estimate {
            let (lower, upper) = estimate.interval(LEVEL);
            self.seen += 1.0;
            self.held += f64::from(lower <= truth && truth <= upper);
            self.rough += f64::from(estimate.is_rough());
            error = estimate.value / truth - 1.0;
        }
        self.errors += error;
        self.squares += error * error;
    }

    fn coverage(&self) -> f64 {
        self.held / self.seen
    }

    fn bias(&self) -> f64 {
        self.errors / self.trials
    }

    fn spread(&self) -> f64 {
        (self.squares / self.trials - self.bias().powi(2)).sqrt()
    }

    /// Whether intervals hold the truth about as often as they say, but for chance.
    fn is_covered(&self) -> bool {
        let chance = 2.0 * (0.05 * 0.95 / self.seen).sqrt();
        (0.93 - chance..=0.97 + chance).contains(&self.coverage())
    }

    /// Whether the mean error is 0 but for chance.
    fn is_unbiased(&self) -> bool {
        self.bias().abs() < 3.0 * self.spread() / self.trials.sqrt()
    }
}

/// A scenario's outcomes, by stack, and the share of its trials that were impossible.
struct Outcomes {
    stacks: [Outcome; STACKS + 1],
    impossible: f64,
}

impl Outcomes {
    fn of(name: &str, plan: &Plan, threads: usize, clock: Clock) -> Self {
        let processes = processes(threads, plan.span);
        let random = &mut Random::new(77);
        let mut stacks = [Outcome::default(); STACKS + 1];
        let mut impossible = 0.0;
        for trial in 0..trials() {
            let trial = plan.record(&processes[trial % processes.len()], random);
            let Some(estimates) = bytes(&trial, clock) else {
                impossible += 1.0;
                continue;
            };
            for (stack, outcome) in stacks.iter_mut().enumerate() {
                outcome.add(estimates[stack].as_ref(), truth(&trial, stack));
            }
        }
        let outcomes = Self {
            stacks,
            impossible: impossible / trials() as f64,
        };
        outcomes.print(name);
        outcomes
    }

    fn print(&self, name: &str) {
        println!("{name}: {:.1}% impossible", 100.0 * self.impossible);
        for (stack, name) in self.stacks.iter().zip(NAMES) {
            println!(
                "  {name:9} seen {:5.1}%, of these held {:5.1}% rough {:5.1}%; bias {:+.2}% spread {:.1}%",
                100.0 * stack.seen / stack.trials,
                100.0 * stack.coverage(),
                100.0 * stack.rough / stack.seen,
                100.0 * stack.bias(),
                100.0 * stack.spread(),
            );
        }
    }

    /// Fails unless intervals hold the truth as often as they say, and estimates are right on average.
    fn assert_right(&self, stacks: &[usize]) {
        for &stack in stacks {
            let (outcome, name) = (&self.stacks[stack], NAMES[stack]);
            assert!(outcome.is_covered(), "{name}: {}", outcome.coverage());
            assert!(outcome.is_unbiased(), "{name}: {}", outcome.bias());
        }
    }
}

/// The estimates of bytes, by stack.
fn bytes(trial: &Trial, clock: Clock) -> Option<[Option<Estimate>; STACKS + 1]> {
    let estimates = trial.windows.estimate_by(clock, trial.span).ok()?;
    let mut bytes = [None; STACKS + 1];
    for (stack, estimate) in &estimates.stacks {
        bytes[*stack] = Some(estimate.bytes);
    }
    bytes[TOTAL] = Some(estimates.total.bytes);
    Some(bytes)
}

fn truth(trial: &Trial, stack: usize) -> f64 {
    let bytes: u64 = trial.truth.get(stack).map_or_else(
        || trial.truth.iter().map(|amount| amount.bytes).sum(),
        |amount| amount.bytes,
    );
    bytes as f64
}

/// So many windows of each kind, of 4 ms, in 10 s.
const fn plan(windows: f64, load: Load) -> Plan {
    Plan {
        span: 10.0,
        full: windows,
        progress: windows,
        length: 0.004,
        load,
    }
}

#[test]
fn a_busy_target_is_told_by_marks_and_not_by_time() {
    let plan = plan(60.0, Load::Saturated);
    let marks = Outcomes::of("busy, 60 windows, marks", &plan, 8, Clock::Marks);
    marks.assert_right(&OFTEN);
    assert!(marks.stacks[TOTAL].is_unbiased());
    assert!(marks.stacks[TOTAL].coverage() > 0.9);

    let wall = Outcomes::of("busy, 60 windows, time", &plan, 8, Clock::Wall);
    for stack in OFTEN {
        let outcome = &wall.stacks[stack];
        assert!(outcome.coverage() < 0.01, "{}", NAMES[stack]);
        assert!(outcome.bias() < -0.75, "{}", NAMES[stack]);
    }
}

#[test]
fn many_windows_are_as_right() {
    let plan = plan(200.0, Load::Saturated);
    let outcomes = Outcomes::of("busy, 200 windows, marks", &plan, 8, Clock::Marks);
    outcomes.assert_right(&OFTEN);
    outcomes.assert_right(&[TOTAL]);
}

#[test]
fn a_load_that_comes_and_goes_is_told_by_marks() {
    let plan = plan(200.0, Load::HalfIdle);
    let outcomes = Outcomes::of("half idle, 200 windows, marks", &plan, 8, Clock::Marks);
    outcomes.assert_right(&OFTEN);
    outcomes.assert_right(&[TOTAL]);
}

#[test]
fn a_target_with_time_to_spare_is_told_by_time() {
    let plan = plan(200.0, Load::Open(0.15));
    let outcomes = Outcomes::of("light load, 200 windows, time", &plan, 8, Clock::Wall);
    outcomes.assert_right(&OFTEN);
}

#[test]
fn few_windows_are_wide_and_right() {
    for windows in [8.0, 12.0, 20.0] {
        let name = format!("busy, {windows} windows, marks");
        let plan = plan(windows, Load::Saturated);
        let outcomes = Outcomes::of(&name, &plan, 8, Clock::Marks);
        outcomes.assert_right(&[EACH]);
        // What is seldom seen is told to be so, and held at least as often as is said.
        for stack in [HUNDREDTH, BURSTS, PHASES, RARE] {
            let outcome = &outcomes.stacks[stack];
            assert!(outcome.coverage() > 0.93, "{}", NAMES[stack]);
            assert!(outcome.rough > 0.5 * outcome.seen, "{}", NAMES[stack]);
        }
    }
}

#[test]
fn few_marks_do_not_make_estimates_too_large() {
    // One mark in a full window, on average.
    let plan = plan(20.0, Load::Saturated);
    let outcomes = Outcomes::of("one thread, 20 windows, marks", &plan, 1, Clock::Marks);
    outcomes.assert_right(&[EACH]);
    assert!(outcomes.stacks[TAIL].rough > 0.9 * outcomes.stacks[TAIL].seen);
}

#[test]
fn windows_that_see_a_third_are_no_more_sure_than_that() {
    // What is between them varies as much as they do. But a phase is longer than the time between two, and
    // is told better than by windows that know nothing of each other.
    let plan = Plan {
        progress: 0.0,
        ..plan(800.0, Load::Open(0.15))
    };
    let outcomes = Outcomes::of("light load, 800 windows, time", &plan, 8, Clock::Wall);
    outcomes.assert_right(&[EACH, HUNDREDTH, BURSTS, TOTAL]);
    assert!(outcomes.stacks[PHASES].coverage() > 0.93);
}

#[test]
fn equal_recordings_do_not_differ() {
    let plan = plan(60.0, Load::Saturated);
    let processes = processes(8, plan.span);
    let random = &mut Random::new(5);
    let half = Plan {
        span: 5.0,
        full: 30.0,
        progress: 30.0,
        ..plan
    };
    let mut alarms = [0.0; STACKS + 1];
    let mut missed = 0.0;
    let pairs = trials() / 2;
    for pair in 0..pairs {
        let one = plan.record(&processes[pair % 10], random);
        let other = plan.record(&processes[(pair + 1) % 10], random);
        let (Some(one), Some(other)) = (bytes(&one, Clock::Marks), bytes(&other, Clock::Marks))
        else {
            continue;
        };
        for stack in OFTEN {
            if let (Some(one), Some(other)) = (&one[stack], &other[stack]) {
                alarms[stack] += f64::from(difference(one, other, LEVEL).is_significant());
            }
        }
        // Half as much is found.
        let less = bytes(&half.record(&processes[pair % 10], random), Clock::Marks);
        if let (Some(one), Some(less)) = (&one[EACH], less.and_then(|less| less[EACH])) {
            let found = difference(one, &less, LEVEL);
            missed += f64::from(!(found.value < 0.0 && found.is_significant()));
        }
    }
    for stack in OFTEN {
        let share = alarms[stack] / pairs as f64;
        println!("{}: {:.1}% false alarms", NAMES[stack], 100.0 * share);
        assert!((0.005..0.07).contains(&share), "{}: {share}", NAMES[stack]);
    }
    assert!(missed < 0.01 * pairs as f64, "{missed}");
}
