//! The call tree from the root down: which way the memory was asked for.

mod text;

use std::cmp::Reverse;
use std::collections::HashMap;

use serde::Serialize;

use super::errors::{AmountError, Doubts};
use super::format::percent;
use super::{Header, names, view};
use crate::names::{NameStyle, Names};
use crate::profile::{Filter, Profile, ValueKind};
use crate::sites::{Kind, Rules, SiteFrame, Sites, group};

/// What to show.
#[derive(Clone, Debug)]
pub struct TreeOptions {
    /// The value to show.
    pub by: ValueKind,
    /// Branches below this percentage of the total are folded into one line.
    pub threshold_percent: f64,
    /// Most levels of lines in the text, folded chains being one; `None` for all.
    pub depth: Option<u32>,
    /// Fold no chains of calls in the text.
    pub is_full: bool,
    /// Whose code is what, beyond the built-in table.
    pub rules: Rules,
    /// Show the allocator's own frames.
    pub show_allocator: bool,
    /// Which stacks and frames to look at.
    pub filter: Filter,
    /// How the text shows names.
    pub names: NameStyle,
    /// Columns of the text; longer names lose their middle. `None` for as many as it takes.
    pub max_width: Option<usize>,
}

impl Default for TreeOptions {
    fn default() -> Self {
        Self {
            by: ValueKind::default(),
            threshold_percent: 1.0,
            depth: None,
            is_full: false,
            rules: Rules::default(),
            show_allocator: false,
            filter: Filter::default(),
            names: NameStyle::default(),
            max_width: None,
        }
    }
}

/// The call tree. As JSON: `{"report": "tree", "header": …, "threshold_percent": …, "nodes": […]}`.
///
/// Flat, in the order of a walk from the root down, so that no depth of a stack is too much for
/// whoever reads it: a node's children are the nodes after it whose `depth` is one more, up to the
/// next whose depth is not greater.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "report", rename = "tree")]
pub struct Tree {
    /// Where the amounts come from.
    pub header: Header,
    /// Branches below this percentage of the total are folded.
    pub threshold_percent: f64,
    /// The nodes, a parent before its children, the heaviest child first.
    pub nodes: Vec<TreeNode>,
    #[serde(skip)]
    names: Names,
    #[serde(skip)]
    max_width: Option<usize>,
    #[serde(skip)]
    depth: Option<u32>,
    #[serde(skip)]
    is_full: bool,
}

/// A function in one place of the tree.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TreeNode {
    /// Callers above it.
    pub depth: usize,
    /// The function; empty for folded branches.
    pub name: String,
    /// Branches folded into this node; 0 for a function.
    pub folded: usize,
    /// What the function's own allocations hold.
    #[serde(rename = "self")]
    pub own: i64,
    /// How wrong that may be, where it is estimated.
    #[serde(rename = "self_error", skip_serializing_if = "Option::is_none")]
    pub own_error: Option<AmountError>,
    /// That, in percent of the total.
    #[serde(rename = "self_percent")]
    pub own_percent: f64,
    /// What it and everything below it holds.
    pub total: i64,
    /// How wrong that may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_error: Option<AmountError>,
    /// That, in percent of the total.
    pub total_percent: f64,
    /// The call was always inlined.
    pub inline: bool,
    /// Whose code it is; `null` for folded branches.
    pub kind: Option<Kind>,
    /// The crate, namespace or library it belongs to.
    #[serde(skip)]
    group: String,
    /// It asks for memory, as the table of sites says.
    #[serde(skip)]
    asks: bool,
    /// Columns to indent the text by.
    #[serde(skip)]
    indent: usize,
    /// One of several branches, which get a dash; a chain of single calls runs straight down, so
    /// that deep stacks stay readable.
    #[serde(skip)]
    branch: bool,
}

/// A node while the tree grows.
struct Growing<'a> {
    name: &'a str,
    kind: Kind,
    group: String,
    asks: bool,
    own: i64,
    total: i64,
    /// Sums of the squares of the stacks' own errors.
    own_squares: f64,
    total_squares: f64,
    inline: bool,
    children: Vec<usize>,
}

