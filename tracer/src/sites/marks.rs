//! The three marks of a stack.

use super::fan::NEAR;
use super::table::Table;
use super::{Kind, Sites};
use crate::names::{is_remark, short, type_of};
use crate::profile::{FunctionIndex, LocationIndex, MappingIndex, Sample};

/// Characters of a container's name with its type arguments; a longer one stands without.
const LONGEST_TYPE: usize = 32;

/// A frame of a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SiteFrame {
    /// Its function.
    pub function: FunctionIndex,
    /// Source line, or 0.
    pub line: u32,
    /// The file it is mapped from.
    pub mapping: Option<MappingIndex>,
    /// Its location.
    pub location: LocationIndex,
    /// Whose code it is.
    pub kind: Kind,
    /// Its function has a name.
    pub is_named: bool,
    /// It was inlined into the frame after it.
    pub inlined: bool,
}

/// Which of the program's own code a stack serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The innermost frame of its own code, or, where there is none, the outermost that is neither standard
    /// library nor runtime.
    Frame(SiteFrame),
    /// A path of its own code that a frame of others is about: `service::count` of
    /// `<service::count as axum::Handler>::call`.
    Mention(String),
}

/// The marks of a stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// What is allocated: a container, or the function that allocates on behalf of its callers.
    pub what: Option<SiteFrame>,
    /// Where: the first frame that is neither allocator nor wrapper, container or standard library. Where a
    /// stack has no other, the outermost wrapper, or the leaf.
    pub place: Option<SiteFrame>,
    /// For which of the program's own code.
    pub purpose: Option<Purpose>,
}

impl<'a> Sites<'a> {
    /// The marks of a stack.
    #[must_use]
    pub fn marks(&self, sample: &'a Sample) -> Marks {
        let frames: Vec<SiteFrame> = self.frames(sample).collect();
        let end = self.end_of_run(&frames);
        let (run, rest) = frames.split_at(end);
        let place = rest.iter().find(|frame| frame.kind.is_place());
        let fallback = || {
            let wrapper = run.iter().rev().find(|frame| frame.kind == Kind::Wrapper);
            let code = run.iter().find(|frame| frame.kind != Kind::Nothing);
            wrapper.or(code).or_else(|| frames.first())
        };
        let place = place.or_else(fallback).copied();
        Marks {
            what: self
                .what(run)
                .filter(|what| Some(what.function) != place.map(|place| place.function)),
            place,
            purpose: self.purpose(&frames),
        }
    }

    /// Frames from the leaf on that allocate on behalf of those behind them.
    fn end_of_run(&self, frames: &[SiteFrame]) -> usize {
        let mut end = 0;
        loop {
            let rest = frames.get(end..).unwrap_or_default();
            end += rest
                .iter()
                .take_while(|frame| !frame.kind.is_place())
                .count();
            // A wrapper by its callers may have others below it.
            let rest = frames.get(end..).unwrap_or_default();
            let mut places = 0;
            let next = rest.iter().position(|frame| {
                places += usize::from(frame.kind.is_place());
                places > NEAR || self.fans.get(frame.function) == Some(&true)
            });
            match next {
                Some(next) if places <= NEAR => end += next,
                _ => return end,
            }
        }
    }

    /// The container nearest the leaf, or the one people know that is made of it; otherwise the outermost
    /// function of the run.
    fn what(&self, run: &[SiteFrame]) -> Option<SiteFrame> {
        let table = Table::built_in();
        let mut found: Option<(SiteFrame, String)> = None;
        for frame in run.iter().filter(|frame| frame.kind == Kind::Container) {
            let name = self.container(frame.function);
            match &found {
                Some((_, inner)) if !table.is_made_of(&name, inner) => {}
                _ => found = Some((*frame, name)),
            }
        }
        let outermost = |kind: Kind| run.iter().rev().find(|frame| frame.kind == kind);
        found
            .map(|(frame, _)| frame)
            .or_else(|| outermost(Kind::Wrapper).copied())
            .or_else(|| outermost(Kind::Standard).copied())
            .or_else(|| {
                let allocator = outermost(Kind::Allocator).copied()?;
                let function = self.profile.functions.get(allocator.function)?;
                // Rust's and C's say nothing that a reader does not know.
                function
                    .name
                    .starts_with("operator new")
                    .then_some(allocator)
            })
    }

    fn purpose(&self, frames: &[SiteFrame]) -> Option<Purpose> {
        let own = frames.iter().find(|frame| frame.kind == Kind::Own);
        if let Some(own) = own {
            return Some(Purpose::Frame(*own));
        }
        let names = frames.iter().filter_map(|frame| {
            let function = self.profile.functions.get(frame.function)?;
            Some(&*function.name)
        });
        if let Some(path) = names.filter_map(|name| self.crates.mentioned(name)).next() {
            return Some(Purpose::Mention(short(path, "").into_owned()));
        }
        let others = |kinds: &[Kind]| {
            let mut outer = frames.iter().rev();
            outer
                .find(|frame| kinds.contains(&frame.kind) && frame.is_named)
                .copied()
        };
        others(&[Kind::Dependency, Kind::System])
            .or_else(|| others(&[Kind::Runtime]))
            .map(Purpose::Frame)
    }

    /// What is allocated, for people.
    #[must_use]
    pub fn what_name(&self, what: &SiteFrame) -> String {
        let Some(function) = self.profile.functions.get(what.function) else {
            return String::new();
        };
        match what.kind {
            Kind::Container => type_of(&function.name, &function.file, LONGEST_TYPE),
            _ if is_remark(&function.name) => String::new(),
            _ => short(&function.name, &function.file).into_owned(),
        }
    }

    fn container(&self, function: FunctionIndex) -> String {
        let function = self.profile.functions.get(function);
        function.map_or_else(String::new, |f| type_of(&f.name, &f.file, 0))
    }
}
