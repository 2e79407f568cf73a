//! The names of one profile: short, and no two alike.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::path::Detail;
use super::{NameStyle, short, shorter};

/// What tells names apart that are alike when short: the first that does is taken.
const DETAILS: [Detail; 10] = {
    const NONE: Detail = Detail {
        path: false,
        traits: false,
        numbers: false,
        arguments: 0,
        only_own_arguments: false,
        parameters: false,
    };
    const ALL: Detail = Detail {
        path: false,
        traits: true,
        numbers: true,
        arguments: 1,
        only_own_arguments: false,
        parameters: true,
    };
    [
        Detail {
            traits: true,
            ..NONE
        },
        Detail { path: true, ..NONE },
        Detail {
            arguments: 1,
            only_own_arguments: true,
            ..NONE
        },
        Detail {
            arguments: 1,
            ..NONE
        },
        Detail {
            numbers: true,
            ..NONE
        },
        Detail {
            parameters: true,
            ..NONE
        },
        Detail {
            arguments: 2,
            ..NONE
        },
        ALL,
        Detail {
            arguments: 2,
            ..ALL
        },
        Detail {
            path: true,
            arguments: 8,
            ..ALL
        },
    ]
};
/// Most characters of a name with details: two longer ones are not told apart by reading them.
const MAX_DETAILED: usize = 100;

/// How the functions of a profile are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Those that are shown in another way, by their full name.
    shown: HashMap<String, String>,
}

impl Names {
    /// The names of functions, each with its source file. Of the same functions the same names, whatever
    /// their order.
    #[must_use]
    pub fn of<'a>(
        functions: impl IntoIterator<Item = (&'a str, &'a str)>,
        style: NameStyle,
    ) -> Self {
        if style == NameStyle::Full {
            return Self::default();
        }
        let mut groups: HashMap<Cow<'a, str>, Vec<(&str, &str)>> = HashMap::new();
        let mut known = HashSet::new();
        for (name, file) in functions {
            if known.insert(name) {
                groups
                    .entry(short(name, file))
                    .or_default()
                    .push((name, file));
            }
        }
        let mut shown: HashMap<&str, String> = HashMap::new();
        for (short, group) in groups {
            match group.as_slice() {
                [(name, _)] => _ = shown.insert(name, short.into_owned()),
                group => shown.extend(tell_apart(&short, group)),
            }
        }
        full_where_alike(&mut shown);
        let shown = shown.into_iter().filter(|(full, shown)| full != shown);
        Self {
            shown: shown
                .map(|(full, shown)| (full.to_owned(), shown))
                .collect(),
        }
    }

    /// The name to show.
    #[must_use]
    pub fn show<'a>(&'a self, full: &'a str) -> &'a str {
        self.shown.get(full).map_or(full, String::as_str)
    }
}

/// Names that are alike when short, each with as much as it takes, or numbered.
fn tell_apart<'a>(short: &str, group: &[(&'a str, &str)]) -> Vec<(&'a str, String)> {
    let mut told = Vec::with_capacity(group.len());
    let mut left = vec![true; group.len()];
    for detail in DETAILS {
        let detailed: Vec<String> = group
            .iter()
            .map(|(name, file)| shorter(name, file, detail).unwrap_or_else(|| (*name).to_owned()))
            .collect();
        let times = times(detailed.iter().map(String::as_str));
        for ((left, (name, _)), detailed) in left.iter_mut().zip(group).zip(&detailed) {
            let is_told = times.get(detailed.as_str()) == Some(&1)
                && detailed.chars().count() <= MAX_DETAILED;
            if *left && is_told {
                told.push((*name, detailed.clone()));
                *left = false;
            }
        }
        if !left.contains(&true) {
            return told;
        }
    }
    let names = group.iter().map(|(name, _)| *name);
    let mut left: Vec<&str> = names
        .zip(left)
        .filter(|(_, left)| *left)
        .map(|(name, _)| name)
        .collect();
    left.sort_unstable();
    told.extend(left.into_iter().zip(1..).map(|(name, number): (_, usize)| {
        let numbered = format!("{short} #{number}");
        (
            name,
            if numbered.len() < name.len() {
                numbered
            } else {
                name.to_owned()
            },
        )
    }));
    told
}

/// How often each name is there.
fn times<'a>(names: impl Iterator<Item = &'a str>) -> HashMap<&'a str, usize> {
    let mut times = HashMap::new();
    for name in names {
        *times.entry(name).or_default() += 1;
    }
    times
}

/// Shows the full name where two would be alike: a detailed one may look like another's short one.
fn full_where_alike(shown: &mut HashMap<&str, String>) {
    loop {
        let times = times(shown.values().map(String::as_str));
        let alike: Vec<&str> = shown
            .iter()
            .filter(|(full, shown)| **full != shown.as_str())
            .filter(|(_, shown)| times.get(shown.as_str()).is_some_and(|&times| times > 1))
            .map(|(full, _)| *full)
            .collect();
        if alike.is_empty() {
            return;
        }
        for full in alike {
            shown.insert(full, full.to_owned());
        }
    }
}
