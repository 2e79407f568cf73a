//! Saved profiles of a service that leaks, or does not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use tempfile::TempDir;
use tests::process::{self, Ended};
use tests::tracing::tracer;
use tracer::export::pprof;
use tracer::profile::{
    Function, Line, Location, LocationIndex, Mapping, Peak, Profile, Sample, Values, Verdict,
};

/// Snapshots of a folder.
pub(super) const SNAPSHOTS: i64 = 40;

/// A folder to work in, with `profiles/` in it.
pub(super) struct Place {
    pub(super) folder: TempDir,
}

/// What the stack `service::remember` does in each second.
#[derive(Clone, Copy)]
pub(super) enum Course {
    /// 100 objects of 64 bytes are allocated, and one is lost.
    Leak,
    /// All of them are freed.
    Churn,
}

/// The service after some seconds. `remember` is called by `handle`, which is in `src/main.rs`.
pub(super) fn snapshot(course: Course, second: i64) -> Profile {
    let function = |name: &str, file: &str| Function {
        name: name.to_owned(),
        file: file.to_owned(),
        ..Function::default()
    };
    let location = |address, function, line| Location {
        mapping: Some(0),
        address,
        lines: vec![Line { function, line }],
        unknown: None,
    };
    let lost = match course {
        Course::Leak => second,
        Course::Churn => 0,
    };
    let sample = |locations: &[usize], objects: i64, live: i64| Sample {
        locations: locations.iter().copied().map(LocationIndex::new).collect(),
        values: Values {
            alloc_objects: objects,
            alloc_space: objects * 64,
            inuse_objects: live,
            inuse_space: live * 64,
            peak_objects: live,
            peak_space: live * 64,
        },
        ..Sample::default()
    };
    let mut profile = Profile {
        mappings: vec![Mapping {
            start: 0x40_0000,
            limit: 0x50_0000,
            path: "/usr/bin/service".to_owned(),
            build_id: "ab".repeat(20),
            has_functions: true,
            has_filenames: true,
            has_line_numbers: true,
            ..Mapping::default()
        }],
        functions: vec![
            function("service::main", "/build/src/main.rs"),
            function("service::handle", "/build/src/main.rs"),
            function("service::remember", "/build/src/cache.rs"),
            function("alloc::alloc::alloc", "/rustc/1/library/alloc/src/alloc.rs"),
        ],
        locations: vec![
            location(0x40_1000, 0, 3),
            location(0x40_2000, 1, 7),
            location(0x40_3000, 2, 5),
            location(0x40_4000, 3, 95),
        ],
        samples: vec![
            sample(&[3, 2, 1, 0], second * 100, lost),
            sample(&[1, 0], second * 1_000 + 10, 10),
        ],
        peak: Some(Peak {
            bytes: (lost + 10) * 64,
            objects: lost + 10,
            after_nanos: Some(second * 1_000_000_000),
        }),
        ..Profile::default()
    };
    profile.metadata.period = 1;
    profile.metadata.time_nanos = 1_700_000_000_000_000_000 + second * 1_000_000_000;
    profile.metadata.pids = vec![4711];
    profile
}

/// A profile that has not kept the peak, as those of other tools.
pub(super) fn without_peak(mut profile: Profile) -> Profile {
    profile.peak = None;
    for sample in &mut profile.samples {
        sample.values = sample.values.without_peak();
    }
    profile
}

/// A profile that missed too much.
pub(super) fn lossy(mut profile: Profile) -> Profile {
    profile.verdict = Verdict::Inconclusive {
        reasons: vec!["The live table was full.".to_owned()],
    };
    profile
}

pub(super) fn write(profile: &Profile, path: &Path) -> Result<()> {
    pprof::write(profile, &mut fs::File::create(path)?)?;
    Ok(())
}

impl Place {
    /// With a series of snapshots, one a second; their names are not in the order of their times.
    pub(super) fn with(course: Course, snapshots: i64) -> Result<Self> {
        let folder = TempDir::new()?;
        let place = Self { folder };
        fs::create_dir(place.at("profiles"))?;
        for second in 0..snapshots {
            let name = format!("profiles/heap-{:02}.pb.gz", second * 7 % snapshots.max(1));
            write(&snapshot(course, second), &place.at(&name))?;
        }
        Ok(place)
    }

    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn read(&self, name: &str) -> Result<String> {
        Ok(fs::read_to_string(self.at(name))?)
    }

    pub(super) fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = tracer(["check"])?;
        command.args(arguments).current_dir(self.folder.path());
        command.env_remove("GITHUB_STEP_SUMMARY");
        Ok(command)
    }

    /// `tracer check` in the folder.
    pub(super) fn check(&self, arguments: &[&str]) -> Result<Ended> {
        process::run(&mut self.command(arguments)?, b"")
    }

    /// What it prints, if it ends as expected.
    pub(super) fn expect(&self, code: i32, arguments: &[&str]) -> Result<String> {
        let ended = self.check(arguments)?;
        ended.expect_code(code)?;
        Ok(String::from_utf8(ended.stdout)?)
    }
}
