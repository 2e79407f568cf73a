/* Allocates from as many different call stacks as it is asked for.
 *
 * Reads lines "COUNT" from standard input and answers each with its number. Each stack is a walk through
 * 18 levels, left or right by a bit of its number. Of ten blocks one stays.
 */
#include <stdio.h>
#include <stdlib.h>

#define LEVELS 18

static void *volatile kept;

static void left(unsigned number, int level);
static void right(unsigned number, int level);

static inline __attribute__((always_inline)) void turn(unsigned number, int level)
{
	if (level < LEVELS) {
		if (number >> level & 1)
			right(number, level + 1);
		else
			left(number, level + 1);
		return;
	}
	void *block = malloc(16 + number % 1000);
	if (!block)
		abort();
	if (number % 10)
		free(block);
	else
		kept = block;
}

/* The empty instruction after the call keeps it a call. */
static __attribute__((noinline, noclone)) void left(unsigned number, int level)
{
	turn(number, level);
	__asm__ volatile("");
}

static __attribute__((noinline, noclone)) void right(unsigned number, int level)
{
	turn(number, level);
	__asm__ volatile("");
}

int main(void)
{
	unsigned count;

	while (scanf("%u", &count) == 1) {
		if (count > 1u << LEVELS)
			abort();
		for (unsigned number = 0; number < count; number++)
			turn(number, 0);
		printf("%u\n", count);
		fflush(stdout);
	}
	return 0;
}
