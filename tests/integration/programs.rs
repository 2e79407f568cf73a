//! Programs of Debian's own under real work: nearly all stacks are whole, and counters say of the rest why
//! they are not.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use anyhow::{Context as _, Result, bail, ensure};
use libtest_mimic::Trial;
use object::{Object as _, ReadCache};
use tests::profile;
use tests::programs::{Load, Nginx, Postgres, Redis, SCRIPTED};
use tests::tracing::Tracing;
use tests::trial;
use tracer::profile::{LocationIndex, Profile, Sample};

/// Set by `./x programs`: all programs are traced, not only some.
pub(crate) const ALL: &str = "TRACER_PROGRAMS";

/// On CI; the others need servers' packages.
const SOME: [&str; 3] = ["perl", "python3", "sqlite3"];
/// Share of the allocations whose stack must be whole.
const LEAST_WHOLE: f64 = 0.995;
/// Allocations that there must be for a share to say something.
const LEAST_ALLOCATIONS: i64 = 10_000;
/// `_start` calls into the C library within so many bytes of its beginning.
const START_BYTES: u64 = 64;
/// A new thread is called from within so many bytes of the system call that made it.
const THREAD_START_BYTES: usize = 64;

pub(crate) fn trials() -> Vec<Trial> {
    if std::env::var_os(ALL).is_some() {
        return vec![
            trial::heavy("programs::all", all),
            trial::heavy("programs::run", run),
            trial::heavy("programs::audited", || {
                scripted(|_| true, &["--audit-stacks"])
            }),
        ];
    }
    vec![trial::heavy("programs::stacks_are_whole", || {
        scripted(|name| SOME.contains(&name), &[])
    })]
}

fn all() -> Result<()> {
    let scripted = scripted(|_| true, &[]);
    let servers = [
        ("nginx", nginx()),
        ("postgres", postgres()),
        ("redis-server", redis()),
    ];
    let servers = servers.map(|(name, profile)| judge(name, &profile.context(name)?));
    scripted.and(servers.into_iter().collect())
}

fn scripted(wanted: impl Fn(&str) -> bool, options: &[&str]) -> Result<()> {
    let mut result = Ok(());
    for program in SCRIPTED.iter().filter(|program| wanted(program.name)) {
        let waiting = program.start(Load::Many)?;
        let mut tracing = Tracing::attach_with(waiting.pid(), options)?;
        waiting.finish().context(program.name)?;
        let (profile, _) = tracing.finish_with(0)?;
        // All are measured, also behind one that fails.
        result = result.and(judge(program.name, &profile));
    }
    result
}

/// From the first instruction on: all libraries are mapped meanwhile.
fn run() -> Result<()> {
    let mut result = Ok(());
    for program in &SCRIPTED {
        let folder = tempfile::tempdir()?;
        let output = folder.path().join("profile.json");
        program.run(Load::Many, &output).context(program.name)?;
        let profile = profile::read_json(&fs::read(&output)?)?;
        result = result.and(judge(program.name, &profile));
    }
    result
}

fn nginx() -> Result<Profile> {
    let server = Nginx::start()?;
    let tracing = Tracing::attach(server.pid())?;
    server.work(4_000)?;
    tracing.stop()
}

fn postgres() -> Result<Profile> {
    let mut server = Postgres::start()?;
    let tracing = Tracing::attach(server.pid())?;
    server.work(300_000)?;
    tracing.stop()
}

/// Its allocator is jemalloc.
fn redis() -> Result<Profile> {
    let server = Redis::start()?;
    let tracing = Tracing::attach(server.pid())?;
    server.work(20_000)?;
    tracing.stop()
}

/// How the stacks of a profile end, in allocations and in stacks.
#[derive(Default)]
struct Ends {
    whole: (i64, u64),
    /// By what stands in place of the missing frames, and what lies below.
    cut: BTreeMap<(String, String), (i64, u64)>,
}

