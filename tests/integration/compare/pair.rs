//! Pairs of profiles to compare, and what Go's pprof makes of them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use tests::go;
use tests::process::{self, Ended};
use tests::tracing::tracer;
use tracer::export::pprof;
use tracer::profile::{
    Function, Line, Location, LocationIndex, Mapping, Profile, Sample, ValueKind, Values,
};

/// Two builds of one program with some number of stacks each: nine in ten are in both, at other
/// addresses and lines, and every third of these holds something else.
pub(super) fn two_builds(stacks: usize) -> [Profile; 2] {
    [0, 1].map(|build| {
        let shift = 0x1_0000 * build as u64;
        let functions: Vec<Function> = (0..1_000)
            .map(|index| Function {
                name: format!("service::module{}::function{index}", index % 37),
                file: format!("src/module{}.rs", index % 37),
                ..Function::default()
            })
            .collect();
        let locations = (0..functions.len())
            .map(|function| Location {
                mapping: Some(0),
                address: 0x40_1000 + shift + 16 * function as u64,
                lines: vec![Line {
                    function,
                    line: 10 + build as u32 * 3,
                }],
                unknown: None,
            })
            .collect();
        let first = build * stacks / 10;
        let samples = (first..first + stacks)
            .map(|stack| Sample {
                locations: path(stack),
                values: amounts(stack, if stack % 3 == 0 { build } else { 0 }),
                ..Sample::default()
            })
            .collect();
        let mut profile = Profile {
            mappings: vec![Mapping {
                start: 0x40_0000 + shift,
                limit: 0x50_0000 + shift,
                path: "/usr/bin/service".to_owned(),
                build_id: format!("{build:040x}"),
                has_functions: true,
                ..Mapping::default()
            }],
            functions,
            locations,
            samples,
            ..Profile::default()
        };
        profile.metadata.period = 1;
        profile.metadata.time_nanos = 1_700_000_000_000_000_000 + build as i64;
        profile
    })
}

/// Twelve frames that no other stack has, leaf first: the number in base 1000, from the root down,
/// and what depends on it below.
fn path(stack: usize) -> Vec<LocationIndex> {
    let mut path = vec![0, 1 + stack / 1_000, stack % 1_000];
    let mut state = stack;
    while path.len() < 12 {
        state = (state * 75 + 74) % 65_537;
        path.push(state % 1_000);
    }
    path.into_iter().rev().map(LocationIndex::new).collect()
}

pub(super) fn amounts(stack: usize, build: usize) -> Values {
    let objects = (1 + stack % 7 + build * (stack % 5)) as i64;
    let size = (16 + stack % 4_000) as i64;
    Values {
        alloc_objects: objects * 3,
        alloc_space: objects * 3 * size,
        inuse_objects: objects,
        inuse_space: objects * size,
        ..Values::default()
    }
}

/// Files of two profiles, as tracer writes them.
pub(super) struct Files {
    pub(super) folder: TempDir,
    pub(super) before: PathBuf,
    pub(super) after: PathBuf,
}

impl Files {
    pub(super) fn write([before, after]: &[Profile; 2]) -> Result<Self> {
        let folder = TempDir::new()?;
        let files = Self {
            before: folder.path().join("before.pb.gz"),
            after: folder.path().join("after.pb.gz"),
            folder,
        };
        for (path, profile) in [(&files.before, before), (&files.after, after)] {
            pprof::write(profile, &mut fs::File::create(path)?)?;
        }
        Ok(files)
    }

    pub(super) fn diff(&self, arguments: &[&str]) -> Result<Ended> {
        let mut command = tracer(["diff"])?;
        command.arg(&self.before).arg(&self.after).args(arguments);
        process::run(&mut command, b"")
    }

    /// Writes the difference as a pprof file.
    pub(super) fn delta(&self, arguments: &[&str]) -> Result<PathBuf> {
        let path = self.folder.path().join("diff.pb.gz");
        let mut command = tracer(["diff", "--format", "pprof", "-o"])?;
        command.arg(&path).arg(&self.before).arg(&self.after);
        process::run(command.args(arguments), b"")?.expect_code(0)?;
        Ok(path)
    }
}

/// Flat and cumulative amount of every function.
pub(super) type Table = BTreeMap<String, (i64, i64)>;

/// What `go tool pprof -top` shows, in bytes or objects.
pub(super) fn pprof_top(value: ValueKind, arguments: &[&str], files: &[&Path]) -> Result<Table> {
    let unit = match value.unit() {
        "bytes" => "-unit=B",
        _ => "-unit=count",
    };
    let index = format!("-sample_index={}", value.name());
    let mut all = vec!["-top", unit, "-nodecount=1000000", "-nodefraction=0"];
    all.extend(["-edgefraction=0", "-symbolize=none", &index]);
    all.extend(arguments);
    let all = all.into_iter().map(OsStr::new);
    let ended = go::pprof(all.chain(files.iter().map(|file| file.as_os_str())))?;
    ended.expect_code(0)?;
    let text = String::from_utf8_lossy(&ended.stdout).into_owned();
    let rows = text.lines().skip_while(|line| !line.contains("flat%"));
    let mut table = Table::new();
    for row in rows.skip(1) {
        let columns: Vec<&str> = row.split_whitespace().collect();
        let [flat, _, _, cum, _, name @ ..] = columns.as_slice() else {
            continue;
        };
        let number = |text: &str| {
            let number = text.trim_end_matches('B').parse::<i64>();
            number.with_context(|| row.to_owned())
        };
        let name = name.join(" ");
        let name = name.strip_suffix("(inline)").unwrap_or(&name);
        let name = name.strip_suffix("(partial-inline)").unwrap_or(name);
        table.insert(name.trim_end().to_owned(), (number(flat)?, number(cum)?));
    }
    ensure!(!table.is_empty(), "no rows\n{}", ended.printed());
    Ok(table)
}
