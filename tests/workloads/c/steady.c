/* A target that notices harm: builds and takes down lists in two threads, checks every byte of
 * every block, and says at the end of its input how it went. Exits with 1 if a byte was wrong.
 */
#include "gate.h"

#include <pthread.h>
#include <stdatomic.h>

#define THREADS 2
#define LENGTH 200

struct node {
	struct node *next;
	size_t size;
	unsigned char bytes[];
};

static atomic_int stop;
static atomic_ullong rounds, errors;

TRACED struct node *steady_build(uint64_t *random) {
	struct node *list = NULL;
	for (int i = 0; i < LENGTH; i++) {
		size_t size = random_next(random) % 500;
		struct node *node = malloc(sizeof *node + size);
		if (node == NULL)
			gate_fail("malloc");
		node->next = list;
		node->size = size;
		memset(node->bytes, (int)(size & 0xff), size);
		list = node;
	}
	return list;
}

TRACED void steady_take_down(struct node *list) {
	while (list != NULL) {
		struct node *next = list->next;
		for (size_t i = 0; i < list->size; i++)
			errors += list->bytes[i] != (list->size & 0xff);
		free(list);
		list = next;
	}
}

TRACED void *work(void *argument) {
	uint64_t random = (uint64_t)(uintptr_t)argument;
	while (!stop) {
		steady_take_down(steady_build(&random));
		rounds++;
		usleep(1000);
	}
	return NULL;
}

int main(void) {
	pthread_t threads[THREADS];
	struct line line;
	for (uintptr_t i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, work, (void *)(i * 7919 + 1)) != 0)
			gate_fail("pthread_create");
	gate_write(1, "ready\n", 6);
	gate_finish();
	stop = 1;
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	line.length = 0;
	line_add(&line, "{\"rounds\":%llu,\"errors\":%llu}", (unsigned long long)rounds,
		 (unsigned long long)errors);
	line_print(&line);
	return errors != 0;
}
