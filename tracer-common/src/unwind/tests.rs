//! Every kind of rule over a few words of stack.

use super::{RbpRule, Registers, Rule, RuleKind, Step, StepFailure, step};

const SP: u64 = 0x7000;
const BP: u64 = 0x7100;
const START: Registers = Registers {
    ip: 0x1234,
    sp: SP,
    bp: BP,
};

/// A step over a stack of which only these words can be read.
fn step_over(rule: Rule, start: Registers, words: &[(u64, u64)]) -> Step {
    step(&rule, start, &mut |address| {
        let found = words.iter().find(|(at, _)| *at == address);
        found.map(|(_, value)| *value)
    })
}

fn caller(ip: u64, sp: u64, bp: u64, ip_at: u64, bp_at: u64) -> Step {
    Step::Caller {
        registers: Registers { ip, sp, bp },
        is_return_address: true,
        ip_at,
        bp_at,
    }
}

#[test]
fn nothing_known_is_all_zero() {
    assert_eq!(Rule::default(), Rule::NONE);
    assert_eq!(Rule::NONE.kind, RuleKind::None as u8);
}

#[test]
fn kinds_survive_a_round_trip() {
    for value in 0..=u8::MAX {
        match RuleKind::from_u8(value) {
            Some(kind) => assert_eq!(kind as u8, value),
            None => assert!(value > RuleKind::Switched as u8),
        }
    }
}

#[test]
fn the_cfa_by_rsp() {
    let rule = Rule {
        cfa_offset: 0x20,
        ..Rule::new(RuleKind::CfaSp)
    };
    let found = step_over(rule, START, &[(SP + 0x18, 0xaaaa)]);
    assert_eq!(found, caller(0xaaaa, SP + 0x20, BP, SP + 0x18, 0));
}

#[test]
fn the_cfa_by_rbp_with_rbp_saved_below_the_return_address() {
    let rule = Rule {
        cfa_offset: 16,
        rbp: RbpRule::AtCfa as u8,
        rbp_offset: -16,
        ..Rule::new(RuleKind::CfaBp)
    };
    let found = step_over(rule, START, &[(BP, 0x7200), (BP + 8, 0xaaaa)]);
    assert_eq!(found, caller(0xaaaa, BP + 16, 0x7200, BP + 8, BP));
}

#[test]
fn the_return_address_need_not_be_below_the_cfa() {
    let rule = Rule {
        cfa_offset: 0x20,
        ra_offset: -24,
        ..Rule::new(RuleKind::CfaSp)
    };
    let found = step_over(rule, START, &[(SP + 8, 0xaaaa)]);
    assert_eq!(found, caller(0xaaaa, SP + 0x20, BP, SP + 8, 0));
}

#[test]
fn a_lost_rbp_is_no_frame() {
    let rule = Rule {
        cfa_offset: 8,
        rbp: RbpRule::Undefined as u8,
        ..Rule::new(RuleKind::CfaSp)
    };
    let found = step_over(rule, START, &[(SP, 0xaaaa)]);
    assert_eq!(found, caller(0xaaaa, SP + 8, 0, SP, 0));
}

#[test]
fn the_cfa_in_memory_by_rbp() {
    // What GCC says of a function that has realigned its stack: `*(rbp - 8)`, rbp at `*rbp`.
    let rule = Rule {
        cfa_offset: -8,
        rbp: RbpRule::AtBp as u8,
        ..Rule::new(RuleKind::CfaDerefBp)
    };
    let words = [(BP - 8, 0x7300), (0x72f8, 0xaaaa), (BP, 0x7400)];
    let found = step_over(rule, START, &words);
    assert_eq!(found, caller(0xaaaa, 0x7300, 0x7400, 0x72f8, BP));
}

#[test]
fn the_cfa_in_memory_by_rsp() {
    let rule = Rule {
        cfa_offset: 0x48,
        second: 8,
        rbp: RbpRule::AtCfa as u8,
        rbp_offset: -24,
        ..Rule::new(RuleKind::CfaDerefSp)
    };
    let words = [(SP + 0x48, 0x7300), (0x7300, 0xaaaa), (0x72f0, 0x7400)];
    let found = step_over(rule, START, &words);
    assert_eq!(found, caller(0xaaaa, 0x7308, 0x7400, 0x7300, 0x72f0));
}

