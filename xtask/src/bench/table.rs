//! A table of measurements: a row per quantity, a column per side, a value per round.

use serde::Serialize;

use super::side::Side;

/// Rows in the order in which they were first recorded.
#[derive(Serialize)]
pub(super) struct Table {
    title: String,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    quantity: String,
    unit: String,
    cells: Vec<Cell>,
}

#[derive(Serialize)]
struct Cell {
    side: Side,
    median: f64,
    rounds: Vec<f64>,
}

impl Table {
    pub(super) fn new(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            rows: Vec::new(),
        }
    }

    /// Adds one round's value.
    pub(super) fn record(&mut self, quantity: &str, unit: &str, side: Side, value: f64) {
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
            |cell| cell.side == side,
            || Cell {
                side,
                median: 0.0,
                rounds: Vec::new(),
            },
        );
        cell.rounds.push(value);
        cell.median = median(&cell.rounds);
    }

    /// The medians as text; for every traced side also what it adds to the untraced one.
    pub(super) fn render(&self) -> String {
        let mut lines = vec![self.title.clone()];
        for row in &self.rows {
            lines.push(format!("  {} ({})", row.quantity, row.unit));
            let untraced = row
                .cells
                .iter()
                .find(|cell| cell.side == Side::Untraced)
                .map(|cell| cell.median);
            for cell in &row.cells {
                let mut line = format!("    {:<10}{:>12}", cell.side.name(), number(cell.median));
                if cell.side != Side::Untraced
                    && let Some(untraced) = untraced
                {
                    let added = cell.median - untraced;
                    let sign = if added < 0.0 { "-" } else { "+" };
                    let added = number(added.abs());
                    line.push_str(&format!("{:>12}", format!("{sign}{added}")));
                    line.push_str(&format!("{:>9.2}x", cell.median / untraced));
                }
                lines.push(line);
            }
        }
        lines.join("\n") + "\n"
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
    fn a_table_shows_both_sides_and_the_difference() {
        let mut table = Table::new("cost");
        for (untraced, traced) in [(10.0, 100.0), (20.0, 1020.0), (30.0, 5000.0)] {
            table.record("one pair", "ns", Side::Untraced, untraced);
            table.record("one pair", "ns", Side::Tracer, traced);
        }
        assert_eq!(
            table.render(),
            "cost\n  one pair (ns)\n    untraced          20.0\n    \
             tracer            1020       +1000    51.00x\n"
        );
    }
}
