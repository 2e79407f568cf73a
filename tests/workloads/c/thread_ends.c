/* Threads that come and go. Each frees what it has allocated, and the C library keeps that for it until
 * it ends: then it is freed once more, by the C library and not by the program.
 */
#include "tally.h"

#include <pthread.h>

#define THREADS 50
#define BLOCKS 5

static const char *const part_names[] = {"thread_ends_work", NULL};
static struct tally tally;

TRACED void *thread_ends_work(void *argument) {
	void *blocks[BLOCKS];
	for (int i = 0; i < BLOCKS; i++) {
		blocks[i] = malloc(100);
		if (blocks[i] == NULL)
			gate_fail("malloc");
		tally.calls += 1;
		tally_alloc(&tally, 0, 100);
	}
	for (int i = 0; i < BLOCKS; i++) {
		tally.calls += 1;
		tally_free(&tally, 0, 100);
		free(blocks[i]);
	}
	return argument;
}

int main(void) {
	gate_wait();
	for (int i = 0; i < THREADS; i++) {
		pthread_t thread;
		if (pthread_create(&thread, NULL, thread_ends_work, NULL) != 0 ||
		    pthread_join(thread, NULL) != 0)
			gate_fail("thread");
	}
	tally_print(&tally, 1, part_names, NULL);
	gate_finish();
	return 0;
}
