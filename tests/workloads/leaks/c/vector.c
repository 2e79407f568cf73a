/* A queue in an array: jobs are added at the end and taken from the front.
 *
 * Healthy: what was taken makes room for what comes. Leaky: it does not, and the array grows while
 * it holds next to nothing. */
#include "patterns.h"

#define STEP 256

struct job {
	unsigned long number;
	unsigned long due;
};

static struct job *jobs;
static size_t front, end, capacity;

TRACED static void vector_grow(void) {
	capacity += STEP;
	jobs = need(realloc(jobs, capacity * sizeof *jobs)); /* LEAK: vector_grow */
}

TRACED static void vector_add(struct turn *turn) {
	if (end == capacity && front > 0 && !turn->leaky) {
		memmove(jobs, jobs + front, (end - front) * sizeof *jobs);
		end -= front;
		front = 0;
	}
	if (end == capacity)
		vector_grow();
	jobs[end++] = (struct job){turn->tick, turn->tick + 10};
}

void vector_tick(struct turn *turn) {
	for (int i = 0; i < 2; i++)
		vector_add(turn);
	while (front < end && jobs[front].due <= turn->tick)
		front++;
}
