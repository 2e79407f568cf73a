//! What keys do.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{Effect, Pane, Sort, State};
use crate::profile::ValueKind;
use crate::top::draw::{body_height, last_line};

/// Keys and what they do, as the help shows them.
pub(in crate::top) const KEYS: [(&str, &str); 14] = [
    (
        "v  V  1-4",
        "next, previous value: live bytes, live objects, bytes allocated, objects allocated",
    ),
    ("s  S", "sort by the next, previous column"),
    ("r", "reverse the order"),
    (
        "/",
        "filter sites by text in where, line, for and what; Enter keeps it, Esc drops it",
    ),
    ("Esc", "drop the filter; back to the table"),
    (
        "Up Down j k",
        "select a site; PgUp, PgDn, Home and End go further",
    ),
    (
        "Enter",
        "show the stacks of the selected site, and whose calls they are",
    ),
    (
        "f  Space",
        "freeze: the display stands still, the recording goes on; once more: go on",
    ),
    (
        "w",
        "write the profile that is shown to a new file tracer-NAME-PID.pb.gz",
    ),
    ("i", "show the verdict with its reasons, and notes"),
    ("?", "show this"),
    ("q  Ctrl-C", "take the probes out and leave"),
    (
        "±",
        "standard error of what is estimated; ~: half of it or more may be error",
    ),
    (
        "trend",
        "live bytes over the last minute; change: how many more there are than a minute ago",
    ),
];

/// The values, in the order of their keys.
const VALUES: [ValueKind; 4] = [
    ValueKind::InuseSpace,
    ValueKind::InuseObjects,
    ValueKind::AllocSpace,
    ValueKind::AllocObjects,
];

impl State {
    /// A key was pressed.
    pub fn key(&mut self, key: KeyEvent) -> Effect {
        self.message = None;
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return self.control(key.code);
        }
        if matches!(self.pane, Pane::Filter(_)) {
            self.type_filter(key.code);
            return Effect::None;
        }
        match key.code {
            KeyCode::Char('q') => return Effect::Quit,
            KeyCode::Char('w') if self.shown.is_some() => return Effect::Save,
            KeyCode::Char('v') => self.turn_value(1),
            KeyCode::Char('V') => self.turn_value(VALUES.len() - 1),
            KeyCode::Char(digit @ '1'..='4') => {
                let nth = digit as usize - '1' as usize;
                self.show_value(VALUES.get(nth).copied().unwrap_or_default());
            }
            KeyCode::Char('s') => self.sort_by(self.sort.next(self.by)),
            KeyCode::Char('S') => self.sort_by(self.sort.previous(self.by)),
            KeyCode::Char('r') => {
                self.is_reversed = !self.is_reversed;
                self.arrange();
            }
            KeyCode::Char('f' | ' ') => self.freeze(),
            KeyCode::Char('?') => self.turn_pane(Pane::Help(0)),
            KeyCode::Char('i') => self.turn_pane(Pane::Verdict(0)),
            KeyCode::Char('/') => self.pane = Pane::Filter(self.filter.clone()),
            KeyCode::Enter => match self.pane {
                Pane::Table if self.selected().is_some() => {
                    self.pane = Pane::Detail(0);
                    self.find_stacks();
                }
                _ => self.pane = Pane::Table,
            },
            KeyCode::Esc => match self.pane {
                Pane::Table => self.set_filter(String::new()),
                _ => self.pane = Pane::Table,
            },
            code => self.go(code),
        }
        Effect::None
    }

    fn control(&mut self, code: KeyCode) -> Effect {
        match code {
            KeyCode::Char('c') => return Effect::Quit,
            KeyCode::Char('z') => {
                self.message = Some(
                    "a tracer that is stopped would lose events: freeze with f, or leave with q"
                        .to_owned(),
                );
            }
            _ => {}
        }
        Effect::None
    }

    fn type_filter(&mut self, code: KeyCode) {
        let mut text = self.filter.clone();
        match code {
            KeyCode::Char(c) => text.push(c),
            KeyCode::Backspace => drop(text.pop()),
            KeyCode::Enter => {
                self.pane = Pane::Table;
                return;
            }
            KeyCode::Esc => {
                if let Pane::Filter(before) = std::mem::take(&mut self.pane) {
                    text = before;
                }
            }
            _ => return,
        }
        self.set_filter(text);
    }

    fn set_filter(&mut self, filter: String) {
        self.filter = filter;
        self.arrange();
    }

    fn turn_value(&mut self, by: usize) {
        let now = VALUES.iter().position(|value| *value == self.by);
        let next = (now.unwrap_or(0) + by) % VALUES.len();
        self.show_value(VALUES.get(next).copied().unwrap_or_default());
    }

    fn sort_by(&mut self, sort: Sort) {
        self.sort = sort;
        self.arrange();
    }

    fn freeze(&mut self) {
        self.is_frozen = !self.is_frozen;
        if !self.is_frozen {
            self.thaw();
        }
    }

    /// A pane, or the table where it is shown already.
    fn turn_pane(&mut self, pane: Pane) {
        let is_shown = std::mem::discriminant(&self.pane) == std::mem::discriminant(&pane);
        self.pane = if is_shown { Pane::Table } else { pane };
    }

    /// Moves the selection, or scrolls.
    fn go(&mut self, code: KeyCode) {
        let page = body_height(self.size).max(2) - 1;
        let (from, end) = match &self.pane {
            Pane::Detail(from) | Pane::Verdict(from) | Pane::Help(from) => (*from, last_line(self)),
            Pane::Table | Pane::Filter(_) => {
                let rows = self.shown.as_ref().map_or(0, |shown| shown.rows.len());
                let at = self.selected().map_or(0, |(at, _)| at);
                (at, rows.saturating_sub(1))
            }
        };
        let to = match code {
            KeyCode::Up | KeyCode::Char('k') => from.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => from + 1,
            KeyCode::PageUp => from.saturating_sub(page),
            KeyCode::PageDown => from + page,
            KeyCode::Home | KeyCode::Char('g') => 0,
            KeyCode::End | KeyCode::Char('G') => end,
            _ => return,
        };
        let to = to.min(end);
        match &mut self.pane {
            Pane::Detail(from) | Pane::Verdict(from) | Pane::Help(from) => *from = to,
            Pane::Table | Pane::Filter(_) => {
                let rows = self.shown.as_ref().map_or(&[][..], |shown| &shown.rows);
                self.selected = rows.get(to).map(|row| row.site.key.clone());
            }
        }
    }
}
