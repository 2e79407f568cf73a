/* Times malloc+free pairs: blocks of 16 to 1,024 bytes, 1,024 of them live, under a chosen number
 * of frames.
 *
 * Reads lines "FRAMES MILLISECONDS" from standard input and answers each with the nanoseconds that
 * one pair took. It waits for them with nothing running, so that a tracer can attach in between.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LIVE 1024
#define BATCH 1000
/* Power of two, more than LIVE, and unlike it in period: sizes and slots do not line up. */
#define SIZES 4096

static void *live[LIVE];
static uint16_t sizes[SIZES];
static uint16_t slots[SIZES];
static unsigned position;

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static __attribute__((noinline)) void pairs(void)
{
	for (int i = 0; i < BATCH; i++) {
		unsigned draw = position++ % SIZES;
		void **slot = &live[slots[draw]];

		free(*slot);
		*slot = malloc(sizes[draw]);
		if (!*slot)
			abort();
		/* Touched, as by any program; and the pair cannot be optimised away. */
		*(volatile char *)*slot = 1;
	}
}

/* Calls pairs() under that many frames. What is done after the call keeps it from being a jump. */
static __attribute__((noinline)) unsigned deeper(unsigned frames)
{
	volatile unsigned kept = frames;

	if (frames > 1)
		kept += deeper(frames - 1);
	else
		pairs();
	return kept;
}

int main(void)
{
	unsigned frames, milliseconds;
	uint32_t random = 2463534242;

	for (int i = 0; i < SIZES; i++) {
		random ^= random << 13;
		random ^= random >> 17;
		random ^= random << 5;
		sizes[i] = 16 + random % (1024 - 16 + 1);
		slots[i] = (random >> 16) % LIVE;
	}
	for (int i = 0; i < LIVE; i++) {
		live[i] = malloc(sizes[i]);
		if (!live[i])
			abort();
	}
	while (scanf("%u %u", &frames, &milliseconds) == 2) {
		uint64_t start = now(), end = start + (uint64_t)milliseconds * 1000000, stop;
		uint64_t count = 0;

		do {
			deeper(frames);
			count += BATCH;
			stop = now();
		} while (stop < end);
		printf("%.1f\n", (double)(stop - start) / (double)count);
		fflush(stdout);
	}
	return 0;
}
