/* A heap that moves while the C library's allocator rests: memory comes from brk and mmap, as an
 * allocator of the program's own would take it.
 */
#define _GNU_SOURCE
#include "gate.h"

#include <poll.h>
#include <sys/mman.h>

#define STEP (UINT64_C(1) << 20)
#define MOST 64

TRACED void idle_grow(int step) {
	void *memory = step % 2 ? sbrk(STEP)
				: mmap(NULL, STEP, PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		gate_fail("no memory");
	memset(memory, 1, STEP);
}

int main(void) {
	struct pollfd input = {.fd = 0, .events = POLLIN};
	gate_wait();
	for (int step = 0; poll(&input, 1, 20) == 0; step++)
		if (step < MOST)
			idle_grow(step);
	gate_finish();
	return 0;
}
