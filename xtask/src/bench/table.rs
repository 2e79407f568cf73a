//! A table of measurements: a row per quantity, a column per side, a value per round; and the ratios
//! that follow from it, beside what they are to be.

use std::collections::BTreeMap;

use serde::Serialize;

use super::side::Side;

/// Rows in the order in which they were first recorded.
#[derive(Serialize)]
pub(super) struct Table {
    title: String,
    /// Columns that are compared with another one than the untraced.
    baselines: BTreeMap<&'static str, &'static str>,
    rows: Vec<Row>,
    results: Vec<Finding>,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct Row {
    quantity: String,
    unit: String,
    cells: Vec<Cell>,
}

#[derive(Serialize)]
struct Cell {
    column: &'static str,
    median: f64,
    rounds: Vec<f64>,
}

/// A figure that follows from medians.
#[derive(Serialize)]
struct Finding {
    name: String,
    value: f64,
    /// What it is to be at most.
    at_most: Option<f64>,
}

/// A row's quantity and a column.
pub(super) type CellName<'a> = (&'a str, &'a str);

impl Table {
    pub(super) fn new(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            baselines: BTreeMap::new(),
            rows: Vec::new(),
            results: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Says what a column is to be compared with instead of the untraced one.
    pub(super) fn compare(&mut self, column: &'static str, baseline: &'static str) {
        self.baselines.insert(column, baseline);
    }

    fn baseline(&self, column: &str) -> &'static str {
        let baseline = self.baselines.get(column).copied();
        baseline.unwrap_or(Side::Untraced.name())
    }

    /// Adds one round's value.
    pub(super) fn record(&mut self, quantity: &str, unit: &str, column: &'static str, value: f64) {
        let row = entry(
            &mut self.rows,
            |row| row.quantity == quantity,
            || Row {
                quantity: quantity.to_owned(),
                unit: unit.to_owned(),
                cells: Vec::new(),
            },
        );
        let cell = entry(
            &mut row.cells,
            |cell| cell.column == column,
            || Cell {
                column,
                median: 0.0,
                rounds: Vec::new(),
            },
        );
        cell.rounds.push(value);
        cell.median = median(&cell.rounds);
    }

    /// Says how two medians stand to each other, and what the ratio is to be at most.
    pub(super) fn ratio(
        &mut self,
        name: &str,
        of: CellName<'_>,
        to: CellName<'_>,
        at_most: Option<f64>,
    ) {
        let value = self.median(of) / self.median(to);
        self.conclude(name, value, at_most);
    }

    /// As [`Self::ratio`], of what the columns add to their baselines in the same row.
    pub(super) fn added_ratio(
        &mut self,
        name: &str,
        of: CellName<'_>,
        to: CellName<'_>,
        at_most: Option<f64>,
    ) {
        let added = |place: CellName<'_>| {
            self.median(place) - self.median((place.0, self.baseline(place.1)))
        };
        let value = added(of) / added(to);
        self.conclude(name, value, at_most);
    }

    /// Says what a median is to be at most.
    pub(super) fn limit(&mut self, name: &str, of: CellName<'_>, at_most: f64) {
        let value = self.median(of);
        self.conclude(name, value, Some(at_most));
    }

    /// Adds a line below the table.
    pub(super) fn note(&mut self, note: &str) {
        self.notes.push(note.to_owned());
    }

    fn conclude(&mut self, name: &str, value: f64, at_most: Option<f64>) {
        self.results.push(Finding {
            name: name.to_owned(),
            value,
            at_most,
        });
    }

    /// Not a number where nothing was recorded.
    fn median(&self, (quantity, column): CellName<'_>) -> f64 {
        let row = self.rows.iter().find(|row| row.quantity == quantity);
        row.and_then(|row| row.cell(column)).unwrap_or(f64::NAN)
    }

