/* A program with an allocator of its own linked in, as with a static jemalloc: the C library's
 * never runs, and the heap moves all the same.
 */
#define _GNU_SOURCE
#include "gate.h"

#include <poll.h>
#include <stdatomic.h>
#include <sys/mman.h>

#define ARENA (UINT64_C(64) << 20)

static char *arena;
static atomic_size_t used;

/* A bump allocator with the size in front of each block; free does nothing. */
void *malloc(size_t size) {
	size_t whole = (size + 31) / 16 * 16;
	if (arena == NULL) {
		arena = mmap(NULL, ARENA, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (arena == MAP_FAILED)
			_exit(92);
	}
	if (used + whole > ARENA)
		return NULL;
	char *block = arena + atomic_fetch_add(&used, whole);
	*(size_t *)(void *)block = size;
	return block + 16;
}

void free(void *block) { (void)block; }

void *calloc(size_t count, size_t size) {
	/* Fresh from mmap: zero already. */
	size_t bytes;
	return __builtin_mul_overflow(count, size, &bytes) ? NULL : malloc(bytes);
}

void *realloc(void *old, size_t size) {
	void *block = malloc(size);
	if (block != NULL && old != NULL) {
		size_t before = *(size_t *)(void *)((char *)old - 16);
		memcpy(block, old, before < size ? before : size);
	}
	return block;
}

TRACED void own_malloc_work(void) {
	for (int i = 0; i < 500; i++) {
		char *block = malloc(1000);
		if (block != NULL)
			memset(block, 1, 1000);
	}
}

int main(void) {
	struct pollfd input = {.fd = 0, .events = POLLIN};
	gate_wait();
	while (poll(&input, 1, 20) == 0)
		own_malloc_work();
	gate_finish();
	return 0;
}
