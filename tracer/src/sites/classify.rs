//! Whose code each frame of a profile is.

use std::borrow::Cow;
use std::collections::HashMap;

use super::crates::{Crates, file_name, without_deleted};
use super::fan::Fan;
use super::marks::SiteFrame;
use super::table::Table;
use super::{Kind, Rules};
use crate::names::{is_place_in_module, is_remark, path, short};
use crate::profile::{FrameRules, Function, Location, Mapping, MappingIndex, Profile, Sample};

/// The frames of a profile with their kinds, and so the marks of its stacks.
#[derive(Debug)]
pub struct Sites<'a> {
    pub(super) profile: &'a Profile,
    pub(super) crates: Crates,
    /// Of each function its path.
    pub(super) paths: Vec<Cow<'a, str>>,
    /// Of each location the kinds of its lines.
    kinds: Vec<Box<[Kind]>>,
    /// Of each function whether it is a wrapper by who calls it, not by its name.
    pub(super) fans: Vec<bool>,
}

impl<'a> Sites<'a> {
    /// Classifies the frames of a profile.
    #[must_use]
    pub fn new(profile: &'a Profile, rules: &Rules) -> Self {
        let mut sites = Self::by_rules(profile, rules);
        let mut fan = Fan::default();
        fan.add(&sites);
        sites.take_wrappers(&fan);
        sites
    }

    /// Whether a function's name says that it is of the program's own code, also where it is made of a package's:
    /// `<service::count as axum::Handler>::call`.
    #[must_use]
    pub fn is_of_own_crate(&self, frame: &SiteFrame) -> bool {
        let path = self.paths.get(frame.function);
        frame.kind == Kind::Own || path.is_some_and(|path| self.crates.is_own(path))
    }

