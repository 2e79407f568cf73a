//! A flame graph as data: the same frames under the same names as in the pictures, with all four values.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::KINDS;
use crate::export::flame::Stacks;
use crate::profile::{FrameRules, Profile, prune};
use crate::report::Style;
use crate::sites::Kind;

/// Frames at most; a browser draws some thousands.
const MOST: usize = 20_000;
/// A frame below this share of every total is not drawn.
const LEAST: f64 = 0.000_25;

/// A flame graph. Flat, in the order of a walk from the root down: a frame's children are those after it whose depth is
/// one more, up to the next whose depth is not greater.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Flame {
    /// The names that frames have.
    pub names: Vec<FrameName>,
    /// Callers above each frame.
    pub depths: Vec<usize>,
    /// Its name's index in [`Self::names`].
    pub frames: Vec<usize>,
    /// What it and everything below it holds, of each of [`KINDS`].
    pub values: Vec<[i64; 4]>,
    /// Frames that are too small to be drawn.
    pub left_out: usize,
}

/// How a frame is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FrameName {
    /// For people.
    pub name: String,
    /// As in the profile, where that is another.
    pub full: Option<String>,
    /// Whose code it is.
    pub kind: Option<Kind>,
}

#[derive(Default)]
struct Node {
    /// By label, so that the order stays the same when amounts change.
    children: BTreeMap<String, usize>,
    values: [i64; 4],
}

impl Flame {
    /// Of a profile. What holds less than nothing, as estimates may, has no width.
    #[must_use]
    pub fn of(profile: &Profile) -> Self {
        let profile = prune(profile, FrameRules::allocators());
        let mut stacks = Stacks::new(&profile, &Style::default());
        let mut nodes = vec![Node::default()];
        for sample in &profile.samples {
            let values = KINDS.map(|kind| sample.values.get(kind).max(0));
            if values == [0; 4] {
                continue;
            }
            let mut at = 0;
            add(&mut nodes, at, values);
            for label in stacks.frames(sample) {
                let next = nodes.len();
                let Some(node) = nodes.get_mut(at) else { break };
                at = *node.children.entry(label).or_insert(next);
                if at == next {
                    nodes.push(Node::default());
                }
                add(&mut nodes, at, values);
            }
        }
        Self::drawn(&nodes, &stacks.into_labels())
    }

    fn drawn(nodes: &[Node], labels: &HashMap<String, (Kind, Option<String>)>) -> Self {
        let totals = nodes.first().map_or([0; 4], |root| root.values);
        let mut share = LEAST;
        let is_seen = |node: &Node, share: f64| {
            let mut parts = node.values.iter().zip(totals);
            parts.any(|(&part, total)| part > 0 && part as f64 >= total as f64 * share)
        };
        while nodes.iter().filter(|node| is_seen(node, share)).count() > MOST {
            share *= 2.0;
        }
        let mut flame = Self::default();
        let mut known: HashMap<&str, usize> = HashMap::new();
        // What is still to be walked, the next one last.
        let mut pending: Vec<(usize, &str, usize)> = Vec::new();
        let mut children = nodes.first().map(|root| (root, 0));
        loop {
            if let Some((node, depth)) = children.take() {
                let rows = node.children.iter().rev();
                pending.extend(rows.map(|(label, &child)| (child, label.as_str(), depth)));
            }
            let Some((index, label, depth)) = pending.pop() else {
                break;
            };
            let Some(node) = nodes.get(index).filter(|node| is_seen(node, share)) else {
                flame.left_out += 1;
                continue;
            };
            let name = *known.entry(label).or_insert_with(|| {
                let of_label = labels.get(label);
                flame.names.push(FrameName {
                    name: label.to_owned(),
                    full: of_label.and_then(|(_, full)| full.clone()),
                    kind: of_label.map(|(kind, _)| *kind),
                });
                flame.names.len() - 1
            });
            flame.depths.push(depth);
            flame.frames.push(name);
            flame.values.push(node.values);
            children = Some((node, depth + 1));
        }
        flame
    }
}

fn add(nodes: &mut [Node], at: usize, values: [i64; 4]) {
    if let Some(node) = nodes.get_mut(at) {
        for (sum, value) in node.values.iter_mut().zip(values) {
            *sum = sum.saturating_add(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::example::counter_service;

    #[test]
    fn a_parent_holds_what_its_children_do() {
        let profile = counter_service();
        let flame = Flame::of(&profile);
        assert_eq!(flame.depths.len(), flame.values.len());
        assert_eq!(flame.depths.len(), flame.frames.len());
        assert_eq!(flame.depths.first(), Some(&0));
        for (slot, kind) in KINDS.into_iter().enumerate() {
            let roots = flame.depths.iter().zip(&flame.values);
            let roots = roots.filter(|(depth, _)| **depth == 0);
            let sum: i64 = roots.map(|(_, values)| values[slot]).sum();
            let total: i64 = profile.samples.iter().map(|one| one.values.get(kind)).sum();
            assert_eq!(sum, total, "{kind:?}");
        }
        for (index, depth) in flame.depths.iter().enumerate() {
            let below = flame.depths.iter().zip(&flame.values).skip(index + 1);
            let below = below.take_while(|(other, _)| *other > depth);
            let children = below.filter(|(other, _)| **other == depth + 1);
            let sum: i64 = children.map(|(_, values)| values[0]).sum();
            assert!(sum <= flame.values[index][0]);
        }
        let is_named = |name: &FrameName| !name.name.is_empty();
        assert!(flame.names.iter().all(is_named));
    }

    #[test]
    fn nothing_is_nothing() {
        assert_eq!(Flame::of(&Profile::default()), Flame::default());
    }

    #[test]
    fn what_is_too_small_is_counted() {
        let mut profile = counter_service();
        for sample in &mut profile.samples {
            sample.values.inuse_space *= 1_000_000;
        }
        let mut tiny = profile.samples[1].clone();
        tiny.values = crate::profile::Values {
            inuse_space: 1,
            ..tiny.values.minus(tiny.values)
        };
        tiny.locations.truncate(1);
        profile.samples.push(tiny);
        assert_eq!(Flame::of(&profile).left_out, 1);
    }
}
