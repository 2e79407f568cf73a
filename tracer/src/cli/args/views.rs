//! The options of what shows profiles: `report`, `diff` and `series`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::times::share;
use crate::cli::output::{PIPED_WIDTH, text_width};
use crate::cli::sites::{ByArg, DiffByArg, SitesArgs};
use crate::export::Format;
use crate::names::NameStyle;
use crate::profile::{Filter, TagFilter, ValueKind};
use crate::session::Share;

/// How views for people show names.
#[derive(Clone, Copy, Debug, Args)]
pub(in crate::cli) struct NamesArgs {
    /// Show names in this style in text and flame graphs; other formats hold full names
    #[arg(long, value_enum, default_value_t)]
    names: NamesArg,
}

/// One of the ways to show names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum NamesArg {
    /// Crate, type and method, without generic arguments and parameters
    #[default]
    Short,
    /// As in the profile
    Full,
}

impl From<NamesArgs> for NameStyle {
    fn from(args: NamesArgs) -> Self {
        match args.names {
            NamesArg::Short => Self::Short,
            NamesArg::Full => Self::Full,
        }
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ReportArgs {
    /// Read this profile: pprof, from tracer or another heap profiler, or tracer's JSON
    pub(in crate::cli) file: PathBuf,
    /// Show this value
    #[arg(short, long, alias = "sample-index", value_enum, default_value_t)]
    pub(in crate::cli) value: ValueArg,
    #[command(flatten)]
    pub(in crate::cli) filter: FilterArgs,
    #[command(flatten)]
    pub(in crate::cli) names: NamesArgs,
    /// Show a table with rows of this
    #[arg(long, value_enum, value_name = "WHAT", default_value_t, conflicts_with_all = ["tree", "peek"])]
    pub(in crate::cli) by: ByArg,
    #[command(flatten)]
    pub(in crate::cli) sites: SitesArgs,
    /// Show the call tree; chains of calls without a fork are folded
    #[arg(long, conflicts_with = "peek")]
    pub(in crate::cli) tree: bool,
    /// Show at most N levels of the folded tree
    #[arg(long, value_name = "N", requires = "tree", value_parser = clap::value_parser!(u32).range(1..))]
    pub(in crate::cli) depth: Option<u32>,
    /// Sum branches of the tree with less than this SHARE of the total [default: 1%]
    #[arg(long, value_name = "SHARE", requires = "tree", value_parser = share)]
    pub(in crate::cli) least: Option<Share>,
    /// Show the whole tree or flame graph: fold and sum nothing
    #[arg(long, conflicts_with = "least")]
    pub(in crate::cli) full: bool,
    /// Show the functions that match a regular expression, with their callers and callees
    #[arg(long, value_name = "REGEX")]
    pub(in crate::cli) peek: Option<regex::Regex>,
    /// Show functions, sorted by the cumulative value: a function and everything it calls
    #[arg(long, conflicts_with_all = ["tree", "peek"])]
    pub(in crate::cli) cum: bool,
    /// Show at most N rows; 0 shows all
    #[arg(
        short = 'n',
        long,
        alias = "top",
        value_name = "N",
        default_value_t = 20
    )]
    pub(in crate::cli) limit: usize,
    /// Show the frames of the allocator, too: of functions, the tree and --peek
    #[arg(long)]
    pub(in crate::cli) show_allocator: bool,
    /// Print the report in this format
    #[arg(short, long, value_enum, default_value_t)]
    pub(in crate::cli) format: ViewFormat,
    #[command(flatten)]
    pub(in crate::cli) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct DiffArgs {
    /// Compare from this profile, A: pprof, from tracer or another heap profiler, or tracer's JSON
    pub(in crate::cli) before: PathBuf,
    /// Compare to this profile, B
    pub(in crate::cli) after: PathBuf,
    /// Show this value; a pprof file holds all
    #[arg(short, long, alias = "sample-index", value_enum, default_value_t)]
    pub(in crate::cli) value: ValueArg,
    #[command(flatten)]
    pub(in crate::cli) filter: FilterArgs,
    #[command(flatten)]
    pub(in crate::cli) names: NamesArgs,
    #[command(flatten)]
    pub(in crate::cli) sites: SitesArgs,
    /// Show a first table with rows of this; JSON has both
    #[arg(long, value_enum, value_name = "WHAT", default_value_t)]
    pub(in crate::cli) by: DiffByArg,
    /// Show at most N rows per table; 0 shows all
    #[arg(
        short = 'n',
        long,
        alias = "top",
        value_name = "N",
        default_value_t = 10
    )]
    pub(in crate::cli) limit: usize,
    /// Show all frames of a flame graph, plumbing included
    #[arg(long)]
    pub(in crate::cli) full: bool,
    /// Print the difference in this format
    #[arg(short, long, value_enum, default_value_t)]
    pub(in crate::cli) format: DiffFormat,
    #[command(flatten)]
    pub(in crate::cli) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct SeriesArgs {
    /// Read the profiles of one target in this folder
    #[arg(value_name = "DIR")]
    pub(in crate::cli) directory: PathBuf,
    /// Judge the growth of stacks by this value
    #[arg(short, long, alias = "sample-index", value_enum, default_value_t)]
    pub(in crate::cli) value: ValueArg,
    #[command(flatten)]
    pub(in crate::cli) filter: FilterArgs,
    #[command(flatten)]
    pub(in crate::cli) names: NamesArgs,
    #[command(flatten)]
    pub(in crate::cli) sites: SitesArgs,
    /// Show at most N growing stacks; 0 shows all
    #[arg(
        short = 'n',
        long,
        alias = "top",
        value_name = "N",
        default_value_t = 10
    )]
    pub(in crate::cli) limit: usize,
    /// Print the report in this format
    #[arg(short, long, value_enum, default_value_t)]
    pub(in crate::cli) format: ReportFormat,
    #[command(flatten)]
    pub(in crate::cli) output: OutputArgs,
}

