/* A pool of memory that the program maps itself. `pool grow` touches more and more of it, evenly by the clock
 * however seldom it is let run; `pool steady` touches as much and gives it back, again and again; `pool steps` does
 * what it is told: `a` touches STEP pages more, `d` gives half as many back, of the oldest.
 */
#include "gate.h"

#include <sys/mman.h>
#include <poll.h>
#include <time.h>

#define PAGE 4096
#define SPACE ((size_t)4 << 30)
#define STEP 64
#define MILLISECONDS_PER_PAGE 10

static volatile char *pool;
static size_t touched, given_back;

TRACED static void pool_grow(size_t pages) {
	for (; touched < pages; touched++)
		pool[touched * PAGE] = 1;
}

TRACED static void pool_give_back(size_t pages) {
	if (madvise((char *)pool + given_back * PAGE, pages * PAGE, MADV_DONTNEED) != 0)
		gate_fail("madvise");
	given_back += pages;
}

TRACED static void pool_reuse(void) {
	touched = given_back = 0;
	pool_grow(STEP);
	pool_give_back(STEP);
}

static size_t milliseconds(void) {
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (size_t)now.tv_sec * 1000 + (size_t)now.tv_nsec / 1000000;
}

/* Until the input ends. */
static int goes_on(void) {
	struct pollfd input = {.fd = 0, .events = POLLIN};
	return poll(&input, 1, 5) == 0;
}

static void steps(void) {
	struct line line = {.length = 0};
	char command;
	int step = 0;
	while (read(0, &command, 1) == 1) {
		if (command == 'a')
			pool_grow(touched + STEP);
		else
			pool_give_back(STEP / 2);
		line_add(&line, "step %d", step++);
		line_print(&line);
	}
}

int main(int argc, char **argv) {
	const char *mode = argc > 1 ? argv[1] : "";
	char *area = mmap(NULL, SPACE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (area == MAP_FAILED || madvise(area, SPACE, MADV_NOHUGEPAGE) != 0)
		gate_fail("mmap");
	pool = area;
	gate_write(1, "ready\n", 6);
	if (strcmp(mode, "steps") == 0) {
		steps();
		return 0;
	}
	size_t start = milliseconds();
	while (goes_on()) {
		if (strcmp(mode, "grow") == 0)
			pool_grow((milliseconds() - start) / MILLISECONDS_PER_PAGE);
		else
			pool_reuse();
	}
	return 0;
}
