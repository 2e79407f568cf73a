/* Works on blocks of the heap that it fills and checks, in two threads, and knows if one is not what it
 * put there. Each line on standard input is answered with how much was done so far; at its end the
 * program says what came of it, and exits.
 */
#include "gate.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#define THREADS 2
#define BLOCKS 64

static atomic_ulong rounds, mismatches;
static atomic_bool over;

struct block {
	unsigned char *start;
	size_t size;
	unsigned char filling;
};

static void check(const struct block *block, size_t size) {
	for (size_t i = 0; i < size; i++)
		if (block->start[i] != block->filling)
			atomic_fetch_add(&mismatches, 1);
}

static void *work(void *argument) {
	uint64_t random = (uint64_t)(uintptr_t)argument + 1;
	struct block blocks[BLOCKS] = {0};
	while (!atomic_load(&over)) {
		struct block *block = &blocks[random_next(&random) % BLOCKS];
		size_t size = 1 + random_next(&random) % 700;
		check(block, block->size);
		if (size % 3 == 0) {
			free(block->start);
			block->start = malloc(size);
		} else {
			block->start = realloc(block->start, size);
			check(block, block->size < size ? block->size : size);
		}
		if (block->start == NULL)
			gate_fail("no memory");
		block->size = size;
		block->filling = (unsigned char)random_next(&random);
		memset(block->start, block->filling, size);
		atomic_fetch_add(&rounds, 1);
		/* Leaves the machine to others. */
		if (size % 16 == 0)
			usleep(200);
	}
	for (size_t i = 0; i < BLOCKS; i++) {
		check(&blocks[i], blocks[i].size);
		free(blocks[i].start);
	}
	return NULL;
}

static void say(const char *what) {
	struct line line = {0};
	line_add(&line, "%s %lu", what, atomic_load(&rounds));
	line_print(&line);
}

int main(void) {
	pthread_t threads[THREADS];
	for (uintptr_t i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, work, (void *)i) != 0)
			gate_fail("no thread");
	gate_write(1, "ready\n", 6);
	char byte;
	while (read(0, &byte, 1) == 1)
		say("alive");
	atomic_store(&over, true);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	if (atomic_load(&mismatches) != 0)
		gate_fail("memory was not what was put there");
	say("done");
	return 0;
}
