//! Prologues, real and invented, and what the planner makes of them.

use iced_x86::{Decoder, DecoderOptions, FlowControl};
use proptest::prelude::*;
use tracer_common::AllocatorFn;
use tracer_common::AllocatorFn::{Calloc, Free, Malloc, PosixMemalign, Realloc, Reallocarray};
use tracer_common::IoFn;

use super::*;

const ENTRY: u64 = 0x1000;

const ENDBR64: &[u8] = &[0xf3, 0x0f, 0x1e, 0xfa];
const PUSH_RBP: &[u8] = &[0x55];
const PUSH_R12: &[u8] = &[0x41, 0x54];
const RET: &[u8] = &[0xc3];
const TEST_RDI: &[u8] = &[0x48, 0x85, 0xff]; // test rdi, rdi
const MOV_RBX_RDI: &[u8] = &[0x48, 0x89, 0xfb]; // mov rbx, rdi
const MOV_RDI_RSI: &[u8] = &[0x48, 0x89, 0xf7]; // mov rdi, rsi
const SUB_RSP: &[u8] = &[0x48, 0x83, 0xec, 0x18]; // sub rsp, 0x18
const CMP_BYTE: &[u8] = &[0x80, 0x3d, 1, 2, 3, 0, 0]; // cmp byte ptr [rip+0x30201], 0
const NOP5: &[u8] = &[0x0f, 0x1f, 0x44, 0, 0];
const CALL: &[u8] = &[0xe8, 0, 1, 0, 0];
/// Jumps to 16 bytes behind themselves.
const JE: &[u8] = &[0x74, 0x10];
const JNE: &[u8] = &[0x75, 0x10];
const JMP: &[u8] = &[0xeb, 0x10];

fn body(function: AllocatorFn, parts: &[&[u8]]) -> FunctionCode {
    FunctionCode {
        function,
        entry: FileOffset(ENTRY),
        code: parts.concat(),
    }
}

fn plan_one(function: FunctionCode) -> Probe {
    let plan = AttachPlan::new(&[function]);
    let mut probes: Vec<_> = plan.probes().cloned().collect();
    assert_eq!(probes.len(), 1);
    probes.remove(0)
}

/// Where the probe lies, in bytes behind the entry, its cost, and why.
fn placed(function: AllocatorFn, parts: &[&[u8]]) -> (u64, Cost, Reason) {
    let probe = plan_one(body(function, parts));
    (probe.point.0 - ENTRY, probe.cost, probe.reason)
}

fn entry_because(obstacle: Obstacle) -> (u64, Cost, Reason) {
    (0, Cost::SingleStepped, Reason::NothingCheaper(obstacle))
}

#[test]
fn a_push_at_the_entry_is_taken() {
    for push in [PUSH_RBP, PUSH_R12] {
        let found = placed(Malloc, &[push, MOV_RBX_RDI, RET]);
        assert_eq!(found, (0, Cost::Emulated, Reason::CheapEntry));
    }
}

#[test]
fn endbr64_test_mov_and_cmp_are_passed() {
    let expected = |at| (at, Cost::Emulated, Reason::FirstEmulated);
    assert_eq!(placed(Malloc, &[ENDBR64, PUSH_RBP, RET]), expected(4));
    assert_eq!(
        placed(Malloc, &[ENDBR64, TEST_RDI, MOV_RBX_RDI, PUSH_R12, RET]),
        expected(10)
    );
    // glibc's posix_memalign.
    assert_eq!(placed(PosixMemalign, &[CMP_BYTE, PUSH_R12]), expected(7));
}

#[test]
fn jumps_and_short_nops_are_taken() {
    let entry = (0, Cost::Emulated, Reason::CheapEntry);
    // musl's malloc.
    assert_eq!(placed(Malloc, &[JMP]), entry);
    assert_eq!(placed(Malloc, &[&[0xe9, 0, 0x10, 0, 0]]), entry);
    assert_eq!(placed(Malloc, &[&[0x90], RET]), entry);
    assert_eq!(placed(Malloc, &[&[0x66, 0x90], RET]), entry);
    // jemalloc's malloc: cmp rdi, 0x1000; ja, near.
    let near = [0x0f, 0x87, 0x93, 0, 0, 0];
    let compare = [0x48, 0x81, 0xff, 0, 0x10, 0, 0];
    let found = placed(Malloc, &[&compare, &near, RET]);
    assert_eq!(found, (7, Cost::Emulated, Reason::FirstEmulated));
}

