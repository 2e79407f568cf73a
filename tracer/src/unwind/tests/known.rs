//! Made-up code over made-up stacks of few words, so that near misses are frequent: whatever is
//! recognised, a walk must find.

use proptest::prelude::*;
use tracer_common::limits::LOW_WORDS;
use tracer_common::{
    KNOWN_STACKS, KnownStack, Owner, RbpRule, Recognition, Registers, Rule, RuleKind, SHAPE_SLOTS,
    SLOTS_AT_ONCE, Shape, Step, Trail, rule_ids, slot, step,
};

const OWNER: Owner = Owner {
    version: 3,
    image: 1,
};
const SP: u64 = 0x7fff_0000;
/// Words of a stack.
const WORDS: usize = 20;
/// Functions, which lie at multiples of [`APART`].
const FUNCTIONS: usize = 6;
const APART: u64 = 0x1000;
const MAX_FRAMES: usize = 32;

/// What is known of a function.
#[derive(Clone, Copy, Debug)]
struct Code {
    id: u16,
    rule: Rule,
}

/// Registers and memory.
#[derive(Clone, Debug)]
struct Stack {
    first: Registers,
    words: Vec<u64>,
}

impl Stack {
    fn read(&self, address: u64) -> Option<u64> {
        let offset = address.wrapping_sub(self.first.sp);
        let word = usize::try_from(offset / 8).ok()?;
        self.words
            .get(word)
            .copied()
            .filter(|_| offset.is_multiple_of(8))
    }

    /// The same one elsewhere.
    fn moved(&self, by: u64) -> Self {
        let moved = |word: u64| {
            let is_address = word.wrapping_sub(self.first.sp) < 8 * WORDS as u64;
            if is_address { word + by } else { word }
        };
        Self {
            first: Registers {
                ip: self.first.ip,
                sp: self.first.sp + by,
                bp: moved(self.first.bp),
            },
            words: self.words.iter().copied().map(moved).collect(),
        }
    }
}

/// A walk as the eBPF program makes it, up to the root; with its check, which is 0 where it can't be
/// remembered.
fn walk(code: &[Code], stack: &Stack, shape: &mut Shape) -> Option<(Vec<u64>, u64)> {
    walk_disturbed(code, stack, shape, &mut |_| ())
}

/// The same, where somebody else may write the shape at each frame.
fn walk_disturbed(
    code: &[Code],
    stack: &Stack,
    shape: &mut Shape,
    disturb: &mut impl FnMut(&mut Shape),
) -> Option<(Vec<u64>, u64)> {
    let mut trail = Trail::new(OWNER, stack.first);
    let mut from = stack.first;
    let mut frames = Vec::new();
    while frames.len() < MAX_FRAMES {
        frames.push(from.ip);
        disturb(shape);
        let function = usize::try_from(from.ip / APART).ok()?;
        let Code { id, rule } = code.get(function)?;
        if *id == rule_ids::FRAME_POINTER && from.bp == 0 {
            trail.end_by_bp(shape.into());
            return Some((frames, trail.finish(shape.into())));
        }
        match step(rule, from, &mut |address| stack.read(address)) {
            Step::Caller {
                registers,
                ip_at,
                bp_at,
                ..
            } => {
                trail.climb(shape.into(), rule, (from, registers), (ip_at, bp_at));
                from = registers;
            }
            Step::Root { ip_at } => {
                if ip_at != 0 {
                    trail.end_at_zero(shape.into(), rule, from, ip_at);
                }
                return Some((frames, trail.finish(shape.into())));
            }
            Step::Failed(_) => return None,
        }
    }
    None
}

/// The check by a shape, as the eBPF program forms it.
fn recognise(stack: &Stack, shape: &Shape) -> Option<u64> {
    let mut recognition = Recognition::new(OWNER, stack.first.ip, stack.first.sp);
    for &slot in &shape[1..] {
        if slot == slot::END {
            break;
        }
        recognition.take(slot, stack.read(recognition.address(slot))?);
        if slot & slot::WORD == 0 {
            break;
        }
    }
    Some(recognition.finish(shape[0], stack.first.bp))
}

fn function() -> impl Strategy<Value = u64> {
    (0..FUNCTIONS as u64).prop_map(|function| function * APART)
}

fn word() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => function(),
        3 => (0..WORDS as u64).prop_map(|word| SP + 8 * word),
        1 => Just(0),
    ]
}

