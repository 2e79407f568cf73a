/* Allocates and frees in proportion to what it writes or looks for on a socket, or does neither, as fast as it can,
 * until its input ends.
 *
 * Usage: requests write|recv|none
 */
#include "gate.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

#define BLOCKS 20

static atomic_int stop;
static int out = -1;
static int in[2] = {-1, -1};

/* One request: so many blocks at once, and then none. */
TRACED int answer(uint64_t *random) {
	void *blocks[BLOCKS];
	for (int i = 0; i < BLOCKS; i++) {
		blocks[i] = malloc(1 + random_next(random) % 500);
		if (blocks[i] == NULL)
			gate_fail("malloc");
	}
	for (int i = 0; i < BLOCKS; i++)
		free(blocks[i]);
	char byte;
	/* There is nothing to be had. */
	if (in[0] >= 0 && recv(in[0], &byte, 1, MSG_DONTWAIT) >= 0)
		return 0;
	return out < 0 || write(out, "answer\n", 7) == 7;
}

static void *work(void *argument) {
	uint64_t random = 7919;
	(void)argument;
	while (!stop)
		if (!answer(&random))
			gate_fail("answer");
	return NULL;
}

int main(int argc, char **argv) {
	pthread_t thread;
	if (argc > 1 && strcmp(argv[1], "write") == 0) {
		out = open("/dev/null", O_WRONLY | O_CLOEXEC);
		if (out < 0)
			gate_fail("open");
	}
	if (argc > 1 && strcmp(argv[1], "recv") == 0 && socketpair(AF_UNIX, SOCK_DGRAM, 0, in) != 0)
		gate_fail("socketpair");
	if (pthread_create(&thread, NULL, work, NULL) != 0)
		gate_fail("pthread_create");
	gate_write(1, "ready\n", 6);
	gate_finish();
	stop = 1;
	pthread_join(thread, NULL);
	gate_write(1, "{}\n", 3);
	return 0;
}
