/* Threads that wait for a word before they end, and hold a buffer meanwhile.
 *
 * Leaky: the word never comes. */
#include "patterns.h"

#include <pthread.h>
#include <semaphore.h>

static sem_t word;

TRACED static char *blocked_buffer(void) {
	return need(malloc(3000)); /* LEAK: blocked_buffer */
}

TRACED static void *blocked_thread(void *argument) {
	char *buffer = blocked_buffer();
	(void)argument;
	while (sem_wait(&word) != 0) {
	}
	free(buffer);
	return NULL;
}

void blocked_tick(struct turn *turn) {
	static pthread_attr_t attributes;
	static pthread_t thread;
	if (turn->tick == 0) {
		sem_init(&word, 0, 0);
		pthread_attr_init(&attributes);
		pthread_attr_setstacksize(&attributes, 64 * 1024);
	}
	if (turn->tick % 100 == 0 && pthread_create(&thread, &attributes, blocked_thread, NULL) != 0)
		gate_fail("pthread_create");
	if (turn->tick % 100 == 80 && !turn->leaky) {
		sem_post(&word);
		pthread_join(thread, NULL);
	}
}
