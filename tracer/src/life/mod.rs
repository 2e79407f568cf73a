//! Processes and their images: who is born, replaces its program, and ends, and which image a mapping
//! belongs to.
//!
//! An *image* is one run of one program: exec begins a new one, and so does fork in the child. It is what
//! mappings, stacks, snapshots and the live table are kept by; a pid is not, since it comes back as another
//! process. Two streams of events tell of it, the kernel side's and perf's side-band, and neither waits for
//! the other. This room decides what each event means, whatever order they come in, and never looks at a
//! process itself: see `docs/design/0018-one-life-cycle.md`.

mod early;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use early::{Early, What};

/// Mappings of a process whose exec has begun, and whose new image is not known yet, at most.
const MAX_PENDING: usize = 4_096;

/// An image that begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its number: unique in a session, and growing.
    pub number: u32,
    /// Its heap's number in the live table; 0 where that is not known. It may have been another image's.
    pub heap: u32,
}

/// What an image comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// It is a copy of that image, mappings included.
    Fork(u32),
    /// A process of that image has called exec.
    Exec(u32),
    /// The news was lost.
    Unknown,
}

/// Something that happened to a process. `M` is what is said of a mapping. Times are `CLOCK_MONOTONIC`
/// in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<M> {
    /// A followed process has a child, which is followed as well (kernel side).
    Forked {
        /// Parent.
        parent: u32,
        /// Its image.
        parent_image: u32,
        /// Child.
        child: u32,
        /// The child's image.
        image: Image,
        /// When.
        time_ns: u64,
    },
    /// A process has replaced its image (kernel side).
    Execed {
        /// Process.
        pid: u32,
        /// The one before: after vfork that is the parent's, and goes on there.
        old: u32,
        /// The new one; `None` where it is followed no more.
        image: Option<Image>,
        /// When.
        time_ns: u64,
    },
    /// The last thread of a process has ended (kernel side).
    Exited {
        /// Process.
        pid: u32,
        /// Its image.
        image: u32,
        /// Whether that is another process's, and goes on there.
        is_borrowed: bool,
    },
    /// A stack was seen in an image (kernel side). News only where what began it was lost.
    Seen {
        /// Process.
        pid: u32,
        /// Its image.
        image: u32,
        /// When.
        time_ns: u64,
    },
    /// A process is about to replace its image; its new mappings follow (side-band).
    Replacing {
        /// Process.
        pid: u32,
        /// When.
        time_ns: u64,
    },
    /// A process has a child (side-band).
    Born {
        /// Parent.
        parent: u32,
        /// Child.
        child: u32,
    },
    /// A process has mapped or unmapped something (side-band).
    Mapped {
        /// Process.
        pid: u32,
        /// When.
        time_ns: u64,
        /// What.
        mapping: M,
    },
}

/// What follows from an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision<M> {
    /// An image begins.
    Begin {
        /// Process.
        pid: u32,
        /// Image.
        image: Image,
        /// What it comes from.
        from: From,
    },
    /// Mappings of an image may be unknown: what the process has now is to be read.
    Read {
        /// Image.
        image: u32,
    },
    /// A mapping of an image.
    Map {
        /// Image.
        image: u32,
        /// What.
        mapping: M,
    },
    /// An image has ended.
    End {
        /// Image.
        image: u32,
        /// Its process runs on, with another program.
        is_replaced: bool,
    },
    /// A process has a child that is not followed.
    ChildNotFollowed,
}

/// A process that is followed.
#[derive(Debug)]
struct Process<M> {
    /// The image that it runs.
    image: u32,
    /// When that began.
    since_ns: u64,
    /// Whether the side-band has not told when that was: then it was a moment earlier.
    is_estimated: bool,
    /// Since when an exec is under way that the kernel side has not told of.
    replacing_ns: Option<u64>,
    /// What the side-band has told since then.
    pending: Vec<(u64, What<M>)>,
}

/// The processes that are followed, by pid.
#[derive(Debug)]
pub struct Lives<M> {
    processes: HashMap<u32, Process<M>>,
    early: Early<M>,
    /// Whether children are followed.
    follows: bool,
    dropped: u64,
}

impl<M> Lives<M> {
    /// A process that runs an image, and nobody else.
    #[must_use]
    pub fn new(pid: u32, image: u32, follows: bool) -> Self {
        let first = Process {
            image,
            since_ns: 0,
            is_estimated: false,
            replacing_ns: None,
            pending: Vec::new(),
        };
        Self {
            processes: HashMap::from([(pid, first)]),
            early: Early::default(),
            follows,
            dropped: 0,
        }
    }

    /// The image that a process runs, where it is followed.
    #[must_use]
    pub fn image_of(&self, pid: u32) -> Option<u32> {
        self.processes.get(&pid).map(|process| process.image)
    }

    /// The processes that have not ended.
    pub fn pids(&self) -> impl Iterator<Item = u32> {
        self.processes.keys().copied()
    }

