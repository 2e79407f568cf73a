//! The table of sites as text.

use std::fmt;

use super::{GroupBy, Place, SiteMarks, SiteRow, SiteTable, SitesOptions, sites};
use crate::names::{Names, function_of};
use crate::printable::printable;
use crate::profile::Profile;
use crate::report::errors::{column, head, legend};
use crate::report::format::{Unit, percent, short_file, shorten, shorten_left, show_percent};
use crate::sites::{Kind, is_no_file};

/// Columns between two columns of text.
const GAP: usize = 2;
/// From here on everything of a row stands in one line.
const WIDE: usize = 120;
/// Least columns of a column of text.
const LEAST: usize = 12;
/// Columns below which what is not *where* does not give while that is wider.
const ENOUGH: usize = 31;

/// The texts of a row: where, its line, what it is for, what is allocated.
pub(crate) type Cells = [String; 4];

impl fmt::Display for SiteTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.header)?;
        let unit = Unit::of_largest(&self.header.unit, self.rows.iter().map(|row| row.value));
        let shown = self
            .rows
            .iter()
            .fold(0_i64, |sum, row| sum.saturating_add(row.value));
        writeln!(
            f,
            "Showing {} of {} {}, {} of {} ({})\n",
            self.rows.len(),
            self.sites,
            self.noun(),
            unit.show(shown),
            unit.show(self.header.total),
            show_percent(percent(shown, self.header.total)).trim_start()
        )?;
        if self.rows.is_empty() {
            let name = self.header.sample_type.name();
            return writeln!(f, "No stack holds any {name}.");
        }
        self.fmt_rows(unit, f)?;
        legend(self.rows.iter().map(|row| row.error), f)?;
        self.fmt_hints(f)
    }
}

impl SiteTable {
    /// The texts of the rows, in their order.
    pub(crate) fn texts(&self) -> impl Iterator<Item = Cells> {
        self.rows.iter().map(|row| self.cells(row))
    }

