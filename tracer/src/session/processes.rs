//! The traced processes: their names, roots and mappings.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use tracer_common::StackKey;

use super::SessionError;
use crate::bpf::{FIRST_HEAP, ProcessChange};
use crate::process::{AddressSpace, Identity, MappingEvent, ProcessError, Root};
use crate::symbolize::DebugRoots;

/// One traced process.
#[derive(Debug)]
pub(super) struct Traced {
    /// The name it had when it was first seen.
    pub(super) name: String,
    /// Path of its executable, as it sees it.
    pub(super) executable: PathBuf,
    /// Its file system; `None` where it ended before it could be opened.
    pub(super) root: Option<Root>,
    /// What it had mapped, over time.
    pub(super) space: AddressSpace,
    /// The life it is in, see [`tracer_common::TargetInfo::life`].
    pub(super) life: u32,
    /// Its heap's number, see [`tracer_common::TargetInfo::heap`].
    pub(super) heap: u32,
    /// Whether what it has mapped has changed since it was last published.
    pub(super) is_unpublished: bool,
}

impl Traced {
    /// Whether a path is the executable's.
    pub(super) fn is_executable(&self, path: &Path) -> bool {
        path == self.executable
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
}

/// All traced processes by tgid.
#[derive(Debug, Default)]
pub(super) struct Processes {
    traced: BTreeMap<u32, Traced>,
    /// Records for processes not known yet: a child's first mappings can overtake the news of its
    /// birth. Kept only where children are followed.
    early: Vec<MappingEvent>,
    follow: bool,
}

impl Processes {
    pub(super) fn new(follow: bool) -> Self {
        Self {
            follow,
            ..Self::default()
        }
    }

    /// Adds the process the session is about, with what it has mapped now.
    pub(super) fn add(&mut self, who: &Identity) -> Result<(), SessionError> {
        let root = open_root(who.pid)?;
        let space = AddressSpace::of(who.pid, &root)?;
        self.insert(who, root, space);
        Ok(())
    }

    /// Adds a process that waits to exec: what it has mapped now is not what will be traced.
    pub(super) fn add_waiting(&mut self, who: &Identity) -> Result<(), SessionError> {
        let root = open_root(who.pid)?;
        self.insert(who, root, AddressSpace::default());
        Ok(())
    }

    fn insert(&mut self, who: &Identity, root: Root, space: AddressSpace) {
        let traced = Traced {
            name: who.name.clone(),
            executable: who.executable.clone(),
            root: Some(root),
            space,
            life: 0,
            heap: FIRST_HEAP,
            is_unpublished: true,
        };
        self.traced.insert(who.pid, traced);
    }

    pub(super) fn get(&self, tgid: u32) -> Option<&Traced> {
        self.traced.get(&tgid)
    }

    /// Whether a stack's process has replaced the image that allocated from it, and all of its memory.
    pub(super) fn is_gone(&self, key: &StackKey) -> bool {
        self.get(key.tgid)
            .is_some_and(|traced| key.life < traced.life)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Traced)> {
        self.traced.iter().map(|(&tgid, traced)| (tgid, traced))
    }

    /// Those whose mappings have changed since they were last taken.
    pub(super) fn unpublished(&self) -> impl Iterator<Item = &Traced> {
        self.traced.values().filter(|traced| traced.is_unpublished)
    }

    /// Those whose mappings have changed since the last call.
    pub(super) fn take_unpublished(&mut self) -> impl Iterator<Item = &Traced> {
        let unpublished = |traced: &mut Traced| std::mem::take(&mut traced.is_unpublished);
        self.traced
            .values_mut()
            .filter_map(move |traced| unpublished(traced).then_some(&*traced))
    }

    /// Takes in a new mapping. Returns the process where it is a traced one.
    pub(super) fn map(&mut self, event: MappingEvent) -> Option<&Traced> {
        let (MappingEvent::Map { pid, .. }
        | MappingEvent::Unmap { pid, .. }
        | MappingEvent::Exec { pid, .. }) = event
        else {
            return None;
        };
        let Some(traced) = self.traced.get_mut(&pid) else {
            if self.follow {
                self.early.push(event);
            }
            return None;
        };
        traced.space.apply(&event, traced.root.as_ref());
        traced.is_unpublished = true;
        self.traced.get(&pid)
    }

    /// Takes in an exec or a fork.
    pub(super) fn change(&mut self, change: ProcessChange) {
        match change {
            ProcessChange::Exec {
                tgid, life, heap, ..
            } => {
                if let Some(traced) = self.traced.get_mut(&tgid) {
                    traced.life = traced.life.max(life);
                    traced.heap = heap;
                    traced.is_unpublished = true;
                    // The new image may see another root, after chroot or pivot_root.
                    if let Ok(root) = Root::of(tgid) {
                        traced.root = Some(root);
                    }
                    if let Ok(executable) = std::fs::read_link(format!("/proc/{tgid}/exe")) {
                        traced.executable = executable;
                    }
                    if let Ok(name) = std::fs::read_to_string(format!("/proc/{tgid}/comm")) {
                        name.trim_end().clone_into(&mut traced.name);
                    }
                }
            }
            ProcessChange::Fork {
                tgid, child, heap, ..
            } => {
                let Some(parent) = self.traced.get(&tgid) else {
                    return;
                };
                let traced = Traced {
                    name: parent.name.clone(),
                    executable: parent.executable.clone(),
                    root: Root::of(child).ok(),
                    space: parent.space.clone(),
                    life: 0,
                    heap,
                    // The kernel side has it walk by the parent's.
                    is_unpublished: false,
                };
                self.traced.insert(child, traced);
                for event in std::mem::take(&mut self.early) {
                    self.map(event);
                }
            }
        }
    }
}

fn open_root(pid: u32) -> Result<Root, ProcessError> {
    Root::of(pid).map_err(|error| ProcessError::unreadable(format!("/proc/{pid}/root"), error))
}
