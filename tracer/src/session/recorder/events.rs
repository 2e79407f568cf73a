//! What the side-band and the ring bring: mappings, stacks, copies of stacks, changes of processes.

use std::panic::resume_unwind;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use tracer_common::StackKey;

use super::{Session, SessionError, Source};
use crate::bpf::{BpfError, Change, KernelEvent, NewImage, ProcessChange, StackCopy};
use crate::life::{Event, Image};
use crate::process::{MappedFile, MappingEvent, stack_start, threads_of};
use crate::session::frames::Frames;
use crate::session::processes::News;
use crate::session::snapshot::Seen;
use crate::session::unwinding::compile_all;

/// Bytes of copied stacks that may wait to be walked. A copy is some kilobytes, at most 64 KiB.
const MAX_WAITING_BYTES: usize = 128 << 20;
/// Copied stacks that are walked before the next look at what has come. Each takes about 6 us.
const MAX_WALKED: usize = 64;
/// How often they are taken out of the ring while unwind tables are compiled.
const DRAIN_INTERVAL: Duration = Duration::from_millis(1);
/// Images that have ended, before they are summed up: each time the whole live table is looked through.
const RETIRED_AT_ONCE: usize = 512;
/// Records of the side-band that may wait for the ring.
const MAX_LATER: usize = 65_536;

impl Session {
    /// Takes what the side-band and the ring have.
    pub(super) fn take_events(&mut self) {
        // Mappings are published after each part of the ring: until then every stack may come as a copy,
        // as fast as they are taken.
        while self.take_some() {}
        // Last, as it takes its time: stacks are copied until the mappings are published.
        let modules = std::mem::take(&mut self.new_modules);
        if self.source == Source::Growth {
            return;
        }
        for module in modules {
            if self.made_way.is_some() {
                return;
            }
            self.probe(&module);
        }
    }

    /// Takes a part of what the ring has, and what the side-band has. The side-band last: of each process
    /// it then tells all that came before what the ring has told. Returns whether there may be more.
    fn take_some(&mut self) -> bool {
        let now = monotonic_ns();
        let is_more = self.drain();
        // What lies on the last stack was mapped before that was seen.
        let until = if is_more {
            self.drained_ns
        } else {
            self.drained_ns.max(now)
        };
        self.take_changes(until);
        self.publish_mappings();
        self.forget_ended();
        // Not all of them: that may take longer than the ring has room for.
        for _ in 0..MAX_WALKED {
            let Some(copy) = self.copies.pop_front() else {
                break;
            };
            self.waiting_words -= copy.words.len();
            self.walk(&copy);
        }
        self.unwinder.allow_copies(self.kernel.unwind_maps());
        if self.copies.is_empty()
            && let Err(error) = self.retire_ended()
        {
            self.not_retired = Some(error);
        }
        is_more || !self.copies.is_empty() || !self.later.is_empty()
    }

    /// Takes a part of what the ring has. Returns whether there may be more.
    fn drain(&mut self) -> bool {
        self.kernel.drain(|event| match event {
            KernelEvent::Stack(stack) => {
                let key = StackKey {
                    stack: stack.stack,
                    image: stack.image,
                    thread: stack.thread,
                };
                self.stacks.entry(key).or_insert_with(|| {
                    Some(Box::new(Seen {
                        time_ns: stack.time_ns,
                        frames: Frames::pack(&stack.frames),
                        end: stack.end,
                    }))
                });
                self.drained_ns = stack.time_ns;
                self.seen.insert(stack.image, (stack.tgid, stack.time_ns));
            }
            KernelEvent::Copy(copy) => {
                self.waiting_words += copy.words.len();
                self.drained_ns = copy.time_ns;
                self.seen.insert(copy.image, (copy.tgid, copy.time_ns));
                self.copies.push_back(copy);
            }
            KernelEvent::Process(change) => {
                self.drained_ns = change.time_ns;
                self.changes.push(change);
            }
        })
    }

