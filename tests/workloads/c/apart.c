/* Passes its peak on two CPUs, neither of which does so by itself: the first one builds up a peak, takes most of it
 * down, and allocates a little; the second one allocates the rest. The most that was live at once is in the ledger.
 */
#define _GNU_SOURCE
#include "tally.h"

#include <sched.h>

#define SIZE ((size_t)1 << 20)
#define FIRST 30
#define LEFT 3
#define KEPT 6
#define SECOND 24

enum { PART_FIRST, PART_KEPT, PART_SECOND, PART_WHOLE };

static const char *const part_names[] = {"apart_first", "apart_kept", "apart_second", "apart_whole",
					 NULL};
static const char *const case_names[] = {"peak_bytes", NULL};
static struct tally tally;
static void *blocks[FIRST + KEPT + SECOND];

static void go_to(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	/* A machine with a single one has no second. */
	if (sched_setaffinity(0, sizeof set, &set) != 0 && cpu == 0)
		gate_fail("sched_setaffinity");
}

static void *take(int part, size_t size)
{
	void *block = malloc(size);

	if (block == NULL)
		gate_fail("malloc");
	tally.calls += 1;
	tally_alloc(&tally, part, size);
	return block;
}

static void give(int part, void *block, size_t size)
{
	free(block);
	tally.calls += 1;
	tally_free(&tally, part, size);
}

TRACED void apart_first(void)
{
	for (int i = 0; i < FIRST; i++)
		blocks[i] = take(PART_FIRST, SIZE);
	for (int i = LEFT; i < FIRST; i++)
		give(PART_FIRST, blocks[i], SIZE);
}

/* More than a CPU keeps to itself: after it, nothing is kept. */
TRACED void apart_whole(void)
{
	void *whole = take(PART_WHOLE, 10 * SIZE);

	give(PART_WHOLE, whole, 10 * SIZE);
}

TRACED void apart_kept(void)
{
	for (int i = 0; i < KEPT; i++)
		blocks[FIRST + i] = take(PART_KEPT, SIZE);
}

TRACED void apart_second(void)
{
	for (int i = 0; i < SECOND; i++)
		blocks[FIRST + KEPT + i] = take(PART_SECOND, SIZE);
}

int main(void)
{
	go_to(0);
	gate_wait();
	apart_first();
	apart_whole();
	apart_kept();
	go_to(1);
	apart_second();
	for (int i = 0; i < LEFT; i++)
		give(PART_FIRST, blocks[i], SIZE);
	for (int i = 0; i < KEPT; i++)
		give(PART_KEPT, blocks[FIRST + i], SIZE);
	for (int i = 0; i < SECOND; i++)
		give(PART_SECOND, blocks[FIRST + KEPT + i], SIZE);
	tally.cases[0] = (LEFT + KEPT + SECOND) * SIZE;
	tally_print(&tally, 1, part_names, case_names);
	gate_finish();
	return 0;
}
