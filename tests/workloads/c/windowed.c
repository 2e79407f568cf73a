/* A load that is the same all the time and takes all the CPU it gets: nearly nothing but calls of the allocator, of
 * which one in EVERY turns is a call of calloc (14, 3% of all calls, where nothing is said). It goes on for so many seconds and keeps a ledger.
 *
 * Usage: windowed [SECONDS [THREADS [EVERY]]]
 */
#define _GNU_SOURCE
#include "tally.h"

#include <pthread.h>
#include <time.h>

#define MAX_THREADS 8
#define SLOTS 64

enum part { SMALL, LARGE, CALLOC, BURST };
static const char *const part_names[] = {"call_small", "call_large", "call_calloc", "call_burst", NULL};
static const char *const case_names[] = {NULL};

struct block {
	void *pointer;
	size_t size;
	int part;
};

struct worker {
	struct tally tally;
	struct block slots[SLOTS];
	uint64_t random;
	pthread_t thread;
};

static struct worker workers[MAX_THREADS];
static double seconds = 3;
static uint64_t every = 14;
static pthread_barrier_t start;

TRACED void *call_small(size_t size) { return malloc(size); }
TRACED void *call_large(size_t size) { return malloc(size); }
TRACED void *call_calloc(size_t size) { return calloc(1, size); }
TRACED void *call_burst(size_t size) { return malloc(size); }

static double now(void) {
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* Puts a block into a slot, and frees what was there. */
static void keep(struct worker *worker, void *pointer, size_t size, int part) {
	struct block *slot = &worker->slots[random_next(&worker->random) % SLOTS];
	if (pointer == NULL)
		gate_fail("an allocation failed");
	*(volatile unsigned char *)pointer = 1;
	worker->tally.calls += 1;
	tally_alloc(&worker->tally, part, size);
	if (slot->pointer != NULL) {
		free(slot->pointer);
		tally_free(&worker->tally, slot->part, slot->size);
	}
	*slot = (struct block){pointer, size, part};
}

TRACED void *work(void *argument) {
	struct worker *worker = argument;
	pthread_barrier_wait(&start);
	double end = now() + seconds;
	for (uint64_t turn = 0; turn % 256 != 0 || now() < end; turn++) {
		uint64_t r = random_next(&worker->random);
		size_t size = 16 + r % 200;
		keep(worker, call_small(size), size, SMALL);
		if ((r >> 8) % 7 == 0)
			keep(worker, call_large(size * 20), size * 20, LARGE);
		if ((r >> 16) % every == 0)
			keep(worker, call_calloc(size * 2), size * 2, CALLOC);
		if ((r >> 24) % 4000 == 0)
			for (int i = 0; i < 50; i++)
				keep(worker, call_burst(size * 3), size * 3, BURST);
	}
	pthread_barrier_wait(&start);
	return NULL;
}

int main(int argc, char **argv) {
	int threads = argc > 2 ? atoi(argv[2]) : 2;
	struct tally tallies[MAX_THREADS];
	if (argc > 1)
		seconds = atof(argv[1]);
	if (argc > 3)
		every = strtoull(argv[3], NULL, 10);
	if (every < 1)
		gate_fail("1 turn at least");
	if (threads < 1 || threads > MAX_THREADS)
		gate_fail("1 to 8 threads");
	pthread_barrier_init(&start, NULL, (unsigned)threads + 1);
	for (int i = 0; i < threads; i++) {
		workers[i].random = (uint64_t)i * 7919 + 1;
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
			gate_fail("pthread_create");
	}
	gate_wait();
	pthread_barrier_wait(&start);
	pthread_barrier_wait(&start);
	for (int i = 0; i < threads; i++)
		tallies[i] = workers[i].tally;
	tally_print(tallies, (size_t)threads, part_names, case_names);
	gate_finish();
	return 0;
}
