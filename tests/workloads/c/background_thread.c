/* Threads that allocate under an allocator that starts threads of its own while it serves a call: jemalloc
 * with `background_thread:true`, one for each arena that comes into use.
 */
#define _GNU_SOURCE
#include "tally.h"

#include <pthread.h>

#define THREADS 8
#define CALLS 2000

enum part { WORK };
static const char *const part_names[] = {"background_thread_work", NULL};
static struct tally tallies[THREADS];

TRACED void background_thread_work(struct tally *tally) {
	for (size_t round = 0; round < CALLS; round++) {
		size_t size = 700 + round % 5000 * 10;
		void *block = malloc(size);
		if (block == NULL)
			gate_fail("malloc");
		tally->calls += 1;
		tally_alloc(tally, WORK, size);
		if (round % 2 != 0) {
			tally->calls += 1;
			tally_free(tally, WORK, size);
			free(block);
		}
	}
}

static void *work(void *tally) {
	background_thread_work(tally);
	return NULL;
}

int main(void) {
	pthread_t threads[THREADS];
	gate_wait();
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, work, &tallies[i]) != 0)
			gate_fail("pthread_create");
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	tally_print(tallies, THREADS, part_names, NULL);
	gate_finish();
	return 0;
}
