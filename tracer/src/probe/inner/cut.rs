//! The choice of points.
//!
//! Instructions are parted into those that run before a call is counted and those that run after it. A way from the
//! first to the second is a point, and nothing leads back: so every call that returns passes exactly one. Of all such
//! partings the one with the most instructions after it is taken, which is unique: if `A` and `B` are partings, so is
//! their union.

use std::collections::BTreeMap;
use std::ops::Range;

use iced_x86::{FlowControl, Instruction, Register};

use super::flow::{Flow, Way, is_return};
use super::returned::AllReturned;
use super::values::{Value, Values};
use super::{Cut, Declined, InnerPoint, Place, Sees, When};
use crate::address::FileOffset;
use crate::probe::Cost;
use crate::probe::code::{cost, text};

/// A way from an instruction: its index, and which of its ways.
type Edge = (usize, usize);

/// Which points may be used. Each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Allowed {
    /// Those that see a whole call, where the kernel emulates the instruction.
    Whole,
    /// Those of calls that can only fail, on any instruction: they are rare.
    Failures,
    /// Those that see the result, the size being noted before.
    Results,
}

/// What the points are chosen by.
pub(super) struct Chooser<'a> {
    pub(super) flow: &'a Flow<'a>,
    pub(super) values: &'a Values,
    pub(super) returned: &'a AllReturned,
    /// The function's own instructions: others are also run by others.
    pub(super) body: Range<u64>,
    /// The value that is the size.
    pub(super) wanted: Value,
    /// Two probes are better than none that sees the result.
    pub(super) must: bool,
}

