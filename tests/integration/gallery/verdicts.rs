//! What the leak verdict says of the gallery's programs, traced while they work: every leak is found at
//! its function and line, and nothing else is accused.

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use rustix::process::Signal;
use tests::gallery::{GALLERY, Pattern, Twin};
use tests::process::Child;
use tests::series::{Recorded, SeriesTracing};
use tests::trial;
use tracer::check::leaks::{Class, Confidence, Lack, Options, leaks};
use tracer::profile::series::StackId;

/// Set by `./x gallery`: all programs are traced, not only some.
const ALL: &str = "TRACER_GALLERY";

/// Programs at a time: they work for some percent of a CPU each.
const AT_A_TIME: usize = 8;

/// How long each is traced, in windows of a second. The rarest leak loses an object every two seconds, or
/// three where the machine is busy.
const DURATION: &str = "60s";

/// On CI: each kind of leak and of healthy growth once, in whichever language shows it best.
const SOME: &[(&str, Twin)] = &[
    ("c/blocked", Twin::Leaky),
    ("c/bursts", Twin::Healthy),
    ("c/cache", Twin::Leaky),
    ("c/cache", Twin::Healthy),
    ("c/library", Twin::Leaky),
    ("c/queue", Twin::Leaky),
    ("cpp/cycle", Twin::Leaky),
    ("cpp/map", Twin::Leaky),
    ("cpp/map", Twin::Healthy),
    ("cpp/warm_up", Twin::Healthy),
    ("rust/channel", Twin::Leaky),
    ("rust/channel", Twin::Healthy),
    ("rust/intern", Twin::Leaky),
    ("rust/task", Twin::Leaky),
    ("rust/thread_local", Twin::Leaky),
    ("rust/waves", Twin::Healthy),
];

/// Those that are slowed down while they are traced.
const SLOWED: &[(&str, Twin)] = &[
    ("c/bursts", Twin::Healthy),
    ("c/cache", Twin::Healthy),
    ("c/forgotten", Twin::Leaky),
    ("c/library", Twin::Leaky),
    ("c/queue", Twin::Leaky),
    ("cpp/cache", Twin::Healthy),
    ("cpp/map", Twin::Leaky),
    ("cpp/warm_up", Twin::Healthy),
];

/// How a program works while it is traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    Even,
    /// It is stopped now and then in the second half: a leak is found, or said to be undecided.
    Falling,
}

/// In the path of every source file of the gallery.
const SOURCES: &str = "tests/workloads/leaks/";

/// A line of a stack.
#[derive(Debug)]
struct Frame {
    function: String,
    file: String,
    line: u32,
}

pub(super) fn trials() -> Vec<Trial> {
    let slowed = trial::heavy(
        "gallery::leaks_under_a_falling_load_are_not_passed_over",
        || {
            judge(
                SLOWED.len(),
                |pattern, twin| SLOWED.contains(&(pattern, twin)),
                Pace::Falling,
            )
        },
    );
    let steady = if std::env::var_os(ALL).is_some() {
        trial::heavy("gallery::all", || {
            judge(SOME.len(), |_, _| true, Pace::Even)
        })
    } else {
        trial::heavy("gallery::leaks_are_found", || {
            judge(
                SOME.len(),
                |pattern, twin| SOME.contains(&(pattern, twin)),
                Pace::Even,
            )
        })
    };
    vec![steady, slowed]
}

