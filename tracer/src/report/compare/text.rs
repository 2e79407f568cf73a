//! A comparison as text.

use std::fmt;

use super::{Change, ChangeError, Compare, SideHeader};
use crate::printable::printable;
use crate::profile::{ValueKind, Values};
use crate::report::filters::fmt_filters;
use crate::report::format::{Unit, name_width, shorten, show_alone, show_percent};
use crate::report::stacks::fmt_frames;

impl Change {
    /// `+3.2%`, `new` or `gone`.
    pub(in crate::report) fn show_percent(&self) -> String {
        match self.percent {
            _ if self.change == 0 => "0%".to_owned(),
            None => "new".to_owned(),
            Some(_) if self.after == 0 => "gone".to_owned(),
            Some(percent) => {
                let sign = if percent < 0.0 { '-' } else { '+' };
                format!("{sign}{}", show_percent(percent.abs()).trim_start())
            }
        }
    }

    pub(in crate::report) fn show_change(&self, unit: Unit) -> String {
        let sign = if self.change > 0 { "+" } else { "" };
        format!("{sign}{}", unit.show(self.change))
    }
}

impl fmt::Display for Compare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_head(f)?;
        match self.by_function {
            true => self.fmt_functions(f)?,
            false => self.fmt_sites(f)?,
        }
        self.fmt_stacks(f)
    }
}

impl Compare {
    fn fmt_head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.before.fmt('A', f)?;
        self.after.fmt('B', f)?;
        if let Some(warning) = &self.warning {
            writeln!(f, "WARNING: {warning}")?;
        }
        if !self.losses.is_empty() {
            writeln!(f, "Losses:           A          B")?;
        }
        for row in &self.losses {
            let (name, help) = (printable(&row.name), printable(&row.help));
            writeln!(
                f,
                "         {:>10} {:>10}  {name}: {help}",
                row.before, row.after
            )?;
        }
        let change = Change::new(0, self.total.change);
        let alone = Unit::choose(&self.unit, std::iter::once(change.change), change.change);
        writeln!(
            f,
            "Type:    {}, {} in A, {} in B: {} ({}){}",
            self.sample_type.name(),
            show_alone(self.total.before, &self.unit),
            show_alone(self.total.after, &self.unit),
            change.show_change(alone),
            self.total.show_percent(),
            sure(self.total_error.as_ref()),
        )?;
        fmt_filters(&self.filters, f)
    }

    fn fmt_sites(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Columns left of the site.
        const LEFT: usize = 48;
        if self.sites == 0 {
            return writeln!(f, "\nNo site holds more or less in B.");
        }
        writeln!(
            f,
            "\nShowing {} of {} sites that changed\n",
            self.site_rows.len(),
            self.sites
        )?;
        let has_errors = self.total_error.is_some();
        let gap = if has_errors { " " } else { "" };
        writeln!(
            f,
            "      change   change%{gap}          A          B  where, for and what"
        )?;
        let unit = self.unit(self.site_rows.iter().map(|row| row.change.change));
        for row in &self.site_rows {
            let width = name_width(self.max_width, LEFT + gap.len());
            writeln!(
                f,
                "{:>12} {:>9}{} {:>10} {:>10}  {}",
                row.change.show_change(unit),
                row.change.show_percent(),
                sign(row.error.as_ref()),
                show_alone(row.change.before, &self.unit),
                show_alone(row.change.after, &self.unit),
                shorten(&row.marks.show(&self.names), width),
            )?;
        }
        if has_errors {
            writeln!(f, "\n*: more than chance; the others may be none")?;
        }
        Ok(())
    }

    fn fmt_functions(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Columns left of the name.
        const LEFT: usize = 50;
        if self.functions == 0 {
            return writeln!(f, "\nNo function holds more or less in B.");
        }
        writeln!(
            f,
            "\nShowing {} of {} functions that changed\n",
            self.function_rows.len(),
            self.functions
        )?;
        let has_errors = self.total_error.is_some();
        let gap = if has_errors { " " } else { "" };
        let left = LEFT + 2 * gap.len();
        writeln!(f, "        flat     flat%{gap}          cum      cum%")?;
        let unit = self.unit(self.function_rows.iter().map(|row| match row.flat.change {
            0 => row.cum.change,
            flat => flat,
        }));
        for row in &self.function_rows {
            writeln!(
                f,
                "{:>12} {:>9}{} {:>12} {:>9}{}  {}",
                row.flat.show_change(unit),
                row.flat.show_percent(),
                sign(row.flat_error.as_ref()),
                row.cum.show_change(unit),
                row.cum.show_percent(),
                sign(row.cum_error.as_ref()),
                shorten(self.names.show(&row.name), name_width(self.max_width, left)),
            )?;
        }
        if has_errors {
            writeln!(f, "\n*: more than chance; the others may be none")?;
        }
        Ok(())
    }

    fn fmt_stacks(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.stacks == 0 {
            return Ok(());
        }
        writeln!(
            f,
            "\nShowing {} of {} stacks that changed",
            self.stack_rows.len(),
            self.stacks
        )?;
        let unit = self.unit(self.stack_rows.iter().map(|row| row.change.change));
        let (count, noun): (fn(&Values) -> i64, _) = match self.sample_type {
            ValueKind::AllocSpace | ValueKind::AllocObjects => (|v| v.alloc_objects, "allocations"),
            ValueKind::InuseSpace | ValueKind::InuseObjects => (|v| v.inuse_objects, "objects"),
            ValueKind::PeakSpace | ValueKind::PeakObjects => (|v| v.peak_objects, "objects"),
        };
        for row in &self.stack_rows {
            let objects = Change::new(count(&row.values_before), count(&row.values_after));
            writeln!(
                f,
                "\n{:>12} {:>9}  {} in A, {} in B; {} {noun}{}",
                row.change.show_change(unit),
                row.change.show_percent(),
                show_alone(row.change.before, &self.unit),
                show_alone(row.change.after, &self.unit),
                objects.show_change(Unit::Count),
                sure(row.error.as_ref()),
            )?;
            fmt_frames(&row.frames, &self.names, self.max_width, f)?;
        }
        Ok(())
    }

    /// The unit for the changes of one table.
    fn unit(&self, changes: impl Iterator<Item = i64>) -> Unit {
        Unit::of_largest(&self.unit, changes)
    }
}

/// A star for a change that is more than chance.
const fn sign(error: Option<&ChangeError>) -> &'static str {
    match error {
        None => "",
        Some(error) if error.significant => "*",
        Some(_) => " ",
    }
}

/// The same in words.
const fn sure(error: Option<&ChangeError>) -> &'static str {
    match error {
        None => "",
        Some(error) if error.significant => ", significant",
        Some(_) => ", not significant",
    }
}

impl SideHeader {
    fn fmt(&self, letter: char, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{letter}:       {}", printable(&self.file))?;
        if !self.source.is_empty() {
            writeln!(f, "         {}", printable(&self.source))?;
        }
        writeln!(f, "         verdict: {}", printable(&self.verdict))?;
        for reason in &self.reasons {
            writeln!(f, "           {}", printable(reason))?;
        }
        Ok(())
    }
}
