//! How a recording ends: the probes out, and the profile with what there is to say of it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tracer_common::Counter;

use super::resident::Look;
use super::windows::{Effort, without_unseen};
use super::{Ended, Recording, Session, SessionError, Source};
use crate::bpf::StackAmounts;
use crate::printable::Shown as _;
use crate::probe::AllocatorKind;
use crate::process::HeapUse;
use crate::profile::Profile;
use crate::session::cost::Events;
use crate::session::snapshot::Parts;
use crate::session::verdict::Findings;
use crate::session::windows::Windows;

/// What a profile of page faults can't tell.
const GROWTH: &str = "amounts are memory that became resident, and objects its pages, by who touched them first: \
     that need not be who keeps them. Memory that the program uses again does not count again; files and shared \
     memory do not count";

/// A session that counts no more.
pub(super) struct Stopped {
    pub(super) elapsed: Duration,
    /// What the target's heap was then.
    heap: Option<HeapUse>,
    /// Where that is what counts.
    pub(super) look: Option<Look>,
    detach_time: Duration,
}

impl Session {
    /// Stops counting, takes the probes out and makes the profile.
    ///
    /// # Errors
    ///
    /// The kernel side failed, or the allocator that was probed is not the one the target uses.
    pub fn finish(mut self, ended: Ended) -> Result<Recording, SessionError> {
        let stopped = self.stop()?;
        let mut amounts = self.kernel.stacks()?;
        self.settle_pages(stopped.look.as_ref(), &mut amounts);
        self.take_the_dead(&mut amounts);
        let mut recording = self.conclude(ended, stopped, &amounts)?;
        // Each stack that was copied has come as one of its own.
        recording.profile.merge_equal_samples();
        Ok(recording)
    }

    pub(super) fn stop(&mut self) -> Result<Stopped, SessionError> {
        // While the target runs.
        self.finish_windows()?;
        self.check_probes();
        self.read_memory();
        self.kernel.stop()?;
        let elapsed = self.started.elapsed();
        let heap = HeapUse::of(self.who.pid).ok();
        let look = self.look_at_pages(true);
        let detaching = Instant::now();
        self.kernel.probes().detach()?;
        let detach_time = detaching.elapsed();
        self.take_events();
        self.kernel.finish_log()?;
        if let Some(error) = self.not_retired.take() {
            return Err(error.into());
        }
        Ok(Stopped {
            elapsed,
            heap,
            look,
            detach_time,
        })
    }

    pub(super) fn conclude(
        mut self,
        ended: Ended,
        stopped: Stopped,
        amounts: &[StackAmounts],
    ) -> Result<Recording, SessionError> {
        let elapsed = stopped.elapsed;
        let counters = self.update_profile(elapsed, amounts)?;
        let mut profile = std::mem::take(&mut self.snapshots).into_profile();
        let is_silent = Events::of(&counters).is_none() && self.windows.is_none();
        if self.source == Source::Probes && is_silent {
            let moved = self.heap_at_start.zip(stopped.heap);
            let moved = moved.map(|(start, end)| start.distance(&end));
            self.found.check_silence(elapsed, moved)?;
        }
        if ended == Ended::TargetExited {
            profile.metadata.source.push_str(", until it ended");
        }
        let windows = self.windows.as_ref().map(Windows::status);
        profile
            .metadata
            .notes
            .extend(self.said_at_the_end(&counters, elapsed));
        Ok(Recording {
            profile,
            source: self.source,
            mode: self.mode,
            ended,
            elapsed,
            attach_time: self.attach_time,
            detach_time: stopped.detach_time,
            windows,
        })
    }

    /// What there is to say of the recording as a whole: its cost, and what is proved dead.
    pub(super) fn said_at_the_end(
        &self,
        counters: &[(Counter, u64)],
        elapsed: Duration,
    ) -> impl Iterator<Item = String> + use<> {
        let cost = match &self.windows {
            Some(windows) => Some(windows.status().note()),
            None => {
                let costs = self.costs.of_events();
                costs.and_then(|costs| costs.note(counters, elapsed))
            }
        };
        cost.into_iter().chain(self.deaths())
    }

