/* Works for some seconds, and takes memory from malloc, from the kernel, or both.
 *
 * Arguments: KiB every 10 ms from malloc, the same by mmap, how often, and MiB by mmap at first. All of it is
 * written to, and kept.
 */
#include "gate.h"

#include <sys/mman.h>
#include <time.h>

static char *map(size_t bytes) {
	char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		_exit(92);
	return memory;
}

TRACED char *keep(size_t bytes) {
	char *volatile block = malloc(bytes);
	return block;
}

int main(int count, char **arguments) {
	if (count != 5)
		return 91;
	size_t kept = (size_t)atol(arguments[1]) << 10;
	size_t mapped = (size_t)atol(arguments[2]) << 10;
	long times = atol(arguments[3]);
	size_t first = (size_t)atol(arguments[4]) << 20;
	if (first > 0)
		memset(map(first), 1, first);
	gate_wait();
	const struct timespec pause = {.tv_nsec = 10000000};
	for (long i = 0; i < times; i++) {
		free(keep(100));
		if (kept > 0)
			memset(keep(kept), 1, kept);
		if (mapped > 0)
			memset(map(mapped), 1, mapped);
		nanosleep(&pause, NULL);
	}
	gate_write(1, "done\n", 5);
	gate_finish();
	return 0;
}
