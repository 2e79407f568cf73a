//! The mappings of a profile, each with the module that names what lies there.

use std::sync::Arc;

use super::{KnownModule, Snapshots};
use crate::process::Mapped;
use crate::profile::{Mapping, MappingIndex};
use crate::session::processes::Traced;
use crate::session::roots::is_c_library;
use crate::symbolize::{ModuleId, Resolved, Source, Unknown};

impl Snapshots {
    pub(super) fn mapping(
        &mut self,
        image: u32,
        traced: &Traced,
        index: usize,
        mapped: &Mapped,
    ) -> KnownModule {
        if let Some(&known) = self.mappings.get(&(image, index)) {
            return known;
        }
        let file = mapped.file.as_ref().and_then(|file| file.key);
        let file = file.map(|file| (file, mapped.file_offset));
        if let Some(&known) = file.as_ref().and_then(|file| self.files.get(file)) {
            self.mappings.insert((image, index), known);
            return known;
        }
        let module = self.module(image, traced, mapped);
        let build_id = self
            .symbolizer
            .module(module)
            .ok()
            .and_then(|module| module.build_id())
            .unwrap_or_default();
        let mapping = Mapping {
            start: mapped.start,
            limit: mapped.end,
            file_offset: mapped.file_offset,
            path: mapped.name.clone(),
            build_id: build_id.iter().map(|byte| format!("{byte:02x}")).collect(),
            ..Mapping::default()
        };
        let known = KnownModule {
            mapping: self.profile.mappings.len(),
            module,
            is_c_library: is_c_library(&mapped.name),
        };
        self.profile.mappings.push(mapping);
        self.mappings.insert((image, index), known);
        if let Some(file) = file {
            self.files.insert(file, known);
        }
        known
    }

    fn module(&mut self, image: u32, traced: &Traced, mapped: &Mapped) -> ModuleId {
        let Some(file) = &mapped.file else {
            return self.symbolizer.add_unknown(Unknown::Anonymous);
        };
        match file.open() {
            Ok(opened) => {
                let roots = self
                    .debug_roots
                    .entry(image)
                    .or_insert_with(|| Arc::new(traced.debug_roots()));
                self.symbolizer.add(opened, &file.path, Arc::clone(roots))
            }
            Err(reason) => self
                .symbolizer
                .add_unknown(Unknown::FileUnreadable(reason.to_string().into())),
        }
    }

    /// pprof looks for names itself in the mappings that say they have none.
    pub(super) fn mark_resolved(&mut self, mapping: MappingIndex, resolved: &Resolved) {
        let mapping = &mut self.profile.mappings[mapping];
        mapping.has_functions = true;
        if resolved.source == Source::Dwarf {
            mapping.has_filenames = true;
            mapping.has_line_numbers = true;
            mapping.has_inline_frames = true;
        }
    }
}
