//! The table of sites.

use indicatif::HumanCount;
use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::widgets::{Paragraph, Row as TableRow, Table};

use super::coloured;
use crate::printable::printable;
use crate::profile::ValueKind;
use crate::report::{Unit, fit_columns, percent, shorten, shorten_left, show_error, show_percent};
use crate::size::Size;
use crate::top::course::CELLS;
use crate::top::state::{Moment, Row, Sort, State};

/// Columns between two columns.
const GAP: usize = 1;
/// Columns that *where* has at least: others go before it is narrower.
const LEAST: usize = 24;
/// From here on a row says what else there is to say of a site.
const WIDE: usize = 120;
/// Columns of a trend where there is little room.
const NARROW_TREND: usize = CELLS / 2;
/// Heights of a bar.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A column of figures.
struct Column {
    what: Figure,
    head: &'static str,
    sort: Option<Sort>,
    width: usize,
    /// The largest goes first where there is too little room; 0 stays.
    rank: u8,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Figure {
    Value,
    Error,
    Share,
    Live,
    Objects,
    Rate,
    Trend,
    Change,
}

fn columns(state: &State, shown: &Moment, width: usize) -> Vec<Column> {
    let words = shown.head.words;
    let (live, objects) = match words.inuse {
        "perhaps live" => ("live at most", "objects"),
        "still resident" => ("resident", "pages"),
        _ => ("live", "objects"),
    };
    let head = match state.by {
        ValueKind::InuseObjects => objects,
        ValueKind::AllocSpace => "allocated",
        ValueKind::AllocObjects => "allocs",
        _ => live,
    };
    let rate = match state.by.unit() {
        "bytes" => "alloc/s",
        _ => "allocs/s",
    };
    let column = |what, head, sort, width, rank| Column {
        what,
        head,
        sort,
        width,
        rank,
    };
    let trend = if width < WIDE { NARROW_TREND } else { CELLS };
    let has_errors = shown.list.total_error.is_some();
    let mut columns = vec![column(Figure::Value, head, Some(Sort::Value), 12, 0)];
    if has_errors {
        columns.push(column(Figure::Error, "±", None, 7, 1));
    }
    columns.push(column(Figure::Share, "share", None, 6, 4));
    if state.by != ValueKind::InuseSpace {
        columns.push(column(Figure::Live, live, Some(Sort::Live), 12, 2));
    }
    if state.by != ValueKind::InuseObjects {
        columns.push(column(Figure::Objects, objects, Some(Sort::Objects), 9, 3));
    }
    columns.push(column(Figure::Rate, rate, Some(Sort::Rate), 10, 2));
    columns.push(column(Figure::Trend, "trend", None, trend, 3));
    columns.push(column(Figure::Change, "change", Some(Sort::Change), 10, 5));
    while taken(&columns) + LEAST > width {
        let last = columns.iter().map(|column| column.rank).max().unwrap_or(0);
        let Some(at) = columns
            .iter()
            .rposition(|column| column.rank == last && last > 0)
        else {
            break;
        };
        columns.remove(at);
    }
    columns
}

/// Columns of the terminal that columns of figures take.
fn taken(columns: &[Column]) -> usize {
    columns.iter().map(|column| column.width + GAP).sum()
}

/// What the table shows.
pub(super) fn title(state: &State, width: usize) -> String {
    let Some(shown) = &state.shown else {
        return String::new();
    };
    let all = shown.list.sites.len();
    let sites = match (state.filter.as_str(), shown.rows.len()) {
        ("", 1) if all == 1 => "1 site".to_owned(),
        ("", _) => format!("{all} sites"),
        (filter, few) => format!("{few} of {all} sites with \"{}\"", printable(filter)),
    };
    let total = shown.list.total.get(state.by);
    let total = match state.by.unit() {
        "bytes" => Size::from(total).to_string(),
        _ => HumanCount(total.unsigned_abs()).to_string(),
    };
    shorten(
        &format!("{}: {total} in all, {sites}", state.by.name()),
        width,
    )
}

/// The selected site with all its marks.
pub(super) fn selected_text(state: &State) -> String {
    let Some((_, row)) = state.selected() else {
        return String::new();
    };
    let site = &row.site;
    let mut text = site.place.clone();
    if !site.line.is_empty() {
        text.push_str(&format!("  {}", site.line));
    }
    if !site.purpose.is_empty() {
        text.push_str(&format!("  for {}", site.purpose));
    }
    if !site.what.is_empty() {
        text.push_str(&format!("  {}", site.what));
    }
    text
}

/// Draws the rows around the selected one.
pub(super) fn draw(state: &State, frame: &mut Frame<'_>, area: Rect) {
    let Some(shown) = &state.shown else {
        return;
    };
    let Some((at, _)) = state.selected() else {
        let text = match state.filter.as_str() {
            "" => "nothing was allocated yet",
            _ => "no site matches the filter (Esc drops it)",
        };
        frame.render_widget(Paragraph::new(text), area);
        return;
    };
    let width = usize::from(area.width);
    let columns = columns(state, shown, width);
    let has_head = area.height > 2;
    let height = usize::from(area.height) - usize::from(has_head);
    let first = at - at % height.max(1);
    let rows: Vec<&Row> = shown.rows.iter().skip(first).take(height).collect();
    let widths = text_widths(&rows, width.saturating_sub(taken(&columns)), width);
    let units = Units::of(state, shown);
    let texts = rows.iter().map(|row| {
        let figures = columns.iter().map(|column| {
            let text = figure(column, row, state, shown, &units);
            format!("{text:>width$}", width = column.width)
        });
        let site = &row.site;
        let [place, line, purpose, what] = widths;
        let texts = [
            shorten(&site.place, place),
            shorten_left(&site.line, line),
            shorten(&site.purpose, purpose),
            shorten(&site.what, what),
        ];
        figures.chain(used(texts, widths)).collect::<Vec<_>>()
    });
    let texts: Vec<Vec<String>> = texts.collect();
    let constraints = columns.iter().map(|column| column.width);
    let constraints: Vec<Constraint> = constraints
        .chain(widths.into_iter().filter(|width| *width > 0))
        .map(|width| Constraint::Length(u16::try_from(width).unwrap_or(u16::MAX)))
        .collect();
    let rows = texts.into_iter().enumerate().map(|(nth, texts)| {
        let style = match first + nth == at {
            true => Style::new().add_modifier(Modifier::REVERSED),
            false => Style::new(),
        };
        TableRow::new(texts).style(style)
    });
    let mut table = Table::new(rows, constraints).column_spacing(GAP as u16);
    if has_head {
        let style = coloured(state, Color::Cyan).add_modifier(Modifier::BOLD);
        table = table.header(TableRow::new(heads(state, &columns, widths)).style(style));
    }
    frame.render_widget(table, area);
}

fn heads(state: &State, columns: &[Column], widths: [usize; 4]) -> Vec<String> {
    let marked = |head: &str, sort: Option<Sort>| match (sort == Some(state.sort), sort) {
        (true, Some(_)) if state.is_reversed => format!("{head}▲"),
        (true, Some(_)) => format!("{head}▼"),
        _ => head.to_owned(),
    };
    let figures = columns.iter().map(|column| {
        let text = marked(column.head, column.sort);
        format!("{text:>width$}", width = column.width)
    });
    let texts = [
        marked("where", Some(Sort::Place)),
        "line".to_owned(),
        "for".to_owned(),
        "what".to_owned(),
    ];
    figures.chain(used(texts, widths)).collect()
}

/// The texts that have columns.
fn used(texts: [String; 4], widths: [usize; 4]) -> impl Iterator<Item = String> {
    let texts = texts.into_iter().zip(widths);
    texts.filter_map(|(text, width)| (width > 0).then_some(text))
}

/// Columns of where, line, for and what, of the whole `width` those that are left.
fn text_widths(rows: &[&Row], room: usize, width: usize) -> [usize; 4] {
    if width < WIDE {
        return [room, 0, 0, 0];
    }
    let widest = |text: fn(&Row) -> &str, head: &str| {
        let widths = rows.iter().map(|row| text(row).chars().count());
        let widest = widths.max().unwrap_or(0);
        // The mark of the column by which rows are sorted.
        if widest == 0 {
            0
        } else {
            widest.max(head.len() + 1)
        }
    };
    fit_columns(
        [
            widest(|row| &row.site.place, "where"),
            widest(|row| &row.site.line, "line"),
            widest(|row| &row.site.purpose, "for"),
            widest(|row| &row.site.what, "what"),
        ],
        room,
    )
}

/// In which units amounts are shown: one a column, so that they can be compared.
struct Units {
    value: Unit,
    live: Unit,
    rate: Unit,
    change: Unit,
}

impl Units {
    fn of(state: &State, shown: &Moment) -> Self {
        let rows = || shown.rows.iter();
        let unit = state.by.unit();
        Self {
            value: Unit::of_largest(unit, rows().map(|row| row.site.values.get(state.by))),
            live: Unit::of_largest("bytes", rows().map(|row| row.site.values.inuse_space)),
            rate: Unit::of_largest(unit, rows().map(|row| row.rate_of(state.by))),
            change: Unit::of_largest("bytes", rows().map(|row| row.change)),
        }
    }
}

fn figure(column: &Column, row: &Row, state: &State, shown: &Moment, units: &Units) -> String {
    let values = row.site.values;
    let value = values.get(state.by);
    match column.what {
        Figure::Value => units.value.show(value),
        Figure::Error => {
            let error = row.site.error.as_ref();
            error.map_or_else(String::new, |error| show_error(error, value))
        }
        Figure::Share => show_percent(percent(value, shown.list.total.get(state.by))),
        Figure::Live => units.live.show(values.inuse_space),
        Figure::Objects => values.inuse_objects.to_string(),
        Figure::Rate => units.rate.show(row.rate_of(state.by)),
        Figure::Trend => bars(&row.trend, column.width),
        Figure::Change => {
            let sign = if row.change > 0 { "+" } else { "" };
            format!("{sign}{}", units.change.show(row.change))
        }
    }
}

/// A bar for each amount, as high as it is beside the largest; of more amounts than columns the largest of each few.
fn bars(amounts: &[i64], width: usize) -> String {
    let each = CELLS.div_ceil(width.max(1));
    let most = amounts.iter().copied().max().unwrap_or(0).max(1);
    let highest = BARS.len() as i64;
    let bars = amounts.rchunks(each).map(|few| {
        let amount = few.iter().copied().max().unwrap_or(0);
        let height = amount
            .saturating_mul(highest)
            .checked_div(most)
            .unwrap_or(0);
        match usize::try_from(height) {
            Ok(height) if amount > 0 => BARS
                .get(height.saturating_sub(1))
                .copied()
                .unwrap_or(BARS[BARS.len() - 1]),
            _ => ' ',
        }
    });
    let newest_first: Vec<char> = bars.take(width).collect();
    newest_first.into_iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::bars;

    #[test]
    fn bars_are_as_high_as_amounts() {
        assert_eq!(bars(&[0, 1, 4, 8], 16), " ▁▄█");
        assert_eq!(bars(&[0, 1, 4, 8], 8), "▁█");
        assert_eq!(bars(&[5, 5, 5], 16), "███");
        assert_eq!(bars(&[-3, 0], 16), "  ");
        assert_eq!(bars(&[i64::MAX, i64::MIN, 1], 16).chars().count(), 3);
        assert_eq!(bars(&[], 8), "");
    }
}