/// Traces the programs that are wanted, and judges each.
fn judge(least: usize, wanted: impl Fn(&str, Twin) -> bool, pace: Pace) -> Result<()> {
    let mut programs = Vec::new();
    for pattern in GALLERY {
        pattern.program()?;
        for &twin in pattern.twins() {
            if wanted(&pattern.to_string(), twin) {
                programs.push((pattern, twin));
            }
        }
    }
    let count = programs.len();
    ensure!(count >= least, "only {count} programs are there");
    let queue = Mutex::new(programs.into_iter());
    let wrong = Mutex::new(Vec::new());
    let next = || queue.lock().ok()?.next();
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some((pattern, twin)) = next() {
                    if let Err(error) = judge_one(pattern, twin, pace)
                        && let Ok(mut wrong) = wrong.lock()
                    {
                        wrong.push(format!("{pattern} {twin:?}: {error:#}"));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap_or_default();
    ensure!(
        wrong.is_empty(),
        "{} of {count} programs are misjudged:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    Ok(())
}

fn judge_one(pattern: &Pattern, twin: Twin, pace: Pace) -> Result<()> {
    let mut program = pattern.start(twin)?;
    let tracing = SeriesTracing::attach(program.pid(), "1s", &["--duration", DURATION])?;
    if pace == Pace::Falling {
        slow_down(&mut program)?;
    }
    let recorded = tracing.finish()?;
    program.close_stdin();
    program.wait()?.expect_code(0)?;
    tests::profile::check_complete(&recorded.profile)?;

    let places = match twin {
        Twin::Leaky => pattern.places()?,
        Twin::Healthy => Vec::new(),
    };
    // What is said of the stacks of each place.
    let mut said: Vec<Vec<String>> = vec![Vec::new(); places.len()];
    let mut found = vec![false; places.len()];
    let mut accused = Vec::new();
    let report = leaks(&recorded.series, &Options::default());
    for assessment in &report.assessments {
        let frames = frames(&recorded, assessment.stack)?;
        let own = frames.iter().find(|frame| frame.is_own());
        let place = own.and_then(|frame| {
            let mut places = places.iter();
            places.position(|place| place.is(&frame.function, &frame.file, frame.line))
        });
        let is_accused = assessment.leak(Confidence::Medium).is_some();
        let is_undecided = matches!(
            assessment.class,
            Class::TooLittleData {
                lack: Lack::Load { .. }
            }
        );
        if let Some(place) = place {
            found[place] |= is_accused || (is_undecided && pace == Pace::Falling);
            said[place].push(format!("{:?}, {:?}", assessment.class, assessment.counters));
        } else if is_accused && !(twin == Twin::Leaky && own.is_none_or(Frame::is_of_the_pattern)) {
            accused.push(format!("{:?} in {own:?}", assessment.class));
        }
    }
    ensure!(accused.is_empty(), "accused: {}", accused.join("\n"));
    for ((place, found), said) in places.iter().zip(found).zip(said) {
        ensure!(found, "no leak is found at {place:?}: {said:#?}");
    }
    Ok(())
}

/// Lets a program work all the time for half of the recording, and two fifths of the time from then on.
fn slow_down(program: &mut Child) -> Result<()> {
    const FULL: Duration = Duration::from_secs(30);
    const SLOW: Duration = Duration::from_secs(29);
    const ON: Duration = Duration::from_millis(40);
    const OFF: Duration = Duration::from_millis(60);
    thread::sleep(FULL);
    let start = Instant::now();
    while start.elapsed() < SLOW {
        program.signal(Signal::STOP)?;
        thread::sleep(OFF);
        program.signal(Signal::CONT)?;
        thread::sleep(ON);
    }
    Ok(())
}

impl Frame {
    /// Whether it is the gallery's own code: the standard library may allocate on its behalf, and in C++
    /// through the gallery's own `operator new`.
    fn is_own(&self) -> bool {
        self.file.contains(SOURCES) && !self.function.starts_with("operator new")
    }

    /// Whether it is in the source of a pattern. What leaks may take other memory along, such as a thread
    /// its thread-local storage; the work that all programs do has nothing to do with it.
    fn is_of_the_pattern(&self) -> bool {
        let shared = ["leaks.h", "main.c", "main.cpp", "main.rs"];
        !shared.iter().any(|name| self.file.ends_with(name))
    }
}

/// A stack's frames, those of inlined functions included, the innermost first.
fn frames(recorded: &Recorded, StackId(id): StackId) -> Result<Vec<Frame>> {
    let profile = &recorded.profile;
    let sample = profile.samples.get(usize::try_from(id)?);
    let sample = sample.context("a stack without a sample")?;
    let lines = sample
        .locations
        .iter()
        .flat_map(|&location| &profile.locations[location.position()].lines);
    let frames = lines.map(|line| {
        let function = &profile.functions[line.function];
        Frame {
            function: function.name.clone(),
            file: function.file.clone(),
            line: line.line,
        }
    });
    Ok(frames.collect())
}