    /// The profile.
    #[must_use]
    pub const fn profile(&self) -> &'a Profile {
        self.profile
    }

    /// The frames of a sample, leaf first, inlined ones included.
    pub fn frames(&self, sample: &'a Sample) -> impl Iterator<Item = SiteFrame> + '_ {
        sample.locations.iter().flat_map(move |&index| {
            let location = self.profile.location(index);
            let kinds = self.kinds.get(index.position());
            let lines = location.map_or(&[][..], |location| &location.lines);
            let outermost = lines.len().saturating_sub(1);
            let kinds = kinds.map_or(&[][..], |kinds| kinds);
            lines
                .iter()
                .zip(kinds)
                .enumerate()
                .map(move |(depth, (line, &kind))| SiteFrame {
                    function: line.function,
                    line: line.line,
                    mapping: location.and_then(|location| location.mapping),
                    location: index,
                    kind,
                    is_named: location
                        .is_some_and(|location| self.is_named(line.function, location)),
                    inlined: depth < outermost,
                })
        })
    }

    fn by_rules(profile: &'a Profile, rules: &Rules) -> Self {
        let functions = profile.functions.iter();
        let paths: Vec<Cow<'_, str>> = functions.map(|f| path(&f.name, &f.file)).collect();
        let table = Table::built_in();
        let own_file = |file: &str| !file.is_empty() && table.by_file(file).is_none();
        let crates = Crates::new(
            profile,
            paths
                .iter()
                .zip(&profile.functions)
                .map(|(path, function)| (&**path, own_file(&function.file))),
        );
        let mut sites = Self {
            profile,
            crates,
            paths,
            kinds: Vec::new(),
            fans: Vec::new(),
        };
        let mut known = HashMap::new();
        let mut kinds = Vec::with_capacity(profile.locations.len());
        for location in &profile.locations {
            let lines = location.lines.iter().map(|line| {
                let key = (line.function, location.mapping, location.unknown.is_some());
                *known
                    .entry(key)
                    .or_insert_with(|| sites.kind(line.function, location, rules))
            });
            kinds.push(lines.collect());
        }
        sites.kinds = kinds;
        sites
    }

    /// Functions that only allocate, for many callers, are wrappers whatever their name.
    fn take_wrappers(&mut self, fan: &Fan) {
        let functions = self.profile.functions.iter();
        self.fans = functions.map(|f| fan.is_wrapper(&f.name)).collect();
        for (location, kinds) in self.profile.locations.iter().zip(&mut self.kinds) {
            for (line, kind) in location.lines.iter().zip(kinds) {
                if kind.is_place() && self.fans.get(line.function) == Some(&true) {
                    *kind = Kind::Wrapper;
                }
            }
        }
    }

    fn is_named(&self, function: usize, location: &Location) -> bool {
        let name = self.profile.functions.get(function).map_or("", |f| &f.name);
        location.unknown.is_none() && !is_place_in_module(name)
    }

    fn kind(&self, function: usize, location: &Location, rules: &Rules) -> Kind {
        let Some(of) = self.profile.functions.get(function) else {
            return Kind::Nothing;
        };
        let mapping = location.mapping.and_then(|m| self.profile.mappings.get(m));
        if let Some(kind) = by_user(of, mapping, rules) {
            return kind;
        }
        if is_remark(&of.name) && location.mapping.is_none() && location.unknown.is_none() {
            return Kind::Nothing;
        }
        if is_made_at_run_time(location, mapping) {
            return Kind::Runtime;
        }
        let table = Table::built_in();
        let path = self.paths.get(function).map_or("", |path| path);
        let is_program = self.is_program(location.mapping);
        let named = self.is_named(function, location);
        if named && FrameRules::allocators().hides(of) {
            return Kind::Allocator;
        }
        let module = mapping.map_or("", |mapping| file_name(mapping));
        let by_module = table.by_module(module).filter(|_| !is_program);
        // All of the C library is, whatever it is called; of C++'s people know the containers.
        if by_module == Some(Kind::Standard) {
            let by_name = table.by_name(path).filter(|_| named);
            let container = by_name.filter(|kind| *kind == Kind::Container);
            return container.unwrap_or(Kind::Standard);
        }
        // Of the standard library it is `std::vector::_M_realloc_insert` and the like.
        if named && table.is_wrapper(path) && table.by_name(path).is_none() {
            return Kind::Wrapper;
        }
        if let Some(kind) = by_module {
            return kind;
        }
        let of_program = match self.is_interpreted() {
            true => Kind::Runtime,
            false => Kind::Own,
        };
        let by_file = table.by_file(&of.file);
        if !of.file.is_empty() && by_file.is_none() && is_program {
            return of_program;
        }
        let by_name = table.by_name(path).filter(|_| named);
        // What a package calls `std` is not, but a container may come in one.
        let by_name = by_name.filter(|kind| match by_file {
            Some(Kind::Dependency) => matches!(kind, Kind::Container | Kind::Runtime),
            _ => true,
        });
        if let Some(kind) = by_name.or(by_file) {
            return kind;
        }
        if !is_program {
            let path = mapping.map_or("", |mapping| without_deleted(&mapping.path));
            // The most particular folder is the last.
            return match (table.by_path(path), is_dependency_path(path)) {
                (_, true) => Kind::Dependency,
                (Some(kind), _) => kind,
                (None, _) => Kind::Own,
            };
        }
        if path == "main" && self.crates.has_generated_main() {
            return Kind::Standard;
        }
        match named && self.crates.is_dependency(path) {
            true => Kind::Dependency,
            false => of_program,
        }
    }

    /// Whether the program runs others' code: what is in its file is not what its user has written.
    pub(super) fn is_interpreted(&self) -> bool {
        let program = self.profile.mappings.first();
        program.is_some_and(|program| Table::built_in().is_runtime(file_name(program)))
    }

    /// The path of what a frame is mapped from.
    pub(super) fn file(&self, frame: &SiteFrame) -> Option<&str> {
        let mapping = self.profile.mappings.get(frame.mapping?)?;
        Some(&mapping.path)
    }

    /// Whether a frame is code that lies in no file, as what is compiled at run time.
    #[must_use]
    pub fn is_in_no_file(&self, frame: &SiteFrame) -> bool {
        self.file(frame).is_none_or(is_no_file)
    }

    /// Whether a frame is in a library of the language, the C library among them.
    pub(super) fn is_in_library(&self, frame: &SiteFrame) -> bool {
        let mapping = frame.mapping.and_then(|m| self.profile.mappings.get(m));
        let name = mapping.map_or("", |mapping| file_name(mapping));
        !self.is_program(frame.mapping) && Table::built_in().by_module(name) == Some(Kind::Standard)
    }

    /// Whether a mapping is of the program's own file, which has several where it is large.
    fn is_program(&self, mapping: Option<MappingIndex>) -> bool {
        let mapping = mapping.and_then(|index| self.profile.mappings.get(index));
        match (mapping, self.profile.mappings.first()) {
            (Some(mapping), Some(program)) => mapping.path == program.path,
            // Other profilers may know no mappings.
            (mapping, program) => mapping.is_none() && program.is_none(),
        }
    }
}

fn is_dependency_path(path: &str) -> bool {
    [
        "/site-packages/",
        "/dist-packages/",
        "/node_modules/",
        "/gems/",
    ]
    .iter()
    .any(|folder| path.contains(folder))
}

fn by_user(function: &Function, mapping: Option<&Mapping>, rules: &Rules) -> Option<Kind> {
    if rules.own().is_empty() && rules.wrappers().is_empty() {
        return None;
    }
    let shown = short(&function.name, &function.file);
    let module = mapping.map_or("", |mapping| &mapping.path);
    let texts = [&*function.name, &*shown, &*function.file, module];
    let any = |patterns: &[regex::Regex]| {
        let mut texts = texts.iter();
        texts.any(|text| patterns.iter().any(|pattern| pattern.is_match(text)))
    };
    match () {
        () if any(rules.own()) => Some(Kind::Own),
        () if any(rules.wrappers()) => Some(Kind::Wrapper),
        () => None,
    }
}

/// Code that lies in no file, and what is no code at all: where a stack is cut or unknown.
fn is_made_at_run_time(location: &Location, mapping: Option<&Mapping>) -> bool {
    location.unknown.is_some() && mapping.is_none_or(|mapping| is_no_file(&mapping.path))
}

/// Whether what is mapped is no file, by its path.
#[must_use]
pub fn is_no_file(path: &str) -> bool {
    path != "[vdso]" && (path.is_empty() || path.starts_with('[') || path.starts_with("//anon"))
}
