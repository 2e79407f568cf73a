//! What a session finds out about its target before it places probes.

use std::sync::Arc;

use super::super::allocator::{Found, Searched};
use super::super::processes::Processes;
use super::super::{Foreseen, SessionError};
use super::{Options, Source};
use crate::bpf::FIRST_IMAGE;
use crate::process::{Identity, MappedFile, load_order};

/// The target, looked at from outside.
pub(super) struct Subject {
    pub(super) processes: Processes,
    pub(super) found: Found,
    pub(super) searched: Searched,
    /// What a program that waits to be started will load.
    pub(super) foreseen: Option<Vec<Arc<MappedFile>>>,
}

impl Subject {
    /// A process that runs: reads its mappings, and searches its files for allocators.
    ///
    /// # Errors
    ///
    /// It can't be read, must not be probed, or has no allocator that can be.
    pub(super) fn running(who: &Identity, options: &Options) -> Result<Self, SessionError> {
        let mut searched = Searched::default();
        let processes = Processes::of(who, options.follow_forks)?;
        let mut found = Found::default();
        if options.source == Source::Growth {
            return Ok(Self {
                processes,
                found,
                searched,
                foreseen: None,
            });
        }
        if let Some(traced) = processes.get(FIRST_IMAGE) {
            traced.check_translators(&who.name)?;
            found = Found::in_space(&traced.space, &mut searched);
            if !found.others.is_empty()
                && let Some(order) = load_order(who.pid)
            {
                found.order_by(&traced.space, &order);
            }
        }
        if found.allocators.is_empty() {
            return Err(found.no_allocator(who).into());
        }
        Ok(Self {
            processes,
            found,
            searched,
            foreseen: None,
        })
    }

    /// A process that waits to exec the program.
    ///
    /// # Errors
    ///
    /// It can't be read.
    pub(super) fn waiting(
        who: &Identity,
        foreseen: Foreseen,
        options: &Options,
    ) -> Result<Self, SessionError> {
        let Foreseen {
            files,
            mut found,
            searched,
        } = foreseen;
        if options.source == Source::Growth {
            // Nothing is probed.
            found = Found::default();
        }
        Ok(Self {
            processes: Processes::waiting(who, options.follow_forks)?,
            found,
            searched,
            foreseen: Some(files),
        })
    }
}
