//! How the state is drawn. Pure: a state and a frame, of any size.

mod head;
mod panes;
mod table;

use ratatui::Frame;
use ratatui::layout::{Rect, Size};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Sparkline};

use super::state::{Pane, State};
use crate::report::shorten;
use crate::size::Size as Bytes;

/// Lines of each part of the display.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Heights {
    head: u16,
    chart: u16,
    /// What the table shows.
    title: u16,
    /// The table with its head, or a pane.
    body: u16,
    /// The selected site.
    selected: u16,
    footer: u16,
}

impl Heights {
    /// The less room there is, the fewer parts: the table is the last to go.
    const fn of(height: u16) -> Self {
        let (head, chart, title, selected, footer) = match height {
            0..=2 => (0, 0, 0, 0, 0),
            3..=5 => (1, 0, 0, 0, 0),
            6..=9 => (1, 0, 0, 0, 1),
            10..=15 => (2, 0, 1, 1, 1),
            16..=35 => (4, 4, 1, 1, 1),
            _ => (4, 9, 1, 1, 1),
        };
        Self {
            head,
            chart,
            title,
            selected,
            footer,
            body: height - head - chart - title - selected - footer,
        }
    }
}

/// Lines that a pane has in a terminal of this size, and the table with its head.
pub(super) fn body_height(size: Size) -> usize {
    usize::from(Heights::of(size.height).body)
}

/// The last line that the pane may begin with which is shown now.
pub(super) fn last_line(state: &State) -> usize {
    let lines = panes::lines(state, usize::from(state.size.width));
    lines.len().saturating_sub(body_height(state.size))
}

/// Draws the state.
pub(super) fn draw(state: &State, frame: &mut Frame<'_>) {
    let area = frame.area();
    if area.is_empty() {
        return;
    }
    let heights = Heights::of(area.height);
    let mut y = area.y;
    // By hand: ratatui's layout solves equations for it, at each frame.
    let mut part = |height: u16| {
        let part = Rect { y, height, ..area };
        y += height;
        part
    };
    let head = part(heights.head);
    let chart = part(heights.chart);
    let title = part(heights.title);
    let body = part(heights.body);
    let selected = part(heights.selected);
    let footer = part(heights.footer);
    let width = usize::from(area.width);
    frame.render_widget(Paragraph::new(head::lines(state, head.height)), head);
    draw_chart(state, frame, chart);
    match state.pane {
        Pane::Table | Pane::Filter(_) => {
            frame.render_widget(Paragraph::new(table::title(state, width)), title);
            table::draw(state, frame, body);
            let text = match table::selected_text(state) {
                none if none.is_empty() => none,
                text => shorten(&format!("> {text}"), width),
            };
            frame.render_widget(Paragraph::new(text), selected);
        }
        Pane::Detail(from) | Pane::Verdict(from) | Pane::Help(from) => {
            let text = shorten(&panes::title(state), width);
            let text = Line::styled(text, Style::new().add_modifier(Modifier::BOLD));
            frame.render_widget(Paragraph::new(text), title);
            let lines = panes::lines(state, width);
            let lines: Vec<Line<'_>> = lines.into_iter().skip(from).collect();
            frame.render_widget(Paragraph::new(lines), body);
        }
    }
    frame.render_widget(Paragraph::new(footer_line(state)), footer);
}

/// Live bytes over the whole recording.
fn draw_chart(state: &State, frame: &mut Frame<'_>, area: Rect) {
    let Some(shown) = &state.shown else {
        return;
    };
    let title = Rect {
        height: area.height.min(1),
        ..area
    };
    let bars = Rect {
        y: area.y + title.height,
        height: area.height - title.height,
        ..area
    };
    if bars.is_empty() {
        return;
    }
    let most = shown.chart.most();
    let text = format!(
        "{} bytes over {}, at most {}",
        shown.head.words.inuse,
        head::time(shown.chart.span()),
        Bytes::from(most)
    );
    frame.render_widget(Paragraph::new(text), title);
    let widget = Sparkline::default()
        .data(shown.chart.columns(usize::from(bars.width)))
        .max(u64::try_from(most).unwrap_or(0).max(1))
        .style(coloured(state, Color::Cyan));
    frame.render_widget(widget, bars);
}

fn footer_line(state: &State) -> Line<'static> {
    if let Pane::Filter(_) = state.pane {
        let text = crate::printable::printable(&state.filter).into_owned();
        return Line::from(vec![
            Span::from("filter: "),
            Span::styled(text, Style::new().add_modifier(Modifier::BOLD)),
            Span::from("_   (Enter keeps it, Esc drops it)"),
        ]);
    }
    if let Some(message) = &state.message {
        return Line::styled(
            message.clone(),
            Style::new().add_modifier(Modifier::REVERSED),
        );
    }
    Line::from(match (&state.pane, &state.end) {
        (Pane::Table | Pane::Filter(_), Some(why)) => format!("{why}   w save   ? help   q quit"),
        (Pane::Table | Pane::Filter(_), None) => {
            "v value  s sort  / filter  Enter stacks  f freeze  w save  ? help  q quit".to_owned()
        }
        _ => "Up Down PgUp PgDn scroll   Esc back   ? help   q quit".to_owned(),
    })
}

/// A style of this colour, where there are colours.
fn coloured(state: &State, colour: Color) -> Style {
    match state.subject.has_colours {
        true => Style::new().fg(colour),
        false => Style::new(),
    }
}
