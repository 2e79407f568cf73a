//! Programs in which every kind of rule occurs, stepped through.
//!
//! Each has two `int3` in one function: from the first to the second, all that it calls is stepped
//! through, the C library and the dynamic linker included.

use std::collections::BTreeSet;
use std::fs;

use tracer_common::RuleKind;

use super::stepped::{Report, step_through};
use super::{TestResult, compile};
use crate::unwind::UnwindTable;

const FLAGS: [&str; 2] = ["-O2", "-fomit-frame-pointer"];
/// Binds all functions at the start.
const NOW: &str = "-Wl,-z,now";

/// Frames of every shape: pushed registers, a large frame, an array of variable length, a realigned
/// stack, a callback from the C library, the vDSO. Of that, `time` is what does not wait for a moment
/// without a clock tick, which would not come here.
const SHAPES: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define KEEP __attribute__((noinline, noclone, noipa))
#define STOP __asm__ volatile("int3" ::: "memory")

typedef int shape(int depth);
static shape *const shapes[];
static int next(int depth);

static int by_size(const void *a, const void *b) {
    return *(const int *)a - *(const int *)b;
}

KEEP static int work(int depth) {
    int numbers[] = {3, 1, 2};
    char text[32];
    volatile time_t now;
    STOP;
    void *p = malloc(depth + 100);
    qsort(numbers, 3, sizeof *numbers, by_size);
    now = time(NULL);
    snprintf(text, sizeof text, "%d %s", numbers[depth], "text");
    free(p);
    STOP;
    return strlen(text) + numbers[0] + now;
}

KEEP static int plain(int depth) { return next(depth - 1) + 1; }

KEEP static int registers(int depth) {
    volatile int a = depth, b = a + 1, c = b + 1, d = c + 1, e = d + 1, f = e + 1;
    int g = a, h = b, i = c, j = d, k = e, l = f;
    int r = next(depth - 1);
    return r + g + h * i + j * k - l;
}

KEEP static int large(int depth) {
    volatile char buffer[5000];
    buffer[depth] = 1;
    return next(depth - 1) + buffer[depth];
}

KEEP static int variable(int depth) {
    volatile char buffer[depth * 16 + 1];
    buffer[depth] = 1;
    return next(depth - 1) + buffer[depth];
}

#ifdef ALIGNED
KEEP static int aligned(int depth) {
    _Alignas(64) volatile char buffer[64];
    volatile char more[depth * 16 + 1];
    buffer[depth & 63] = more[depth] = 1;
    return next(depth - 1) + buffer[depth & 63] + more[depth];
}
#else
#define aligned variable
#endif

static shape *const shapes[] = {plain, registers, large, variable, aligned};

KEEP static int next(int depth) {
    if (depth == 0)
        return work(depth) + 1;
    return shapes[depth % 5](depth) + 1;
}

int main(void) { return next(DEPTH) == 0; }
"#;

