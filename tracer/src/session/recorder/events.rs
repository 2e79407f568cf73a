//! What the side-band and the ring bring: mappings, stacks, copies of stacks, changes of processes.

use std::panic::resume_unwind;
use std::thread;
use std::time::Duration;

use tracer_common::StackKey;

use super::{Allocator, Session, SessionError};
use crate::bpf::{KernelEvent, ProcessChange, StackCopy};
use crate::process::{MappedFile, MappingEvent, stack_start};
use crate::session::frames::Frames;
use crate::session::snapshot::Seen;
use crate::session::unwinding::compile_all;

/// Bytes of copied stacks that may wait to be walked. A copy is some kilobytes, at most 64 KiB.
const MAX_WAITING_BYTES: usize = 128 << 20;
/// Copied stacks that are walked before the next look at what has come. Each takes about 6 us.
const MAX_WALKED: usize = 64;
/// How often they are taken out of the ring while unwind tables are compiled.
const DRAIN_INTERVAL: Duration = Duration::from_millis(1);

impl Session {
    /// Takes what the side-band and the ring have.
    pub(super) fn take_events(&mut self) {
        // Mappings are published after each part of the ring: until then every stack may come as a copy,
        // as fast as they are taken.
        while self.take_some() {}
        // Last, as it takes its time: stacks are copied until the mappings are published.
        for module in std::mem::take(&mut self.new_modules) {
            self.probe(&module);
        }
    }

    /// Takes what the side-band has and a part of what the ring has. Mappings first: their files must be
    /// opened while they are there. Returns whether there may be more.
    fn take_some(&mut self) -> bool {
        self.take_mappings();
        let is_more = self.drain();
        if !self.copies.is_empty() {
            // What lies on the copied stacks was mapped before, if only just.
            self.take_mappings();
        }
        self.publish_mappings();
        // Not all of them: that may take longer than the ring has room for.
        for _ in 0..MAX_WALKED {
            let Some(copy) = self.copies.pop_front() else {
                break;
            };
            self.waiting_words -= copy.words.len();
            self.walk(&copy);
        }
        self.unwinder.allow_copies(self.kernel.unwind_maps());
        is_more || !self.copies.is_empty()
    }

    /// Takes a part of what the ring has. Returns whether there may be more.
    fn drain(&mut self) -> bool {
        let mut changes = Vec::new();
        let is_more = self.kernel.drain(|event| match event {
            KernelEvent::Stack(stack) => {
                let key = StackKey {
                    stack: stack.stack,
                    tgid: stack.tgid,
                    life: stack.life,
                };
                self.stacks.entry(key).or_insert_with(|| {
                    Some(Box::new(Seen {
                        time_ns: stack.time_ns,
                        frames: Frames::pack(&stack.frames),
                        end: stack.end,
                    }))
                });
            }
            KernelEvent::Copy(copy) => {
                self.waiting_words += copy.words.len();
                self.copies.push_back(copy);
            }
            KernelEvent::Process(change) => changes.push(change),
        });
        for change in changes {
            self.processes.change(change);
            if let ProcessChange::Exec {
                tgid,
                old_heap,
                heap,
                ..
            } = change
            {
                self.kernel.forget_heap(old_heap);
                // At once: copies are what comes before all else is known.
                if let Some(address) = stack_start(tgid) {
                    self.kernel.unwind_maps().set_stack_start(heap, address);
                }
            }
        }
        is_more
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
            self.take_mappings();
        }
        for traced in self.processes.take_unpublished() {
            self.unwinder
                .publish(self.kernel.unwind_maps(), traced.heap, &traced.space);
        }
    }

    fn take_mappings(&mut self) {
        let mut mappings = Vec::new();
        self.sideband.drain(|event| mappings.push(event));
        for event in mappings {
            match event {
                MappingEvent::Lost(records) => self.mapping_records_lost += records,
                MappingEvent::Fork { parent, .. } => {
                    self.children += u64::from(self.processes.get(parent).is_some());
                }
                MappingEvent::Map { .. }
                | MappingEvent::Unmap { .. }
                | MappingEvent::Exec { .. } => {
                    let mapped = self.processes.map(event);
                    let newest = mapped.and_then(|traced| traced.space.newest());
                    self.new_modules
                        .extend(newest.and_then(|mapped| mapped.file.clone()));
                }
            }
        }
    }

    /// Walks a stack that the kernel side could not.
    fn walk(&mut self, copy: &StackCopy) {
        let Some(traced) = self.processes.get(copy.tgid) else {
            return;
        };
        let (frames, end) = self.unwinder.walk(&traced.space, copy);
        if let Some(counter) = end.counter() {
            *self.cut_here.entry(counter).or_default() += 1;
        }
        let key = StackKey {
            stack: copy.stack,
            tgid: copy.tgid,
            life: copy.life,
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
        for allocator in &self.found.allocators[before..] {
            let probed = allocator
                .check_harmless(&self.who)
                .map_err(SessionError::from)
                .and_then(|()| {
                    let Allocator {
                        file, path, plan, ..
                    } = allocator;
                    Ok(self.kernel.probes().attach(file, path, plan, self.scope)?)
                });
            // The process may have ended meanwhile. What was recorded so far is not thrown
            // away for it; the verdict says what is missing.
            match probed {
                Ok(()) => self.probed_late.push(allocator.path.clone()),
                Err(error) => self.not_probed.push(error.to_string()),
            }
        }
    }
}