#[test]
fn what_only_looks_cheap_is_not_taken() {
    let costs = |code: &[u8]| placed(Malloc, &[code, RET]).1;
    assert_eq!(costs(&[0x41, 0x90]), Cost::SingleStepped, "xchg r8, rax");
    assert_eq!(costs(&[0xf3, 0x90]), Cost::SingleStepped, "pause");
    assert_eq!(costs(&[0x6a, 1]), Cost::SingleStepped, "push 1");
    assert_eq!(costs(&[0xff, 0x37]), Cost::SingleStepped, "push [rdi]");
    assert_eq!(costs(&[0x48, 0x55]), Cost::SingleStepped, "push with REX.W");
    assert_eq!(costs(&[0xff, 0xe0]), Cost::SingleStepped, "jmp rax");
    assert_eq!(costs(&[0xe3, 0x10]), Cost::SingleStepped, "jrcxz");
    assert_eq!(costs(&[0xe2, 0x10]), Cost::SingleStepped, "loop");
    assert_eq!(
        costs(&[0x66, 0x0f, 0x84, 0, 1, 0, 0]),
        Cost::SingleStepped,
        "je with an operand size prefix"
    );
}

#[test]
fn five_byte_nops_are_never_chosen() {
    let found = placed(Malloc, &[ENDBR64, NOP5, RET]);
    assert_eq!(
        found,
        entry_because(Obstacle::LeadsAway { at: 9 }),
        "in the middle"
    );
    let found = placed(Malloc, &[NOP5, PUSH_RBP, RET]);
    assert_eq!(found, (5, Cost::Emulated, Reason::FirstEmulated));
    // As the entry it is what it is.
    let found = placed(Malloc, &[NOP5, SUB_RSP, PUSH_RBP, RET]);
    let moved = Obstacle::StackPointerMoved { at: 5 };
    assert_eq!(
        found,
        (0, Cost::OptimizedNop, Reason::NothingCheaper(moved))
    );
}

#[test]
fn calls_are_never_chosen_nor_passed() {
    let found = placed(Free, &[MOV_RBX_RDI, CALL, PUSH_RBP, RET]);
    assert_eq!(found, entry_because(Obstacle::LeadsAway { at: 3 }));
    let indirect = [0xff, 0xd0]; // call rax
    let found = placed(Free, &[MOV_RBX_RDI, &indirect, PUSH_RBP, RET]);
    assert_eq!(found, entry_because(Obstacle::LeadsAway { at: 3 }));
}

#[test]
fn a_call_at_the_entry_is_said_to_need_no_shadow_stack() {
    let plan = AttachPlan::new(&[body(Malloc, &[CALL, PUSH_RBP, RET])]);
    assert!(plan.needs_no_shadow_stack());
    assert_eq!(plan.allocating[0].reason, Reason::CallAtEntry);
    assert_eq!(plan.allocating[0].point, FileOffset(ENTRY));
    let plan = AttachPlan::new(&[body(Malloc, &[MOV_RBX_RDI, CALL])]);
    assert!(!plan.needs_no_shadow_stack());
}

#[test]
fn free_is_probed_past_the_null_check() {
    let past = |at| (at, Cost::Emulated, Reason::PastNullCheck);
    let compare: &[u8] = &[0x48, 0x83, 0xff, 0]; // cmp rdi, 0
    let near: &[u8] = &[0x0f, 0x84, 0xbf, 0, 0, 0]; // je, near: glibc's free
    assert_eq!(placed(Free, &[TEST_RDI, near, PUSH_RBP, RET]), past(9));
    assert_eq!(placed(Free, &[TEST_RDI, JE, PUSH_RBP, RET]), past(5));
    assert_eq!(placed(Free, &[compare, JE, PUSH_RBP, RET]), past(6));
    // Also where there would be something cheap before it, and with a mov between.
    assert_eq!(
        placed(Free, &[PUSH_RBP, TEST_RDI, MOV_RBX_RDI, JE, PUSH_R12]),
        past(9)
    );
    // The jump itself where nothing cheap follows: mimalloc's free.
    let found = placed(Free, &[MOV_RBX_RDI, TEST_RDI, JE, MOV_RDI_RSI, PUSH_RBP]);
    assert_eq!(found, (6, Cost::Emulated, Reason::FirstEmulated));
}

