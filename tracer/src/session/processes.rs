//! The traced processes, image by image: names, roots and mappings. What an event means is decided by
//! [`crate::life`]; here it is done.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracer_common::StackKey;

use super::SessionError;
use crate::bpf::{FIRST_HEAP, FIRST_IMAGE};
use crate::life::{Decision, Event, From, Image, Lives};
use crate::process::{
    AddressSpace, Comm, Identity, MappedFile, MappingEvent, ProcessError, Root, shown_as,
    translator,
};
use crate::symbolize::DebugRoots;

/// One image of a traced process.
#[derive(Debug)]
pub(super) struct Traced {
    /// The process.
    pub(super) pid: u32,
    /// The name it had when the image was first seen.
    pub(super) name: String,
    /// Path of its executable, as it sees it.
    pub(super) executable: PathBuf,
    /// Its file system; `None` where it ended before it could be opened.
    pub(super) root: Option<Root>,
    /// What it had mapped, over time.
    pub(super) space: AddressSpace,
    /// Its heap's number, see [`tracer_common::TargetInfo::heap`].
    pub(super) heap: u32,
    /// Whether what it has mapped has changed since it was last published.
    pub(super) is_unpublished: bool,
    /// Heaps whose published mappings its stacks may be walked by, until it has some of its own.
    pub(super) walks_by: Vec<u32>,
    /// Until when they may be: what it has mapped by then, they were walked by without being there.
    pub(super) walks_until_ns: u64,
    /// Whether it began by fork, with the pages of its parent.
    pub(super) is_fork: bool,
    /// Whether what it has mapped, or what these have, is to be compared with the other's.
    is_mixed: bool,
    /// Whether it has ended, and how.
    pub(super) ended: Option<HowEnded>,
}

/// How an image has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HowEnded {
    /// The process has replaced it, and its memory is gone.
    Replaced,
    /// The process has ended with it.
    Exited,
}

impl Traced {
    /// Whether a path is the executable's.
    pub(super) fn is_executable(&self, path: &Path) -> bool {
        path == self.executable
    }

    /// Refuses a process in which something reads code as data.
    pub(super) fn check_translators(&self, name: &Comm) -> Result<(), ProcessError> {
        let mappings = self.space.mappings();
        let files = mappings.filter_map(|(_, mapped)| mapped.file.as_ref());
        let paths = files.map(|file| &file.path);
        for path in paths.chain([&self.executable]) {
            if let Some(what) = translator(path) {
                return Err(ProcessError::Translator {
                    pid: self.pid,
                    name: name.clone(),
                    what,
                    file: path.clone(),
                });
            }
        }
        Ok(())
    }

    /// Where debug files are looked for: in the target's own file system, then in the host's.
    pub(super) fn debug_roots(&self) -> DebugRoots {
        let target = self.root.as_ref().and_then(|root| root.directory().ok());
        let host = File::open("/").ok().map(OwnedFd::from);
        [target, host]
            .into_iter()
            .flatten()
            .fold(DebugRoots::none(), DebugRoots::with)
    }

    /// What a process is now, after exec. Where it has ended by now, its file system is the one that the
    /// image before saw.
    fn of(pid: u32, image: Image, before: Option<&Self>) -> Self {
        let link = std::fs::read_link(format!("/proc/{}/exe", shown_as(pid)));
        // Bytes that may be no text: any process can name itself.
        let comm = std::fs::read(format!("/proc/{pid}/comm"));
        let name = match (comm, before) {
            (Ok(comm), _) => String::from_utf8_lossy(comm.trim_ascii_end()).into_owned(),
            (Err(_), before) => before.map(|before| before.name.clone()).unwrap_or_default(),
        };
        let earlier = || before?.root.as_ref()?.try_clone().ok();
        Self {
            pid,
            name,
            // Where that is gone as well, the first file that was mapped.
            executable: link.unwrap_or_default(),
            root: Root::of(pid).ok().or_else(earlier),
            space: AddressSpace::default(),
            heap: image.heap,
            is_unpublished: true,
            walks_by: Vec::new(),
            walks_until_ns: 0,
            is_fork: false,
            is_mixed: false,
            ended: None,
        }
    }

    /// A child as fork makes it.
    fn child(&self, pid: u32, image: Image) -> Self {
        Self {
            pid,
            name: self.name.clone(),
            executable: self.executable.clone(),
            root: Root::of(pid)
                .ok()
                .or_else(|| self.root.as_ref()?.try_clone().ok()),
            space: self.space.clone(),
            heap: image.heap,
            // The kernel side has it walk by the parent's.
            is_unpublished: false,
            walks_by: self.walks_by.iter().copied().chain([self.heap]).collect(),
            walks_until_ns: u64::MAX,
            is_fork: true,
            is_mixed: self.is_mixed,
            ended: None,
        }
    }
}

/// What the session has to do for what happened.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Files that were mapped.
    pub(super) modules: Vec<Arc<MappedFile>>,
    /// Images that began by exec.
    pub(super) begun: Vec<u32>,
    /// Images that ended.
    pub(super) ended: Vec<u32>,
    /// Children that are not followed.
    pub(super) children: u64,
}

