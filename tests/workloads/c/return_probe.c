/* Allocations below a function that has a return probe of its own: it bears the name of an allocator's, so
 * that the tracer places one there as well. Argument 1 says how many frames lie between the two.
 */
#include <string.h>

#include "gate.h"

#define BLOCKS 100

static void *kept[BLOCKS];

/* What is done after a call keeps it from being a jump. */
static __attribute__((noinline)) void *deeper(unsigned frames, size_t size)
{
	void *block = frames > 1 ? deeper(frames - 1, size) : malloc(size);

	memset(block, 1, size);
	return block;
}

int je_mallctl(void);
int je_mallctl(void) { return 0; }

static unsigned depth;

__attribute__((noinline)) void *je_malloc(size_t size);
__attribute__((noinline)) void *je_malloc(size_t size)
{
	void *block = deeper(depth, size);

	memset(block, 2, size);
	return block;
}

static __attribute__((noinline)) void caller(void)
{
	for (int i = 0; i < BLOCKS; i++)
		kept[i] = je_malloc(64);
}

int main(int argc, char **argv)
{
	depth = argc > 1 ? (unsigned)atoi(argv[1]) : 5;
	gate_wait();
	caller();
	gate_write(1, "once\n", 5);
	gate_wait();
	caller();
	gate_write(1, "done\n", 5);
	gate_finish();
	return 0;
}
