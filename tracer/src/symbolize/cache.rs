//! The modules of a recording, and every answer they have given.

use super::{DebugRoots, Module, Resolved, Unknown};
use crate::address::FileOffset;
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

/// A module of a [`Symbolizer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModuleId(usize);

/// Owns modules, each file once however often it is mapped, and remembers what every offset
/// resolved to.
#[derive(Debug, Default)]
pub struct Symbolizer {
    modules: Vec<Result<Module, Unknown>>,
    by_identity: HashMap<Identity, ModuleId>,
    answers: HashMap<(ModuleId, FileOffset), Result<Resolved, Unknown>>,
}

/// What makes two open files the same: inodes are reused and files written to, so the time of the
/// last change and the build id belong to it.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Identity {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    size: u64,
    build_id: Option<Vec<u8>>,
}

impl Symbolizer {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the file of a mapping, or finds it again. See [`Module::open`]; a file that cannot
    /// be read becomes a module that answers with the reason.
    pub fn add(&mut self, file: File, path: &Path, roots: Arc<DebugRoots>) -> ModuleId {
        let metadata = match file.metadata() {
            Ok(metadata) => metadata,
            Err(error) => {
                return self.add_unknown(Unknown::FileUnreadable(error.to_string().into()));
            }
        };
        let module = Module::open(file, path, roots);
        let identity = Identity {
            device: metadata.dev(),
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            size: metadata.size(),
            build_id: module
                .as_ref()
                .ok()
                .and_then(|module| module.build_id().map(<[u8]>::to_vec)),
        };
        if let Some(&known) = self.by_identity.get(&identity) {
            return known;
        }
        let id = self.push(module);
        self.by_identity.insert(identity, id);
        id
    }

    /// Adds an ELF image in memory. See [`Module::from_bytes`].
    pub fn add_bytes(
        &mut self,
        bytes: impl Into<Arc<[u8]>>,
        path: &Path,
        roots: Arc<DebugRoots>,
    ) -> ModuleId {
        self.push(Module::from_bytes(bytes, path, roots))
    }

    /// Adds a mapping that cannot be resolved, and why.
    pub fn add_unknown(&mut self, reason: Unknown) -> ModuleId {
        self.push(Err(reason))
    }

    fn push(&mut self, module: Result<Module, Unknown>) -> ModuleId {
        self.modules.push(module);
        ModuleId(self.modules.len() - 1)
    }

    /// The module, or why there is none.
    ///
    /// # Errors
    /// The reason given when it was added.
    pub fn module(&self, id: ModuleId) -> Result<&Module, &Unknown> {
        self.modules
            .get(id.0)
            .map_or(Err(&Unknown::NoMapping), Result::as_ref)
    }

    /// The frames at an offset in a module's file; computed once.
    ///
    /// # Errors
    /// Why nothing names it.
    pub fn resolve(&mut self, id: ModuleId, offset: FileOffset) -> Result<&Resolved, &Unknown> {
        let module = self.modules.get(id.0);
        self.answers
            .entry((id, offset))
            .or_insert_with(|| match module {
                Some(Ok(module)) => module.resolve(offset),
                Some(Err(reason)) => Err(reason.clone()),
                None => Err(Unknown::NoMapping),
            })
            .as_ref()
    }
}
