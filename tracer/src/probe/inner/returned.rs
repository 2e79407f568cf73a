//! Where the value that a function will return already is, at each of its instructions: followed back from the
//! returns.

use std::collections::BTreeSet;

use iced_x86::{ConditionCode, Register};

use super::effect::{Effect, Effects, Location, Overwritten, index};
use super::flow::{Flow, Way, is_return};
use super::values::{State, Values};

/// The places that hold what will be returned, whichever way is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Returned {
    /// Nothing is returned from here on: any place does.
    pub(super) never: bool,
    /// It is zero.
    pub(super) is_zero: bool,
    places: BTreeSet<Location>,
}

impl Returned {
    fn never() -> Self {
        Self {
            never: true,
            ..Self::default()
        }
    }

    fn only(register: Register) -> Self {
        Self {
            places: BTreeSet::from([Location::Register(register)]),
            ..Self::default()
        }
    }

    /// A register that holds it.
    pub(super) fn register(&self) -> Option<Register> {
        self.places.iter().find_map(|&place| match place {
            Location::Register(register) => Some(register),
            Location::Slot(_) => None,
        })
    }

    /// Keeps what is so in both.
    fn meet(&mut self, other: &Self) {
        if other.never {
            return;
        }
        if self.never {
            *self = other.clone();
            return;
        }
        self.is_zero &= other.is_zero;
        self.places.retain(|place| other.places.contains(place));
    }

    /// What was so before an instruction that has this effect.
    fn before(&self, state: &State, effect: &Effect) -> Self {
        if self.never {
            return self.clone();
        }
        let mut before = self.clone();
        let held = |place| self.places.contains(&place);
        before.places.retain(|&place| match place {
            Location::Register(register) => !effect.written.contains(&register),
            Location::Slot(slot) => {
                let is_there = match effect.overwritten {
                    Overwritten::Nothing => true,
                    Overwritten::Bytes(at, bytes) => slot + 8 <= at || slot >= at + bytes,
                    Overwritten::All => false,
                };
                is_there && effect.lost_below.is_none_or(|below| slot >= below)
            }
        });
        if let Some((from, to)) = effect.copied
            && held(to)
            && state.is_place(from)
        {
            before.places.insert(from);
        }
        if let Some(register) = effect.zeroed
            && held(Location::Register(register))
        {
            before.is_zero = true;
        }
        before
    }
}

impl State {
    /// Whether a place may be relied on: slots below the stack pointer are others'.
    fn is_place(&self, location: Location) -> bool {
        match location {
            Location::Register(register) => index(register).is_some(),
            Location::Slot(at) => at >= self.sp,
        }
    }
}

/// What is so at each instruction.
#[derive(Debug)]
pub(super) struct AllReturned {
    /// Before it runs.
    pub(super) before: Vec<Returned>,
    /// On each way from it, in the order of its ways.
    pub(super) ways: Vec<Vec<Returned>>,
}

/// Follows a function back.
pub(super) fn follow(flow: &Flow<'_>, values: &Values) -> AllReturned {
    let mut effects = Effects::new(values.escapes);
    let before = flow.before();
    let mut known = vec![Returned::never(); flow.nodes.len()];
    let mut work: Vec<usize> = (0..flow.nodes.len()).collect();
    while let Some(at) = work.pop() {
        let instruction = &flow.nodes[at].instruction;
        let mut after = if is_return(instruction) {
            Returned::only(Register::RAX)
        } else {
            Returned::never()
        };
        for way in ways(flow, values, &known, at) {
            after.meet(&way);
        }
        let state = &values.states[at];
        let now = effects
            .of(state, instruction)
            .map_or_else(Returned::default, |effect| after.before(state, &effect));
        if known[at] != now {
            known[at] = now;
            work.extend(before[at].iter().map(|&(from, _)| from));
        }
    }
    let ways = (0..flow.nodes.len())
        .map(|at| ways(flow, values, &known, at).collect())
        .collect();
    AllReturned {
        before: known,
        ways,
    }
}

fn ways<'a>(
    flow: &'a Flow<'_>,
    values: &'a Values,
    known: &'a [Returned],
    at: usize,
) -> impl Iterator<Item = Returned> + 'a {
    let node = &flow.nodes[at];
    node.next.iter().map(move |&(next, way)| {
        let mut after = known[next].clone();
        // On the way on which a register is known to be zero it holds what is returned, where that is zero.
        let is_zero = match node.instruction.condition_code() {
            ConditionCode::e => way == Way::Taken,
            ConditionCode::ne => way == Way::NotTaken,
            _ => false,
        };
        if let Some(register) = values.states[at].zero.filter(|_| is_zero && after.is_zero) {
            after.places.insert(Location::Register(register));
        }
        after
    })
}
