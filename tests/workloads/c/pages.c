/* Memory that the program maps itself and gives back in every way there is. Its ledger counts pages: what
 * became resident below each function, and what of that is gone again.
 *
 * `pages populate` has the kernel fill in memory at once as well, without a page fault; in `pages fork` a child
 * has some of its own.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>

#include "tally.h"

#define PAGE 4096
#define HUGE (2 << 20)
#define PAGES 512
#define POPULATED (64 << 20)

enum part { PART_KEEP, PART_GONE, PART_HALF, PART_AGAIN, PART_READ, PART_KERNEL, PART_HUGE, PART_THREAD,
	    PART_LATE, PART_CHILD };

static const char *const part_names[] = {"pages_keep", "pages_gone", "pages_half", "pages_again",
					 "pages_read", "pages_kernel", "pages_huge", "pages_thread",
					 "pages_late", "pages_child", NULL};

static struct tally tallies[3];
static pthread_barrier_t begin;

/* Two huge pages' worth, so that one of them can be whole. */
static char *map(int advice) {
	char *area = mmap(NULL, 3 * HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (area == MAP_FAILED || madvise(area, 3 * HUGE, advice) != 0)
		gate_fail("mmap");
	return (char *)(((uintptr_t)area + HUGE - 1) & ~(uintptr_t)(HUGE - 1));
}

static void came(struct tally *tally, enum part part, size_t pages) {
	for (size_t i = 0; i < pages; i++)
		tally_alloc(tally, part, PAGE);
}

static void went(struct tally *tally, enum part part, size_t pages) {
	for (size_t i = 0; i < pages; i++)
		tally_free(tally, part, PAGE);
}

static void touch(volatile char *area, size_t pages) {
	for (size_t i = 0; i < pages; i++)
		area[i * PAGE] = 1;
}

TRACED static void pages_keep(struct tally *tally) {
	touch(map(MADV_NOHUGEPAGE), PAGES);
	came(tally, PART_KEEP, PAGES);
}

TRACED static void pages_gone(struct tally *tally) {
	char *area = map(MADV_NOHUGEPAGE);
	touch(area, PAGES);
	came(tally, PART_GONE, PAGES);
	if (munmap(area, HUGE) != 0)
		gate_fail("munmap");
	went(tally, PART_GONE, PAGES);
}

TRACED static void pages_half(struct tally *tally) {
	char *area = map(MADV_NOHUGEPAGE);
	touch(area, PAGES);
	came(tally, PART_HALF, PAGES);
	if (madvise(area, HUGE / 2, MADV_DONTNEED) != 0)
		gate_fail("madvise");
	went(tally, PART_HALF, PAGES / 2);
}

TRACED static void pages_again(struct tally *tally) {
	char *area = map(MADV_NOHUGEPAGE);
	for (int round = 0; round < 3; round++) {
		touch(area, PAGES);
		came(tally, PART_AGAIN, PAGES);
		if (round < 2) {
			madvise(area, HUGE, MADV_DONTNEED);
			went(tally, PART_AGAIN, PAGES);
		}
	}
}

/* Reads only: the kernel lends its page of zeros, which takes no memory. */
TRACED static void pages_read(struct tally *tally) {
	volatile char *area = map(MADV_NOHUGEPAGE);
	int sum = 0;
	for (size_t i = 0; i < PAGES; i++)
		sum += area[i * PAGE];
	if (sum != 0)
		gate_fail("not zero");
	came(tally, PART_READ, PAGES);
	went(tally, PART_READ, PAGES);
}

/* The kernel is who touches the pages, for a system call. */
TRACED static void pages_kernel(struct tally *tally) {
	char *area = map(MADV_NOHUGEPAGE);
	int zero = open("/dev/zero", O_RDONLY);
	if (zero < 0 || read(zero, area, HUGE) != HUGE)
		gate_fail("read");
	close(zero);
	came(tally, PART_KERNEL, PAGES);
}

/* One fault, and as much as the machine gives for it. */
TRACED static void pages_huge(struct tally *tally) {
	char *area = map(MADV_HUGEPAGE);
	unsigned char resident[PAGES];
	size_t pages = 0;
	touch(area + 17 * PAGE, 1);
	if (mincore(area, HUGE, resident) != 0)
		gate_fail("mincore");
	for (size_t i = 0; i < PAGES; i++)
		pages += resident[i] & 1;
	came(tally, PART_HUGE, pages);
	tally->cases[0] += pages;
}

/* A thread that is there before, and one that is not. */
TRACED static void pages_thread(struct tally *tally) {
	touch(map(MADV_NOHUGEPAGE), PAGES);
	came(tally, PART_THREAD, PAGES);
}

TRACED static void pages_late(struct tally *tally) {
	touch(map(MADV_NOHUGEPAGE), PAGES);
	came(tally, PART_LATE, PAGES);
}

static void *early(void *unused) {
	pthread_barrier_wait(&begin);
	pages_thread(&tallies[1]);
	pthread_barrier_wait(&begin);
	return unused;
}

static void *late(void *unused) {
	pages_late(&tallies[2]);
	return unused;
}

TRACED static void pages_child(void) { touch(map(MADV_NOHUGEPAGE), PAGES); }

/* Starts a child that holds its pages as long as the program lives. */
static void start_child(struct tally *tally) {
	int done[2];
	char byte;
	if (pipe(done) != 0)
		gate_fail("pipe");
	pid_t child = fork();
	if (child == 0) {
		pages_child();
		gate_write(done[1], "x", 1);
		gate_finish();
		_exit(0);
	}
	if (child < 0 || read(done[0], &byte, 1) != 1)
		gate_fail("the child");
	came(tally, PART_CHILD, PAGES);
}

TRACED static void pages_populate(void) {
	if (mmap(NULL, POPULATED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1,
		 0) == MAP_FAILED)
		gate_fail("mmap");
}

int main(int argc, char **argv) {
	static const char *const case_names[] = {"huge", NULL};
	const char *mode = argc > 1 ? argv[1] : "";
	pthread_t thread;
	pthread_barrier_init(&begin, NULL, 2);
	if (pthread_create(&thread, NULL, early, NULL) != 0)
		gate_fail("thread");
	gate_wait();
	pages_keep(&tallies[0]);
	pages_gone(&tallies[0]);
	pages_half(&tallies[0]);
	pages_again(&tallies[0]);
	pages_read(&tallies[0]);
	pages_kernel(&tallies[0]);
	pages_huge(&tallies[0]);
	pthread_barrier_wait(&begin);
	pthread_barrier_wait(&begin);
	pthread_join(thread, NULL);
	if (pthread_create(&thread, NULL, late, NULL) != 0 || pthread_join(thread, NULL) != 0)
		gate_fail("thread");
	if (strcmp(mode, "populate") == 0)
		pages_populate();
	if (strcmp(mode, "fork") == 0)
		start_child(&tallies[0]);
	tally_print(tallies, 3, part_names, case_names);
	gate_finish();
	return 0;
}
