//! Where memory is asked for, and for which of the program's lines: the table that a report begins with.

mod list;
mod text;

pub use list::{LiveSite, LiveSites, SiteStack, StackLine, live_sites};
pub(crate) use text::Cells;
pub(crate) use text::fit as fit_columns;
pub use text::largest_sites;

use std::cmp::Reverse;
use std::collections::HashMap;

use serde::Serialize;

use super::errors::{AmountError, Doubts};
use super::format::percent;
use super::{Header, filters, names};
use crate::names::{NameStyle, Names};
use crate::profile::{Filter, Profile, ValueKind, Values};
use crate::sites::{Kind, Marks, Purpose, Rules, SiteFrame, Sites, group, is_no_file};

/// What stacks are put together by: all of these are of *where*, the frame that asks for memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupBy {
    /// Function and line, and which of the program's own functions it is for.
    #[default]
    Site,
    /// Source line.
    Line,
    /// Source file.
    File,
    /// Crate, outermost namespace, or library.
    Crate,
    /// Program or library.
    Module,
}

/// What to show.
#[derive(Clone, Debug, Default)]
pub struct SitesOptions {
    /// The value to show.
    pub by: ValueKind,
    /// What stacks are put together by.
    pub group: GroupBy,
    /// Most rows; `None` for all.
    pub limit: Option<usize>,
    /// Which stacks and frames to look at.
    pub filter: Filter,
    /// How the text shows names.
    pub names: NameStyle,
    /// Whose code is what, beyond the built-in table.
    pub rules: Rules,
    /// Columns of the text; `None` for as many as it takes.
    pub max_width: Option<usize>,
}

/// Where memory is asked for. As JSON: `{"report": "sites", "header": …, "by": …, "sites": …, "rows": […]}`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "report", rename = "sites")]
pub struct SiteTable {
    /// Where the amounts come from.
    pub header: Header,
    /// What stacks are put together by.
    pub by: GroupBy,
    /// Rows there are, shown or not.
    pub sites: usize,
    /// Those shown, the largest first.
    pub rows: Vec<SiteRow>,
    #[serde(skip)]
    names: Names,
    #[serde(skip)]
    max_width: Option<usize>,
}

/// A site, or what else stacks are put together by.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SiteRow {
    /// What its stacks hold.
    pub value: i64,
    /// How wrong that may be, where it is estimated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<AmountError>,
    /// That, in percent of the total.
    pub percent: f64,
    /// This row and all above it, in percent of the total.
    pub sum_percent: f64,
    /// Stacks with an amount.
    pub stacks: usize,
    /// What they have in common: a line, a file, a crate or a module; `null` for a site, which is `where`.
    pub name: Option<String>,
    /// Where memory is asked for; in the largest of several stacks. `null` where there are no frames.
    #[serde(rename = "where")]
    pub place: Option<Place>,
    /// Who calls it, where it has no name: the next function of the same file that has one.
    #[serde(rename = "in")]
    pub caller: Option<Place>,
    /// The stacks differ in which nameless function of that caller it is.
    pub where_differs: bool,
    /// For which of the program's own code, or the outermost of a package; `null` where nothing is known.
    #[serde(rename = "for")]
    pub purpose: Option<Place>,
    /// What is allocated: a container or a function, of the largest stack; `null` where it is the allocator's
    /// own function that is called.
    pub what: Option<String>,
    /// The stacks differ in what is allocated.
    pub what_differs: bool,
}

/// A frame as a place to go to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Its function; a path of the program's own code where only a name tells what it is for.
    pub function: String,
    /// Its source file, or empty.
    pub file: String,
    /// Line in it, or 0.
    pub line: u32,
    /// Path of the program or library, or empty.
    pub module: String,
    /// Its build id, or empty.
    pub build_id: String,
    /// Whose code it is.
    pub kind: Kind,
    /// The function has a name; without one, symbols are missing.
    pub is_named: bool,
}

impl Place {
    pub(super) fn of(profile: &Profile, frame: &SiteFrame) -> Self {
        let function = profile.functions.get(frame.function);
        let mapping = frame.mapping.and_then(|index| profile.mappings.get(index));
        Self {
            function: function.map_or_else(String::new, |f| f.name.clone()),
            file: function.map_or_else(String::new, |f| f.file.clone()),
            line: frame.line,
            module: mapping.map_or_else(String::new, |m| m.path.clone()),
            build_id: mapping.map_or_else(String::new, |m| m.build_id.clone()),
            kind: frame.kind,
            is_named: frame.is_named,
        }
    }

    fn purpose(profile: &Profile, purpose: &Purpose) -> Self {
        match purpose {
            Purpose::Frame(frame) => Self::of(profile, frame),
            Purpose::Mention(path) => Self {
                function: path.clone(),
                file: String::new(),
                line: 0,
                module: String::new(),
                build_id: String::new(),
                kind: Kind::Own,
                is_named: true,
            },
        }
    }
}

