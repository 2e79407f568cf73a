//! What is shown, and what keys do to it. Pure: nothing is read, written or timed here.

mod keys;
mod rows;

use std::sync::Arc;
use std::time::Duration;

use ratatui::layout::Size;

pub(super) use keys::KEYS;
pub(super) use rows::{Row, Sort};

use super::course::{Chart, Courses};
use super::{End, Subject};
use crate::printable::printable;
use crate::profile::{Profile, ValueKind};
use crate::report::{LiveSite, LiveSites, SiteStack, live_sites};
use crate::session::{AmountWords, Snapshot, Source, Status};

/// Stacks of a site that are shown: the largest.
pub(super) const MOST_STACKS: usize = 50;

/// What a key asks for beyond the display.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// Write [`State::shown_profile`], and say where it is by [`State::saved`].
    Save,
    /// Leave.
    Quit,
}

/// What fills the display.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Pane {
    /// The table of sites.
    #[default]
    Table,
    /// The same, while the filter is typed: what it was before.
    Filter(String),
    /// The stacks of the selected site, from so many lines on.
    Detail(usize),
    /// The verdict with its reasons, from so many lines on.
    Verdict(usize),
    /// The keys, from so many lines on.
    Help(usize),
}

/// What a snapshot says of the recording as a whole.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) elapsed: Duration,
    pub(super) losses: String,
    pub(super) cost: String,
    /// Resident bytes of the process.
    pub(super) resident: Option<u64>,
    pub(super) words: AmountWords,
}

/// One moment of the recording, as it is shown.
#[derive(Clone, Debug)]
pub(super) struct Moment {
    pub(super) head: Head,
    pub(super) profile: Arc<Profile>,
    pub(super) list: LiveSites,
    pub(super) chart: Chart,
    /// Bytes and objects that were allocated a second.
    pub(super) rate: (i64, i64),
    /// All sites, with how they went.
    all: Vec<Row>,
    /// Those that the filter lets through, in order.
    pub(super) rows: Vec<Row>,
}

/// The display.
#[derive(Clone, Debug)]
pub struct State {
    pub(super) subject: Subject,
    courses: Courses,
    pub(super) shown: Option<Moment>,
    /// Came while the display stood still.
    waiting: Option<(Head, Arc<Profile>)>,
    pub(super) is_frozen: bool,
    pub(super) by: ValueKind,
    pub(super) sort: Sort,
    pub(super) is_reversed: bool,
    pub(super) filter: String,
    pub(super) pane: Pane,
    /// The key of the selected site; the first row where it is none of the rows.
    selected: Option<String>,
    /// Of the selected site, while they are shown.
    pub(super) stacks: Vec<SiteStack>,
    /// Why the recording has ended, where it has.
    pub(super) end: Option<String>,
    /// What there is to say until the next key.
    pub(super) message: Option<String>,
    /// Of the terminal, when it was drawn last.
    pub(super) size: Size,
}

impl State {
    /// A display of nothing yet.
    #[must_use]
    pub fn new(subject: Subject) -> Self {
        Self {
            subject,
            courses: Courses::default(),
            shown: None,
            waiting: None,
            is_frozen: false,
            by: ValueKind::InuseSpace,
            sort: Sort::Value,
            is_reversed: false,
            filter: String::new(),
            pane: Pane::Table,
            selected: None,
            stacks: Vec::new(),
            end: None,
            message: None,
            size: Size::default(),
        }
    }

    /// A new snapshot. While the display stands still it only adds to how amounts went.
    pub fn snapshot(&mut self, snapshot: Snapshot) {
        let Snapshot {
            profile,
            status,
            memory,
        } = snapshot;
        let head = Head {
            elapsed: status.elapsed,
            losses: status.losses_in_words(),
            cost: status.cost_in_words().unwrap_or_default(),
            resident: memory.map(|memory| memory.all_resident),
            words: words(&status, &profile),
        };
        self.take(head, profile);
    }

