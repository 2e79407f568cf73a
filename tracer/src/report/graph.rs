//! The call graph of a profile: what `top` and `peek` are made of.
//!
//! By the rules of pprof's `internal/graph/graph.go`, so that the amounts agree: a node is a
//! function name, a stack adds to a node and to an edge at most once, a function's call of itself is
//! no edge.

use std::collections::{HashMap, HashSet};

use crate::profile::{Profile, ValueKind};

/// The graph; nodes with no amounts at all stay in it.
pub(super) struct Graph<'a> {
    pub(super) nodes: Vec<Node<'a>>,
    pub(super) edges: Vec<Edge>,
}

pub(super) struct Node<'a> {
    pub(super) name: &'a str,
    /// Held by the function's own allocations.
    pub(super) flat: i64,
    /// Held by it and all it calls.
    pub(super) cum: i64,
    /// Sums of the squares of the stacks' own errors.
    pub(super) flat_squares: f64,
    pub(super) cum_squares: f64,
}

pub(super) struct Edge {
    pub(super) caller: usize,
    pub(super) callee: usize,
    pub(super) weight: i64,
    /// Sum of the squares of the stacks' own errors.
    pub(super) squares: f64,
    /// Every call along this edge was inlined.
    pub(super) inline: bool,
}

impl<'a> Graph<'a> {
    pub(super) fn new(profile: &'a Profile, by: ValueKind) -> Self {
        Self::build(profile, by, true)
    }

    /// The nodes alone. Edges are most of the work where stacks have little in common.
    pub(super) fn without_edges(profile: &'a Profile, by: ValueKind) -> Self {
        Self::build(profile, by, false)
    }

    fn build(profile: &'a Profile, by: ValueKind, with_edges: bool) -> Self {
        let mut nodes = Vec::new();
        let mut by_name = HashMap::new();
        let node_of: Vec<usize> = profile
            .functions
            .iter()
            .map(|function| {
                *by_name.entry(function.name.as_str()).or_insert_with(|| {
                    nodes.push(Node {
                        name: &function.name,
                        flat: 0,
                        cum: 0,
                        flat_squares: 0.0,
                        cum_squares: 0.0,
                    });
                    nodes.len() - 1
                })
            })
            .collect();

        let mut edges: Vec<Edge> = Vec::new();
        let mut edge_of: HashMap<(usize, usize), usize> = HashMap::new();
        // Of each node the last sample that went through it.
        let mut seen_in = vec![usize::MAX; nodes.len()];
        let mut seen_edges = HashSet::new();
        for (nth, sample) in profile.samples.iter().enumerate() {
            let weight = sample.values.get(by);
            if weight == 0 {
                continue;
            }
            let squares = sample.errors.get(by).map_or(0.0, |own| own * own);
            seen_edges.clear();
            let mut caller = None;
            for frame in profile.frames(sample) {
                let Some(&callee) = node_of.get(frame.function) else {
                    continue;
                };
                if let (Some(node), Some(seen_in)) =
                    (nodes.get_mut(callee), seen_in.get_mut(callee))
                    && *seen_in != nth
                {
                    *seen_in = nth;
                    node.cum = node.cum.saturating_add(weight);
                    node.cum_squares += squares;
                }
                if with_edges
                    && let Some(caller) = caller
                    && caller != callee
                    && seen_edges.insert((caller, callee))
                {
                    let index = *edge_of.entry((caller, callee)).or_insert_with(|| {
                        edges.push(Edge {
                            caller,
                            callee,
                            weight: 0,
                            squares: 0.0,
                            inline: true,
                        });
                        edges.len() - 1
                    });
                    if let Some(edge) = edges.get_mut(index) {
                        edge.weight = edge.weight.saturating_add(weight);
                        edge.squares += squares;
                        edge.inline &= frame.inlined;
                    }
                }
                caller = Some(callee);
            }
            if let Some(node) = caller.and_then(|leaf| nodes.get_mut(leaf)) {
                node.flat = node.flat.saturating_add(weight);
                node.flat_squares += squares;
            }
        }
        Self { nodes, edges }
    }
}
