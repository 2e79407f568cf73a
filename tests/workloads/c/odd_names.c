/* A program whose names are chosen to do something to whoever shows them: its process name, and, after
 * the test has patched them into the file, that of a function. The library it loads has an odd path.
 * Allocates until it is told to end.
 */
#include "gate.h"

#include <dlfcn.h>
#include <poll.h>
#include <sys/prctl.h>

static void *volatile kept;

/* `QQQQ` is what the test replaces. */
TRACED void odd_QQQQ_held(void *(*entry)(size_t)) {
	kept = malloc(100);
	kept = entry(50);
}

int main(int argc, char **argv) {
	void *library = argc > 1 ? dlopen(argv[1], RTLD_NOW) : NULL;
	void *(*entry)(size_t) = malloc;
	if (library != NULL)
		entry = (void *(*)(size_t))dlsym(library, "odd_entry");
	if (entry == NULL)
		gate_fail("no entry");
	/* Fifteen bytes count. */
	prctl(PR_SET_NAME, "o\033]0;x\007\033[2J\n\302\233");
	gate_write(1, "ready\n", 6);
	struct pollfd end = {.fd = 0, .events = POLLIN};
	while (poll(&end, 1, 2) == 0)
		odd_QQQQ_held(entry);
	return 0;
}