    /// Mappings that found no room while it was not known whose they are: those of processes that are not
    /// followed, or of an exec that the kernel side has not told of.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Events that wait for what they belong to.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let pending: usize = self.processes.values().map(|p| p.pending.len()).sum();
        self.early.len() + pending
    }

    /// Takes in an event, and tells what follows.
    pub fn take(&mut self, event: Event<M>, decide: &mut impl FnMut(Decision<M>)) {
        match event {
            Event::Forked {
                parent_image,
                child,
                image,
                time_ns,
                ..
            } => self.begin(child, image, From::Fork(parent_image), time_ns, decide),
            Event::Execed {
                pid,
                old,
                image,
                time_ns,
            } => {
                let is_news =
                    |image: Image| self.image_of(pid).is_none_or(|now| now < image.number);
                if image.is_none_or(is_news) {
                    self.end(pid, true, decide);
                }
                match image {
                    Some(image) => self.begin(pid, image, From::Exec(old), time_ns, decide),
                    None => self.forget(pid),
                }
            }
            Event::Exited {
                pid,
                image,
                is_borrowed,
            } => {
                // An image that began later has the pid by now.
                let is_old = self.image_of(pid).is_some_and(|now| now > image);
                if is_borrowed {
                    self.early.forget(pid);
                } else if !is_old {
                    self.end(pid, false, decide);
                    self.forget(pid);
                }
            }
            Event::Seen {
                pid,
                image,
                time_ns,
            } => {
                if self.image_of(pid).is_none_or(|now| now < image) {
                    self.end(pid, true, decide);
                    let image = Image {
                        number: image,
                        heap: 0,
                    };
                    self.begin(pid, image, From::Unknown, time_ns, decide);
                }
            }
            Event::Replacing { pid, time_ns } => self.replacing(pid, time_ns, decide),
            Event::Born { parent, child } => {
                if !self.follows {
                    if self.processes.contains_key(&parent) {
                        decide(Decision::ChildNotFollowed);
                    }
                } else if !self.processes.contains_key(&child)
                    && (self.processes.contains_key(&parent) || self.early.is_expected(parent))
                {
                    self.early.expect(child);
                }
            }
            Event::Mapped {
                pid,
                time_ns,
                mapping,
            } => self.mapped(pid, time_ns, mapping, decide),
        }
    }

    /// To be called when all that there was has been taken in: what came for a process that nobody has
    /// heard of since the last time is forgotten. News of a birth may be that late, no later: it is
    /// written before the child runs.
    pub fn settle(&mut self) {
        self.early.settle();
    }

    /// The image of a process has ended, if it has one.
    fn end(&self, pid: u32, is_replaced: bool, decide: &mut impl FnMut(Decision<M>)) {
        if let Some(image) = self.image_of(pid) {
            decide(Decision::End { image, is_replaced });
        }
    }

    /// A process is followed no more.
    fn forget(&mut self, pid: u32) {
        self.processes.remove(&pid);
        self.early.forget(pid);
    }

    /// A process runs a new image from now on.
    fn begin(
        &mut self,
        pid: u32,
        image: Image,
        from: From,
        time_ns: u64,
        decide: &mut impl FnMut(Decision<M>),
    ) {
        if self.image_of(pid).is_some_and(|now| now >= image.number) {
            // Old news: the numbers only grow.
            return;
        }
        let is_fork = matches!(from, From::Fork(_));
        let before = self.processes.remove(&pid);
        let is_known = before.is_some();
        let mut waiting = before.map_or_else(Vec::new, |before| before.pending);
        waiting.extend(self.early.take(pid));
        waiting.sort_by_key(|&(time, _)| time);
        // The mappings of a new image come before the kernel side tells of it.
        let is_its_beginning = |(time, what): &&(u64, What<M>)| {
            !is_fork && *time <= time_ns && matches!(what, What::Replacing)
        };
        let began = waiting.iter().rfind(is_its_beginning);
        let began = began.map(|&(time, _)| time);
        let since_ns = began.unwrap_or(time_ns);
        let process = Process {
            image: image.number,
            since_ns,
            is_estimated: !is_fork && began.is_none(),
            replacing_ns: None,
            pending: Vec::new(),
        };
        self.processes.insert(pid, process);
        decide(Decision::Begin { pid, image, from });
        if !is_fork && !(is_known && began.is_some()) {
            decide(Decision::Read {
                image: image.number,
            });
        }
        for (time, what) in waiting {
            match what {
                What::Replacing if time > time_ns => self.replacing(pid, time, decide),
                What::Map(mapping) if time >= since_ns => self.mapped(pid, time, mapping, decide),
                // Older than the image.
                What::Replacing | What::Map(_) => {}
            }
        }
    }

    fn replacing(&mut self, pid: u32, time_ns: u64, decide: &mut impl FnMut(Decision<M>)) {
        let Some(process) = self.processes.get_mut(&pid) else {
            if self.follows {
                self.dropped += self.early.keep(pid, time_ns, What::Replacing);
            }
            return;
        };
        if time_ns > process.since_ns {
            let earliest = process
                .replacing_ns
                .map_or(time_ns, |known| known.min(time_ns));
            process.replacing_ns = Some(earliest);
            self.dropped += process.wait(time_ns, What::Replacing);
        } else if process.is_estimated {
            // What came from then on was taken for the image before.
            process.since_ns = time_ns;
            process.is_estimated = false;
            decide(Decision::Read {
                image: process.image,
            });
        }
    }

    fn mapped(&mut self, pid: u32, time_ns: u64, mapping: M, decide: &mut impl FnMut(Decision<M>)) {
        let Some(process) = self.processes.get_mut(&pid) else {
            if self.follows {
                self.dropped += self.early.keep(pid, time_ns, What::Map(mapping));
            }
            return;
        };
        if process.replacing_ns.is_some_and(|exec| time_ns >= exec) {
            self.dropped += process.wait(time_ns, What::Map(mapping));
        } else if time_ns >= process.since_ns {
            decide(Decision::Map {
                image: process.image,
                mapping,
            });
        }
        // What is older belongs to who had the pid before, or to an image that is gone.
    }
}

impl<M> Process<M> {
    /// Keeps what belongs to the next image. Returns how much found no room.
    fn wait(&mut self, time_ns: u64, what: What<M>) -> u64 {
        if self.pending.len() >= MAX_PENDING {
            return 1;
        }
        self.pending.push((time_ns, what));
        0
    }
}
