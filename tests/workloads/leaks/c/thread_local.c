/* Threads that come and go, and keep a buffer of their own under a key.
 *
 * Healthy: the key's destructor frees it when a thread ends. Leaky: the key has none. */
#include "patterns.h"

#include <pthread.h>

static pthread_key_t key;

TRACED static void *thread_local_buffer(void) {
	void *buffer = pthread_getspecific(key);
	if (buffer == NULL) {
		buffer = need(malloc(700)); /* LEAK: thread_local_buffer */
		pthread_setspecific(key, buffer);
	}
	return buffer;
}

TRACED static void *thread_local_thread(void *argument) {
	(void)argument;
	for (int i = 0; i < 3; i++)
		memset(thread_local_buffer(), i, 700);
	return NULL;
}

void thread_local_tick(struct turn *turn) {
	static pthread_t thread;
	if (turn->tick == 0)
		pthread_key_create(&key, turn->leaky ? NULL : free);
	if (turn->tick % 25 == 0 && pthread_create(&thread, NULL, thread_local_thread, NULL) != 0)
		gate_fail("pthread_create");
	if (turn->tick % 25 == 20)
		pthread_join(thread, NULL);
}
