/* Works in steps, one for each `s` on standard input, and says `step N` after each. A step leaks some
 * blocks, more each time, and puts some into a cache that is full after two and a half steps and then
 * frees its oldest. Any other byte ends the steps: then it prints its ledger.
 */
#include "tally.h"

#define LEAKED 10
#define CACHED 100
#define CACHE 250
#define LEAK_SIZE 32
#define CACHE_SIZE 48

enum { PART_LEAK, PART_CACHE };

static const char *const part_names[] = {"steps_leak", "steps_cache", NULL};
static struct tally tally;
static void *leaked[1 << 16];
static void *cache[CACHE];

TRACED void steps_leak(unsigned number) {
	static unsigned count;
	for (unsigned i = 0; i < LEAKED + number; i++) {
		void *block = malloc(LEAK_SIZE);
		if (block == NULL || count == sizeof leaked / sizeof *leaked)
			gate_fail("leak");
		leaked[count++] = block;
		tally.calls += 1;
		tally_alloc(&tally, PART_LEAK, LEAK_SIZE);
	}
}

TRACED void steps_cache(void) {
	static unsigned next;
	for (unsigned i = 0; i < CACHED; i++) {
		void **slot = &cache[next++ % CACHE];
		if (*slot != NULL) {
			free(*slot);
			tally.calls += 1;
			tally_free(&tally, PART_CACHE, CACHE_SIZE);
		}
		*slot = malloc(CACHE_SIZE);
		if (*slot == NULL)
			gate_fail("malloc");
		tally.calls += 1;
		tally_alloc(&tally, PART_CACHE, CACHE_SIZE);
	}
}

int main(void) {
	char byte = 0;
	struct line line = {0};
	gate_write(1, "ready\n", 6);
	for (unsigned number = 0; read(0, &byte, 1) == 1 && byte == 's'; number++) {
		steps_leak(number);
		steps_cache();
		line_add(&line, "step %u", number);
		line_print(&line);
	}
	tally_print(&tally, 1, part_names, NULL);
	gate_finish();
	return leaked[0] == NULL;
}