fn code() -> impl Strategy<Value = Code> {
    let kind = prop_oneof![
        4 => Just(RuleKind::CfaSp),
        3 => Just(RuleKind::CfaBp),
        1 => Just(RuleKind::CfaDerefSp),
        1 => Just(RuleKind::CfaDerefBp),
        1 => Just(RuleKind::Plt),
        1 => Just(RuleKind::Stop),
    ];
    let rbp = prop_oneof![
        3 => Just(RbpRule::Same),
        3 => Just(RbpRule::AtCfa),
        1 => Just(RbpRule::AtSp),
        1 => Just(RbpRule::AtBp),
        1 => Just(RbpRule::Undefined),
    ];
    (kind, rbp, 1..4_i32, 0..3_i32, any::<bool>()).prop_map(|(kind, rbp, cfa, saved, is_jit)| {
        if is_jit && kind == RuleKind::CfaBp {
            return Code {
                id: rule_ids::FRAME_POINTER,
                rule: Rule::FRAME_POINTER,
            };
        }
        let by_cfa = rbp == RbpRule::AtCfa;
        Code {
            id: rule_ids::FIRST_FREE,
            rule: Rule {
                rbp: rbp as u8,
                cfa_offset: cfa * 8,
                second: if kind == RuleKind::Plt { 11 } else { 8 },
                rbp_offset: if by_cfa { -16 } else { saved * 8 },
                ..Rule::new(kind)
            },
        }
    })
}

fn stack() -> impl Strategy<Value = Stack> {
    (function(), word(), prop::collection::vec(word(), WORDS)).prop_map(|(ip, bp, words)| Stack {
        first: Registers { ip, sp: SP, bp },
        words,
    })
}

/// Other words at some places, or in `rbp`, which is the one behind the last.
fn changes() -> impl Strategy<Value = Vec<(usize, u64)>> {
    prop::collection::vec((0..=WORDS, word()), 0..4)
}

proptest! {
    // Most made-up stacks have no root.
    #![proptest_config(ProptestConfig {
        cases: 2_000,
        max_global_rejects: 100_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_recognised_a_walk_finds(
        code in prop::collection::vec(code(), FUNCTIONS),
        stack in stack(),
        changes in changes(),
        by in prop_oneof![Just(0), (0..16_u64).prop_map(|words| words * 8)],
    ) {
        let mut shape = [0; SHAPE_SLOTS + SLOTS_AT_ONCE];
        let Some((frames, check)) = walk(&code, &stack, &mut shape) else {
            return Err(TestCaseError::reject("no root"));
        };
        prop_assume!(check != 0);
        prop_assert_eq!(recognise(&stack, &shape), Some(check));
        prop_assert_eq!(recognise(&stack.moved(by), &shape), Some(check), "moved by {}", by);
        for other in [slot::END, slot::ZERO, slot::RELATIVE, slot::WORD | 1] {
            let disturbed = walk_disturbed(&code, &stack, &mut [0; _], &mut |shape| shape.fill(other));
            prop_assert_eq!(disturbed.map(|(_, check)| check), Some(check));
        }

        let mut other = stack;
        for (place, word) in changes {
            match other.words.get_mut(place) {
                Some(there) => *there = word,
                None => other.first.bp = word,
            }
        }
        // Not what it was moved by: addresses on it mean other words then.
        other.first.sp -= by;
        if recognise(&other, &shape) == Some(check) {
            let found = walk(&code, &other, &mut shape);
            prop_assert_eq!(found, Some((frames, check)));
        }
    }
}