/// All traced images by number.
#[derive(Debug)]
pub(super) struct Processes {
    images: BTreeMap<u32, Traced>,
    lives: Lives<MappingEvent>,
    /// Images that have ended and are still here.
    ended: usize,
    /// Children that began by fork.
    followed: u64,
}

impl Processes {
    /// The process the session is about, with what it has mapped now.
    pub(super) fn of(who: &Identity, follows: bool) -> Result<Self, SessionError> {
        let root = open_root(who.pid)?;
        let space = AddressSpace::of(shown_as(who.pid), &root)?;
        Ok(Self::new(who, root, space, follows))
    }

    /// A process that waits to exec: what it has mapped now is not what will be traced.
    pub(super) fn waiting(who: &Identity, follows: bool) -> Result<Self, SessionError> {
        let root = open_root(who.pid)?;
        Ok(Self::new(who, root, AddressSpace::default(), follows))
    }

    fn new(who: &Identity, root: Root, space: AddressSpace, follows: bool) -> Self {
        let first = Traced {
            pid: who.pid,
            name: who.name.raw().to_owned(),
            executable: who.executable.clone(),
            root: Some(root),
            space,
            heap: FIRST_HEAP,
            is_unpublished: true,
            walks_by: Vec::new(),
            walks_until_ns: 0,
            is_fork: false,
            is_mixed: false,
            ended: None,
        };
        Self {
            images: BTreeMap::from([(FIRST_IMAGE, first)]),
            lives: Lives::new(who.pid, FIRST_IMAGE, follows),
            ended: 0,
            followed: 0,
        }
    }

    pub(super) fn get(&self, image: u32) -> Option<&Traced> {
        self.images.get(&image)
    }

    /// The image that a process runs now, or ran last.
    pub(super) fn latest(&self, pid: u32) -> Option<(u32, &Traced)> {
        let mut images = self.images.iter().rev();
        let found = images.find(|(_, traced)| traced.pid == pid);
        found.map(|(&image, traced)| (image, traced))
    }

    /// Whether there is more than one process.
    pub(super) fn has_several(&self) -> bool {
        let mut pids = self.images.values().map(|traced| traced.pid);
        let first = pids.next();
        pids.any(|pid| Some(pid) != first)
    }

    /// The processes, also those that have ended and are still here.
    pub(super) fn known_pids(&self) -> BTreeSet<u32> {
        self.images.values().map(|traced| traced.pid).collect()
    }

