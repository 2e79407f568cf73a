//! A running `tracer serve`.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use tracer::profile::Profile;

use crate::http::{Answer, ask, request};
use crate::ledger::Ledger;
use crate::process::{Child, Ended};
use crate::{binaries, profile, wait};

/// A running `tracer serve`.
#[derive(Debug)]
pub struct Serving {
    /// The tracer.
    pub child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Serving {
    /// Starts it on a port of its own, and waits until it serves.
    ///
    /// # Errors
    /// The tracer ended instead.
    pub fn start(pid: u32, arguments: &[&str]) -> Result<Self> {
        Self::start_by(Command::new(binaries::tracer()?), pid, arguments)
    }

    /// The same; `command` runs the tracer.
    ///
    /// # Errors
    /// The tracer ended instead.
    pub fn start_by(mut command: Command, pid: u32, arguments: &[&str]) -> Result<Self> {
        command.args(["serve", "--pid", &pid.to_string()]);
        let has = |wanted: &str| arguments.iter().any(|one| one.starts_with(wanted));
        if !has("--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        if !has("--max-overhead") {
            command.arg("--exact");
        }
        let mut child = Child::spawn(command.args(arguments))?;
        let is_it = |line: &str| line.starts_with("serving ");
        let line = child.wait_line(|child| &child.stderr, "`serving`", is_it)?;
        let place = line.split("://").nth(1).unwrap_or("127.0.0.1:0/");
        let address = place.split('/').next().unwrap_or_default().parse()?;
        Ok(Self { child, address })
    }

    /// Asks for a path with these headers.
    ///
    /// # Errors
    /// There was no answer.
    pub fn ask(&self, path: &str, headers: &[(&str, &str)]) -> Result<Answer> {
        let host = self.address.to_string();
        let mut all = vec![("Host", host.as_str())];
        all.extend(headers);
        ask(self.address, &request("GET", path, &all))
    }

    /// The profile at a path.
    ///
    /// # Errors
    /// There was none.
    pub fn profile(&self, path: &str) -> Result<Profile> {
        let answer = self.ask(path, &[])?;
        ensure!(
            answer.status == 200,
            "{path}: {}{}",
            answer.head,
            answer.text()
        );
        Ok(tracer::export::read(&answer.body)?)
    }

    /// Asks until the profile has all that a workload has done.
    ///
    /// # Errors
    /// It never had.
    pub fn profile_of(&self, path: &str, ledger: &Ledger) -> Result<Profile> {
        let wanted = ledger.total.values()?;
        wait::until("the whole ledger", || {
            let profile = self.profile(path)?;
            let has = profile::total(&profile);
            Ok((has.alloc_objects >= wanted.alloc_objects).then_some(profile))
        })
    }

    /// Ends it as Ctrl-C does.
    ///
    /// # Errors
    /// It failed.
    pub fn stop(mut self) -> Result<Ended> {
        self.child.signal(Signal::INT)?;
        let ended = self.child.wait()?;
        ended.expect_code(0)?;
        Ok(ended)
    }

    /// What /proc says of each thread, by name, in the line that begins with `key`.
    ///
    /// # Errors
    /// It is gone.
    pub fn status_of_threads(&self, key: &str) -> Result<BTreeMap<String, String>> {
        let mut found = BTreeMap::new();
        for task in fs::read_dir(format!("/proc/{}/task", self.child.pid()))? {
            let folder = task?.path();
            let name = fs::read_to_string(folder.join("comm"))?.trim().to_owned();
            let status = fs::read_to_string(folder.join("status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            found.insert(name, line.context("no such line")?.trim().to_owned());
        }
        Ok(found)
    }

    /// Resident memory of the tracer, in bytes.
    ///
    /// # Errors
    /// It is gone.
    pub fn resident(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        Ok(kilobytes.context("no VmRSS")? * 1024)
    }
}
