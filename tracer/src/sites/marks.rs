//! The three marks of a stack.

use super::fan::NEAR;
use super::table::Table;
use super::{Kind, Sites};
use crate::names::{is_remark, short, type_of};
use crate::profile::{FunctionIndex, LocationIndex, MappingIndex, Sample};

/// Characters of a container's name with its type arguments; a longer one stands without.
const LONGEST_TYPE: usize = 32;
/// Frames between a function without a name and the named one that it is shown in, and one more: who is farther
/// away says too little.
const FAR: usize = 8;

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
    /// stack has no other, the outermost that has nothing to do with how programs and threads begin.
    pub place: Option<SiteFrame>,
    /// Who calls it, where it has no name: the next function of the same file that has one.
    pub caller: Option<SiteFrame>,
    /// For which of the program's own code.
    pub purpose: Option<Purpose>,
}

impl<'a> Sites<'a> {
    /// The marks of a stack.
    #[must_use]
    pub fn marks(&self, sample: &'a Sample) -> Marks {
        let frames: Vec<SiteFrame> = self.frames(sample).collect();
        let end = self.end_of_run(&frames);
        let rest = frames.get(end..).unwrap_or_default();
        let found = rest.iter().position(|frame| frame.kind.is_place());
        let at = found.map_or_else(|| self.outermost(&frames), |at| end + at);
        let run = frames.get(..at).unwrap_or_default();
        let place = frames.get(at).copied();
        Marks {
            what: self
                .what(run)
                .filter(|what| Some(what.function) != place.map(|place| place.function)),
            place,
            caller: self.caller(&frames, at),
            purpose: self.purpose(&frames, at),
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
            // A wrapper by its callers may have others below it, one by its name its library's functions that have
            // none.
            let rest = frames.get(end..).unwrap_or_default();
            let mut places = 0;
            let mut module = None;
            let mut are_nameless = true;
            let next = rest.iter().position(|frame| {
                if frame.kind.is_place() {
                    places += 1;
                    let own = self.file(frame);
                    are_nameless &= !frame.is_named && own == *module.get_or_insert(own);
                }
                let is_wrapper =
                    frame.kind == Kind::Wrapper && are_nameless && module == Some(self.file(frame));
                places > NEAR || is_wrapper || self.fans.get(frame.function) == Some(&true)
            });
            match next {
                Some(next) if places <= NEAR => end += next,
                _ => return end,
            }
        }
    }

    /// The place of a stack that has none: the outermost frame that does not begin a program or a thread.
    fn outermost(&self, frames: &[SiteFrame]) -> usize {
        let begins = |frame: &SiteFrame| {
            let path = self.paths.get(frame.function).map_or("", |path| path);
            let is_main = path == "main" && self.crates.has_generated_main();
            is_main || Table::built_in().begins(path)
        };
        let first = frames.iter().position(begins).unwrap_or(frames.len());
        let before = frames.get(..first).unwrap_or_default();
        let code = |frame: &SiteFrame| frame.kind != Kind::Nothing;
        let last = before.iter().rposition(code);
        last.or_else(|| frames.iter().position(code)).unwrap_or(0)
    }

    /// Who calls a function without a name: the next one of the same file that has a name. None is one that
    /// calls everything, as `main` and the loop of an interpreter do.
    fn caller(&self, frames: &[SiteFrame], at: usize) -> Option<SiteFrame> {
        let place = frames.get(at).filter(|place| !place.is_named)?;
        let file = self.file(place).filter(|_| !self.is_in_no_file(place))?;
        let behind = frames.get(at + 1..)?.iter().take(FAR);
        let found = behind
            .take_while(|frame| self.file(frame) == Some(file))
            .find(|frame| frame.is_named && frame.kind.is_place())?;
        let path = self.paths.get(found.function)?;
        let calls_everything =
            path == "main" || Table::built_in().by_name(path) == Some(Kind::Runtime);
        (!calls_everything).then_some(*found)
    }

