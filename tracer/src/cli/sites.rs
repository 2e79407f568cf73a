//! Options that say whose code is what, and how text is shown.

use clap::{Args, ValueEnum};

use super::output::text_width;
use crate::names::NameStyle;
use crate::report::{GroupBy, Style};
use crate::sites::Rules;

/// Whose code is what, beyond what tracer knows. A pattern may match anywhere in a function's name, short or
/// full, its source file, or the path of the program or library it is in.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct SitesArgs {
    /// Take functions that match for the program's own code; may be given again
    #[arg(long, value_name = "REGEX")]
    own: Vec<regex::Regex>,
    /// Take functions that match for wrappers of the allocator, whose callers ask for the memory; may be given
    /// again
    #[arg(long, value_name = "REGEX")]
    wrapper: Vec<regex::Regex>,
}

impl SitesArgs {
    /// The rules, behind those of a policy.
    pub(super) fn add_to(&self, rules: &Rules) -> Rules {
        rules.with(&self.own, &self.wrapper)
    }

    /// The rules.
    pub(super) fn rules(&self) -> Rules {
        self.add_to(&Rules::default())
    }

    /// How to show a profile on standard output.
    pub(super) fn style(&self, names: NameStyle, is_full: bool) -> Style {
        Style {
            names,
            rules: self.rules(),
            max_width: text_width(),
            is_full,
        }
    }
}

/// What a table has rows of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum ByArg {
    /// Functions and lines that ask for memory, and for which of the program's own functions
    #[default]
    Site,
    /// All functions on the stacks, with pprof's flat and cum
    Function,
    /// Source lines that ask for memory
    Line,
    /// Source files that do
    File,
    /// Crates, namespaces or libraries that do
    Crate,
    /// Programs and libraries that do
    Module,
}

impl ByArg {
    /// What stacks are put together by; `None` for functions.
    pub(super) const fn group(self) -> Option<GroupBy> {
        match self {
            Self::Function => None,
            Self::Site => Some(GroupBy::Site),
            Self::Line => Some(GroupBy::Line),
            Self::File => Some(GroupBy::File),
            Self::Crate => Some(GroupBy::Crate),
            Self::Module => Some(GroupBy::Module),
        }
    }
}

/// What the first table of a difference has rows of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum DiffByArg {
    /// Functions that ask for memory, and for which of the program's own functions
    #[default]
    Site,
    /// All functions on the stacks, with pprof's flat and cum
    Function,
}
