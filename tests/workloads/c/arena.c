/* An allocator to be preloaded that takes its memory from the kernel by itself, and that no tracer knows.
 * Small enough to be read at a glance: it never gives anything back.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#define ARENA (UINT64_C(4) << 30)

static char *arena;
static size_t used;

void *malloc(size_t size) {
	size_t whole = (size + 31) / 16 * 16;
	if (arena == NULL)
		arena = mmap(NULL, ARENA, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *block = arena + __atomic_fetch_add(&used, whole, __ATOMIC_RELAXED);
	*(size_t *)(void *)block = size;
	return block + 16;
}

void free(void *block) { (void)block; }

void *calloc(size_t count, size_t size) {
	size_t bytes;
	return __builtin_mul_overflow(count, size, &bytes) ? NULL : malloc(bytes);
}

void *realloc(void *old, size_t size) {
	void *block = malloc(size);
	if (old != NULL) {
		size_t had = *(size_t *)(void *)((char *)old - 16);
		memcpy(block, old, had < size ? had : size);
	}
	return block;
}
