/* Makes 100,000 different call stacks. Each is a walk through 17 levels, left or right by a bit of
 * its number, and ends in one allocation whose size names the number again: the tests can tell
 * two stacks that were merged, and a stack that was given another's amount.
 */
#include "tally.h"

#define LEVELS 17
#define STACKS 100000
#define SMALLEST 16

static const char *const part_names[] = {"stacks_allocate", NULL};
static struct tally tally;
static void *kept[STACKS];

TRACED void stacks_allocate(unsigned number) {
	size_t size = SMALLEST + number;
	void *block = malloc(size);
	if (block == NULL)
		gate_fail("malloc");
	tally.calls += 1;
	tally_alloc(&tally, 0, size);
	/* Enough stay alive for the live values to be spread over many stacks as well. */
	if (number % 10 == 0) {
		kept[number] = block;
	} else {
		tally.calls += 1;
		tally_free(&tally, 0, size);
		free(block);
	}
}

TRACED void stacks_left(unsigned number, int level);
TRACED void stacks_right(unsigned number, int level);

static inline __attribute__((always_inline)) void turn(unsigned number, int level) {
	if (level == LEVELS)
		stacks_allocate(number);
	else if (number >> level & 1)
		stacks_right(number, level + 1);
	else
		stacks_left(number, level + 1);
}

/* The empty instruction after the call keeps it a call, whatever the compiler thinks of tails. */
TRACED void stacks_left(unsigned number, int level) {
	turn(number, level);
	__asm__ volatile("");
}

TRACED void stacks_right(unsigned number, int level) {
	turn(number, level);
	__asm__ volatile("");
}

int main(void) {
	gate_wait();
	for (unsigned number = 0; number < STACKS; number++)
		turn(number, 0);
	tally_print(&tally, 1, part_names, NULL);
	gate_finish();
	return kept[0] == NULL;
}
