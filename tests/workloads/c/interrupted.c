/* Calls inside calls, from far away: signal handlers that allocate while their thread is inside the
 * allocator.
 *
 * posix_memalign stores its result through a pointer that faults. By then the block is taken and no lock
 * is held, so that the handler may call what it likes, be interrupted the same way itself, make the page
 * writable and return: every call ends, and every block is somebody's. Some handlers have calls of their
 * own that they leave by longjmp.
 *
 * After that, a timer interrupts all other functions of the allocator. There the handler keeps to a size
 * that nothing else asks for, and that the thread's cache of the C library serves without a lock.
 *
 * Usage: interrupted DEPTH TICKS [below|above]
 *   DEPTH  handlers that interrupt each other, at most
 *   TICKS  allocations in handlers of the timer; 0 for no timer
 *   below, above  the handlers run on an alternate stack, which lies there
 */
#define _GNU_SOURCE
#include "tally.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/time.h>

#define ROUNDS 2000
#define MAX_DEPTH 16
#define PAGE 4096
#define STACK (512 << 10)
#define TICK_SIZE 400

enum part { OUTER, INNER, TICKED, IN_TICK };
enum kase { INTERRUPTED, LEFT, TICKS };
static const char *const part_names[] = {"interrupted_outer", "interrupted_inner",
					 "interrupted_ticked", "interrupted_in_tick", NULL};
static const char *const case_names[] = {"interrupted", "left", "ticks", NULL};
/* The timer's handler has one of its own. */
static struct tally tallies[2];
static int max_depth, depth, on_stack;
static size_t ticks;
static char *pages, *unwritable;
static sigjmp_buf landing;

static void took(struct tally *tally, int part, void *block, size_t size) {
	if (block == NULL)
		gate_fail("no block");
	tally->calls += 1;
	tally_alloc(tally, part, size);
}

static void gave(struct tally *tally, int part, void *block, size_t size) {
	tally->calls += 1;
	tally_free(tally, part, size);
	free(block);
}

TRACED void interrupted_outer(size_t round) {
	struct tally *tally = &tallies[0];
	void **result = (void **)(void *)(pages + depth * PAGE);
	size_t size = 100 + round % 400;
	if (mprotect(result, PAGE, PROT_NONE) != 0 || posix_memalign(result, 64, size) != 0)
		gate_fail("posix_memalign");
	took(tally, OUTER, *result, size);
	if (round % 8 != 0)
		gave(tally, OUTER, *result, size);
}

TRACED void interrupted_inner(size_t round) {
	struct tally *tally = &tallies[0];
	size_t size = 30 + round % 1000;
	void *block = malloc(size);
	took(tally, INNER, block, size);
	block = realloc(block, 3 * size);
	tally->calls += 1;
	tally_free(tally, INNER, size);
	tally_alloc(tally, INNER, 3 * size);
	if (round % 8 != 1)
		gave(tally, INNER, block, 3 * size);
	block = calloc(3, size);
	took(tally, INNER, block, 3 * size);
	gave(tally, INNER, block, 3 * size);
	void *aligned = NULL;
	if (posix_memalign(&aligned, 64, size) != 0)
		gate_fail("posix_memalign");
	took(tally, INNER, aligned, size);
	gave(tally, INNER, aligned, size);
}

static void on_fault(int signal, siginfo_t *info, void *context) {
	static size_t round;
	(void)signal;
	(void)context;
	char *page = info->si_addr;
	if (page == unwritable)
		siglongjmp(landing, 1);
	if (page != pages + depth * PAGE)
		gate_fail("a fault elsewhere");
	size_t here = round++;
	tallies[0].cases[INTERRUPTED] += 1;
	interrupted_inner(here);
	if (++depth < max_depth)
		interrupted_outer(here);
	else if (here % 2 == 0 && sigsetjmp(landing, 1) == 0) {
		posix_memalign((void **)(void *)unwritable, 64, 70);
		gate_fail("no fault");
	} else if (here % 2 == 0)
		tallies[0].cases[LEFT] += 1;
	depth -= 1;
	interrupted_inner(here);
	if (mprotect(page, PAGE, PROT_READ | PROT_WRITE) != 0)
		gate_fail("mprotect");
}

