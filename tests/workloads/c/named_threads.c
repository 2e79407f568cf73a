/* Two threads of different names allocate by the same calls, in turns; the one frees what the other has
 * allocated. The parts of the ledger are the threads.
 */
#define _GNU_SOURCE
#include "tally.h"

#include <pthread.h>

#define ROUNDS 400
#define BLOCKS 5
#define SIZE 100

static const char *const part_names[] = {"reader", "writer", NULL};
/* The other's last blocks. */
static void *handed_over[BLOCKS];
static struct tally tally;
static pthread_barrier_t turn;

TRACED void *named_threads_block(int part) {
	void *block = malloc(SIZE);
	if (block == NULL)
		gate_fail("malloc");
	tally.calls += 1;
	tally_alloc(&tally, part, SIZE);
	return block;
}

/* The writer keeps each first block, and frees all of the reader's. */
TRACED void named_threads_round(int part) {
	for (int i = 0; i < BLOCKS; i++) {
		void *block = named_threads_block(part);
		if (part == 0) {
			handed_over[i] = block;
			continue;
		}
		tally.calls += 1;
		tally_free(&tally, 0, SIZE);
		free(handed_over[i]);
		if (i > 0) {
			tally.calls += 1;
			tally_free(&tally, part, SIZE);
			free(block);
		}
	}
}

static void *run(void *argument) {
	int part = argument != NULL;
	if (pthread_setname_np(pthread_self(), part_names[part]) != 0)
		gate_fail("name");
	pthread_barrier_wait(&turn);
	/* At the gate. */
	pthread_barrier_wait(&turn);
	for (int round = 0; round < ROUNDS; round++) {
		if (part == 0)
			named_threads_round(part);
		pthread_barrier_wait(&turn);
		if (part == 1)
			named_threads_round(part);
		pthread_barrier_wait(&turn);
	}
	return NULL;
}

int main(void) {
	static char writer;
	pthread_t threads[2];
	if (pthread_barrier_init(&turn, NULL, 3) != 0 ||
	    pthread_create(&threads[0], NULL, run, NULL) != 0 ||
	    pthread_create(&threads[1], NULL, run, &writer) != 0)
		gate_fail("thread");
	pthread_barrier_wait(&turn);
	gate_wait();
	pthread_barrier_wait(&turn);
	for (int round = 0; round < 2 * ROUNDS; round++)
		pthread_barrier_wait(&turn);
	for (int i = 0; i < 2; i++)
		if (pthread_join(threads[i], NULL) != 0)
			gate_fail("join");
	tally_print(&tally, 1, part_names, NULL);
	gate_finish();
	return 0;
}