    const fn noun(&self) -> &'static str {
        match self.by {
            GroupBy::Site => "sites",
            GroupBy::Line => "lines",
            GroupBy::File => "files",
            GroupBy::Crate => "crates and libraries",
            GroupBy::Module => "modules",
        }
    }

    fn fmt_rows(&self, unit: Unit, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_errors = self.header.total_error.is_some();
        let amounts: Vec<String> = self
            .rows
            .iter()
            .map(|row| {
                format!(
                    "{:>10}{} {} {}",
                    unit.show(row.value),
                    column(row.error.as_ref(), row.value, has_errors),
                    show_percent(row.percent),
                    show_percent(row.sum_percent),
                )
            })
            .collect();
        let left = amounts.first().map_or(0, |first| first.chars().count()) + GAP;
        let heads = match self.by {
            GroupBy::Site => ["where", "line", "for", "what"],
            GroupBy::Line => ["line", "where", "for", "what"],
            GroupBy::File => ["file", "most at", "for", "what"],
            GroupBy::Crate => ["crate", "most at", "for", "what"],
            GroupBy::Module => ["module", "most at", "for", "what"],
        };
        let mut cells = vec![heads.map(str::to_owned)];
        cells.extend(self.rows.iter().map(|row| self.cells(row)));
        // A column that says nothing is left out.
        for at in 0..heads.len() {
            let mut rows = cells.iter().skip(1).filter_map(|cells| cells.get(at));
            if rows.all(String::is_empty)
                && let Some(head) = cells.first_mut().and_then(|heads| heads.get_mut(at))
            {
                head.clear();
            }
        }
        let is_wide = self.max_width.is_none_or(|width| width >= WIDE);
        let room = self
            .max_width
            .map_or(usize::MAX, |w| w.saturating_sub(left));
        let head = format!("     value{}  share    sum", head(has_errors));
        let amounts = std::iter::once(&head).chain(&amounts);
        let widths = match is_wide {
            true => fit([0, 1, 2, 3].map(|at| widest(&cells, at)), room),
            false => {
                let upper = fit([widest(&cells, 0), widest(&cells, 1), 0, 0], room);
                let lower = fit([0, 0, widest(&cells, 2), widest(&cells, 3)], room);
                [upper[0], upper[1], lower[2], lower[3]]
            }
        };
        for (nth, (amount, cells)) in amounts.zip(&cells).enumerate() {
            let [place, line, purpose, what] = cells;
            let line_first = self.by == GroupBy::Line;
            let path = |text: &str, width| shorten_left(text, width);
            let (place, line) = match line_first {
                true => (path(place, widths[0]), shorten(line, widths[1])),
                false => (shorten(place, widths[0]), path(line, widths[1])),
            };
            let (purpose, what) = (shorten(purpose, widths[2]), shorten(what, widths[3]));
            let columns: [&str; 4] = match is_wide {
                true => [&place, &line, &purpose, &what],
                false => [&place, &line, "", ""],
            };
            let mut text = amount.clone();
            for (column, width) in columns.into_iter().zip(widths) {
                if width > 0 {
                    text.push_str(&format!("  {column:width$}"));
                }
            }
            writeln!(f, "{}", text.trim_end())?;
            if !is_wide && nth > 0 && !(purpose.is_empty() && what.is_empty()) {
                let text = match (purpose.as_str(), what.as_str()) {
                    ("", what) => what.to_owned(),
                    (purpose, "") => format!("for {purpose}"),
                    (purpose, what) => format!("{what} for {purpose}"),
                };
                let text = shorten(&text, room);
                writeln!(f, "{:left$}{text}", "")?;
            }
        }
        Ok(())
    }

    fn cells(&self, row: &SiteRow) -> Cells {
        let [function, line, purpose, what] = row.cells(&self.names);
        match (self.by, &row.name) {
            (GroupBy::Site, _) | (_, None) => [function, line, purpose, what],
            (GroupBy::Line, Some(own)) => match (line.is_empty(), row.place.is_some()) {
                (false, _) => [line, function, purpose, what],
                (true, true) => [function, String::new(), purpose, what],
                (true, false) => [printable(own).into_owned(), function, purpose, what],
            },
            (GroupBy::File, Some(own)) => [short_file(&printable(own)), function, purpose, what],
            (_, Some(own)) => {
                let own = printable(own).into_owned();
                let at = match line.is_empty() {
                    true => function,
                    false => format!("{function} {line}"),
                };
                [own, at, purpose, what]
            }
        }
    }

    /// What would help where functions have no names.
    fn fmt_hints(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut modules: Vec<(&str, &str)> = Vec::new();
        for row in &self.rows {
            let places = [&row.place, &row.purpose].into_iter().flatten();
            let places = places.filter(|place| !place.is_named && place.kind != Kind::Standard);
            for place in places.filter(|place| !is_no_file(&place.module)) {
                let module = (module_name(place), place.build_id.as_str());
                if !modules.contains(&module) {
                    modules.push(module);
                }
            }
        }
        if modules.is_empty() {
            return Ok(());
        }
        writeln!(
            f,
            "\nStripped, so that functions have no names there. Install their -dbgsym (or -debuginfo) packages, or put the \
             debug file\nof the build id under /usr/lib/debug/.build-id (debuginfod-find debuginfo ID fetches it), and record again:"
        )?;
        for (module, build_id) in modules {
            let id = match build_id {
                "" => String::new(),
                id => format!("  build id {}", printable(id)),
            };
            writeln!(f, "  {}{id}", printable(module))?;
        }
        Ok(())
    }
}

/// The largest sites, a line each with its share of the total: what a recording says at its end.
#[must_use]
pub fn largest_sites(profile: &Profile, options: &SitesOptions) -> Vec<String> {
    let table = sites(profile, options);
    let rows = table.rows.iter().map(|row| {
        let site = row.marks().show(&table.names);
        format!("{} {site}", show_percent(row.percent))
    });
    rows.collect()
}

impl SiteRow {
    /// The texts of a row that is a site.
    pub(super) fn cells(&self, names: &Names) -> Cells {
        let [function, line, purpose, mut what] = self.marks().cells(names, self.where_differs);
        if self.what_differs {
            what.push_str(", …");
        }
        [function, line, purpose, what]
    }

    fn marks(&self) -> SiteMarks {
        SiteMarks {
            place: self.place.clone(),
            caller: self.caller.clone(),
            purpose: self.purpose.clone(),
            what: self.what.clone(),
        }
    }
}

