//! The call tree as text: chains of calls without a fork are one line, unless all is asked for.

use std::fmt;
use std::ops::Range;

use super::{Tree, TreeNode};
use crate::report::errors::{column, head, legend};
use crate::report::format::{Unit, name_width, shorten, show_percent};
use crate::sites::{Kind, groups};

/// Columns left of the name.
const LEFT: usize = 37;
/// Frames from which on a chain is folded.
const FOLDED: usize = 2;
/// Own frames at the end of a chain that stay.
const LAST_OWN: usize = 2;

const fn is_code(node: &TreeNode) -> bool {
    matches!(node.kind, Some(Kind::Own | Kind::Dependency | Kind::System))
}

/// A line of the text: a node, or a chain of them.
struct Line {
    nodes: Range<usize>,
    /// Lines above it in its branch.
    level: usize,
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.header)?;
        if self.nodes.is_empty() {
            let name = self.header.sample_type.name();
            return writeln!(f, "\nNo function holds any {name}.");
        }
        let lines = self.lines();
        let shown = |line: &&Line| self.depth.is_none_or(|depth| line.level < depth as usize);
        let firsts = lines
            .iter()
            .filter(shown)
            .filter_map(|line| self.first(line));
        let unit = Unit::of_largest(&self.header.unit, firsts.map(|node| node.total));
        let error = head(self.header.total_error.is_some());
        writeln!(f, "\n     total{error} total%       self{error}  self%")?;
        for line in lines.iter().filter(shown) {
            self.fmt_line(line, unit, f)?;
        }
        match lines.iter().filter(|line| !shown(line)).count() {
            0 => {}
            1 => writeln!(f, "\n1 line is deeper than --depth")?,
            deeper => writeln!(f, "\n{deeper} lines are deeper than --depth")?,
        }
        let nodes = lines
            .iter()
            .filter(shown)
            .filter_map(|line| self.first(line));
        legend(nodes.flat_map(|node| [node.own_error, node.total_error]), f)
    }
}

impl Tree {
    fn first(&self, line: &Line) -> Option<&TreeNode> {
        self.nodes.get(line.nodes.start)
    }

    /// The lines, in the order of the nodes.
    fn lines(&self) -> Vec<Line> {
        let mut lines: Vec<Line> = Vec::new();
        // Of the branch that is being walked, the depth of each line's last node.
        let mut above: Vec<usize> = Vec::new();
        let chains = self.chains();
        let mut from = 0;
        while let Some(first) = self.nodes.get(from) {
            while above.last().is_some_and(|depth| *depth >= first.depth) {
                above.pop();
            }
            let chain = chains.get(from).copied().unwrap_or_default();
            let end = from + self.folded(from, chain).max(1);
            lines.push(Line {
                nodes: from..end,
                level: above.len(),
            });
            let last = self.nodes.get(end - 1);
            above.push(last.map_or(first.depth, |last| last.depth));
            from = end;
        }
        lines
    }

    /// Of each node whether it is the first on its way that is no plumbing: what others run it for.
    fn entries(&self) -> Vec<bool> {
        // Depth of the first code on the way to the last node.
        let mut entered: Option<usize> = None;
        let entries = self.nodes.iter().map(|node| {
            entered = entered.filter(|depth| *depth < node.depth);
            let enters = entered.is_none() && is_code(node);
            if enters {
                entered = Some(node.depth);
            }
            enters
        });
        entries.collect()
    }

    /// Nodes of a chain that one line stands for; 0 where the first stands for itself.
    fn folded(&self, from: usize, chain: usize) -> usize {
        if self.is_full {
            return 0;
        }
        let nodes = self.nodes.get(from..from + chain).unwrap_or_default();
        let is_own = |node: &TreeNode| node.kind == Some(Kind::Own);
        let of_one = nodes
            .iter()
            .take_while(|node| is_own(node) == nodes.first().is_some_and(is_own));
        let length = of_one.count();
        let folded = match nodes.first() {
            // Of a chain of own frames the first and the last ones stay.
            Some(first) if is_own(first) => {
                let entered = from
                    .checked_sub(1)
                    .and_then(|before| self.nodes.get(before))
                    .is_some_and(|before| is_own(before) && !first.branch);
                match entered {
                    true => length.saturating_sub(LAST_OWN),
                    false => 0,
                }
            }
            _ => length,
        };
        match folded >= FOLDED {
            true => folded,
            false => 0,
        }
    }

    /// Of each node how many from there on only call the next one, without an amount of their own. An entry is
    /// none of them, and neither is what asks for memory.
    fn chains(&self) -> Vec<usize> {
        let entries = self.entries();
        let mut chains = vec![0; self.nodes.len()];
        // Of the node behind, with it or without.
        let mut behind = 0;
        for (at, (node, is_entry)) in self.nodes.iter().zip(&entries).enumerate().rev() {
            let calls = self.nodes.get(at + 1).is_some_and(|next| {
                node.folded == 0
                    && node.own == 0
                    && next.depth == node.depth + 1
                    && !next.branch
                    && next.folded == 0
            });
            let is_link = calls && !is_entry && !node.asks;
            // The head of a branch is one only where it is plumbing: of others a reader wants to know where they
            // lead.
            let is_head = is_link && (!node.branch || !is_code(node));
            if let (true, Some(chain)) = (is_head, chains.get_mut(at)) {
                *chain = 1 + behind;
            }
            behind = if is_link && !node.branch {
                1 + behind
            } else {
                0
            };
        }
        chains
    }

    fn fmt_line(&self, line: &Line, unit: Unit, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(node) = self.first(line) else {
            return Ok(());
        };
        let has_errors = self.header.total_error.is_some();
        let left = LEFT + 2 * head(has_errors).len();
        let chain = self.nodes.get(line.nodes.clone()).unwrap_or_default();
        let inline = if chain.len() == 1 && node.inline {
            " (inline)"
        } else {
            ""
        };
        let width = name_width(self.max_width, left + node.name_column() + inline.len());
        let name = match (chain.len(), node.folded) {
            (2.., _) => {
                let of = groups(chain.iter().map(|node| node.group.as_str()));
                shorten(&format!("… {} frames of {of}", chain.len()), width)
            }
            (_, 0) => shorten(self.names.show(&node.name), width),
            (_, 1) => format!("(1 more below {}%)", self.threshold_percent),
            (_, n) => format!("({n} more below {}%)", self.threshold_percent),
        };
        writeln!(
            f,
            "{:>10}{} {} {:>10}{} {}  {:indent$}{dash}{name}{inline}",
            unit.show(node.total),
            column(node.total_error.as_ref(), node.total, has_errors),
            show_percent(node.total_percent),
            unit.show(node.own),
            column(node.own_error.as_ref(), node.own, has_errors),
            show_percent(node.own_percent),
            "",
            // However deep, the name stays to be seen.
            indent = node
                .indent
                .min(self.max_width.map_or(usize::MAX, |width| width / 3)),
            dash = if node.branch { "- " } else { "" },
        )
    }
}