    /// The processes that have not ended.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.lives.pids().collect()
    }

    /// Whether a stack's process has replaced the image that allocated from it, and all of its memory.
    pub(super) fn is_gone(&self, key: &StackKey) -> bool {
        self.get(key.image)
            .is_some_and(|traced| traced.ended == Some(HowEnded::Replaced))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Traced)> {
        self.images.iter().map(|(&image, traced)| (image, traced))
    }

    /// Images that have ended and are still here.
    pub(super) const fn ended(&self) -> usize {
        self.ended
    }

    /// The images that have ended, but for the last one of the process `main`.
    pub(super) fn to_retire(&self, main: u32) -> HashSet<u32> {
        let last = self.latest(main).map(|(image, _)| image);
        let ended = self.iter().filter(|(_, traced)| traced.ended.is_some());
        ended
            .map(|(image, _)| image)
            .filter(|image| Some(*image) != last)
            .collect()
    }

    /// Forgets images that have ended.
    pub(super) fn remove(&mut self, images: &HashSet<u32>) {
        for image in images {
            self.ended -= usize::from(self.images.remove(image).is_some());
        }
    }

    /// Children that have been followed.
    pub(super) const fn followed(&self) -> u64 {
        self.followed
    }

    /// Mappings that found no room before it was known whose they are.
    pub(super) const fn dropped(&self) -> u64 {
        self.lives.dropped()
    }

    /// Those whose mappings have changed since they were last taken, also where they have ended: copies of their
    /// stacks may wait for the tables.
    pub(super) fn unpublished(&self) -> impl Iterator<Item = &Traced> {
        self.images.values().filter(|traced| traced.is_unpublished)
    }

    /// Those whose mappings have changed since the last call.
    pub(super) fn take_unpublished(&mut self) -> impl Iterator<Item = &mut Traced> {
        let unpublished = |traced: &mut Traced| std::mem::take(&mut traced.is_unpublished);
        self.images
            .values_mut()
            .filter_map(move |traced| unpublished(traced).then_some(traced))
    }

    /// Those that have no mappings of their own published, and so walk by those of a heap.
    fn walking_by(&mut self, heap: u32) -> impl Iterator<Item = &mut Traced> {
        let walks = move |traced: &&mut Traced| {
            traced.walks_until_ns == u64::MAX && traced.walks_by.contains(&heap)
        };
        self.images.values_mut().filter(walks)
    }

    /// Notes where those whose stacks were walked by another's mappings have something else than that one: as where
    /// code was replaced.
    pub(super) fn compare_mixed(&mut self) {
        let mixed: Vec<u32> = self
            .images
            .iter()
            .filter_map(|(&image, traced)| traced.is_mixed.then_some(image))
            .collect();
        for image in mixed {
            let Some(mut traced) = self.images.remove(&image) else {
                continue;
            };
            traced.is_mixed = false;
            for other in self.images.values() {
                if traced.walks_by.contains(&other.heap) {
                    traced.space.note_walked_by(&other.space);
                }
            }
            self.images.insert(image, traced);
        }
    }

    /// Takes in all that happened since the last time, in the order in which it did.
    pub(super) fn take(&mut self, events: impl IntoIterator<Item = Event<MappingEvent>>) -> News {
        let mut news = News::default();
        for event in events {
            let mut decisions = Vec::new();
            self.lives
                .take(event, &mut |decision| decisions.push(decision));
            for decision in decisions {
                self.carry_out(decision, &mut news);
            }
        }
        self.lives.settle();
        news
    }

    fn carry_out(&mut self, decision: Decision<MappingEvent>, news: &mut News) {
        match decision {
            Decision::Begin { pid, image, from } => {
                let parent = match from {
                    From::Fork(parent) => self.images.get(&parent),
                    From::Exec(_) | From::Unknown => None,
                };
                let traced = match (parent, from) {
                    (Some(parent), _) => {
                        self.followed += 1;
                        parent.child(pid, image)
                    }
                    (None, From::Exec(before) | From::Fork(before)) => {
                        news.begun.push(image.number);
                        Traced::of(pid, image, self.images.get(&before))
                    }
                    (None, From::Unknown) => {
                        news.begun.push(image.number);
                        Traced::of(pid, image, None)
                    }
                };
                self.images.insert(image.number, traced);
            }
            Decision::Read { image } => self.read(image, news),
            Decision::Map { image, mapping } => {
                let Some(traced) = self.images.get_mut(&image) else {
                    return;
                };
                if !traced.space.apply(&mapping, traced.root.as_ref()) {
                    // Announced again.
                    return;
                }
                traced.is_unpublished = true;
                let MappingEvent::Map {
                    path,
                    start,
                    end,
                    time_ns,
                    ..
                } = &mapping
                else {
                    return;
                };
                traced.is_mixed |= *time_ns <= traced.walks_until_ns;
                if traced.executable.as_os_str().is_empty() {
                    traced.executable.clone_from(path);
                }
                let newest = traced.space.newest();
                news.modules
                    .extend(newest.and_then(|mapped| mapped.file.clone()));
                let (range, heap) = (*start..*end, traced.heap);
                if traced.space.is_replaced(&range) {
                    // They may have there what was there before.
                    for other in self.walking_by(heap) {
                        other.is_mixed = true;
                        other.is_unpublished = other.ended.is_none();
                    }
                }
            }
            Decision::End { image, is_replaced } => {
                let Some(traced) = self.images.get_mut(&image) else {
                    return;
                };
                let how = if is_replaced {
                    HowEnded::Replaced
                } else {
                    HowEnded::Exited
                };
                self.ended += usize::from(traced.ended.replace(how).is_none());
                let heap = traced.heap;
                self.compare_mixed();
                // Their stacks were walked by its mappings, which are about to be forgotten.
                for other in self.images.values_mut() {
                    if other.ended.is_none() && other.walks_by.contains(&heap) {
                        other.walks_by.clear();
                        other.is_unpublished = true;
                    }
                }
                news.ended.push(image);
            }
            Decision::ChildNotFollowed => news.children += 1,
        }
    }

    /// Reads what every process has mapped now: news of it was lost.
    pub(super) fn read_all(&mut self) -> News {
        let mut news = News::default();
        let images: Vec<u32> = self
            .lives
            .pids()
            .filter_map(|pid| self.lives.image_of(pid))
            .collect();
        for image in images {
            self.read(image, &mut news);
        }
        news
    }

    /// Reads what an image's process has mapped now, and takes in what was not known.
    fn read(&mut self, image: u32, news: &mut News) {
        let Some(traced) = self.images.get_mut(&image) else {
            return;
        };
        let Some(root) = &traced.root else { return };
        let before = traced.space.newest_index();
        // Where it has ended, nothing can be mapped any more.
        let is_news = traced.space.reread(shown_as(traced.pid), root);
        if !is_news.unwrap_or(false) {
            return;
        }
        traced.is_unpublished = true;
        let new = traced.space.mappings();
        let new = new.filter(|(index, _)| before.is_none_or(|before| *index > before));
        news.modules
            .extend(new.filter_map(|(_, mapped)| mapped.file.clone()));
    }

    /// Changes of mappings that were forgotten.
    pub(super) fn forgotten(&self) -> u64 {
        let images = self.images.values();
        images.map(|traced| traced.space.forgotten()).sum()
    }
}

fn open_root(pid: u32) -> Result<Root, ProcessError> {
    Root::of(pid).map_err(|error| ProcessError::unreadable(format!("/proc/{pid}/root"), error))
}