impl SiteMarks {
    /// The texts of a row. The functions without a name may differ from stack to stack.
    pub(crate) fn cells(&self, names: &Names, differs: bool) -> Cells {
        let place = self.place.as_ref();
        let caller = self.caller.as_ref();
        let function = place.map_or_else(
            || "[no stack]".to_owned(),
            |place| name_in(names, place, caller, differs),
        );
        let line = place.map_or_else(String::new, line);
        let said = |one: &Place| {
            let mut said = [place, caller].into_iter().flatten();
            said.any(|place| place.function == one.function)
        };
        let purpose = self.purpose.as_ref().filter(|purpose| !said(purpose));
        let purpose = purpose.map_or_else(String::new, |one| purpose_name(names, one));
        let what = self.what.as_ref();
        let what = what.map_or_else(String::new, |what| printable(what).into_owned());
        [function, line, purpose, what]
    }

    /// `hyper::Buffered::reserve  hyper-1.12.0/src/proto/h1/io.rs:181  for service::count, BytesMut`
    pub(in crate::report) fn show(&self, names: &Names) -> String {
        let [mut text, line, purpose, what] = self.cells(names, false);
        if self.place.is_none() {
            return text;
        }
        if !line.is_empty() {
            text.push_str(&format!("  {line}"));
        }
        let more = match (purpose.as_str(), what.as_str()) {
            ("", what) => what.to_owned(),
            (purpose, "") => format!("for {purpose}"),
            (purpose, what) => format!("for {purpose}, {what}"),
        };
        if !more.is_empty() {
            text.push_str(&format!("  {more}"));
        }
        text
    }
}

/// The name to show, of a nameless function with a mark.
pub(super) fn name(names: &Names, place: &Place) -> String {
    if place.is_named {
        return printable(names.show(&place.function)).into_owned();
    }
    if is_no_file(&place.module) {
        return "[code made at run time]".to_owned();
    }
    format!("{} [stripped]", printable(&place.function))
}

/// The same of a nameless function with the one it is called by: `libz.so.1+0x3f2 in deflate`. Where there are
/// several such functions, the library stands for them.
fn name_in(names: &Names, place: &Place, caller: Option<&Place>, differs: bool) -> String {
    let Some(caller) = caller else {
        return name(names, place);
    };
    let caller = name(names, caller);
    let nameless = match differs {
        true => format!("{}+…", printable(module_name(place))),
        false => printable(&place.function).into_owned(),
    };
    format!("{nameless} in {caller}")
}

/// The same of what memory is for: a closure serves its function.
fn purpose_name(names: &Names, place: &Place) -> String {
    if !place.is_named || names.show(&place.function) == place.function {
        return name(names, place);
    }
    printable(&function_of(&place.function, &place.file)).into_owned()
}

pub(super) fn line(place: &Place) -> String {
    let file = short_file(&printable(&place.file));
    match (file.as_str(), place.line) {
        ("", _) => String::new(),
        (file, 0) => file.to_owned(),
        (file, line) => format!("{file}:{line}"),
    }
}

fn module_name(place: &Place) -> &str {
    place.module.rsplit('/').next().unwrap_or(&place.module)
}

fn widest(cells: &[Cells], at: usize) -> usize {
    let widths = cells.iter().filter_map(|cells| cells.get(at));
    widths.map(|text| text.chars().count()).max().unwrap_or(0)
}

/// Widths that together fit. The first is what a reader looks for: it gives when the others have given enough,
/// the widest first.
pub(crate) fn fit(mut widths: [usize; 4], room: usize) -> [usize; 4] {
    let used = widths.iter().filter(|width| **width > 0).count();
    let room = room.saturating_sub(GAP * used.saturating_sub(1));
    let too_wide = |widths: &[usize; 4]| {
        widths
            .iter()
            .fold(0_usize, |sum, one| sum.saturating_add(*one))
            > room
    };
    for (from, least) in [(1, ENOUGH), (0, LEAST)] {
        while too_wide(&widths) {
            let given = widths.iter_mut().skip(from).max();
            let Some(widest) = given.filter(|widest| **widest > least) else {
                break;
            };
            *widest -= 1;
        }
    }
    widths
}

#[cfg(test)]
mod tests {
    use super::fit;

    #[test]
    fn the_widest_column_gives_first() {
        assert_eq!(fit([10, 20, 30, 40], 200), [10, 20, 30, 40]);
        assert_eq!(fit([10, 20, 80, 20], 86), [10, 20, 30, 20]);
        assert_eq!(fit([60, 20, 80, 20], 131), [54, 20, 31, 20]);
        // Not below what one can still read.
        assert_eq!(fit([40, 40, 40, 40], 10), [12, 12, 12, 12]);
        assert_eq!(fit([40, 40, 0, 0], 67), [34, 31, 0, 0]);
    }
}