#[test]
fn only_a_proven_null_check_is_passed() {
    // In each of them a block that must be counted may take the jump.
    let cases: &[(&str, &[&[u8]], u64)] = &[
        ("jne", &[TEST_RDI, JNE, PUSH_RBP], 3),
        (
            "half of the pointer",
            &[&[0x85, 0xff], JE, PUSH_RBP], // test edi, edi
            2,
        ),
        (
            "compared with 1",
            &[&[0x48, 0x83, 0xff, 1], JE, PUSH_RBP],
            4,
        ),
        (
            "another register",
            &[&[0x48, 0x85, 0xf6], JE, PUSH_RBP], // test rsi, rsi
            3,
        ),
        ("no test at all", &[JE, PUSH_RBP], 0),
        (
            "flags changed since",
            &[TEST_RDI, &[0x48, 0xff, 0xc0], JE, PUSH_RBP], // inc rax
            6,
        ),
        (
            "another condition",
            &[TEST_RDI, &[0x78, 0x10], PUSH_RBP], // js
            3,
        ),
    ];
    for &(name, parts, at) in cases {
        let (point, cost, reason) = placed(Free, parts);
        assert_eq!((point, cost), (at, Cost::Emulated), "{name}");
        assert_ne!(reason, Reason::PastNullCheck, "{name}");
    }
}

#[test]
fn realloc_of_null_is_an_allocation() {
    let found = placed(Realloc, &[TEST_RDI, JE, PUSH_RBP, RET]);
    assert_eq!(found, (3, Cost::Emulated, Reason::FirstEmulated));
}

#[test]
fn a_return_probe_needs_the_return_address_on_top() {
    let found = placed(Malloc, &[SUB_RSP, PUSH_RBP, RET]);
    assert_eq!(
        found,
        entry_because(Obstacle::StackPointerMoved { at: 0 }),
        "allocating"
    );
    let found = placed(Free, &[SUB_RSP, PUSH_RBP, RET]);
    assert_eq!(
        found,
        (4, Cost::Emulated, Reason::FirstEmulated),
        "freeing functions have no return probe"
    );
}

#[test]
fn the_arguments_must_be_intact() {
    let clobbers: &[(&str, &[u8])] = &[
        ("mov rdi, rsi", MOV_RDI_RSI),
        ("xor edi, edi", &[0x31, 0xff]),
        ("mov dil, 1", &[0x40, 0xb7, 1]),
        ("cmove rdi, rsi", &[0x48, 0x0f, 0x44, 0xfe]),
        ("pop rdi", &[0x5f]),
    ];
    for &(name, clobber) in clobbers {
        let found = placed(Free, &[clobber, PUSH_RBP, RET]);
        assert_eq!(
            found,
            entry_because(Obstacle::ArgumentGone { at: 0 }),
            "{name}"
        );
    }
    // Each function has its own: rsi is nothing to malloc.
    let mov_rsi_rdi: &[u8] = &[0x48, 0x89, 0xfe];
    let intact = (3, Cost::Emulated, Reason::FirstEmulated);
    let gone = entry_because(Obstacle::ArgumentGone { at: 0 });
    assert_eq!(placed(Malloc, &[mov_rsi_rdi, PUSH_RBP]), intact);
    assert_eq!(placed(Calloc, &[mov_rsi_rdi, PUSH_RBP]), gone);
    // mul rdx writes rdx: glibc's reallocarray.
    let mul: &[u8] = &[0x48, 0xf7, 0xe2];
    assert_eq!(placed(Calloc, &[mul, PUSH_RBP]), intact);
    assert_eq!(placed(Reallocarray, &[mul, PUSH_RBP]), gone);
}