#[test]
fn a_saved_rbp_by_rsp() {
    let rule = Rule {
        cfa_offset: 0x20,
        rbp: RbpRule::AtSp as u8,
        rbp_offset: 8,
        ..Rule::new(RuleKind::CfaSp)
    };
    let found = step_over(rule, START, &[(SP + 0x18, 0xaaaa), (SP + 8, 0x7400)]);
    assert_eq!(found, caller(0xaaaa, SP + 0x20, 0x7400, SP + 0x18, SP + 8));
}

#[test]
fn a_linkage_stub_has_pushed_or_not() {
    let rule = Rule {
        cfa_offset: 8,
        second: 11,
        ..Rule::new(RuleKind::Plt)
    };
    let words = [(SP, 0xaaaa), (SP + 8, 0xbbbb)];
    let at = |ip| step_over(rule, Registers { ip, ..START }, &words);
    assert_eq!(at(0x102a), caller(0xaaaa, SP + 8, BP, SP, 0));
    assert_eq!(at(0x102b), caller(0xbbbb, SP + 16, BP, SP + 8, 0));
}

#[test]
fn an_interrupted_function_may_lie_below_and_was_not_called() {
    let words = [(SP + 120, 0x6100), (SP + 160, 0x6000), (SP + 168, 0xaaaa)];
    let found = step_over(Rule::SIGNAL, START, &words);
    let interrupted = Step::Caller {
        registers: Registers {
            ip: 0xaaaa,
            sp: 0x6000,
            bp: 0x6100,
        },
        is_return_address: false,
        ip_at: SP + 168,
        bp_at: SP + 120,
    };
    assert_eq!(found, interrupted);
}

#[test]
fn a_return_address_belongs_to_the_instruction_before() {
    assert_eq!(START.rule_address(true), 0x1233);
    assert_eq!(START.rule_address(false), 0x1234);
}

#[test]
fn stacks_end_where_the_rule_says_so_or_at_a_null_return_address() {
    let stop = Rule::new(RuleKind::Stop);
    assert_eq!(step_over(stop, START, &[]), Step::Root { ip_at: 0 });
    let call = Rule {
        cfa_offset: 8,
        ..Rule::new(RuleKind::CfaSp)
    };
    assert_eq!(step_over(call, START, &[(SP, 0)]), Step::Root { ip_at: SP });
}

#[test]
fn every_failure_has_its_reason() {
    let fails = |rule, words: &[(u64, u64)], reason| {
        assert_eq!(step_over(rule, START, words), Step::Failed(reason));
    };
    let sp = |cfa_offset| Rule {
        cfa_offset,
        ..Rule::new(RuleKind::CfaSp)
    };
    fails(Rule::NONE, &[], StepFailure::NoRule);
    let unsupported = Rule::new(RuleKind::Unsupported);
    fails(unsupported, &[], StepFailure::UnsupportedRule);
    let unknown = Rule { kind: 200, ..sp(8) };
    fails(unknown, &[(SP, 1)], StepFailure::UnsupportedRule);
    fails(sp(8), &[], StepFailure::Unreadable);
    let saved = Rule {
        rbp: RbpRule::AtCfa as u8,
        ..sp(8)
    };
    fails(saved, &[(SP, 1)], StepFailure::Unreadable);
    let deref = Rule::new(RuleKind::CfaDerefSp);
    fails(deref, &[], StepFailure::Unreadable);
    fails(Rule::SIGNAL, &[], StepFailure::Unreadable);
    fails(Rule::SIGNAL, &[(SP + 160, 0x6000)], StepFailure::Unreadable);
    fails(sp(0), &[(SP - 8, 1)], StepFailure::NotRising);
    fails(sp(-8), &[(SP - 16, 1)], StepFailure::NotRising);
    fails(sp(12), &[(SP + 4, 1)], StepFailure::Misaligned);
}

#[test]
fn addresses_at_the_edge_wrap_instead_of_panicking() {
    for kind in 0..=RuleKind::Switched as u8 {
        for rbp in 0..=RbpRule::AtSp as u8 {
            for offset in [i32::MIN, -1, 0, 1, i32::MAX] {
                let rule = Rule {
                    kind,
                    rbp,
                    ra_offset: i16::MIN,
                    cfa_offset: offset,
                    second: offset,
                    rbp_offset: offset,
                };
                for edge in [0, u64::MAX] {
                    let registers = Registers {
                        ip: edge,
                        sp: edge,
                        bp: edge,
                    };
                    let found = step(&rule, registers, &mut |_| Some(edge));
                    if let Step::Caller { registers, .. } = found {
                        assert_eq!(registers.sp % 8, 0);
                    }
                }
            }
        }
    }
}