/// The return addresses count and what leads to them, and nothing else does.
#[test]
fn what_counts() {
    let plain = Code {
        id: rule_ids::FIRST_FREE,
        rule: Rule {
            cfa_offset: 16,
            ..Rule::new(RuleKind::CfaSp)
        },
    };
    let code = [
        plain,
        Code {
            id: rule_ids::FIRST_FREE,
            rule: Rule {
                ..Rule::FRAME_POINTER
            },
        },
        Code {
            id: rule_ids::STOP,
            rule: Rule::STOP,
        },
    ];
    // A frame by `rsp`, one by `rbp`, the first.
    let stack = Stack {
        first: Registers {
            ip: 0,
            sp: SP,
            bp: SP + 24,
        },
        words: vec![7, APART, 7, 7, 2 * APART, 7],
    };
    let mut shape = [0; SHAPE_SLOTS + SLOTS_AT_ONCE];
    let (frames, check) = walk(&code, &stack, &mut shape).unwrap_or_default();
    assert_eq!(frames, [0, APART, 2 * APART]);
    let wanted = [
        (slot::RELATIVE & !slot::PLACE) | slot::LOW,
        slot::WORD | 1,
        slot::WORD | 4,
        slot::END,
    ];
    assert_eq!(shape[..4], wanted);
    for place in 0..stack.words.len() {
        let mut other = stack.clone();
        other.words[place] += 8;
        let counts = place == 1 || place == 4;
        assert_eq!(
            recognise(&other, &shape) != Some(check),
            counts,
            "word {place}"
        );
    }
    let mut other = stack.clone();
    other.first.bp += 8;
    assert_ne!(recognise(&other, &shape), Some(check));
    let mut other = stack;
    other.first.ip += 1;
    assert_ne!(recognise(&other, &shape), Some(check));
}

#[test]
fn a_stack_says_whether_all_its_words_are_low() {
    for (last, low) in [(LOW_WORDS - 1, slot::LOW), (LOW_WORDS, 0)] {
        let rule = Rule {
            cfa_offset: (last as i32 + 1) * 8,
            ..Rule::new(RuleKind::CfaSp)
        };
        let code = [
            Code {
                id: rule_ids::FIRST_FREE,
                rule,
            },
            Code {
                id: rule_ids::STOP,
                rule: Rule::STOP,
            },
        ];
        let mut words = vec![7; last + 1];
        words[last] = APART;
        let stack = Stack {
            first: Registers {
                ip: 0,
                sp: SP,
                bp: 0,
            },
            words,
        };
        let mut shape = [0; SHAPE_SLOTS + SLOTS_AT_ONCE];
        let (frames, check) = walk(&code, &stack, &mut shape).unwrap_or_default();
        assert_eq!(frames, [0, APART]);
        assert_eq!(shape[0], low, "word {last}");
        assert_eq!(recognise(&stack, &shape), Some(check));
    }
}

#[test]
fn too_many_slots_are_not_remembered() {
    let rule = Rule {
        cfa_offset: 8,
        ..Rule::new(RuleKind::CfaSp)
    };
    let mut shape = [0; SHAPE_SLOTS + SLOTS_AT_ONCE];
    let mut from = Registers {
        ip: APART,
        sp: SP,
        bp: 0,
    };
    let mut trail = Trail::new(OWNER, from);
    for frames in 1..2 * SHAPE_SLOTS {
        let to = Registers {
            sp: from.sp + 8,
            ..from
        };
        trail.climb((&mut shape).into(), &rule, (from, to), (from.sp, 0));
        from = to;
        let fits = frames < SHAPE_SLOTS - 1;
        assert_eq!(
            trail.finish((&mut shape).into()) != 0,
            fits,
            "{frames} frames"
        );
    }
    // Nor is one whose frames lie too far apart.
    let far = Registers {
        sp: SP + (1 << 17),
        ..from
    };
    let first = Registers { sp: SP, ..from };
    let mut trail = Trail::new(OWNER, first);
    trail.climb((&mut shape).into(), &rule, (first, far), (far.sp - 8, 0));
    assert_ne!(trail.finish((&mut shape).into()), 0);
    trail.climb((&mut shape).into(), &rule, (far, far), (far.sp, 0));
    assert_eq!(trail.finish((&mut shape).into()), 0);
}

#[test]
fn an_entry_is_its_stacks_or_nobodys() {
    let (one, other) = (
        KnownStack::new(0x1234_5678_9abc_def0, 7),
        KnownStack::new(1 << 40, 8),
    );
    assert_eq!(one.index_of(0x1234_5678_9abc_def0), Some(7));
    assert_eq!(one.index_of(1 << 40), None);
    for torn in [
        KnownStack {
            index: other.index,
            ..one
        },
        KnownStack {
            check: other.check,
            ..one
        },
        KnownStack::default(),
    ] {
        assert_eq!(torn.index_of(0x1234_5678_9abc_def0), None);
        assert_eq!(torn.index_of(1 << 40), None);
    }
    assert_eq!(KnownStack::place(u64::MAX), KNOWN_STACKS - 1);
}