#[test]
fn nothing_may_have_been_given_away() {
    // A free list: mov [rdi], rax; mov [rsi], rdi.
    let link: &[u8] = &[0x48, 0x89, 0x07];
    let publish: &[u8] = &[0x48, 0x89, 0x3e];
    let found = placed(Free, &[link, publish, PUSH_RBP, RET]);
    assert_eq!(found, entry_because(Obstacle::MemoryWritten { at: 0 }));
    let locked: &[u8] = &[0xf0, 0x48, 0xff, 0x0e]; // lock dec qword ptr [rsi]
    let found = placed(Free, &[locked, JNE, RET]);
    assert_eq!(found, entry_because(Obstacle::MemoryWritten { at: 0 }));
    let spill: &[u8] = &[0x48, 0x89, 0x7c, 0x24, 0xf8]; // mov [rsp-8], rdi
    let found = placed(Free, &[spill, PUSH_RBP, RET]);
    assert_eq!(found, (5, Cost::Emulated, Reason::FirstEmulated));
}

#[test]
fn a_jump_into_the_straight_line_ends_it() {
    // The last instruction jumps back to the push at +3, once per turn of a loop.
    let looped = placed(Free, &[MOV_RBX_RDI, PUSH_RBP, &[0xeb, 0xfd]]);
    assert_eq!(looped, entry_because(Obstacle::BranchTarget { at: 3 }));
    // To an instruction before it: mov; mov; push; jmp to the second mov.
    let code: &[&[u8]] = &[MOV_RBX_RDI, MOV_RBX_RDI, PUSH_RBP, &[0xeb, 0xfa]];
    let found = placed(Free, code);
    assert_eq!(found, entry_because(Obstacle::BranchTarget { at: 3 }));
    // Between the bytes of an instruction.
    let found = placed(Free, &[MOV_RBX_RDI, PUSH_RBP, &[0xeb, 0xfb]]);
    assert_eq!(found, entry_because(Obstacle::BranchTarget { at: 0 }));
    // A conditional jump, and a call, lead there just as well.
    let found = placed(Free, &[MOV_RBX_RDI, PUSH_RBP, &[0x75, 0xfd]]);
    assert_eq!(found.0, 0);
    let found = placed(Free, &[MOV_RBX_RDI, PUSH_RBP, &[0xe8, 0xfa, 255, 255, 255]]);
    assert_eq!(found.0, 0);
}

#[test]
fn what_came_before_a_branch_target_still_counts() {
    // test; je; push; mov; jmp to the mov: past it nothing is safe, but the push is.
    let found = placed(Free, &[TEST_RDI, JE, PUSH_RBP, MOV_RBX_RDI, &[0xeb, 0xfb]]);
    assert_eq!(found, (5, Cost::Emulated, Reason::PastNullCheck));
    // The NULL exit joins right behind the check: nobody is left behind there.
    let found = placed(Free, &[TEST_RDI, &[0x74, 0], PUSH_RBP, RET]);
    assert_eq!(found, (3, Cost::Emulated, Reason::FirstEmulated));
}

#[test]
fn a_jump_back_to_the_entry_is_a_call() {
    let found = placed(Free, &[MOV_RBX_RDI, PUSH_RBP, &[0xeb, 0xfa]]);
    assert_eq!(found, (3, Cost::Emulated, Reason::FirstEmulated));
}

#[test]
fn a_jump_from_another_function_ends_the_line_too() {
    // malloc: push rbp; jmp 0x1103, which is free's push.
    let malloc = body(Malloc, &[PUSH_RBP, &[0xe9, 0xfd, 0, 0, 0]]);
    let mut free = body(Free, &[MOV_RBX_RDI, PUSH_RBP, RET]);
    free.entry = FileOffset(0x1100);
    let plan = AttachPlan::new(&[malloc, free]);
    let target = Obstacle::BranchTarget { at: 3 };
    assert_eq!(plan.freeing[0].reason, Reason::NothingCheaper(target));
}

#[test]
fn an_unread_jump_table_leaves_only_pushes() {
    // movsxd rax, [rdx+rax*4]; jmp rax
    let table: &[u8] = &[0x48, 0x63, 0x04, 0x82, 0xff, 0xe0];
    let hook: &[u8] = &[0xff, 0xe0]; // jmp rax alone is a tail call
    let (at, ..) = placed(Free, &[CMP_BYTE, JE, table]);
    assert_eq!(at, 0);
    let (at, ..) = placed(Free, &[CMP_BYTE, JE, hook]);
    assert_eq!(at, 7);
    let (at, ..) = placed(Free, &[CMP_BYTE, PUSH_RBP, table]);
    assert_eq!(at, 7);
}

