/* Times malloc+free pairs: blocks of 16 to 1,024 bytes, 1,024 of them live in each thread, under a
 * chosen number of frames.
 *
 * Reads lines "THREADS FRAMES MILLISECONDS" from standard input and answers each with the nanoseconds
 * that one pair took a thread. Each thread has blocks and frames of its own. It waits for the lines
 * with nothing running, so that a tracer can attach in between.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define THREADS 64
#define LIVE 1024
#define BATCH 1000
/* Power of two, more than LIVE, and unlike it in period: sizes and slots do not line up. */
#define SIZES 4096

/* On cache lines of its own: what threads cost each other is to be the tracer's doing. */
struct worker {
	_Alignas(64) void *live[LIVE];
	unsigned position;
	double nanoseconds;
	pthread_t thread;
};

static struct worker workers[THREADS];
static uint16_t sizes[SIZES];
static uint16_t slots[SIZES];
static unsigned frames, milliseconds;
static pthread_barrier_t barrier;

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static void *allocate(unsigned size)
{
	void *block = malloc(size);

	if (!block)
		abort();
	/* Touched, as by any program; and the pair cannot be optimised away. */
	*(volatile char *)block = 1;
	return block;
}

static __attribute__((noinline)) void pairs(struct worker *worker)
{
	for (int i = 0; i < BATCH; i++) {
		unsigned draw = worker->position++ % SIZES;
		void **slot = &worker->live[slots[draw]];

		free(*slot);
		*slot = allocate(sizes[draw]);
	}
}

/* Calls pairs() under that many frames. What is done after the call keeps it from being a jump. */
static __attribute__((noinline)) unsigned deeper(struct worker *worker, unsigned left)
{
	volatile unsigned kept = left;

	if (left > 1)
		kept += deeper(worker, left - 1);
	else
		pairs(worker);
	return kept;
}

static void *work(void *argument)
{
	struct worker *worker = argument;
	uint64_t start, end, stop, count = 0;

	for (int i = 0; i < LIVE; i++)
		worker->live[i] = allocate(sizes[i]);
	/* Page faults and cold caches of the first calls are nobody's cost. */
	deeper(worker, frames);
	pthread_barrier_wait(&barrier);
	start = now();
	end = start + (uint64_t)milliseconds * 1000000;
	do {
		deeper(worker, frames);
		count += BATCH;
		stop = now();
	} while (stop < end);
	worker->nanoseconds = (double)(stop - start) / (double)count;
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < LIVE; i++)
		free(worker->live[i]);
	return NULL;
}

int main(void)
{
	unsigned threads;
	uint32_t random = 2463534242;

	for (int i = 0; i < SIZES; i++) {
		random ^= random << 13;
		random ^= random >> 17;
		random ^= random << 5;
		sizes[i] = 16 + random % (1024 - 16 + 1);
		slots[i] = (random >> 16) % LIVE;
	}
	while (scanf("%u %u %u", &threads, &frames, &milliseconds) == 3) {
		double sum = 0;

		if (threads < 1 || threads > THREADS || pthread_barrier_init(&barrier, NULL, threads))
			abort();
		for (unsigned i = 1; i < threads; i++)
			if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
				abort();
		work(&workers[0]);
		for (unsigned i = 1; i < threads; i++)
			pthread_join(workers[i].thread, NULL);
		pthread_barrier_destroy(&barrier);
		for (unsigned i = 0; i < threads; i++)
			sum += workers[i].nanoseconds;
		printf("%.1f\n", sum / threads);
		fflush(stdout);
	}
	return 0;
}