TRACED void interrupted_in_tick(void) {
	struct tally *tally = &tallies[1];
	void *block = malloc(TICK_SIZE);
	took(tally, IN_TICK, block, TICK_SIZE);
	gave(tally, IN_TICK, block, TICK_SIZE);
	tally->cases[TICKS] += 1;
}

static void on_tick(int signal) {
	(void)signal;
	interrupted_in_tick();
}

/* No size of the handler's. */
TRACED void interrupted_ticked(size_t round) {
	struct tally *tally = &tallies[0];
	size_t size = 20 + round % 200;
	void *block = malloc(size);
	took(tally, TICKED, block, size);
	block = realloc(block, 5000 + size);
	tally->calls += 1;
	tally_free(tally, TICKED, size);
	tally_alloc(tally, TICKED, 5000 + size);
	gave(tally, TICKED, block, 5000 + size);
	block = calloc(1, size);
	took(tally, TICKED, block, size);
	gave(tally, TICKED, block, size);
	void *aligned = NULL;
	if (posix_memalign(&aligned, 2048, 3000) != 0)
		gate_fail("posix_memalign");
	took(tally, TICKED, aligned, 3000);
	gave(tally, TICKED, aligned, 3000);
}

static void set_timer(long microseconds) {
	struct itimerval timer = {{0, microseconds}, {0, microseconds}};
	if (setitimer(ITIMER_REAL, &timer, NULL) != 0)
		gate_fail("setitimer");
}

static void handle(int signal, struct sigaction action, int flags) {
	action.sa_flags = flags | (on_stack ? SA_ONSTACK : 0);
	if (sigaction(signal, &action, NULL) != 0)
		gate_fail("sigaction");
}

static char *map(size_t size, int protection) {
	char *place = mmap(NULL, size, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (place == MAP_FAILED)
		gate_fail("mmap");
	return place;
}

static void *work(void *alternate) {
	stack_t stack = {.ss_sp = alternate, .ss_size = STACK};
	if (on_stack && sigaltstack(&stack, NULL) != 0)
		gate_fail("sigaltstack");
	handle(SIGSEGV, (struct sigaction){.sa_sigaction = on_fault}, SA_SIGINFO | SA_NODEFER);
	handle(SIGALRM, (struct sigaction){.sa_handler = on_tick}, SA_RESTART);
	void *cached[7];
	for (int i = 0; i < 7; i++)
		cached[i] = malloc(TICK_SIZE);
	for (int i = 0; i < 7; i++)
		free(cached[i]);
	gate_wait();
	for (size_t round = 0; round < ROUNDS; round++)
		interrupted_outer(round);
	if (ticks > 0)
		set_timer(50);
	for (size_t round = 0; tallies[1].cases[TICKS] < ticks; round++)
		interrupted_ticked(round);
	set_timer(0);
	tally_print(tallies, 2, part_names, case_names);
	gate_finish();
	return NULL;
}

int main(int count, char **arguments) {
	if (count < 3)
		gate_fail("usage: interrupted DEPTH TICKS [below|above]");
	max_depth = atoi(arguments[1]);
	if (max_depth < 1 || max_depth > MAX_DEPTH)
		gate_fail("too deep");
	ticks = (size_t)atol(arguments[2]);
	on_stack = count > 3;
	pages = map(MAX_DEPTH * PAGE, PROT_READ | PROT_WRITE);
	unwritable = map(PAGE, PROT_NONE);
	/* The lower half, and the upper one. */
	char *stacks = map(2 * STACK, PROT_READ | PROT_WRITE);
	int is_above = on_stack && strcmp(arguments[3], "above") == 0;
	pthread_attr_t attributes;
	pthread_t thread;
	pthread_attr_init(&attributes);
	if (pthread_attr_setstack(&attributes, stacks + (is_above ? 0 : STACK), STACK) != 0 ||
	    pthread_create(&thread, &attributes, work, stacks + (is_above ? STACK : 0)) != 0)
		gate_fail("pthread_create");
	/* All of the timer's signals are for the other thread. */
	sigset_t alarm;
	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	pthread_sigmask(SIG_BLOCK, &alarm, NULL);
	pthread_join(thread, NULL);
	return 0;
}