    /// The container nearest the leaf, or the one people know that is made of it; otherwise the outermost
    /// function of the run, one with a name if there is any.
    fn what(&self, run: &[SiteFrame]) -> Option<SiteFrame> {
        let table = Table::built_in();
        let mut found: Option<(SiteFrame, String)> = None;
        for frame in run.iter().filter(|frame| frame.kind == Kind::Container) {
            let name = self.container(frame.function);
            match &found {
                Some((inner, of_inner))
                    if !table.is_made_of(&name, of_inner) || self.says_less(frame, inner) => {}
                _ => found = Some((*frame, name)),
            }
        }
        let outermost = |kind: Kind| {
            let mut all = run.iter().rev().filter(|frame| frame.kind == kind);
            let first = all.clone().next();
            all.find(|frame| frame.is_named).or(first)
        };
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

    /// Whether a container is the same as one that it is made of, with its type arguments left out.
    fn says_less(&self, outer: &SiteFrame, inner: &SiteFrame) -> bool {
        let (outer, inner) = (self.what_name(outer), self.what_name(inner));
        let last = |name: &str| {
            let name = name.split('<').next().unwrap_or_default();
            name.rsplit("::").next().unwrap_or_default().to_owned()
        };
        !outer.contains('<') && inner.contains('<') && last(&outer) == last(&inner)
    }

    fn purpose(&self, frames: &[SiteFrame], place: usize) -> Option<Purpose> {
        let behind = frames.get(place..).unwrap_or_default();
        let own = behind.iter().position(|frame| frame.kind == Kind::Own);
        let own = own.map(|own| place + own);
        let innermost = own.and_then(|at| frames.get(at));
        if let Some(own) = innermost.filter(|own| own.is_named) {
            return Some(Purpose::Frame(*own));
        }
        if let Some(caller) = own.and_then(|at| self.caller(frames, at)) {
            return Some(Purpose::Frame(caller));
        }
        let names = frames.iter().filter_map(|frame| {
            let function = self.profile.functions.get(frame.function)?;
            Some(&*function.name)
        });
        if let Some(path) = names.filter_map(|name| self.crates.mentioned(name)).next() {
            return Some(Purpose::Mention(short(path, "").into_owned()));
        }
        // What the program calls says more than a function of it without a name.
        let called = frames.get(..own.unwrap_or(frames.len()));
        let outermost = |kinds: &[Kind]| {
            let mut outer = called.unwrap_or_default().iter().rev();
            outer.find(|frame| kinds.contains(&frame.kind) && frame.is_named)
        };
        outermost(&[Kind::Dependency, Kind::System])
            .or(innermost)
            .or_else(|| match self.is_interpreted() {
                // How it begins is the same for all.
                true => None,
                false => outermost(&[Kind::Runtime]),
            })
            .copied()
            .map(Purpose::Frame)
    }

    /// What is allocated, for people.
    #[must_use]
    pub fn what_name(&self, what: &SiteFrame) -> String {
        let Some(function) = self.profile.functions.get(what.function) else {
            return String::new();
        };
        let name = match what.kind {
            Kind::Container => type_of(&function.name, &function.file, LONGEST_TYPE),
            _ if is_remark(&function.name) => return String::new(),
            _ => short(&function.name, &function.file).into_owned(),
        };
        match what.kind {
            Kind::Container => Table::built_in().called(&name),
            Kind::Standard if self.is_in_library(what) => in_libc(&name).to_owned(),
            _ => name,
        }
    }

    fn container(&self, function: FunctionIndex) -> String {
        let function = self.profile.functions.get(function);
        function.map_or_else(String::new, |f| type_of(&f.name, &f.file, 0))
    }
}

/// A function of the C library as its callers know it: `fputs` for `__GI__IO_fputs`.
fn in_libc(name: &str) -> &str {
    let bare = name.strip_prefix("__GI_").unwrap_or(name);
    let bare = ["_IO_new_", "_IO_old_", "_IO_"]
        .iter()
        .find_map(|prefix| bare.strip_prefix(prefix))
        .unwrap_or(bare);
    let bare = bare.trim_start_matches('_');
    let is_name = bare.starts_with(|c: char| c.is_ascii_alphabetic()) && !name.contains("::");
    if is_name { bare } else { name }
}
