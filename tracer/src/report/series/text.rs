//! A series as text.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use super::Series;
use crate::printable::printable;
use crate::report::filters::fmt_filters;
use crate::report::format::{Unit, name_width, shorten, show_alone};
use crate::report::stacks::fmt_frames;

/// Columns left of a site.
const SITE: usize = 6;

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Verdict: {}", printable(&self.verdict))?;
        for reason in &self.reasons {
            writeln!(f, "         {}", printable(reason))?;
        }
        fmt_filters(&self.filters, f)?;
        self.fmt_rows(f)?;
        self.fmt_growing(f)
    }
}

impl Series {
    fn fmt_rows(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Columns left of the file.
        const LEFT: usize = 83;
        let Some(first) = self.rows.first() else {
            return writeln!(f, "\nNo profiles.");
        };
        let start = Duration::from_nanos(u64::try_from(first.time_nanos).unwrap_or(0));
        let start = humantime::format_rfc3339_seconds(UNIX_EPOCH + start);
        writeln!(f, "Times:   since {start}\n")?;
        writeln!(
            f,
            "      time        live     objects   allocated/s     objects/s        step since first"
        )?;
        for row in &self.rows {
            let seconds = row.time_nanos.saturating_sub(first.time_nanos) as f64 / 1e9;
            let rate = |rate: Option<f64>, unit: &str| match rate {
                Some(rate) => show_alone(rate as i64, unit),
                None => "-".to_owned(),
            };
            let change = |change: i64| {
                let sign = if change > 0 { "+" } else { "" };
                format!("{sign}{}", show_alone(change, "bytes"))
            };
            let doubt = match row.verdict.as_str() {
                "inconclusive" => " (inconclusive)",
                "sampled" => " (sampled)",
                _ => "",
            };
            writeln!(
                f,
                "{:>8.1} s {:>11} {:>11} {:>13} {:>13} {:>11} {:>11}  {}{doubt}",
                seconds,
                show_alone(row.live_bytes, "bytes"),
                row.live_objects,
                rate(row.alloc_bytes_per_second, "bytes"),
                rate(row.alloc_objects_per_second, "count"),
                change(row.step_bytes),
                change(row.growth_bytes),
                shorten(&row.file, name_width(self.max_width, LEFT)),
            )?;
        }
        Ok(())
    }

    fn fmt_growing(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.sample_type.name();
        if self.stacks == 0 {
            return writeln!(
                f,
                "\nNo stack has more {name} at the end than at the beginning."
            );
        }
        writeln!(
            f,
            "\nShowing {} of {} stacks that have more {name} at the end",
            self.growing.len(),
            self.stacks
        )?;
        let changes = self.growing.iter().map(|stack| stack.change.change);
        let unit = Unit::of_largest(&self.unit, changes);
        let steps = self.rows.len().saturating_sub(1);
        for stack in &self.growing {
            writeln!(
                f,
                "\n{:>12} {:>9}  grew in {} of {steps} steps, shrank in {}",
                stack.change.show_change(unit),
                stack.change.show_percent(),
                stack.grew,
                stack.shrank,
            )?;
            let width = name_width(self.max_width, SITE);
            let site = shorten(&stack.site.show(&self.names), width);
            writeln!(f, "{:SITE$}{site}", "")?;
            fmt_frames(&stack.frames, &self.names, self.max_width, f)?;
        }
        Ok(())
    }
}