    /// Takes in what has become of the processes up to a time, as both streams tell it. What the side-band
    /// tells of later waits for the ring: a pid may be another process's by then.
    fn take_changes(&mut self, until_ns: u64) {
        let mut events = std::mem::take(&mut self.later);
        for change in std::mem::take(&mut self.changes) {
            if let Change::Exec { new: Some(new), .. } = change.what {
                // At once: copies are what comes before all else is known.
                if let Some(address) = stack_start(change.tgid) {
                    self.kernel.unwind_maps().set_stack_start(new.heap, address);
                }
            }
            self.answer(&change);
            events.extend(event_of(&change).map(|event| (change.time_ns, event)));
        }
        let mut lost = 0;
        self.sideband.drain(|event| match event {
            MappingEvent::Lost(records) => lost += records,
            // Before all that it can have mapped.
            MappingEvent::Fork { parent, child } => events.push((0, Event::Born { parent, child })),
            MappingEvent::Exec { pid, time_ns } => {
                events.push((time_ns, Event::Replacing { pid, time_ns }));
            }
            MappingEvent::Map { pid, time_ns, .. } | MappingEvent::Unmap { pid, time_ns, .. } => {
                let mapping = event;
                events.push((
                    time_ns,
                    Event::Mapped {
                        pid,
                        time_ns,
                        mapping,
                    },
                ));
            }
        });
        events.sort_by_key(|&(time, _)| time);
        let until = events.partition_point(|&(time, _)| time <= until_ns);
        if events.len() - until <= MAX_LATER {
            self.later = events.split_off(until);
        }
        let news = self
            .processes
            .take(events.into_iter().map(|(_, event)| event));
        self.take_news(news);
        // Images that began with an event that was lost.
        let seen = std::mem::take(&mut self.seen).into_iter();
        let unknown: Vec<_> = seen
            .filter(|(image, _)| self.processes.get(*image).is_none())
            .map(|(image, (pid, time_ns))| Event::Seen {
                pid,
                image,
                time_ns,
            })
            .collect();
        if !unknown.is_empty() {
            let news = self.processes.take(unknown);
            self.take_news(news);
        }
        if lost > 0 {
            self.mapping_records_lost += lost;
            let news = self.processes.read_all();
            self.take_news(news);
        }
    }

    fn take_news(&mut self, news: News) {
        let News {
            modules,
            begun,
            ended,
            children,
        } = news;
        // At once: a translator begins to read soon.
        let mut files: Vec<(u32, PathBuf)> = Vec::new();
        let programs = begun.iter().filter_map(|&image| self.processes.get(image));
        files.extend(programs.map(|traced| (traced.pid, traced.executable.clone())));
        files.extend(
            modules
                .iter()
                .map(|module| (self.who.pid, module.path.clone())),
        );
        for (pid, file) in files {
            if let Err(error) = self.make_way(pid, &file) {
                self.not_probed.push(error.to_string());
            }
        }
        self.new_modules.extend(modules);
        self.ended.extend(ended);
        self.children += children;
    }

    /// Sums up what is known of processes that have ended, where there are many. In a series each stack keeps a
    /// sample of its own, and so they stay.
    fn retire_ended(&mut self) -> Result<(), BpfError> {
        if self.processes.ended() < RETIRED_AT_ONCE || self.is_series {
            return Ok(());
        }
        let images = self.processes.to_retire(self.who.pid);
        let heaps: Vec<u32> = images
            .iter()
            .filter_map(|&image| self.processes.get(image))
            .map(|traced| traced.heap)
            .filter(|&heap| heap != 0)
            .collect();
        let mut amounts = self.kernel.retire(|image| images.contains(&image), heaps)?;
        self.retire_pages(&mut amounts);
        let peak = self.kernel.peak()?.epoch;
        self.learn_threads()?;
        let seen = &mut self.stacks;
        let moved = (self.snapshots).retire(&self.processes, &images, &amounts, peak, seen);
        if let Some(windows) = &mut self.windows {
            windows.retire(&amounts, &moved);
        }
        self.processes.remove(&images);
        Ok(())
    }

    /// Reads the names of threads where samples are to have them.
    pub(super) fn learn_threads(&mut self) -> Result<(), BpfError> {
        if self.label_threads {
            self.snapshots.know_threads(self.kernel.thread_names()?);
        }
        Ok(())
    }

    /// Forgets the heaps and mappings of images that have ended, when no stack is walked by them any more.
    fn forget_ended(&mut self) {
        for image in std::mem::take(&mut self.ended) {
            if let Some(traced) = self.processes.get(image) {
                self.kernel.forget_heap(traced.heap);
            }
        }
    }