/// The marks of one stack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SiteMarks {
    /// Where memory is asked for; `null` where there are no frames.
    #[serde(rename = "where")]
    pub place: Option<Place>,
    /// Who calls it, where it has no name: the next function of the same file that has one.
    #[serde(rename = "in")]
    pub caller: Option<Place>,
    /// For which of the program's own code; `null` where nothing is known.
    #[serde(rename = "for")]
    pub purpose: Option<Place>,
    /// What is allocated; `null` where it is the allocator's own function that is called.
    pub what: Option<String>,
}

impl SiteMarks {
    /// Of marks of a profile's stack.
    pub(crate) fn of(sites: &Sites<'_>, marks: &Marks) -> Self {
        let profile = sites.profile();
        let what = marks.what.as_ref().map(|what| sites.what_name(what));
        Self {
            place: marks.place.as_ref().map(|frame| Place::of(profile, frame)),
            caller: marks.caller.as_ref().map(|frame| Place::of(profile, frame)),
            purpose: marks
                .purpose
                .as_ref()
                .map(|purpose| Place::purpose(profile, purpose)),
            what: what.filter(|what| !what.is_empty()),
        }
    }

    /// What tells sites apart in two builds: no lines, which move with each line above them, and no addresses
    /// where there is a name near.
    pub(crate) fn key(&self) -> (String, String, String) {
        let function = |place: &Option<Place>| {
            place
                .as_ref()
                .map_or_else(String::new, |place| place.function.clone())
        };
        let module = self.place.as_ref().filter(|place| !place.is_named);
        let module = module.map_or_else(String::new, |place| place.module.clone());
        let named = if self.caller.is_some() {
            &self.caller
        } else {
            &self.place
        };
        (function(named), function(&self.purpose), module)
    }
}

/// The stacks of one row.
#[derive(Default)]
struct Row {
    value: i64,
    squares: f64,
    name: Option<String>,
    /// What tells it from other rows, in later profiles of the recording, too.
    key: String,
    /// All that its stacks hold.
    values: Values,
    /// Its stacks, as positions among the samples.
    samples: Vec<usize>,
    /// Of the same marks the amounts: the largest are shown.
    marks: HashMap<Key, (i64, Marks)>,
}

/// What tells marks apart in one profile.
type Key = (Option<(usize, u32)>, Option<(usize, u32)>, Option<usize>);

/// Where memory is asked for.
#[must_use]
pub fn sites(profile: &Profile, options: &SitesOptions) -> SiteTable {
    let mut header = Header::new(profile, options.by);
    let (profile, matches) = options.filter.apply(profile);
    header.filters = filters::active(&options.filter, matches);
    let profile = &*profile;
    let doubts = Doubts::new(profile, options.by);
    let sites = Sites::new(profile, &options.rules);
    let by = options.by;
    let mut rows = put_together(&sites, by, options.group, |values| values.get(by) != 0);
    rows.retain(|row| row.value != 0);
    rows.sort_by_cached_key(|row| (Reverse(row.value.unsigned_abs()), sort_key(profile, row)));
    let mut sum = 0_i64;
    SiteTable {
        by: options.group,
        sites: rows.len(),
        rows: rows
            .into_iter()
            .take(options.limit.unwrap_or(usize::MAX))
            .map(|row| {
                sum = sum.saturating_add(row.value);
                SiteRow {
                    value: row.value,
                    error: doubts.of(row.value, row.squares),
                    percent: percent(row.value, header.total),
                    sum_percent: percent(sum, header.total),
                    ..shown(&sites, row)
                }
            })
            .collect(),
        header,
        names: names([profile], options.names),
        max_width: options.max_width,
    }
}

/// Rows of the samples that count.
fn put_together(
    sites: &Sites<'_>,
    by: ValueKind,
    group: GroupBy,
    counts: impl Fn(&Values) -> bool,
) -> Vec<Row> {
    let profile = sites.profile();
    let mut rows: Vec<Row> = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    for (nth, sample) in profile.samples.iter().enumerate() {
        let value = sample.values.get(by);
        if !counts(&sample.values) {
            continue;
        }
        let marks = sites.marks(sample);
        let (key, name) = common(sites, &marks, group);
        let index = *known.entry(key).or_insert_with_key(|key| {
            rows.push(Row {
                name,
                key: key.clone(),
                ..Row::default()
            });
            rows.len() - 1
        });
        let Some(row) = rows.get_mut(index) else {
            continue;
        };
        row.value = row.value.saturating_add(value);
        row.squares += sample.errors.get(by).map_or(0.0, |own| own * own);
        row.values += sample.values;
        row.samples.push(nth);
        let frame = |frame: &SiteFrame| (frame.function, frame.line);
        let purpose = match &marks.purpose {
            Some(Purpose::Frame(purpose)) => Some(frame(purpose)),
            _ => None,
        };
        let what = marks.what.as_ref().map(|what| what.function);
        let place = marks.place.as_ref().map(frame);
        let of_marks = row
            .marks
            .entry((place, purpose, what))
            .or_insert((0, marks));
        of_marks.0 = of_marks.0.saturating_add(value);
    }
    rows
}