impl Chooser<'_> {
    pub(super) fn choose(&self) -> Result<Cut, Declined> {
        let mut declined = Declined::SizeLost;
        for allowed in [Allowed::Whole, Allowed::Failures, Allowed::Results] {
            match self.part(allowed) {
                Ok(edges) => return self.cut(&edges),
                Err(why) => declined = why,
            }
        }
        Err(declined)
    }

    fn instruction(&self, at: usize) -> &Instruction {
        &self.flow.nodes[at].instruction
    }

    /// The ways on which calls are counted.
    fn part(&self, allowed: Allowed) -> Result<BTreeMap<Edge, Sees>, Declined> {
        let nodes = &self.flow.nodes;
        let candidates: Vec<Vec<Option<Sees>>> = (0..nodes.len())
            .map(|at| {
                let ways = 0..nodes[at].next.len();
                ways.map(|way| self.candidate((at, way), allowed)).collect()
            })
            .collect();
        let mut counted: Vec<bool> = (0..nodes.len()).map(|at| at != 0).collect();
        let mut changed = true;
        while changed {
            changed = false;
            for (at, node) in nodes.iter().enumerate() {
                for (way, &(next, _)) in node.next.iter().enumerate() {
                    // What never returns may be on either side.
                    if self.returned.before[next].never {
                        continue;
                    }
                    let wrong = match (counted[at], counted[next]) {
                        (false, true) if candidates[at][way].is_none() => next,
                        (true, false) => at,
                        _ => continue,
                    };
                    counted[wrong] = false;
                    changed = true;
                }
            }
        }
        let missed = (0..nodes.len()).find(|&at| is_return(self.instruction(at)) && !counted[at]);
        if let Some(at) = missed {
            let at = FileOffset(self.instruction(at).ip());
            return Err(Declined::NoPoint { at });
        }
        let mut edges = BTreeMap::new();
        for (at, ways) in candidates.iter().enumerate() {
            for (way, &candidate) in ways.iter().enumerate() {
                let (next, _) = nodes[at].next[way];
                if let Some(sees) = candidate.filter(|_| !counted[at] && counted[next]) {
                    edges.insert((at, way), sees);
                }
            }
        }
        Ok(edges)
    }

    /// What a probe sees of the calls that take a way; `None` where that is too little, or the probe too dear.
    fn candidate(&self, edge: Edge, allowed: Allowed) -> Option<Sees> {
        let (at, way) = edge;
        if self.frame_pointer(at).is_none()
            || !self.values.states[at].can_return()
            || self.returned.ways[at][way].never
        {
            return None;
        }
        let is_cheap = self.is_cheap(at);
        let branches = self.flow.nodes[at].next.len() > 1;
        // A conditional jump changes nothing, and on each of its ways more may be known than before it.
        let returned = if branches {
            &self.returned.ways[at][way]
        } else {
            &self.returned.before[at]
        };
        if let Some(result) = returned.register().filter(|_| is_cheap) {
            match self.size(at) {
                Some(size) => return Some(Sees::Call { size, result }),
                None if allowed >= Allowed::Results => return Some(Sees::Result { result }),
                None => {}
            }
        }
        // Not on a jump, which calls that succeed pass as well: each would be stopped there.
        let fails = returned.is_zero && !branches && allowed >= Allowed::Failures;
        (fails && self.may_be_probed(at)).then_some(Sees::Failure)
    }

    fn size(&self, at: usize) -> Option<Place> {
        self.values.states[at].find(self.wanted)
    }

    fn frame_pointer(&self, at: usize) -> Option<Place> {
        self.values.states[at].find(Value::Entry(Register::RBP))
    }

    fn cost(&self, at: usize) -> Cost {
        cost(self.instruction(at), self.flow.nodes[at].bytes)
    }

    /// Whether the kernel emulates an instruction of this function. A call is emulated, too, but its return address
    /// does not get onto a shadow stack.
    fn is_cheap(&self, at: usize) -> bool {
        self.may_be_probed(at) && self.cost(at) == Cost::Emulated
    }

    fn may_be_probed(&self, at: usize) -> bool {
        let instruction = self.instruction(at);
        self.body.contains(&instruction.ip())
            && self.cost(at) != Cost::OptimizedNop
            && !matches!(
                instruction.flow_control(),
                FlowControl::Call | FlowControl::IndirectCall | FlowControl::Return
            )
    }

    fn cut(&self, edges: &BTreeMap<Edge, Sees>) -> Result<Cut, Declined> {
        let sees_whole = |sees: &Sees| matches!(sees, Sees::Call { .. });
        if !self.must && !edges.values().any(sees_whole) {
            return Err(Declined::SizeLost);
        }
        let mut points = Vec::new();
        for (&(at, way), &sees) in edges {
            points.extend(self.point(at, self.when(at, way), sees));
            if matches!(sees, Sees::Result { .. }) {
                let note = self.note((at, way)).ok_or(Declined::SizeLost)?;
                if !points.contains(&note) {
                    points.push(note);
                }
            }
        }
        Ok(Cut {
            points: merge(points),
        })
    }

    fn when(&self, at: usize, way: usize) -> When {
        match self.flow.nodes[at].next[way].1 {
            Way::Only => When::Always,
            Way::Taken => When::Taken,
            Way::NotTaken => When::NotTaken,
        }
    }

    fn point(&self, at: usize, when: When, sees: Sees) -> Option<InnerPoint> {
        let instruction = self.instruction(at);
        Some(InnerPoint {
            point: FileOffset(instruction.ip()),
            instruction: text(instruction),
            cost: self.cost(at),
            when,
            sees,
            frame: u32::try_from(-self.values.states[at].sp).ok()?,
            frame_pointer: self.frame_pointer(at)?,
        })
    }

    /// The last point that all calls pass that take a way, and at which the size is known.
    fn note(&self, result: Edge) -> Option<InnerPoint> {
        let nodes = &self.flow.nodes;
        let mut passed = Vec::new();
        for (at, node) in nodes.iter().enumerate() {
            let Some(size) = self.size(at).filter(|_| self.is_cheap(at)) else {
                continue;
            };
            for way in 0..node.next.len() {
                if !self.reaches(result.0, (at, way)) {
                    passed.push(((at, way), size));
                }
            }
        }
        // The last one can be reached through all others only.
        let is_last = |&&(edge, _): &&(Edge, Place)| {
            passed
                .iter()
                .all(|&(other, _)| other == edge || !self.reaches(edge.0, other))
        };
        let &((at, way), size) = passed.iter().find(is_last)?;
        self.point(at, self.when(at, way), Sees::Request { size })
    }

    /// Whether an instruction can be reached from the entry without taking a way.
    fn reaches(&self, wanted: usize, without: Edge) -> bool {
        let mut seen = vec![false; self.flow.nodes.len()];
        let mut work = vec![0];
        seen[0] = true;
        while let Some(at) = work.pop() {
            if at == wanted {
                return true;
            }
            for (way, &(next, _)) in self.flow.nodes[at].next.iter().enumerate() {
                if without != (at, way) && !seen[next] {
                    seen[next] = true;
                    work.push(next);
                }
            }
        }
        false
    }
}

/// Makes one point of those for both ways of a jump, where they see the same.
fn merge(mut points: Vec<InnerPoint>) -> Vec<InnerPoint> {
    points.sort_by_key(|point| (point.point, point.when));
    let mut merged: Vec<InnerPoint> = Vec::new();
    for point in points {
        match merged.last_mut() {
            Some(last) if last.point == point.point && last.sees == point.sees => {
                last.when = When::Always;
            }
            _ => merged.push(point),
        }
    }
    merged
}