fn judge(name: &str, profile: &Profile) -> Result<()> {
    let walks = profile::check_complete_but_cut(profile).context(name.to_owned())?;
    let mut ends = Ends::default();
    for sample in &profile.samples {
        let end = end(profile, sample)?;
        let amount = match end {
            None => &mut ends.whole,
            Some(end) => ends.cut.entry(end).or_default(),
        };
        amount.0 += sample.values.alloc_objects;
        amount.1 += 1;
    }
    let all = profile::total(profile).alloc_objects;
    let share = ends.whole.0 as f64 / all as f64;
    let walked = profile::counter(profile, "unwound_stacks")?;
    println!(
        "{name:17} {all:>9} allocations, {:>6.2} % in whole stacks, {:>6.2} % recognised; {:>6} stacks, {:>6.2} % \
         whole",
        100.0 * share,
        100.0 * (1.0 - walked as f64 / all as f64),
        profile.samples.len(),
        100.0 * ends.whole.1 as f64 / profile.samples.len() as f64,
    );
    for ((end, below), (allocations, stacks)) in &ends.cut {
        println!(
            "{:17} {allocations:>9} in {stacks} stacks: {end}, {below}",
            ""
        );
    }
    ensure!(all >= LEAST_ALLOCATIONS, "{name}: only {all} allocations");
    let cut: u64 = ends.cut.values().map(|&(_, stacks)| stacks).sum();
    let allocations: i64 = ends.cut.values().map(|&(allocations, _)| allocations).sum();
    ensure!(
        allocations.unsigned_abs() == walks,
        "{name}: {allocations} allocations have a cut stack, the counters say {walks}"
    );
    let counted = profile::counter(profile, "stacks_ended_early")?;
    ensure!(
        cut == counted,
        "{name}: {cut} stacks are not whole, the counter says {counted}"
    );
    ensure!(
        share >= LEAST_WHOLE,
        "{name}: {:.3} % in whole stacks",
        100.0 * share
    );
    Ok(())
}

/// `None` for a whole stack, one that ends where the process or one of its threads began; this is found
/// out independently of the tracer. Otherwise what is said of the missing frames, and where they are missed.
fn end(profile: &Profile, sample: &Sample) -> Result<Option<(String, String)>> {
    let name = |index: &LocationIndex| {
        let line = profile.locations[index.position()].lines.last();
        line.map_or("", |line| profile.functions[line.function].name.as_str())
    };
    let (outermost, below) = match sample.locations.as_slice() {
        [.., below, outermost] => (outermost, Some(below)),
        [outermost] => (outermost, None),
        [] => bail!("a stack without frames"),
    };
    let location = &profile.locations[outermost.position()];
    if let Some(mapping) = location
        .mapping
        .and_then(|index| profile.mappings.get(index))
    {
        let offset = location.address - mapping.start + mapping.file_offset;
        if is_entry(&mapping.path, offset)? || is_thread_start(&mapping.path, offset)? {
            return Ok(None);
        }
    }
    // Of what has no name, the file.
    let file = |index| {
        name(index)
            .split("+0x")
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    Ok(Some(if name(outermost).starts_with('[') {
        (
            name(outermost).to_owned(),
            below.map_or_else(String::new, file),
        )
    } else {
        let mapping = location.mapping.map(|index| &profile.mappings[index]);
        let path = mapping.map_or("no file", |mapping| mapping.path.as_str());
        ("not marked as cut".to_owned(), path.to_owned())
    }))
}

/// Whether this offset of a file is in the function that the program begins with.
fn is_entry(path: &str, offset: u64) -> Result<bool> {
    let Ok(file) = File::open(path) else {
        return Ok(false);
    };
    let data = ReadCache::new(file);
    let file = object::File::parse(&data)?;
    if file.kind() == object::ObjectKind::Dynamic && file.entry() == 0 {
        return Ok(false);
    }
    use object::ObjectSegment as _;
    let entry = file.segments().find_map(|segment| {
        let (at, length) = segment.file_range();
        let inside = file.entry().checked_sub(segment.address())?;
        (inside < length).then_some(at + inside)
    });
    Ok(entry.is_some_and(|entry| (entry..entry + START_BYTES).contains(&offset)))
}

/// Whether this offset of a file is in the first function of a thread, which has just made the system call
/// `clone3` or `clone`. Debian's C library has no name for it.
fn is_thread_start(path: &str, offset: u64) -> Result<bool> {
    let Ok(file) = File::open(path) else {
        return Ok(false);
    };
    let mut code = [0; THREAD_START_BYTES];
    file.read_exact_at(&mut code, offset.saturating_sub(THREAD_START_BYTES as u64))?;
    Ok([libc::SYS_clone3, libc::SYS_clone].iter().any(|&number| {
        // mov eax, NUMBER; syscall
        let [a, b, ..] = number.to_le_bytes();
        let call = [0xb8, a, b, 0, 0, 0x0f, 0x05];
        code.windows(call.len()).any(|bytes| bytes == call)
    }))
}
