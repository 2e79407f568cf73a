/* Does one thing for each byte on standard input, and rests in between: it allocates, then forks a child
 * that allocates and ends, then replaces itself by exec and allocates again. It prints a ledger of each
 * life, and says `forked` when the child has ended.
 */
#include "tally.h"

#include <sys/wait.h>

#define BLOCKS 1000

static struct tally tally;
static void *blocks[BLOCKS];

/* Each of them keeps a part of what it allocates. */
static inline __attribute__((always_inline)) void allocate(size_t smallest, size_t freed_of) {
	for (size_t i = 0; i < BLOCKS; i++) {
		void *block = malloc(smallest + i);
		if (block == NULL)
			gate_fail("malloc");
		tally.calls += 1;
		tally_alloc(&tally, 0, smallest + i);
		if (i % freed_of == 0) {
			tally.calls += 1;
			tally_free(&tally, 0, smallest + i);
			free(block);
			block = NULL;
		}
		blocks[i] = block;
	}
}

TRACED void lives_first(void) { allocate(40, 4); }

TRACED void lives_second(void) { allocate(7000, 2); }

/* What the child frees first it has inherited. */
TRACED void lives_child(void) {
	for (size_t i = 0; i < BLOCKS; i++)
		free(blocks[i]);
	allocate(300, 5);
}

static void next(void) {
	char byte;
	if (read(0, &byte, 1) != 1)
		gate_fail("it is not told to go on");
}

int main(int argc, char **argv) {
	static const char *const first[] = {"lives_first", NULL};
	static const char *const second[] = {"lives_second", NULL};
	char again[] = "again";
	char *arguments[] = {argv[0], again, NULL};
	int status;
	if (argc > 1) {
		lives_second();
		tally_print(&tally, 1, second, NULL);
		gate_finish();
		return 0;
	}
	gate_wait();
	lives_first();
	tally_print(&tally, 1, first, NULL);
	next();
	pid_t child = fork();
	if (child < 0)
		gate_fail("fork");
	if (child == 0) {
		lives_child();
		_exit(0);
	}
	if (waitpid(child, &status, 0) != child || status != 0)
		gate_fail("the child failed");
	gate_write(1, "forked\n", 7);
	next();
	execv("/proc/self/exe", arguments);
	gate_fail("exec");
}
