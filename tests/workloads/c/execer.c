/* Lives twice: allocates, and replaces itself by exec while most of that is live; the second life
 * allocates by another function. Each life prints its own ledger.
 */
#include "tally.h"

#define BLOCKS 1000

static struct tally tally;

TRACED void execer_first_life(void) {
	for (size_t i = 0; i < BLOCKS; i++) {
		void *block = malloc(40 + i);
		if (block == NULL)
			gate_fail("malloc");
		tally.calls += 1;
		tally_alloc(&tally, 0, 40 + i);
		if (i % 4 == 0) {
			tally.calls += 1;
			tally_free(&tally, 0, 40 + i);
			free(block);
		}
	}
}

TRACED void execer_second_life(void) {
	for (size_t i = 0; i < BLOCKS; i++) {
		void *block = malloc(7000 - i);
		if (block == NULL)
			gate_fail("malloc");
		tally.calls += 1;
		tally_alloc(&tally, 0, 7000 - i);
		if (i % 2 == 0) {
			tally.calls += 1;
			tally_free(&tally, 0, 7000 - i);
			free(block);
		}
	}
}

int main(int argc, char **argv) {
	static const char *const first[] = {"execer_first_life", NULL};
	static const char *const second[] = {"execer_second_life", NULL};
	if (argc == 1) {
		char again[] = "again";
		char *arguments[] = {argv[0], again, NULL};
		gate_wait();
		execer_first_life();
		tally_print(&tally, 1, first, NULL);
		execv("/proc/self/exe", arguments);
		gate_fail("exec");
	}
	execer_second_life();
	tally_print(&tally, 1, second, NULL);
	gate_finish();
	return 0;
}