    /// The recording has ended.
    pub fn end(&mut self, end: End) {
        let last = self.waiting.take().map(|(head, _)| head);
        let last = last.or_else(|| self.shown.as_ref().map(|shown| shown.head.clone()));
        let head = last.unwrap_or_else(|| Head {
            elapsed: end.elapsed,
            losses: String::new(),
            cost: String::new(),
            resident: None,
            words: AmountWords::of(Source::Probes, false, false),
        });
        let head = Head {
            elapsed: end.elapsed,
            resident: None,
            ..head
        };
        self.end = Some(printable(&end.why).into_owned());
        self.take(head, end.profile);
    }

    /// How large the terminal is.
    pub fn resize(&mut self, size: Size) {
        self.size = size;
    }

    /// The profile that is shown.
    #[must_use]
    pub fn shown_profile(&self) -> Option<Arc<Profile>> {
        Some(Arc::clone(&self.shown.as_ref()?.profile))
    }

    /// Where the profile is that was to be saved, or why it could not be.
    pub fn saved(&mut self, saved: Result<String, String>) {
        let message = match saved {
            Ok(place) => format!("wrote {place}"),
            Err(why) => format!("not saved: {why}"),
        };
        self.message = Some(printable(&message).into_owned());
    }

    /// The selected row, if there is one.
    pub(super) fn selected(&self) -> Option<(usize, &Row)> {
        let rows = &self.shown.as_ref()?.rows;
        let at = rows.iter().position(|row| {
            self.selected
                .as_ref()
                .is_some_and(|key| *key == row.site.key)
        });
        let at = at.unwrap_or(0);
        Some((at, rows.get(at)?))
    }

    fn take(&mut self, head: Head, profile: Arc<Profile>) {
        let list = self.list(&profile);
        let seconds = head.elapsed.as_secs_f64();
        self.courses.add(seconds, list.total, &list.sites);
        if self.is_frozen && self.shown.is_some() {
            self.waiting = Some((head, profile));
            return;
        }
        self.show(head, profile, list);
    }

    fn list(&self, profile: &Profile) -> LiveSites {
        live_sites(profile, self.by, self.subject.names, &self.subject.rules)
    }

    fn show(&mut self, head: Head, profile: Arc<Profile>, list: LiveSites) {
        let row = |site: &LiveSite| Row::of(site, self.courses.of(&site.key));
        self.shown = Some(Moment {
            head,
            profile,
            chart: self.courses.chart(),
            rate: self.courses.total().rate(),
            all: list.sites.iter().map(row).collect(),
            rows: Vec::new(),
            list,
        });
        self.arrange();
    }

    /// What has come while the display stood still is shown now.
    fn thaw(&mut self) {
        if let Some((head, profile)) = self.waiting.take() {
            let list = self.list(&profile);
            self.show(head, profile, list);
        }
    }

    /// Another value: of the same moment, since the display may stand still.
    fn show_value(&mut self, by: ValueKind) {
        self.by = by;
        let Some(mut shown) = self.shown.take() else {
            return;
        };
        shown.list = self.list(&shown.profile);
        // The same sites in the same order, with other errors and texts.
        for (row, site) in shown.all.iter_mut().zip(&shown.list.sites) {
            row.site.clone_from(site);
        }
        self.shown = Some(shown);
        self.arrange();
    }

    /// Filters and sorts the rows, and keeps the stacks those of the selected site.
    fn arrange(&mut self) {
        let Some(shown) = &mut self.shown else {
            return;
        };
        let wanted = self.filter.to_lowercase();
        let rows = shown.all.iter().filter(|row| row.matches(&wanted));
        shown.rows = rows.cloned().collect();
        self.sort.sort(&mut shown.rows, self.by);
        if self.is_reversed {
            shown.rows.reverse();
        }
        if matches!(self.pane, Pane::Detail(_)) {
            self.find_stacks();
        }
    }

    fn find_stacks(&mut self) {
        let stacks = self.shown.as_ref().zip(self.selected());
        let stacks = stacks.map(|(shown, (_, row))| {
            let (profile, rules) = (&shown.profile, &self.subject.rules);
            let limit = MOST_STACKS;
            shown.list.stacks(profile, &row.site, self.by, rules, limit)
        });
        self.stacks = stacks.unwrap_or_default();
    }
}

fn words(status: &Status, profile: &Profile) -> AmountWords {
    AmountWords::of(
        status.source,
        status.windows.is_some(),
        profile.sampled.is_some(),
    )
}