    /// The medians as text, with what a column adds to its baseline, and what follows.
    pub(super) fn render(&self) -> String {
        let mut lines = vec![self.title.clone()];
        for row in &self.rows {
            lines.push(format!("  {} ({})", row.quantity, row.unit));
            for cell in &row.cells {
                let mut line = format!("    {:<20}{:>12}", cell.column, number(cell.median));
                let baseline = self.baseline(cell.column);
                if cell.column != baseline
                    && let Some(without) = row.cell(baseline)
                {
                    let added = cell.median - without;
                    let sign = if added < 0.0 { "-" } else { "+" };
                    let added = number(added.abs());
                    line.push_str(&format!("{:>12}", format!("{sign}{added}")));
                    line.push_str(&format!("{:>9.2}x", cell.median / without));
                    if baseline != Side::Untraced.name() {
                        line.push_str(&format!(" of {baseline}"));
                    }
                }
                lines.push(line);
            }
        }
        for result in &self.results {
            let mut line = format!("  = {}: {}", result.name, number(result.value));
            if let Some(at_most) = result.at_most {
                line.push_str(&format!(" (to be at most {at_most})"));
            }
            lines.push(line);
        }
        lines.extend(self.notes.iter().map(|note| format!("  {note}")));
        lines.join("\n") + "\n"
    }
}

impl Row {
    fn cell(&self, column: &str) -> Option<f64> {
        let cell = self.cells.iter().find(|cell| cell.column == column);
        cell.map(|cell| cell.median)
    }
}

/// The element that matches, appended if there is none.
fn entry<T>(list: &mut Vec<T>, matches: impl Fn(&T) -> bool, new: impl FnOnce() -> T) -> &mut T {
    let index = list.iter().position(matches).unwrap_or_else(|| {
        list.push(new());
        list.len() - 1
    });
    &mut list[index]
}

/// Half of the values are at most this; the mean of the middle two of an even number.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.get(middle) {
        None => f64::NAN,
        Some(&upper) if sorted.len() % 2 == 1 => upper,
        Some(&upper) => f64::midpoint(sorted[middle - 1], upper),
    }
}

/// Three digits or more, and no digits that noise made.
fn number(value: f64) -> String {
    let decimals = if value < 10.0 {
        2
    } else if value < 100.0 {
        1
    } else {
        0
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_numbers() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_table_shows_both_sides_the_difference_and_the_ratios() {
        let mut table = Table::new("cost");
        for (untraced, floor, traced) in [
            (10.0, 510.0, 100.0),
            (20.0, 520.0, 1020.0),
            (30.0, 530.0, 5000.0),
        ] {
            table.record("one pair", "ns", "untraced", untraced);
            table.record("one pair", "ns", "floor", floor);
            table.record("one pair", "ns", "tracer", traced);
        }
        let (tracer, floor) = (("one pair", "tracer"), ("one pair", "floor"));
        table.added_ratio("added", tracer, floor, Some(1.5));
        table.ratio("whole", tracer, ("one pair", "untraced"), None);
        table.limit("floor", floor, 600.0);
        table.note("a note");
        assert_eq!(
            table.render(),
            "cost\n  one pair (ns)\n    untraced                    20.0\n    \
             floor                        520        +500    26.00x\n    \
             tracer                      1020       +1000    51.00x\n  \
             = added: 2.00 (to be at most 1.5)\n  \
             = whole: 51.0\n  = floor: 520 (to be at most 600)\n  a note\n"
        );
    }

    #[test]
    fn a_column_may_have_another_baseline() {
        let mut table = Table::new("cost");
        table.compare("peer on", "peer");
        for (column, value) in [("untraced", 50.0), ("peer", 40.0), ("peer on", 50.0)] {
            table.record("rate", "1/s", column, value);
        }
        table.record("own", "%", "peer on", 3.0);
        table.added_ratio("added", ("rate", "peer on"), ("rate", "peer"), None);
        assert_eq!(
            table.render(),
            "cost\n  rate (1/s)\n    untraced                    50.0\n    \
             peer                        40.0       -10.0     0.80x\n    \
             peer on                     50.0       +10.0     1.25x of peer\n  \
             own (%)\n    peer on                     3.00\n  \
             = added: -1.00\n"
        );
    }

    #[test]
    fn a_ratio_of_what_was_not_measured_is_no_number() {
        let mut table = Table::new("cost");
        table.record("one pair", "ns", "tracer", 1.0);
        table.ratio("none", ("one pair", "tracer"), ("one pair", "floor"), None);
        assert!(table.render().contains("= none: NaN"));
    }
}
