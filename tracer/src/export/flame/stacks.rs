//! The stacks of a flame graph: all frames, or those that a reader looks for.

use std::collections::HashMap;

use crate::printable::printable;
use crate::profile::{Profile, Sample};
use crate::report::{Style, names};
use crate::sites::{Kind, Purpose, SiteFrame, Sites, group, groups};

use crate::names::Names;

/// Stacks as flame graphs show them, and whose code the frames are.
pub(crate) struct Stacks<'a> {
    sites: Sites<'a>,
    names: Names,
    is_full: bool,
    /// Of each label the kind, and the full name where that is another.
    labels: HashMap<String, (Kind, Option<String>)>,
}

impl<'a> Stacks<'a> {
    /// Those of a profile without the frames of allocators.
    pub(crate) fn new(profile: &'a Profile, style: &Style) -> Self {
        Self {
            sites: Sites::new(profile, &style.rules),
            names: names([profile], style.names),
            is_full: style.is_full,
            labels: HashMap::new(),
        }
    }

    /// A stack as inferno's lines have it, its frames separated by `;`.
    pub(super) fn line(&mut self, sample: &'a Sample) -> String {
        self.frames(sample).join(";")
    }

    /// The frames of a stack, root first: one at least.
    pub(crate) fn frames(&mut self, sample: &'a Sample) -> Vec<String> {
        let frames: Vec<SiteFrame> = self.sites.frames(sample).collect();
        let mut labels: Vec<String> = match self.is_full {
            true => frames.iter().rev().map(|frame| self.label(frame)).collect(),
            false => self.folded(sample, &frames),
        };
        if labels.is_empty() {
            labels.push("[unknown]".to_owned());
        }
        labels
    }

    /// Whose code each label is, with the full names.
    pub(crate) fn into_labels(self) -> HashMap<String, (Kind, Option<String>)> {
        self.labels
    }

    /// Own code, where memory is asked for, the way into each package, and what is allocated; at the root what
    /// led there, as one frame.
    fn folded(&mut self, sample: &'a Sample, frames: &[SiteFrame]) -> Vec<String> {
        let marks = self.sites.marks(sample);
        let is = |mark: &Option<SiteFrame>, frame: &SiteFrame| mark.as_ref() == Some(frame);
        let purpose = match &marks.purpose {
            Some(Purpose::Frame(frame)) => Some(*frame),
            _ => None,
        };
        let mut last: Option<String> = None;
        let mut labels: Vec<String> = Vec::new();
        let mut root: Vec<String> = Vec::new();
        let mut is_past_place = false;
        for frame in frames.iter().rev() {
            let of = group(&self.sites, frame).to_owned();
            let is_code = matches!(frame.kind, Kind::Own | Kind::Dependency | Kind::System);
            let made_at_run_time =
                frame.kind == Kind::Runtime && !frame.is_named && self.sites.is_in_no_file(frame);
            let enters = (is_code || made_at_run_time) && last.as_ref() != Some(&of);
            let marked = is(&marks.place, frame) || is(&marks.caller, frame) || is(&purpose, frame);
            let is_own = frame.kind == Kind::Own;
            let shown = is_own || marked || (enters && !is_past_place);
            is_past_place |= is(&marks.place, frame);
            if is_code || made_at_run_time {
                last = Some(of.clone());
            }
            if shown {
                if labels.is_empty() && !root.is_empty() {
                    labels.push(plumbing(&root));
                }
                let label = self.label(frame);
                // Recursion, and a closure in its function, are one.
                if labels.last() != Some(&label) {
                    labels.push(label);
                }
            } else if labels.is_empty() {
                root.push(of);
            }
        }
        if let Some(what) = &marks.what {
            let label = clean(&self.sites.what_name(what));
            if !label.is_empty() && labels.last() != Some(&label) {
                self.labels
                    .entry(label.clone())
                    .or_insert((Kind::Container, None));
                labels.push(label);
            }
        }
        if labels.is_empty() {
            labels.extend(frames.iter().rev().map(|frame| self.label(frame)));
        }
        labels
    }

    fn label(&mut self, frame: &SiteFrame) -> String {
        let function = self.sites.profile().functions.get(frame.function);
        let full = function.map_or("", |function| &function.name);
        let shown = self.names.show(full);
        let label = clean(shown);
        let tooltip = (shown != full).then(|| clean(full));
        let kind = match self.sites.is_of_own_crate(frame) {
            true => Kind::Own,
            false => frame.kind,
        };
        self.labels.entry(label.clone()).or_insert((kind, tooltip));
        label
    }
}

/// What led to the first frame that is shown.
fn plumbing(of: &[String]) -> String {
    format!("… {}", clean(&groups(of.iter().map(String::as_str))))
}

/// A name as it can stand in a line.
fn clean(name: &str) -> String {
    super::clean(&printable(name).replace(';', ":"))
}
