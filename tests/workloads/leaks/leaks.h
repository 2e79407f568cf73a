/* What the gallery's programs in C and C++ share: the loop that turns a pattern's crank.
 *
 *   PROGRAM PATTERN leaky|healthy [TICKS]
 *
 * prints `ready` and calls the pattern every millisecond until standard input ends. With TICKS it
 * does not wait in between, and ends after so many. Halfway (then only) and at the end it prints
 * what is live by the C library's own count. Everything a pattern does follows from the number of
 * the tick, so that both ways do the same.
 *
 * Beside the pattern there is everyday work in every program, which is never at fault.
 */
#ifndef LEAKS_H
#define LEAKS_H

/* For ppoll; C++ defines it by itself. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "../c/gate.h"

#include <malloc.h>
#include <poll.h>
#include <time.h>

struct turn {
	unsigned long tick;
	int leaky;
	uint64_t random;
};

struct pattern {
	const char *name;
	void (*tick)(struct turn *turn);
};

/* A number from 0 up to `end`, without `end`. */
static inline unsigned long turn_random(struct turn *turn, unsigned long end) {
	return (unsigned long)(random_next(&turn->random) % end);
}

static inline void *need(void *block) {
	if (block == NULL)
		gate_fail("out of memory");
	return block;
}

/* Short lives of all lengths up to a few dozen ticks. */
TRACED static void everyday_work(struct turn *turn) {
	static void *held[64];
	for (int i = 0; i < 2; i++) {
		void **slot = &held[turn_random(turn, 64)];
		free(*slot);
		*slot = need(malloc(16 + turn_random(turn, 400)));
	}
}

static inline void leaks_report(const struct turn *turn) {
	struct line line;
	struct mallinfo2 info = mallinfo2();
	line.length = 0;
	line_add(&line, "{\"ticks\":%lu,\"live_bytes\":%zu}", turn->tick,
		 info.uordblks + info.hblkhd);
	line_print(&line);
}

/* Waits until the next millisecond begins, or returns 0 if standard input has ended. A tick that
 * comes late is not made up for. */
static inline int leaks_wait(struct timespec *next) {
	struct pollfd input = {0, POLLIN, 0};
	struct timespec now, left = {0, 0};
	char bytes[64];
	next->tv_nsec += 1000000;
	if (next->tv_nsec >= 1000000000) {
		next->tv_nsec -= 1000000000;
		next->tv_sec += 1;
	}
	clock_gettime(CLOCK_MONOTONIC, &now);
	long long ahead = (next->tv_sec - now.tv_sec) * 1000000000LL + next->tv_nsec - now.tv_nsec;
	if (ahead > 0)
		left.tv_nsec = (long)ahead;
	else
		*next = now;
	return ppoll(&input, 1, &left, NULL) <= 0 || read(0, bytes, sizeof bytes) > 0;
}

/* Runs the pattern that the arguments name; NULL ends the list. */
static inline int leaks_main(int argc, char **argv, const struct pattern *patterns) {
	struct turn turn = {0, 0, 88172645463325252ULL};
	unsigned long ticks = argc > 3 ? strtoul(argv[3], NULL, 10) : 0;
	struct timespec next;
	const struct pattern *pattern = patterns;
	while (argc > 2 && pattern->name != NULL && strcmp(pattern->name, argv[1]) != 0)
		pattern++;
	if (argc < 3 || pattern->name == NULL)
		gate_fail("usage: PROGRAM PATTERN leaky|healthy [TICKS]");
	turn.leaky = strcmp(argv[2], "leaky") == 0;
	gate_write(1, "ready\n", 6);
	clock_gettime(CLOCK_MONOTONIC, &next);
	while (ticks > 0 ? turn.tick < ticks : leaks_wait(&next)) {
		everyday_work(&turn);
		pattern->tick(&turn);
		turn.tick++;
		if (turn.tick * 2 == ticks)
			leaks_report(&turn);
	}
	leaks_report(&turn);
	/* What is held is held to the last. */
	_exit(0);
}

#endif