/// The functions of [`SHAPES`] at its first breakpoint, leaf first.
fn expected_shapes(depth: usize, aligned: &'static str) -> Vec<&'static str> {
    let shapes = ["plain", "registers", "large", "variable", aligned];
    let recursion = (1..=depth).flat_map(|depth| [shapes[depth % 5], "next"]);
    ["work", "next"]
        .into_iter()
        .chain(recursion)
        .chain(["main"])
        .collect()
}

fn step_shapes(depth: usize, arguments: &[&str], aligned: &'static str) -> TestResult<Report> {
    let depth_argument = format!("-DDEPTH={depth}");
    let arguments = [&FLAGS, arguments, &[depth_argument.as_str()]].concat();
    let (_directory, program) = compile("cc", SHAPES, &arguments)?;
    let report = step_through(&program)?;
    let mut functions = report.functions.clone();
    // A static program has all that is above `main`, too.
    functions.truncate(2 * depth + 3);
    assert_eq!(functions, expected_shapes(depth, aligned));
    Ok(report)
}

#[test]
fn all_shapes_in_a_position_independent_program() -> TestResult {
    let report = step_shapes(5, &["-pie", "-fPIE", NOW], "variable")?;
    assert_eq!(report.failures, BTreeSet::new());
    assert!(report.confirmed > 10_000, "{report:?}");
    let modules = ["[vdso]", "libc.so.6", "program"].map(str::to_owned);
    assert_eq!(report.modules, BTreeSet::from(modules));
    for kind in [RuleKind::CfaSp, RuleKind::CfaBp, RuleKind::Plt] {
        assert!(report.steps_by(kind) > 0, "{kind:?} {report:?}");
    }
    assert_eq!(report.steps_by(RuleKind::Stop), report.walks);
    Ok(())
}

#[test]
fn all_shapes_in_a_program_at_a_fixed_address() -> TestResult {
    let report = step_shapes(20, &["-no-pie", NOW], "variable")?;
    assert_eq!(report.failures, BTreeSet::new());
    assert_eq!(report.steps_by(RuleKind::Stop), report.walks);
    Ok(())
}

#[test]
fn all_shapes_in_a_static_program() -> TestResult {
    let report = step_shapes(60, &["-static"], "variable")?;
    // The linker says nothing of the stubs for functions chosen at the start, which only jump.
    let stub = "the leaf in program: NoRule".to_owned();
    assert_eq!(report.failures, BTreeSet::from([stub]));
    assert!(report.walks - report.steps_by(RuleKind::Stop) < 10);
    Ok(())
}

#[test]
fn all_shapes_with_indirect_branch_tracking() -> TestResult {
    let report = step_shapes(5, &["-fcf-protection", NOW], "variable")?;
    assert_eq!(report.failures, BTreeSet::new());
    assert_eq!(report.steps_by(RuleKind::Stop), report.walks);
    Ok(())
}

#[test]
fn realigned_stacks() -> TestResult {
    let report = step_shapes(120, &["-DALIGNED", NOW], "aligned")?;
    assert_eq!(report.failures, BTreeSet::new());
    assert!(report.steps_by(RuleKind::CfaDerefBp) > report.walks);
    Ok(())
}

/// What fails while a function is bound at its first call.
fn unresolved() -> BTreeSet<String> {
    ["the leaf", "a caller"]
        .map(|place| format!("{place} in ld-linux-x86-64.so.2: UnsupportedRule"))
        .into()
}

/// The dynamic linker's resolver keeps its stack in `rbx`, which is not among the three registers
/// of a walk. It is entered once for each function, at its first call.
#[test]
fn lazy_binding_is_the_one_thing_that_cannot_be_followed() -> TestResult {
    let report = step_shapes(5, &["-Wl,-z,lazy"], "variable")?;
    assert_eq!(report.failures, unresolved());
    assert!(report.steps_by(RuleKind::Plt) > 0);
    Ok(())
}

/// A signal handler, on the same stack and on its own, by the C library and without it.
const SIGNALS: &str = r#"
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STOP __asm__ volatile("int3" ::: "memory")

static void handler(int signal) {
    (void)signal;
    void *volatile p = malloc(10);
    free(p);
}

// What a C library without call frame information has: musl.
void restorer(void);
__asm__(".text\n.skip 64, 0x90\n.globl restorer\nrestorer: mov $15, %rax\n syscall\n.skip 64, 0x90");

struct kernel_sigaction {
    void (*handler)(int);
    unsigned long flags;
    void (*restorer)(void);
    unsigned long mask;
};

int main(void) {
    struct kernel_sigaction by_hand = {handler, 0x04000000, restorer, 0};
    struct sigaction own_stack = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
    stack_t stack = {.ss_sp = malloc(1 << 16), .ss_size = 1 << 16};
    signal(SIGUSR1, handler);
    sigaction(SIGUSR2, &own_stack, 0);
    sigaltstack(&stack, 0);
    syscall(SYS_rt_sigaction, SIGURG, &by_hand, 0, 8);
    STOP;
    raise(SIGUSR1);
    raise(SIGUSR2);
    raise(SIGURG);
    STOP;
    return 0;
}
"#;

#[test]
fn signal_handlers() -> TestResult {
    let (_directory, program) = compile("cc", SIGNALS, &[&FLAGS[..], &[NOW]].concat())?;
    let table = UnwindTable::from_elf(fs::read(&program)?.as_slice())?;
    assert_eq!(table.statistics().trampolines, 1);
    let report = step_through(&program)?;
    assert_eq!(report.functions, ["main"]);
    assert_eq!(report.failures, BTreeSet::new());
    assert!(report.steps_by(RuleKind::Signal) > 100, "{report:?}");
    Ok(())
}

/// A coroutine: its stack ends at a function of the C library that has no caller.
const COROUTINE: &str = r#"
#include <stdlib.h>
#include <ucontext.h>

static ucontext_t outside, inside;

static void coroutine(void) {
    __asm__ volatile("int3" ::: "memory");
    void *volatile p = malloc(100);
    free(p);
    __asm__ volatile("int3" ::: "memory");
}

int main(void) {
    static char stack[1 << 16];
    getcontext(&inside);
    inside.uc_stack.ss_sp = stack;
    inside.uc_stack.ss_size = sizeof stack;
    inside.uc_link = &outside;
    makecontext(&inside, coroutine, 0);
    return swapcontext(&outside, &inside);
}
"#;

#[test]
fn a_coroutine_has_a_root_of_its_own() -> TestResult {
    let (_directory, program) = compile("cc", COROUTINE, &[&FLAGS[..], &[NOW]].concat())?;
    let report = step_through(&program)?;
    assert_eq!(report.functions, ["coroutine"]);
    assert_eq!(report.failures, BTreeSet::new());
    Ok(())
}

/// A thread.
const THREAD: &str = r#"
#include <pthread.h>
#include <stdlib.h>

static void *thread(void *argument) {
    __asm__ volatile("int3" ::: "memory");
    void *volatile p = malloc(100);
    free(p);
    __asm__ volatile("int3" ::: "memory");
    return argument;
}

int main(void) {
    pthread_t id;
    pthread_create(&id, 0, thread, 0);
    return pthread_join(id, 0);
}
"#;

#[test]
fn a_thread_ends_where_it_was_made() -> TestResult {
    let (_directory, program) = compile("cc", THREAD, &[&FLAGS[..], &[NOW]].concat())?;
    let report = step_through(&program)?;
    assert_eq!(report.functions, ["thread"]);
    assert_eq!(report.failures, BTreeSet::new());
    assert_eq!(report.steps_by(RuleKind::Stop), report.walks);
    Ok(())
}

/// An exception, from the allocation within its constructor through the unwinding to the handler.
const CPP: &str = r#"
#include <stdexcept>
#include <string>

#define STOP __asm__ volatile("int3" ::: "memory")

struct Failure : std::runtime_error {
    std::string detail;
    __attribute__((noinline)) explicit Failure(int n)
        : std::runtime_error("failed"), detail(100 + n, 'x') {}
};

__attribute__((noinline, noipa)) int thrower(int n) {
    std::string local(50 + n, 'y');
    if (n < 100)
        throw Failure(n);
    return local.size();
}

int main(int argc, char **) {
    int result = 0;
    STOP;
    try {
        result = thrower(argc);
    } catch (const std::runtime_error &error) {
        result = error.what()[0] == 'f';
    }
    STOP;
    return !result;
}
"#;

#[test]
fn an_exception() -> TestResult {
    let (_directory, program) = compile("g++", CPP, &[&FLAGS[..], &[NOW]].concat())?;
    let report = step_through(&program)?;
    // libstdc++ binds lazily, whatever the program does.
    assert!(report.failures.is_subset(&unresolved()), "{report:?}");
    assert!(report.steps_by(RuleKind::Stop) > 1_000, "{report:?}");
    Ok(())
}