/// What stacks of one row have in common, to tell rows apart and, but for sites, to show.
fn common(sites: &Sites<'_>, marks: &Marks, by: GroupBy) -> (String, Option<String>) {
    let profile = sites.profile();
    let Some(frame) = &marks.place else {
        let none = "[no stack]".to_owned();
        return (none.clone(), (by != GroupBy::Site).then_some(none));
    };
    let place = Place::of(profile, frame);
    let module = match place.module.rsplit('/').next().unwrap_or_default() {
        _ if is_no_file(&place.module) => "code without a file".to_owned(),
        name => name.to_owned(),
    };
    let shown = match by {
        GroupBy::Site => {
            let purpose = marks.purpose.as_ref();
            let purpose = purpose.map(|purpose| Place::purpose(profile, purpose).function);
            let purpose = purpose.unwrap_or_default();
            let Place {
                function,
                file,
                line,
                module,
                ..
            } = &place;
            let caller = marks.caller.as_ref();
            let caller = caller.map(|caller| Place::of(profile, caller).function);
            // Of code without a name the library and who calls it say more than the address, which says nothing
            // where it lies in no file.
            let function = match &caller {
                Some(caller) => &format!("{module}\0{caller}"),
                None if frame.is_named || !module.is_empty() => function,
                None => "",
            };
            return (format!("{function}\0{file}\0{line}\0{purpose}"), None);
        }
        GroupBy::Line if place.line > 0 => format!("{}:{}", place.file, place.line),
        GroupBy::Line => match &marks.caller {
            Some(caller) => format!("{module} in {}", Place::of(profile, caller).function),
            None => place.function,
        },
        GroupBy::File if !place.file.is_empty() => place.file,
        GroupBy::File => format!("{module} (no line numbers)"),
        GroupBy::Crate => group(sites, frame).to_owned(),
        GroupBy::Module => module,
    };
    (shown.clone(), Some(shown))
}

/// So that the same profile gives the same order.
fn sort_key(profile: &Profile, row: &Row) -> (Option<String>, Vec<String>) {
    let marks = row.marks.values();
    let places = marks.filter_map(|(_, marks)| marks.place.as_ref());
    let mut names: Vec<String> = places
        .map(|frame| Place::of(profile, frame))
        .map(|place| format!("{} {}:{}", place.function, place.file, place.line))
        .collect();
    names.sort_unstable();
    names.truncate(1);
    (row.name.clone(), names)
}

/// A row without amounts, with the marks of its largest stacks.
fn shown(sites: &Sites<'_>, row: Row) -> SiteRow {
    let profile = sites.profile();
    let what_of = |marks: &Marks| {
        let what = marks.what.as_ref().map(|what| sites.what_name(what));
        what.filter(|what| !what.is_empty())
    };
    let mut all: Vec<(&Key, &(i64, Marks))> = row.marks.iter().collect();
    all.sort_by_key(|(key, (value, _))| (Reverse(value.unsigned_abs()), **key));
    let mut whats = all.iter().map(|(_, (_, marks))| what_of(marks));
    // The largest that is anything, and whether any is another.
    let what = whats.clone().flatten().next();
    let what_differs = what.is_some() && whats.any(|other| other != what);
    let marks = all.first().map(|(_, (_, marks))| marks.clone());
    let marks = marks.unwrap_or_default();
    let function = |frame: Option<SiteFrame>| {
        let function = profile.functions.get(frame?.function)?;
        Some(function.name.as_str())
    };
    let caller = function(marks.caller);
    let mut places = all.iter().map(|(_, (_, marks))| marks);
    let where_differs = caller.is_some()
        && places.any(|other| {
            function(other.caller) == caller && function(other.place) != function(marks.place)
        });
    SiteRow {
        value: 0,
        error: None,
        percent: 0.0,
        sum_percent: 0.0,
        stacks: row.samples.len(),
        where_differs,
        place: marks.place.map(|frame| Place::of(profile, &frame)),
        caller: marks.caller.map(|frame| Place::of(profile, &frame)),
        purpose: marks
            .purpose
            .map(|purpose| Place::purpose(profile, &purpose)),
        what_differs,
        what,
        name: row.name,
    }
}

#[cfg(test)]
mod tests;
