/* Leaves the allocator by longjmp, over and over, in several threads.
 *
 * posix_memalign stores its result through a pointer that faults. By then the block is taken and
 * no lock is held, so the signal handler can jump out and the heap stays whole; the block is lost
 * to everyone, the ledger included. Between the jumps come ordinary calls, from stacks both
 * shallower and deeper than the one that was left.
 */
#define _GNU_SOURCE
#include "tally.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

#define THREADS 4
#define ROUNDS 2000

enum part { SHALLOW, DEEP };
enum kase { JUMPED };
static const char *const part_names[] = {"jumper_shallow", "jumper_deep", NULL};
static const char *const case_names[] = {"jumped", NULL};
static struct tally tallies[THREADS];
static pthread_barrier_t start, rest, end;
static void **unwritable;
static __thread sigjmp_buf landing;

static void on_fault(int signal) {
	(void)signal;
	siglongjmp(landing, 1);
}

static void count(struct tally *tally, void *block, int part, size_t size, int keep) {
	if (block == NULL)
		gate_fail("malloc");
	tally->calls += 1;
	tally_alloc(tally, part, size);
	if (!keep) {
		tally->calls += 1;
		tally_free(tally, part, size);
		free(block);
	}
}

TRACED void jumper_shallow(struct tally *tally, size_t round) {
	count(tally, malloc(60 + round), SHALLOW, 60 + round, round % 8 == 0);
}

TRACED void jumper_deep(struct tally *tally, size_t round, int depth) {
	if (depth > 0) {
		jumper_deep(tally, round, depth - 1);
		__asm__ volatile("");
		return;
	}
	count(tally, malloc(600 + round), DEEP, 600 + round, round % 8 == 1);
	count(tally, realloc(NULL, 90), DEEP, 90, 0);
}

TRACED void jumper_jump(struct tally *tally) {
	if (sigsetjmp(landing, 1) == 0) {
		posix_memalign(unwritable, 64, 200);
		gate_fail("no fault");
	}
	tally->cases[JUMPED] += 1;
}

TRACED void *work(void *argument) {
	struct tally *tally = argument;
	pthread_barrier_wait(&start);
	for (size_t round = 0; round < ROUNDS; round++) {
		jumper_jump(tally);
		if (round % 3 != 0)
			jumper_deep(tally, round, 12);
		if (round % 3 != 1)
			jumper_shallow(tally, round);
	}
	pthread_barrier_wait(&rest);
	pthread_barrier_wait(&end);
	return NULL;
}

int main(void) {
	pthread_t threads[THREADS];
	struct sigaction action;
	memset(&action, 0, sizeof action);
	action.sa_handler = on_fault;
	sigaction(SIGSEGV, &action, NULL);
	unwritable = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (unwritable == MAP_FAILED)
		gate_fail("mmap");
	pthread_barrier_init(&start, NULL, THREADS + 1);
	pthread_barrier_init(&rest, NULL, THREADS + 1);
	pthread_barrier_init(&end, NULL, THREADS + 1);
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, work, &tallies[i]) != 0)
			gate_fail("pthread_create");
	gate_wait();
	pthread_barrier_wait(&start);
	pthread_barrier_wait(&rest);
	tally_print(tallies, THREADS, part_names, case_names);
	gate_finish();
	pthread_barrier_wait(&end);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	return 0;
}
