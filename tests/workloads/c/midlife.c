/* Allocates before the gate and frees after it: memory that a tracer attached at the gate never
 * saw allocated. Some of it is reallocated instead: the new block is seen, the old one is not.
 */
#include "tally.h"

#define OLD 10000
#define OLD_REALLOCATED 1000
#define NEW 5000

static const char *const part_names[] = {"midlife_new", NULL};
static const char *const case_names[] = {"freed_from_before", NULL};
static struct tally tally;
static void *old_blocks[OLD], *new_blocks[NEW];

TRACED void midlife_old(void) {
	for (size_t i = 0; i < OLD; i++)
		if ((old_blocks[i] = malloc(10 + i)) == NULL)
			gate_fail("malloc");
}

TRACED void midlife_new(void) {
	for (size_t i = 0; i < NEW; i++) {
		size_t size = 20 + i;
		if (i < OLD_REALLOCATED) {
			new_blocks[i] = realloc(old_blocks[i], size);
			tally.cases[0] += 1;
		} else {
			new_blocks[i] = malloc(size);
		}
		if (new_blocks[i] == NULL)
			gate_fail("malloc");
		tally.calls += 1;
		tally_alloc(&tally, 0, size);
	}
	for (size_t i = OLD_REALLOCATED; i < OLD; i++) {
		tally.calls += 1;
		tally.cases[0] += 1;
		free(old_blocks[i]);
	}
	for (size_t i = 0; i < NEW; i += 2) {
		tally.calls += 1;
		tally_free(&tally, 0, 20 + i);
		free(new_blocks[i]);
	}
}

int main(void) {
	midlife_old();
	gate_wait();
	midlife_new();
	tally_print(&tally, 1, part_names, case_names);
	gate_finish();
	return 0;
}
