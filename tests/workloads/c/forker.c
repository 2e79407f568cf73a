/* Forks under tracing. The child allocates, and frees its copies of the parent's blocks; only the
 * parent's calls are in the ledger.
 */
#include "tally.h"

#include <sys/wait.h>

#define BLOCKS 3000

static const char *const part_names[] = {"forker_parent", NULL};
static struct tally tally;
static void *blocks[BLOCKS];

TRACED void forker_parent(size_t from, size_t to) {
	for (size_t i = from; i < to; i++) {
		if ((blocks[i] = malloc(30 + i)) == NULL)
			gate_fail("malloc");
		tally.calls += 1;
		tally_alloc(&tally, 0, 30 + i);
	}
}

TRACED void forker_child(void) {
	for (size_t i = 0; i < BLOCKS / 3; i++) {
		free(blocks[i]);
		if (malloc(500) == NULL || malloc(30 + i) == NULL)
			gate_fail("malloc");
	}
}

int main(void) {
	int status;
	gate_wait();
	forker_parent(0, BLOCKS / 3);
	pid_t child = fork();
	if (child < 0)
		gate_fail("fork");
	if (child == 0) {
		forker_child();
		_exit(0);
	}
	forker_parent(BLOCKS / 3, BLOCKS * 2 / 3);
	if (waitpid(child, &status, 0) != child || status != 0)
		gate_fail("the child failed");
	forker_parent(BLOCKS * 2 / 3, BLOCKS);
	/* Blocks that the child has freed, in its own memory, are still the parent's. */
	for (size_t i = 0; i < BLOCKS; i += 3) {
		tally.calls += 1;
		tally_free(&tally, 0, 30 + i);
		free(blocks[i]);
	}
	tally_print(&tally, 1, part_names, NULL);
	gate_finish();
	return 0;
}
