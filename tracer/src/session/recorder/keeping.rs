//! That the probes stay where they are as long as the target lives, and no longer than is good for it.
//!
//! A link for one process knows that by its first thread. When that thread has ended, or another one has
//! called exec, the breakpoints that are there work on, but the kernel puts none into new memory, and takes
//! the others out when anybody changes probes on the file. Probes that belong to the threads hold them.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::events::monotonic_ns;
use super::{Reach, Session, SessionError};
use crate::bpf::{Change, Heirs, ProcessChange, Threads};
use crate::process::{MappedFile, shown_as, threads_of, translator};

/// The breakpoint instruction.
const INT3: u8 = 0xcc;

/// How often it is looked whether they are there, while they are not held.
const WATCH: Duration = Duration::from_micros(200);

/// Breakpoints in a process's memory.
struct Places {
    memory: File,
    addresses: Vec<u64>,
}

impl Places {
    /// Whether one is not there.
    fn are_gone(&self) -> bool {
        self.addresses.iter().any(|&place| {
            let mut byte = [0];
            // What can't be read is not there any more.
            self.memory.read_exact_at(&mut byte, place).is_ok() && byte[0] != INT3
        })
    }
}

impl Session {
    /// Does what a change asks for at once.
    pub(super) fn answer(&mut self, change: &ProcessChange) {
        if change.tgid != self.who.pid || self.follow_forks {
            return;
        }
        if self.is_in_windows()
            && let Some(windows) = &mut self.windows
        {
            if matches!(change.what, Change::FirstThreadExit) {
                windows.give_up();
            }
            return;
        }
        match change.what {
            Change::FirstThreadExit => {
                // Somebody may have changed probes since, and the kernel have taken ours out.
                self.check_probes();
                self.keep_probes_watched();
            }
            Change::Exec {
                by_other_thread: true,
                ..
            } if !self.had_first_thread_gone => {
                // The new program has been running since then.
                let in_time = self.kept_ns.is_some_and(|kept| kept < change.time_ns);
                self.execs_by_other_threads += u64::from(!in_time);
                self.keep_probes();
            }
            _ => {}
        }
    }

    /// As [`Self::keep_probes`], where the breakpoints are there: others may take them out until they are held.
    fn keep_probes_watched(&mut self) {
        if self.kept_ns.is_some() {
            return;
        }
        let watched = self.probed_places();
        let is_over = AtomicBool::new(false);
        let are_gone = thread::scope(|threads| {
            let watcher = threads.spawn(|| {
                let mut are_gone = false;
                while !is_over.load(Ordering::Relaxed) {
                    are_gone |= watched.as_ref().is_some_and(Places::are_gone);
                    thread::sleep(WATCH);
                }
                are_gone
            });
            self.keep_probes();
            is_over.store(true, Ordering::Relaxed);
            watcher.join().unwrap_or(true)
        });
        self.probes_missing += u64::from(are_gone);
    }

    /// Has the breakpoints belong to the target's threads.
    pub(super) fn keep_probes(&mut self) {
        let pid = self.who.pid;
        let list = move || threads_of(&[pid]);
        if self.kept_ns.is_some() || list().is_empty() {
            return;
        }
        let threads = Threads {
            list: &list,
            heirs: Heirs::Threads,
        };
        let allocators = self.found.allocators.iter();
        let kept: Result<Vec<()>, _> = allocators
            .map(|allocator| {
                let probes = self.kernel.probes();
                probes.keep(allocator.probed(), threads)
            })
            .collect();
        match kept {
            Ok(_) => {
                self.kept_ns = Some(monotonic_ns());
                // For allocators that are found later.
                self.reach = Reach::Heirs(Heirs::Threads);
            }
            // The process may have ended meanwhile.
            Err(_) if list().is_empty() => {}
            Err(error) => self.not_probed.push(error.to_string()),
        }
    }

    /// Looks whether the breakpoints are in the target's memory, and puts them back where they are not.
    pub(super) fn check_probes(&mut self) {
        if !self.is_in_windows() && self.are_probes_missing() {
            self.probes_missing += 1;
            self.keep_probes();
        }
    }

    fn are_probes_missing(&self) -> bool {
        self.probed_places().is_some_and(|places| places.are_gone())
    }

    /// Where the breakpoints are; `None` where the target has ended.
    fn probed_places(&self) -> Option<Places> {
        let (_, traced) = self.processes.latest(self.who.pid)?;
        let memory = File::open(format!("/proc/{}/mem", shown_as(traced.pid))).ok()?;
        let now = traced.space.now();
        let places = self.found.allocators.iter().flat_map(|allocator| {
            let key = MappedFile::key_of(&allocator.file).ok();
            let plan = &allocator.plan;
            // Each is put in and taken out by itself.
            let probes = plan.allocating.iter().chain(&plan.freeing);
            let offsets = probes.chain(&plan.throwing).map(|probe| probe.point.0);
            let mapped = now.iter().filter(move |(_, _, mapped)| {
                key.is_some() && mapped.file.as_ref().and_then(|file| file.key) == key
            });
            let offsets: Vec<u64> = offsets.collect();
            mapped.flat_map(move |&(start, end, mapped)| {
                let first = start - mapped.start + mapped.file_offset;
                let inside = first..first + (end - start);
                let offsets = offsets.clone().into_iter();
                offsets
                    .filter(move |offset| inside.contains(offset))
                    .map(move |offset| start + (offset - first))
            })
        });
        Some(Places {
            addresses: places.collect(),
            memory,
        })
    }

    /// Takes the probes out, where a file that is mapped or run tells of somebody who reads code as data.
    pub(super) fn make_way(
        &mut self,
        pid: u32,
        file: &std::path::Path,
    ) -> Result<(), SessionError> {
        let Some(what) = translator(file) else {
            return Ok(());
        };
        if self.made_way.is_none() {
            self.made_way = Some(format!(
                "{what} has turned up (pid {pid}), which reads code as data, and would read the probes' \
                 breakpoints: they were taken out, and the recording ends there"
            ));
            self.finish_windows()?;
            self.kernel.stop()?;
            self.kernel.probes().detach_at_once()?;
        }
        Ok(())
    }
}