    /// Tells the kernel side what is mapped, with the tables of files that were not there before. To
    /// compile these can take tens of milliseconds, during which stacks keep coming as copies.
    fn publish_mappings(&mut self) {
        loop {
            let files = self.unwinder.files_to_compile(&self.processes);
            if files.is_empty() {
                break;
            }
            thread::scope(|threads| {
                let compiling = threads.spawn(|| compile_all(files));
                while !compiling.is_finished() {
                    let is_more = self.drain();
                    if self.waiting_words < MAX_WAITING_BYTES / size_of::<u64>() {
                        self.kernel.unwind_maps().allow_copies();
                    }
                    if !is_more {
                        thread::sleep(DRAIN_INTERVAL);
                    }
                }
                let tables = compiling
                    .join()
                    .unwrap_or_else(|panic| resume_unwind(panic));
                self.unwinder.add_compiled(tables);
            });
            // What lies on the stacks that have come meanwhile.
            self.take_changes(monotonic_ns());
        }
        self.processes.compare_mixed();
        for traced in self.processes.take_unpublished() {
            // Its number may be another's soon.
            let heap = if traced.ended.is_some() {
                0
            } else {
                traced.heap
            };
            self.unwinder
                .publish(self.kernel.unwind_maps(), heap, &traced.space);
            traced.walks_until_ns = traced.walks_until_ns.min(monotonic_ns());
        }
    }

    /// Walks a stack that the kernel side could not.
    fn walk(&mut self, copy: &StackCopy) {
        let Some(traced) = self.processes.get(copy.image) else {
            return;
        };
        let (frames, end, lacks) = self.unwinder.walk(&traced.space, copy);
        if let Some(counter) = lacks {
            *self.cut_here.entry(counter).or_default() += 1;
        }
        let key = StackKey {
            stack: copy.stack,
            image: copy.image,
            thread: copy.thread,
        };
        let seen = Seen {
            time_ns: copy.time_ns,
            frames: Frames::pack(&frames),
            end,
        };
        self.stacks.insert(key, Some(Box::new(seen)));
    }

    /// A new mapping may bring a C library that is not probed yet: after an exec, or in a
    /// container of its own.
    fn probe(&mut self, module: &MappedFile) {
        let before = self.found.allocators.len();
        self.found.add(module, &mut self.searched);
        for (_, traced) in self.processes.iter() {
            self.found.order_by_time(&traced.space, module);
        }
        for allocator in &self.found.allocators[before..] {
            let probed = allocator
                .check_harmless(&self.who)
                .map_err(SessionError::from)
                .and_then(|()| {
                    let pids = self.processes.pids();
                    let list = move || threads_of(&pids);
                    let scope = self.reach.scope(&list);
                    Ok(self.kernel.probes().attach(allocator.probed(), scope)?)
                });
            // The process may have ended meanwhile. What was recorded so far is not thrown
            // away for it; the verdict says what is missing.
            match probed {
                // The next window has it.
                Ok(()) if self.is_in_windows() => {}
                Ok(()) => self.probed_late.push(allocator.path.clone()),
                Err(error) => self.not_probed.push(error.to_string()),
            }
        }
    }
}

/// `CLOCK_MONOTONIC`, nanoseconds: what both streams tell times by.
pub(super) fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

/// What the kernel side's news mean for the processes.
fn event_of(change: &ProcessChange) -> Option<Event<MappingEvent>> {
    let image_of = |new: NewImage| Image {
        number: new.image,
        heap: new.heap,
    };
    let &ProcessChange {
        tgid: pid,
        image,
        is_borrowed,
        time_ns,
        ..
    } = change;
    match change.what {
        Change::Exec { new, .. } => Some(Event::Execed {
            pid,
            old: image,
            image: new.map(image_of),
            time_ns,
        }),
        Change::Fork { child, new } => Some(Event::Forked {
            parent: pid,
            parent_image: image,
            child,
            image: image_of(new),
            time_ns,
        }),
        Change::Exit => Some(Event::Exited {
            pid,
            image,
            is_borrowed,
        }),
        Change::FirstThreadExit => None,
    }
}
