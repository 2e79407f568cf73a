/* Holds most in the middle of its life, for a moment: four threads build it up, each in three ways, and
 * take it down again at once. A lower hump follows, and little is left.
 *
 * `peak exec` replaces itself by exec while it holds most; the hump is the second life's. `peak fork`
 * forks then, and the peak is with what the child holds until it exits. What is live at the peak, and
 * through which functions, is in the ledger as cases.
 */
#include "tally.h"

#include <pthread.h>
#include <sys/wait.h>

#define THREADS 4
#define SMALL 3000
#define SMALL_SIZE 1000
#define LARGE 5
#define LARGE_SIZE (512 << 10)
#define GROWN 3
#define GROWN_SIZE (1 << 20)
#define LATER 120
#define LATER_SIZE (100 << 10)
#define CHILD 150

enum { PART_SMALL, PART_LARGE, PART_GROWN, PART_LATER };
enum { CASE_BYTES, CASE_OBJECTS, CASE_SMALL, CASE_LARGE, CASE_GROWN, CASE_CHILD };

static const char *const part_names[] = {"peak_small", "peak_large", "peak_grown", "peak_later",
					 NULL};
static const char *const case_names[] = {"peak_bytes", "peak_objects", "peak_small", "peak_large",
					 "peak_grown", "peak_child",   NULL};

struct worker {
	pthread_t thread;
	struct tally *tally;
	void *small[SMALL];
	void *large[LARGE];
	void *grown[GROWN];
};

static struct tally tallies[THREADS + 1];
static struct worker workers[THREADS];
static void *later[LATER];
static pthread_barrier_t begin, built, end;
static int keeps;

static void *take(struct tally *tally, int part, size_t size) {
	void *block = malloc(size);
	if (block == NULL)
		gate_fail("malloc");
	tally->calls += 1;
	tally_alloc(tally, part, size);
	return block;
}

static void give(struct tally *tally, int part, void *block, size_t size) {
	free(block);
	tally->calls += 1;
	tally_free(tally, part, size);
}

TRACED void peak_small(struct worker *worker) {
	for (size_t i = 0; i < SMALL; i++)
		worker->small[i] = take(worker->tally, PART_SMALL, SMALL_SIZE);
}

TRACED void peak_large(struct worker *worker) {
	for (size_t i = 0; i < LARGE; i++)
		worker->large[i] = take(worker->tally, PART_LARGE, LARGE_SIZE);
}

TRACED void peak_grown(struct worker *worker) {
	for (size_t i = 0; i < GROWN; i++) {
		void *block = take(worker->tally, PART_GROWN, 100);
		size_t size = 100;
		while (size < GROWN_SIZE) {
			size_t larger = size * 3 < GROWN_SIZE ? size * 3 : GROWN_SIZE;
			if ((block = realloc(block, larger)) == NULL)
				gate_fail("realloc");
			worker->tally->calls += 1;
			tally_free(worker->tally, PART_GROWN, size);
			tally_alloc(worker->tally, PART_GROWN, larger);
			size = larger;
		}
		worker->grown[i] = block;
	}
}

TRACED void peak_later(void) {
	for (size_t i = 0; i < LATER; i++)
		later[i] = take(&tallies[THREADS], PART_LATER, LATER_SIZE);
}

TRACED void peak_child(void) {
	for (size_t i = 0; i < CHILD; i++) {
		if (malloc(LATER_SIZE) == NULL)
			gate_fail("malloc");
	}
}

static void *work(void *argument) {
	struct worker *worker = argument;
	pthread_barrier_wait(&begin);
	peak_small(worker);
	peak_large(worker);
	peak_grown(worker);
	pthread_barrier_wait(&built);
	if (!keeps) {
		for (size_t i = 0; i < SMALL; i++)
			give(worker->tally, PART_SMALL, worker->small[i], SMALL_SIZE);
		for (size_t i = 0; i < LARGE; i++)
			give(worker->tally, PART_LARGE, worker->large[i], LARGE_SIZE);
		for (size_t i = 0; i < GROWN; i++)
			give(worker->tally, PART_GROWN, worker->grown[i], GROWN_SIZE);
	}
	pthread_barrier_wait(&end);
	/* What the C library frees when a thread ends is none of this. */
	for (;;)
		pause();
}

static void print(int with_child) {
	uint64_t *cases = tallies[0].cases;
	cases[CASE_SMALL] = (uint64_t)THREADS * SMALL * SMALL_SIZE;
	cases[CASE_LARGE] = (uint64_t)THREADS * LARGE * LARGE_SIZE;
	cases[CASE_GROWN] = (uint64_t)THREADS * GROWN * GROWN_SIZE;
	cases[CASE_CHILD] = with_child ? (uint64_t)CHILD * LATER_SIZE : 0;
	cases[CASE_BYTES] = cases[CASE_SMALL] + cases[CASE_LARGE] + cases[CASE_GROWN] +
			    cases[CASE_CHILD];
	cases[CASE_OBJECTS] =
		THREADS * (SMALL + LARGE + GROWN) + (with_child ? (uint64_t)CHILD : 0);
	tally_print(tallies, THREADS + 1, part_names, case_names);
}

int main(int argc, char **argv) {
	const char *mode = argc > 1 ? argv[1] : "";
	if (strcmp(mode, "again") == 0) {
		peak_later();
		gate_write(1, "again\n", 6);
		gate_finish();
		return later[0] == NULL;
	}
	keeps = mode[0] != 0;
	pthread_barrier_init(&begin, NULL, THREADS + 1);
	pthread_barrier_init(&built, NULL, THREADS + 1);
	pthread_barrier_init(&end, NULL, THREADS + 1);
	for (int i = 0; i < THREADS; i++) {
		workers[i].tally = &tallies[i];
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
			gate_fail("thread");
	}
	gate_wait();
	pthread_barrier_wait(&begin);
	pthread_barrier_wait(&built);
	pthread_barrier_wait(&end);
	if (strcmp(mode, "exec") == 0) {
		char again[] = "again";
		char *arguments[] = {argv[0], again, NULL};
		print(0);
		execv("/proc/self/exe", arguments);
		gate_fail("exec");
	}
	if (strcmp(mode, "fork") == 0) {
		int status;
		pid_t child = fork();
		if (child == 0) {
			peak_child();
			_exit(0);
		}
		if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
			gate_fail("the child");
	}
	peak_later();
	if (!keeps) {
		for (size_t i = 1; i < LATER; i++)
			give(&tallies[THREADS], PART_LATER, later[i], LATER_SIZE);
	}
	print(strcmp(mode, "fork") == 0);
	gate_finish();
	return 0;
}
