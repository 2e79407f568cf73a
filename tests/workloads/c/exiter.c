/* Allocates and is gone at once: no second gate, no pause between the last allocation and the end
 * of the process, which is _exit, so that nothing is freed.
 */
#include "tally.h"

#define BLOCKS 2000

static const char *const part_names[] = {"exiter_allocate", NULL};
static struct tally tally;

TRACED void exiter_allocate(size_t size) {
	if (malloc(size) == NULL)
		gate_fail("malloc");
	tally.calls += 1;
	tally_alloc(&tally, 0, size);
}

int main(void) {
	gate_wait();
	for (size_t i = 0; i < BLOCKS; i++)
		exiter_allocate(50 + i);
	tally_print(&tally, 1, part_names, NULL);
	_exit(0);
}