/// The call tree.
#[must_use]
pub fn tree(profile: &Profile, options: &TreeOptions) -> Tree {
    let (header, profile) = view(profile, options.by, options.show_allocator, &options.filter);
    let sites = Sites::new(&profile, &options.rules);
    let (growing, roots) = grow(&sites, options.by);
    let doubts = Doubts::new(&profile, options.by);

    let mut nodes = Vec::new();
    // What is still to be walked, the next one last.
    let mut pending = siblings(
        &growing,
        &roots,
        None,
        header.total,
        options.threshold_percent,
        &doubts,
    );
    while let Some((index, node)) = pending.pop() {
        if let Some(children) = index
            .and_then(|index| growing.get(index))
            .map(|g| &g.children)
        {
            pending.extend(siblings(
                &growing,
                children,
                Some(&node),
                header.total,
                options.threshold_percent,
                &doubts,
            ));
        }
        nodes.push(node);
    }
    Tree {
        header,
        threshold_percent: options.threshold_percent,
        nodes,
        names: names([&*profile], options.names),
        max_width: options.max_width,
        depth: options.depth,
        is_full: options.is_full,
    }
}

/// The nodes below one parent, the lightest first and before it the folded ones; each with its place
/// in the tree, if it has one.
fn siblings(
    growing: &[Growing<'_>],
    indices: &[usize],
    parent: Option<&TreeNode>,
    total: i64,
    threshold_percent: f64,
    doubts: &Doubts,
) -> Vec<(Option<usize>, TreeNode)> {
    let mut kept: Vec<(usize, &Growing<'_>)> = indices
        .iter()
        .filter_map(|&index| Some((index, growing.get(index)?)))
        .filter(|(_, node)| node.total != 0 || node.own != 0)
        .collect();
    kept.sort_by_key(|(_, node)| (Reverse(node.total.unsigned_abs()), node.name));
    let thin = kept.partition_point(|(_, node)| percent(node.total, total) >= threshold_percent);
    let folded = kept.split_off(thin);

    let blank = TreeNode {
        depth: parent.map_or(0, |parent| parent.depth + 1),
        name: String::new(),
        folded: 0,
        own: 0,
        own_error: None,
        own_percent: 0.0,
        total: 0,
        total_error: None,
        total_percent: 0.0,
        inline: false,
        kind: None,
        group: String::new(),
        asks: false,
        indent: parent.map_or(0, TreeNode::name_column),
        branch: kept.len() + usize::from(!folded.is_empty()) > 1,
    };
    let mut siblings = Vec::with_capacity(kept.len() + 1);
    if !folded.is_empty() {
        let sum = folded
            .iter()
            .fold(0_i64, |sum, (_, node)| sum.saturating_add(node.total));
        let squares = folded.iter().map(|(_, node)| node.total_squares).sum();
        siblings.push((
            None,
            TreeNode {
                folded: folded.len(),
                total: sum,
                total_error: doubts.of(sum, squares),
                total_percent: percent(sum, total),
                ..blank.clone()
            },
        ));
    }
    siblings.extend(kept.into_iter().rev().map(|(index, node)| {
        (
            Some(index),
            TreeNode {
                name: node.name.to_owned(),
                own: node.own,
                own_error: doubts.of(node.own, node.own_squares),
                own_percent: percent(node.own, total),
                total: node.total,
                total_error: doubts.of(node.total, node.total_squares),
                total_percent: percent(node.total, total),
                inline: node.inline,
                kind: Some(node.kind),
                group: node.group.clone(),
                asks: node.asks,
                ..blank.clone()
            },
        )
    }));
    siblings
}

impl TreeNode {
    /// Where the name begins: what it calls is written from there on.
    const fn name_column(&self) -> usize {
        self.indent + if self.branch { 2 } else { 0 }
    }
}

/// Every node of the tree, and which of them are roots.
fn grow<'a>(sites: &'a Sites<'a>, by: ValueKind) -> (Vec<Growing<'a>>, Vec<usize>) {
    let profile = sites.profile();
    let mut nodes: Vec<Growing<'_>> = Vec::new();
    let mut roots = Vec::new();
    let mut places: HashMap<(Option<usize>, &str), usize> = HashMap::new();
    for sample in &profile.samples {
        let weight = sample.values.get(by);
        if weight == 0 {
            continue;
        }
        let squares = sample.errors.get(by).map_or(0.0, |own| own * own);
        let mut parent = None;
        let frames: Vec<SiteFrame> = sites.frames(sample).collect();
        let marks = sites.marks(sample);
        let asks = marks.caller.or(marks.place);
        // The innermost of a recursion.
        let asks = frames.iter().position(|frame| Some(*frame) == asks);
        for (at, frame) in frames.iter().enumerate().rev() {
            let Some(function) = profile.functions.get(frame.function) else {
                continue;
            };
            let name = function.name.as_str();
            let index = *places.entry((parent, name)).or_insert_with(|| {
                nodes.push(Growing {
                    name,
                    kind: frame.kind,
                    group: group(sites, frame).to_owned(),
                    asks: false,
                    own: 0,
                    total: 0,
                    own_squares: 0.0,
                    total_squares: 0.0,
                    inline: true,
                    children: Vec::new(),
                });
                let index = nodes.len() - 1;
                match parent.and_then(|parent: usize| nodes.get_mut(parent)) {
                    Some(parent) => parent.children.push(index),
                    None => roots.push(index),
                }
                index
            });
            if let Some(node) = nodes.get_mut(index) {
                node.total = node.total.saturating_add(weight);
                node.total_squares += squares;
                node.inline &= frame.inlined;
                node.asks |= asks == Some(at);
            }
            parent = Some(index);
        }
        if let Some(leaf) = parent.and_then(|leaf| nodes.get_mut(leaf)) {
            leaf.own = leaf.own.saturating_add(weight);
            leaf.own_squares += squares;
        }
    }
    (nodes, roots)
}

#[cfg(test)]
mod tests {
    use super::{TreeOptions, tree};
    use crate::export::example::{counter_service, estimated};
    use crate::profile::{
        Function, Line, Location, LocationIndex, Profile, Sample, ValueKind, Values,
    };

    #[test]
    fn branches_indent_and_thin_ones_fold() {
        let tree = tree(&counter_service(), &TreeOptions::default());
        insta::assert_snapshot!(tree, @"
        Source:  attach to counter-service (pid 4711) for 30.0 s
        Verdict: degraded
                 2 of 3048 allocations have no stack.
        Type:    inuse_space, total 2.95MB

             total total%       self  self%
         3024.98kB   100%          0     0%  main
            2000kB 66.12%          0     0%  - counter::handle
            2000kB 66.12%     2000kB 66.12%    counter::Cache::insert
            1024kB 33.85%     1024kB 33.85%  - libc.so.6+0x8f2c1
            0.98kB 0.032%          0     0%  - (1 more below 1%)
        ");
    }

    #[test]
    fn estimates_have_errors() {
        let options = TreeOptions {
            by: ValueKind::AllocSpace,
            ..TreeOptions::default()
        };
        let tree = tree(&estimated(), &options);
        insta::assert_snapshot!(tree, @"
        Source:  attach to counter-service (pid 4711) for 30.0 s
        Verdict: sampled
                 Only windows were seen.
        Type:    alloc_space, total 3.93MB ±4%
        Sampled: by rare calls, 45 windows of 200.0 ms together: 0.67% of what was done; all alike ±3.0%

             total        total%       self         self%
         4028.59kB    ±4%   100%          0            0%  main
         3000.68kB    ±4% 74.48%          0            0%  - counter::handle
            3000kB    ±4% 74.47%     3000kB    ±4% 74.47%    - counter::Cache::insert
            0.68kB   ±20% 0.017%          0            0%    - (1 more below 1%)
            1024kB   ±10% 25.42%     1024kB   ±10% 25.42%  - libc.so.6+0x8f2c1
            3.91kB  ~±70% 0.097%          0            0%  - (1 more below 1%)

        ±: standard error of what is estimated
        ~: half of the amount or more may be error
        ");
        // That of the root is the total's.
        assert_eq!(tree.nodes[0].total_error, tree.header.total_error);
    }

    #[test]
    fn everything_shown_adds_up() {
        let options = TreeOptions {
            by: ValueKind::AllocSpace,
            threshold_percent: 0.0,
            show_allocator: true,
            ..TreeOptions::default()
        };
        let tree = tree(&counter_service(), &options);
        let own: i64 = tree.nodes.iter().map(|node| node.own).sum();
        assert_eq!(own, tree.header.total);
        assert!(tree.nodes.iter().all(|node| node.folded == 0));
        insta::assert_snapshot!(tree, @"
        Source:  attach to counter-service (pid 4711) for 30.0 s
        Verdict: degraded
                 2 of 3048 allocations have no stack.
        Type:    alloc_space, total 3.93MB

             total total%       self  self%
         4028.59kB   100%          0     0%  main
         3000.68kB 74.48%          0     0%  - counter::handle
            3000kB 74.47%          0     0%    - counter::Cache::insert
            3000kB 74.47%     3000kB 74.47%      alloc::alloc::alloc (inline)
            0.68kB 0.017%     0.68kB 0.017%    - libc.so.6+0x8f2c1
            1024kB 25.42%     1024kB 25.42%  - libc.so.6+0x8f2c1
            3.91kB 0.097%          0     0%  - counter::walk
            3.91kB 0.097%          0     0%    counter::walk
            3.91kB 0.097%     3.91kB 0.097%    counter::walk
        ");
    }

    #[test]
    fn what_asks_for_memory_is_not_folded() {
        let names = ["node::Malloc", "deflateInit2_", "node::Zlib", "uv_run"];
        let stack = names.map(|name| (name, "", ""));
        let profile = crate::sites::tests::profile("/usr/bin/node", &[&stack]);
        let text = tree(&profile, &TreeOptions::default()).to_string();
        assert!(
            text.contains(" deflateInit2_\n") && !text.contains("Zlib"),
            "{text}"
        );
    }

    #[test]
    fn chains_without_a_fork_are_one_line() {
        let profile = crate::sites::tests::service();
        let tree_of = |options: TreeOptions| tree(&profile, &options).to_string();
        insta::assert_snapshot!(tree_of(TreeOptions::default()), @r"
        Verdict: complete
        Type:    inuse_space, total 1.95kB

             total total%       self  self%
             2000B   100%          0     0%  … 5 frames of libc, tokio, std
             2000B   100%          0     0%  axum::serve::handle_connection
             1000B 50.00%          0     0%  - hyper::Buffered::poll_read
             1000B 50.00%          0     0%    bytes::BytesMut::reserve_inner
             1000B 50.00%      1000B 50.00%    Vec::with_capacity_in
             1000B 50.00%          0     0%  - service::count
             1000B 50.00%          0     0%    String::clone
             1000B 50.00%      1000B 50.00%    Vec::with_capacity_in
        ");
        let depth = TreeOptions {
            depth: Some(2),
            ..TreeOptions::default()
        };
        let shallow = tree_of(depth);
        assert!(
            shallow.contains("axum::serve::handle_connection"),
            "{shallow}"
        );
        assert!(!shallow.contains("service::count"), "{shallow}");
        assert!(shallow.contains("deeper than --depth"), "{shallow}");
        let full = tree_of(TreeOptions {
            is_full: true,
            ..TreeOptions::default()
        });
        assert!(
            full.contains("start_thread") && !full.contains(" frames of "),
            "{full}"
        );
    }

    #[test]
    fn no_stack_is_too_deep() -> serde_json::Result<()> {
        let depth = 200_000;
        let profile = Profile {
            functions: vec![Function::default(); 2],
            locations: (0..2)
                .map(|function| Location {
                    lines: vec![Line { function, line: 0 }],
                    ..Location::default()
                })
                .collect(),
            samples: vec![Sample {
                locations: (0..depth)
                    .map(|frame| LocationIndex::new(frame % 2))
                    .collect(),
                values: Values {
                    inuse_space: 1,
                    ..Values::default()
                },
                ..Sample::default()
            }],
            ..Profile::default()
        };
        let options = TreeOptions {
            is_full: true,
            ..TreeOptions::default()
        };
        let full = tree(&profile, &options);
        assert_eq!(full.nodes.len(), depth);
        assert!(full.to_string().lines().count() > depth);
        let tree = tree(&profile, &TreeOptions::default());
        assert!(tree.to_string().lines().count() < 20);
        assert!(!serde_json::to_string(&tree)?.is_empty());
        Ok(())
    }
}