#[test]
fn short_and_empty_functions_get_the_entry() {
    assert_eq!(placed(Free, &[]), entry_because(Obstacle::NoCode));
    let found = placed(Free, &[RET]);
    assert_eq!(found, entry_because(Obstacle::LeadsAway { at: 0 }));
    let found = placed(Free, &[MOV_RBX_RDI]);
    assert_eq!(found, entry_because(Obstacle::NoInstruction { at: 3 }));
    // Half an instruction, and none.
    let found = placed(Free, &[MOV_RBX_RDI, &[0x48]]);
    assert_eq!(found, entry_because(Obstacle::NoInstruction { at: 3 }));
    let found = placed(Free, &[&[0x06, 0x07]]);
    assert_eq!(found, entry_because(Obstacle::NoInstruction { at: 0 }));
    assert_eq!(plan_one(body(Free, &[&[0x06]])).instruction, None);
}

#[test]
fn the_walk_ends_somewhere() {
    let far = MOV_RBX_RDI.repeat(1000);
    let found = placed(Free, &[&far, PUSH_RBP]);
    assert_eq!(found, entry_because(Obstacle::TooFar { at: 258 }));
}

#[test]
fn aliases_get_one_probe() {
    let at = |function, entry| FunctionCode {
        function,
        entry: FileOffset(entry),
        code: PUSH_RBP.to_vec(),
    };
    let plan = AttachPlan::new(&[
        at(AllocatorFn::Cfree, 0x200),
        at(Free, 0x200),
        at(AllocatorFn::Memalign, 0x300),
        at(AllocatorFn::AlignedAlloc, 0x300),
        at(Malloc, 0x100),
    ]);
    let names = |probes: &[Probe]| -> Vec<_> {
        probes
            .iter()
            .map(|probe| (probe.function, probe.entry.0, probe.kind))
            .collect()
    };
    assert_eq!(
        names(&plan.allocating),
        [
            (Malloc, 0x100, ProbeKind::EntryAndReturn),
            (AllocatorFn::AlignedAlloc, 0x300, ProbeKind::EntryAndReturn)
        ]
    );
    assert_eq!(names(&plan.freeing), [(Free, 0x200, ProbeKind::Entry)]);
    // Two versions of one function are two functions.
    let plan = AttachPlan::new(&[at(Malloc, 0x100), at(Malloc, 0x180)]);
    assert_eq!(plan.allocating.len(), 2);
    assert!(!plan.is_empty());
}

#[test]
fn a_function_that_may_throw_gets_no_return_probe() {
    let new = |code: &[u8], entry| FunctionCode {
        function: AllocatorFn::OperatorNew,
        entry: FileOffset(entry),
        code: code.to_vec(),
    };
    let malloc = body(Malloc, &[PUSH_RBP]);
    // The second jumps to the first, the third calls malloc: 5 bytes long, as many as from there to 0x1000.
    let own = new(TEST_RDI, 0x2000);
    let array = new(&[0xe9, 0xeb, 0xff, 0xff, 0xff], 0x2010);
    let wrapper = new(&[0xe8, 0xdb, 0xef, 0xff, 0xff], 0x2020);
    let plan = AttachPlan::new(&[malloc, own, array, wrapper]);
    assert_eq!(plan.allocating.len(), 1);
    let throwing: Vec<_> = plan.throwing.iter().map(|probe| probe.entry.0).collect();
    assert_eq!(throwing, [0x2000]);
    assert_eq!(plan.throwing[0].kind, ProbeKind::EntryCounted);
    assert_eq!(plan.len(), 2);
    // A size of nothing is a request, too: its check is not passed by.
    let checked = placed(AllocatorFn::OperatorNew, &[TEST_RDI, JE, PUSH_RBP, RET]);
    assert_eq!(checked, (3, Cost::Emulated, Reason::FirstEmulated));
}

/// Where the probe that counts a function lies, in bytes behind the entry.
fn counted(parts: &[&[u8]]) -> Option<u64> {
    let write = FunctionCode {
        function: IoFn::Write,
        entry: FileOffset(ENTRY),
        code: parts.concat(),
    };
    let plan = AttachPlan::with_counting(&[], &[write]);
    assert!(plan.is_empty(), "no allocator needs it");
    plan.counting.first().map(|probe| probe.point.0 - ENTRY)
}

