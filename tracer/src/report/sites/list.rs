//! Sites with all that they hold, for a display that is drawn again and again; and the stacks of one of them.

use std::cmp::Reverse;

use super::text::{line, name};
use super::{GroupBy, Place, put_together, shown};
use crate::names::{NameStyle, Names};
use crate::profile::{Profile, Sample, ValueKind, Values};
use crate::report::errors::{AmountError, Doubts};
use crate::report::{Header, names};
use crate::sites::{Kind, Marks, Purpose, Rules, SiteFrame, Sites};

/// All sites of a profile, in no order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LiveSites {
    /// The sites.
    pub sites: Vec<LiveSite>,
    /// What they hold together.
    pub total: Values,
    /// How wrong the total of the value may be by which they were listed, where it is estimated.
    pub total_error: Option<AmountError>,
    names: Names,
}

/// A site with the amounts of its stacks. Its texts are fit for a terminal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LiveSite {
    /// Tells it from all others, in later profiles of the same recording, too.
    pub key: String,
    /// What its stacks hold.
    pub values: Values,
    /// How wrong the value may be by which sites were listed, where it is estimated.
    pub error: Option<AmountError>,
    /// Where memory is asked for.
    pub place: String,
    /// Source file and line of that, or empty.
    pub line: String,
    /// For which of the program's own code, or empty.
    pub purpose: String,
    /// What is allocated, or empty.
    pub what: String,
    /// Its stacks, as positions among the profile's samples.
    pub samples: Vec<usize>,
}

/// A stack of a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteStack {
    /// What it holds.
    pub values: Values,
    /// Its frames, leaf first, without those of the allocator.
    pub lines: Vec<StackLine>,
}

/// A frame of a stack. Its texts are fit for a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackLine {
    /// `what`, `where`, `for`, or empty: which of the stack's marks it is.
    pub mark: &'static str,
    /// Its function.
    pub name: String,
    /// Source file and line, or empty.
    pub line: String,
    /// Whose code it is.
    pub kind: Kind,
}

/// The sites of a profile, with all four values of each. `by` decides of what the errors are, and which of a site's
/// stacks its texts are of.
#[must_use]
pub fn live_sites(profile: &Profile, by: ValueKind, style: NameStyle, rules: &Rules) -> LiveSites {
    let has_any = |values: &Values| ValueKind::ALL.iter().any(|kind| values.get(*kind) != 0);
    let names = names([profile], style);
    let doubts = Doubts::new(profile, by);
    let sites = Sites::new(profile, rules);
    let rows = put_together(&sites, by, GroupBy::Site, has_any);
    let mut total = Values::default();
    let listed = rows.into_iter().map(|mut row| {
        let (key, samples) = (
            std::mem::take(&mut row.key),
            std::mem::take(&mut row.samples),
        );
        let (values, squares) = (row.values, row.squares);
        total += values;
        let [place, line, purpose, what] = shown(&sites, row).cells(&names);
        LiveSite {
            key,
            values,
            error: doubts.of(values.get(by), squares),
            place,
            line,
            purpose,
            what,
            samples,
        }
    });
    LiveSites {
        sites: listed.collect(),
        total,
        total_error: Header::new(profile, by).total_error,
        names,
    }
}

impl LiveSites {
    /// The stacks of a site that hold the most of a value, the largest first. `profile` and `rules` are those that the
    /// sites are of.
    #[must_use]
    pub fn stacks(
        &self,
        profile: &Profile,
        site: &LiveSite,
        by: ValueKind,
        rules: &Rules,
        limit: usize,
    ) -> Vec<SiteStack> {
        let sites = Sites::new(profile, rules);
        let samples = site.samples.iter();
        let mut samples: Vec<&Sample> = samples
            .filter_map(|nth| profile.samples.get(*nth))
            .collect();
        samples.sort_by_key(|sample| {
            let values = sample.values;
            Reverse((values.get(by).saturating_abs(), values.alloc_space))
        });
        let stacks = samples.into_iter().take(limit).map(|sample| {
            let marks = sites.marks(sample);
            let frames = sites.frames(sample);
            let frames = frames.filter(|frame| frame.kind != Kind::Allocator);
            SiteStack {
                values: sample.values,
                lines: frames
                    .map(|frame| {
                        let place = Place::of(profile, &frame);
                        StackLine {
                            mark: mark_of(&marks, &frame),
                            name: name(&self.names, &place),
                            line: line(&place),
                            kind: frame.kind,
                        }
                    })
                    .collect(),
            }
        });
        stacks.collect()
    }
}

/// Where memory is asked for may be what it is for as well.
fn mark_of(marks: &Marks, frame: &SiteFrame) -> &'static str {
    if marks.place.as_ref() == Some(frame) {
        "where"
    } else if matches!(&marks.purpose, Some(Purpose::Frame(purpose)) if purpose == frame) {
        "for"
    } else if marks.what.as_ref() == Some(frame) {
        "what"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::example::{counter_service, estimated};
    use crate::report::{SitesOptions, sites};

    fn list(profile: &Profile, by: ValueKind) -> LiveSites {
        live_sites(profile, by, NameStyle::Short, &Rules::default())
    }

    #[test]
    fn they_are_those_of_the_table() {
        for profile in [counter_service(), estimated()] {
            for by in ValueKind::ALL {
                let list = list(&profile, by);
                let options = SitesOptions {
                    by,
                    ..SitesOptions::default()
                };
                let table = sites(&profile, &options);
                assert_eq!(list.total.get(by), table.header.total);
                assert_eq!(list.total_error, table.header.total_error);
                let mut ours: Vec<_> = list.sites.iter().collect();
                ours.retain(|site| site.values.get(by) != 0);
                assert_eq!(ours.len(), table.rows.len());
                for row in table.rows {
                    let same = |site: &&&LiveSite| {
                        site.values.get(by) == row.value && site.error == row.error
                    };
                    assert_eq!(ours.iter().filter(same).count(), 1, "{row:?}");
                }
            }
        }
    }

    #[test]
    fn a_stack_says_whose_calls_it_is() {
        let profile = counter_service();
        let list = list(&profile, ValueKind::InuseSpace);
        let site = list.sites.iter().max_by_key(|site| site.values.inuse_space);
        let stacks = list.stacks(
            &profile,
            &site.cloned().unwrap_or_default(),
            ValueKind::InuseSpace,
            &Rules::default(),
            1,
        );
        let lines = stacks.iter().flat_map(|stack| &stack.lines);
        let text: Vec<String> = lines
            .map(|line| {
                let kind = line.kind.name();
                format!("{:5} {}  {}  {kind}", line.mark, line.name, line.line)
            })
            .collect();
        insta::assert_snapshot!(text.join("\n"), @r"
        where counter::Cache::insert  src/cache.rs:9  own code
              counter::handle  src/main.rs:44  own code
              main  src/main.rs:12  own code
        ");
    }
}