    /// Brings the profile up to date. Returns the counters that went into it.
    pub(super) fn update_profile(
        &mut self,
        elapsed: Duration,
        amounts: &[StackAmounts],
    ) -> Result<Vec<(Counter, u64)>, SessionError> {
        let mut counters = self.kernel.counters()?;
        if self.windows.is_some() {
            without_unseen(&mut counters);
        }
        for (counter, value) in &mut counters {
            *value += self.cut_here.get(counter).copied().unwrap_or(0);
        }
        let unseen = self.unseen();
        let windows = self.windows.as_ref();
        let estimated = windows.map(|windows| windows.estimate(elapsed));
        let scaled = estimated.as_ref().map(|estimated| match estimated {
            Ok(estimated) => Ok(estimated.by.clone()),
            Err(impossible) => Err(impossible.to_string()),
        });
        self.learn_threads()?;
        self.snapshots.update(Parts {
            processes: &self.processes,
            main: self.who.pid,
            seen: &mut self.stacks,
            amounts,
            peak: self.kernel.peak()?,
            counted: (self.started_ns, elapsed),
            counters: &counters,
            found: &self.found,
            findings: Findings {
                mapping_records_lost: self.mapping_records_lost,
                mappings_forgotten: self.processes.forgotten(),
                files_not_opened: self.found.unread.count(),
                children_not_followed: self.children,
                execs_by_other_threads: self.execs_by_other_threads,
                probes_missing: self.probes_missing,
                children_unsure: if self.kernel.may_lose_inherited() {
                    self.processes.followed()
                } else {
                    0
                },
                translators: u64::from(self.made_way.is_some()),
                mappings_dropped: self.processes.dropped(),
                modules_not_probed: self.not_probed.len() as u64,
                modules_probed_late: self.probed_late.len() as u64,
                modules_without_table: self.unwinder.modules_without_table(),
                mappings_not_published: self.unwinder.unpublished().len() as u64,
                unwind_tables: self.unwinder.tables(),
                unwind_spaces: self.unwinder.spaces(),
                live_table_growth_failures: self.kernel.live_table_growth_failures(),
                unwind_table_bytes: self.kernel.table_bytes() as u64,
                is_growth: self.source == Source::Growth,
                unattributed_bytes: self.pages.unattributed_bytes(),
                unlooked_bytes: self.pages.unlooked_bytes(),
                unsure_threads: self.kernel.unsure_threads(),
                windows: self.windows.as_ref().map(Windows::status),
                scaled,
                ..unseen
            },
        });
        if self.source == Source::Growth || self.windows.is_some() {
            // The kernel side knows what comes, not what goes.
            self.snapshots.profile_mut().peak = None;
        }
        let estimated = estimated.and_then(Result::ok);
        self.snapshots.estimate(amounts, estimated.as_ref());
        let mut notes = self.notes(self.snapshots.profile());
        notes.extend(estimated.and_then(|estimated| estimated.doubt));
        let metadata = &mut self.snapshots.profile_mut().metadata;
        metadata.notes = notes;
        metadata.source = format!(
            "{} {} (pid {}) for {:.1} s{}",
            self.mode,
            self.who.name.raw(),
            self.who.pid,
            elapsed.as_secs_f64(),
            match self.source {
                Source::Probes => "",
                Source::Growth => ", by page faults",
            },
        );
        metadata.time_nanos = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .ok()
            .and_then(|since| i64::try_from(since.as_nanos()).ok())
            .unwrap_or(0);
        metadata.period = 1;
        Ok(counters)
    }

    fn notes(&self, profile: &Profile) -> Vec<String> {
        let mut notes: Vec<_> = self
            .crowded
            .iter()
            .chain(&self.not_probed)
            .cloned()
            .collect();
        notes.extend(self.made_way.iter().cloned());
        let given_up = self.windows.as_ref().and_then(Windows::given_up);
        notes.extend(given_up);
        notes.extend(self.effort.as_ref().and_then(Effort::note));
        if self.source == Source::Growth {
            notes.push(GROWTH.to_owned());
        }
        notes.extend(self.found.unread.notes());
        notes.extend(self.found.not_probed(profile).into_iter().map(|path| {
            format!(
                "{} serves the target's malloc: what it hands out is not in this profile; start the target \
                 without it (LD_PRELOAD), or with one of {}",
                path.shown(),
                AllocatorKind::NAMES
            )
        }));
        notes.extend(self.probed_late.iter().map(|path| {
            format!(
                "{} was mapped a moment before it was probed: start the program itself, not by a script, \
                 or attach when it runs",
                path.shown()
            )
        }));
        notes.extend(self.unwinder.unpublished().iter().cloned());
        let counter = |name: &str| {
            let counters = profile.counters.iter();
            counters
                .filter(|counter| counter.name == name)
                .map(|counter| counter.value)
                .sum::<u64>()
        };
        let runtime_bytes = counter("runtime_bytes");
        if let (Some(runtime), 1..) = (self.found.runtime, runtime_bytes) {
            notes.push(format!(
                "{} MB of what the target holds is not in this profile: {}",
                runtime_bytes >> 20,
                runtime.words
            ));
        }
        let retired = self.snapshots.retired_images();
        if retired > 0 {
            notes.push(format!(
                "{retired} runs of programs had ended before the others: they are summed up, without their pids"
            ));
        }
        if self.children > 0 && !self.follow_forks {
            notes.push(format!(
                "the target started {} processes that were not counted (--follow-forks counts them)",
                self.children
            ));
        }
        notes
    }
}