#[test]
fn the_c_library_is_counted_where_that_is_cheap() {
    let syscall: &[u8] = &[0x0f, 0x05];
    // glibc's write, and its send, which puts an argument elsewhere before.
    assert_eq!(counted(&[CMP_BYTE, JE, syscall, RET]), Some(7));
    assert_eq!(counted(&[CMP_BYTE, MOV_RDI_RSI, JE, RET]), Some(10));
    assert_eq!(counted(&[PUSH_RBP, MOV_RBX_RDI, RET]), Some(0));
    assert_eq!(counted(&[SUB_RSP, PUSH_RBP, RET]), Some(4));
}

#[test]
fn the_c_library_is_left_alone_where_it_is_not() {
    let syscall: &[u8] = &[0x0f, 0x05];
    let cases: [(&str, &[&[u8]]); 7] = [
        ("no code", &[]),
        ("stepped over", &[MOV_RBX_RDI, syscall, RET]),
        ("a call at the entry", &[CALL, PUSH_RBP, RET]),
        ("a call before", &[MOV_RBX_RDI, CALL, PUSH_RBP, RET]),
        ("a system call from Linux 6.18 on", &[NOP5, syscall, RET]),
        ("a loop", &[MOV_RBX_RDI, PUSH_RBP, &[0xeb, 0xfd]]),
        ("no instruction further on", &[PUSH_RBP, RET, &[0x06]]),
    ];
    for (name, parts) in cases {
        assert_eq!(counted(parts), None, "{name}");
    }
    // malloc: push rbp; jmp 0x1103, which is the push.
    let malloc = body(Malloc, &[PUSH_RBP, &[0xe9, 0xfd, 0, 0, 0]]);
    let at = |function, entry, parts: &[&[u8]]| FunctionCode {
        function,
        entry: FileOffset(entry),
        code: parts.concat(),
    };
    let read = at(IoFn::Read, 0x1100, &[MOV_RBX_RDI, PUSH_RBP, RET]);
    let plan = AttachPlan::with_counting(&[malloc], &[read]);
    assert_eq!((plan.len(), plan.counting.len()), (1, 0));
    // Two names of one function.
    let names = [IoFn::Send, IoFn::Recv].map(|function| at(function, 0x2000, &[PUSH_RBP, RET]));
    let plan = AttachPlan::with_counting(&[], &names);
    assert_eq!(plan.counting.len(), 1);
    assert_eq!(plan.counting[0].function, IoFn::Recv);
}

/// Bytes in which what the planner looks for is frequent.
fn code() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..6),
        prop::sample::select(vec![
            ENDBR64,
            PUSH_RBP,
            PUSH_R12,
            RET,
            TEST_RDI,
            MOV_RBX_RDI,
            SUB_RSP,
            NOP5,
            CALL,
            JE,
            JNE,
            JMP,
        ])
        .prop_map(<[u8]>::to_vec),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    /// Whatever the bytes are, the probe lies on the straight line from the entry, between two
    /// instructions, and what the plan says about it is so.
    #[test]
    fn any_bytes_get_a_probe_on_the_straight_line(
        code in code(),
        function in prop::sample::select(AllocatorFn::ALL.to_vec()),
        entry in prop_oneof![Just(ENTRY), any::<u64>()],
    ) {
        let probe = plan_one(FunctionCode { function, entry: FileOffset(entry), code: code.clone() });
        let point = probe.point.0.wrapping_sub(entry);
        let mut decoder = Decoder::with_ip(64, &code, 0, DecoderOptions::NONE);
        let mut at = 0;
        while at < point {
            prop_assert!(decoder.can_decode(), "past the end");
            let passed = decoder.decode();
            prop_assert!(!passed.is_invalid());
            prop_assert!(matches!(
                passed.flow_control(),
                FlowControl::Next | FlowControl::ConditionalBranch
            ));
            at = passed.next_ip();
        }
        prop_assert_eq!(at, point, "inside an instruction");
        if point > 0 {
            prop_assert_eq!(probe.cost, Cost::Emulated);
        }
        if let Reason::NothingCheaper(_) | Reason::CallAtEntry = probe.reason {
            prop_assert_eq!(point, 0);
        }
    }
}