/// Where a view of profiles goes.
#[derive(Debug, Args)]
pub(in crate::cli) struct OutputArgs {
    /// Write to this file [default: standard output]
    #[arg(
        short = 'o',
        long = "output",
        value_name = "FILE",
        default_value = "-",
        hide_default_value = true
    )]
    pub(in crate::cli) path: PathBuf,
}

impl OutputArgs {
    /// Columns that a line of text may have there.
    pub(in crate::cli) fn width(&self) -> Option<usize> {
        if self.path == Path::new("-") {
            text_width()
        } else {
            Some(PIPED_WIDTH)
        }
    }
}

/// Parts of a profile, with pprof's meaning. A pattern may match anywhere in a function's name, short or
/// full, its source file, or the path of the program or library it is in. Labels are those of `--label`, and the process as `pid`.
#[derive(Debug, Args)]
pub(in crate::cli) struct FilterArgs {
    /// Keep only stacks with a frame whose function, file or module matches
    #[arg(long, value_name = "REGEX")]
    focus: Option<regex::Regex>,
    /// Drop stacks with such a frame
    #[arg(long, value_name = "REGEX")]
    ignore: Option<regex::Regex>,
    /// Drop such frames; their callers get what they hold
    #[arg(long, value_name = "REGEX")]
    hide: Option<regex::Regex>,
    /// Drop the callers of the outermost such frame
    #[arg(long, value_name = "REGEX")]
    show_from: Option<regex::Regex>,
    /// Keep only stacks with such labels: KEY=REGEX, or REGEX for any KEY:VALUE
    #[arg(long, value_name = "[KEY=]REGEX")]
    tag_focus: Option<TagFilter>,
    /// Drop stacks with such labels
    #[arg(long, value_name = "[KEY=]REGEX")]
    tag_ignore: Option<TagFilter>,
    /// Show the labels with these keys as the outermost callers
    #[arg(long, value_name = "KEY", value_delimiter = ',')]
    tag_root: Vec<String>,
}

impl From<&FilterArgs> for Filter {
    fn from(args: &FilterArgs) -> Self {
        Self {
            focus: args.focus.clone(),
            ignore: args.ignore.clone(),
            hide: args.hide.clone(),
            show_from: args.show_from.clone(),
            tag_focus: args.tag_focus.clone(),
            tag_ignore: args.tag_ignore.clone(),
            tag_root: args.tag_root.clone(),
        }
    }
}

/// The form of what is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum ReportFormat {
    /// For people
    #[default]
    Text,
    /// For machines
    Json,
}

/// The form of a view of a profile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum ViewFormat {
    /// For people
    #[default]
    Text,
    /// For machines
    Json,
    /// A line per stack, for flame graph tools
    Folded,
    /// A flame graph for browsers
    Svg,
}

/// The form of a difference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum DiffFormat {
    /// For people
    #[default]
    Text,
    /// The same for machines
    Json,
    /// A profile of the differences for pprof and its viewers, gzipped
    Pprof,
    /// A line per stack with its value in A and in B, for flame graph tools
    Folded,
    /// A differential flame graph for browsers: as wide as B, orange where it grew, blue where it shrank
    Svg,
}

/// The form of a profile's file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum FormatArg {
    /// For pprof and its viewers, gzipped
    #[default]
    Pprof,
    /// A line per stack, for flame graph tools
    Folded,
    /// Everything, for machines
    Json,
    /// A summary for people
    Text,
    /// A flame graph for browsers
    Svg,
}

impl From<FormatArg> for Format {
    fn from(format: FormatArg) -> Self {
        match format {
            FormatArg::Pprof => Self::Pprof,
            FormatArg::Folded => Self::Folded,
            FormatArg::Json => Self::Json,
            FormatArg::Text => Self::Text,
            FormatArg::Svg => Self::Svg,
        }
    }
}

/// One of the values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(in crate::cli) enum ValueArg {
    /// Objects allocated
    AllocObjects,
    /// Bytes allocated
    AllocSpace,
    /// Objects live at the end
    InuseObjects,
    /// Bytes live at the end
    #[default]
    InuseSpace,
    /// Objects live when most bytes were
    PeakObjects,
    /// Bytes live when most were
    PeakSpace,
}

impl From<ValueArg> for ValueKind {
    fn from(value: ValueArg) -> Self {
        match value {
            ValueArg::AllocObjects => Self::AllocObjects,
            ValueArg::AllocSpace => Self::AllocSpace,
            ValueArg::InuseObjects => Self::InuseObjects,
            ValueArg::InuseSpace => Self::InuseSpace,
            ValueArg::PeakObjects => Self::PeakObjects,
            ValueArg::PeakSpace => Self::PeakSpace,
        }
    }
}
