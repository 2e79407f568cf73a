//! Running the tracer with `--every`, and questions that tests ask of what it writes.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use tempfile::TempDir;
use tracer::export;
use tracer::profile::Profile;
use tracer::profile::series::{Counters, Series, StackHistory, StackId, Survivors};

use crate::process::Child;
use crate::tracing::{exactly, spawn_run, tracer};
use crate::{profile, wait};

/// A running `tracer attach --every`, or `tracer run --every`, with a folder of its own.
#[derive(Debug)]
pub struct SeriesTracing {
    child: Child,
    folder: TempDir,
}

/// What it has written.
#[derive(Debug)]
pub struct Recorded {
    /// The profiles, in the order of their windows.
    pub files: Vec<PathBuf>,
    /// The last of them.
    pub profile: Profile,
    /// The series.
    pub series: Series,
    /// Holds the files.
    folder: TempDir,
}

impl SeriesTracing {
    /// Attaches and waits until every call counts.
    ///
    /// # Errors
    /// The tracer ended instead; the error carries what it said.
    pub fn attach(pid: u32, every: &str, arguments: &[&str]) -> Result<Self> {
        let folder = TempDir::new()?;
        let mut command = tracer(["attach", "--every", every, "--pid", &pid.to_string()])?;
        command
            .arg("-o")
            .arg(folder.path().join("series"))
            .args(arguments)
            .args(exactly(arguments));
        let mut child = Child::spawn(&mut command)?;
        let attached = |line: &str| line.starts_with("attached to");
        child.wait_line(|child| &child.stderr, "`attached to`", attached)?;
        Ok(Self { child, folder })
    }

    /// Runs a command that is traced from its beginning.
    ///
    /// # Errors
    /// The tracer cannot be started.
    pub fn run<S: AsRef<OsStr>>(
        every: &str,
        arguments: &[&str],
        traced: impl IntoIterator<Item = S>,
    ) -> Result<Self> {
        let folder = TempDir::new()?;
        let output = folder.path().join("series");
        let arguments = [&["--every", every], arguments].concat();
        let child = spawn_run(&arguments, &output, traced)?;
        Ok(Self { child, folder })
    }

    /// The tracer's process; under `run`, its standard streams are the traced program's.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Windows whose profile is there.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn windows(&self) -> Result<usize> {
        Ok(profiles_in(&self.folder.path().join("series"))?.len())
    }

    /// Waits until so many windows' profiles are there.
    ///
    /// # Errors
    /// They do not come.
    pub fn wait_windows(&mut self, count: usize) -> Result<()> {
        wait::until("the next window", || {
            ensure!(
                self.child.is_running()?,
                "the tracer ended: {}",
                self.child.stderr.text()
            );
            Ok((self.windows()? >= count).then_some(()))
        })
    }

    /// Ends the tracing as Ctrl-C does and reads what was written.
    ///
    /// # Errors
    /// The tracer failed, or what it wrote is no series.
    pub fn stop(mut self) -> Result<Recorded> {
        self.child.signal(Signal::INT)?;
        self.finish()
    }

    /// Waits for the tracer to end by itself and reads what was written.
    ///
    /// # Errors
    /// As for [`Self::stop`].
    pub fn finish(mut self) -> Result<Recorded> {
        let ended = self.child.wait()?;
        ended.expect_code(0)?;
        read(self.folder)
    }
}

/// Reads the folder `series` in a folder.
fn read(folder: TempDir) -> Result<Recorded> {
    let path = folder.path().join("series");
    let files = profiles_in(&path)?;
    let last = files.last().context("no profile was written")?;
    let profile = export::read(&fs::read(last)?)?;
    profile::check_sane(&profile)?;
    let series = export::series::read(&fs::read(path.join(export::series::FILE_NAME))?)?;
    ensure!(
        files.len() - series.marks().len() <= 1,
        "{} profiles of {} windows",
        files.len(),
        series.marks().len()
    );
    Ok(Recorded {
        files,
        profile,
        series,
        folder,
    })
}

fn profiles_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(|first: char| first.is_ascii_digit()) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

impl Recorded {
    /// The folder with the files.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.folder.path().join("series")
    }

    /// The stacks that go through a function.
    pub fn stacks_through(&self, function: &str) -> impl Iterator<Item = &StackHistory> {
        let through = move |id: u64| {
            let id = usize::try_from(id).ok()?;
            let sample = self.profile.samples.get(id)?;
            profile::stack(&self.profile, sample).find(|&name| name == function)
        };
        self.series
            .stacks()
            .filter(move |&(StackId(id), _)| through(id).is_some())
            .map(|(_, history)| history)
    }

    /// The one stack that goes through a function.
    ///
    /// # Errors
    /// There is none, or there are more.
    pub fn stack_through(&self, function: &str) -> Result<&StackHistory> {
        let mut found = self.stacks_through(function);
        let (Some(history), None) = (found.next(), found.next()) else {
            anyhow::bail!("not one stack goes through {function}");
        };
        Ok(history)
    }

    /// Checks that each stack of the series ends as its sample in the profile says, and that its
    /// generations add up to it. Right where the target rested during the last window.
    ///
    /// # Errors
    /// Names the first stack that differs.
    pub fn check_end(&self) -> Result<()> {
        ensure!(
            self.series.stacks().len() == self.profile.samples.len(),
            "the series has {} stacks, the profile {}",
            self.series.stacks().len(),
            self.profile.samples.len()
        );
        for (StackId(id), history) in self.series.stacks() {
            let values = self.profile.samples[usize::try_from(id)?].values;
            let counters = history.counters();
            let (objects, bytes) = sum(history.survivors());
            ensure!(
                u64::try_from(values.alloc_objects)? == counters.alloc_objects
                    && u64::try_from(values.alloc_space)? == counters.alloc_bytes
                    && u64::try_from(values.inuse_objects)? == objects
                    && u64::try_from(values.inuse_space)? == bytes
                    && counters.live_objects() == objects
                    && counters.live_bytes() == bytes,
                "stack {id}: {values:?} in the profile, {counters:?} in the series, \
                 {objects} objects of {bytes} bytes in its generations"
            );
        }
        Ok(())
    }
}

/// Objects and bytes of generations.
#[must_use]
pub fn sum(survivors: &[Survivors]) -> (u64, u64) {
    survivors.iter().fold((0, 0), |(objects, bytes), one| {
        (objects + one.objects, bytes + one.bytes)
    })
}

/// A stack as it was at the end of a window.
#[must_use]
pub fn at(history: &StackHistory, window: usize) -> (Counters, Vec<Survivors>) {
    let points = history.points().iter();
    let counters = points
        .take_while(|point| point.window as usize <= window)
        .last()
        .map(|point| point.counters)
        .unwrap_or_default();
    let mut row: Vec<Survivors> = Vec::new();
    let changes = history.changes().iter();
    for change in changes.take_while(|change| change.window as usize <= window) {
        let new = change.survivors;
        row.retain(|one| one.generation != new.generation);
        if new.objects > 0 || new.bytes > 0 {
            row.push(new);
        }
    }
    row.sort_by_key(|one| one.generation);
    (counters, row)
}
