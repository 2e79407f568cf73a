/* Maps the allocator's code thousands of times, so that placing a probe takes its time: each of them gets its
 * breakpoint. Waits, and ends with the gate.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/mman.h>

#include "gate.h"

#define PAGE 4096
#define COPIES 4000

/* The mapping that an address is in. */
struct mapping {
	unsigned long start, end, offset;
	char path[4096];
};

static struct mapping mapping_of(uintptr_t address) {
	struct mapping found;
	char line[8192];
	FILE *maps = fopen("/proc/self/maps", "r");
	if (maps == NULL)
		gate_fail("maps");
	while (fgets(line, sizeof line, maps) != NULL) {
		if (sscanf(line, "%lx-%lx %*s %lx %*s %*s %4095s", &found.start, &found.end, &found.offset,
			   found.path) == 4 &&
		    address >= found.start && address < found.end) {
			fclose(maps);
			return found;
		}
	}
	gate_fail("no mapping");
	return found;
}

int main(void) {
	uintptr_t first = (uintptr_t)malloc, last = (uintptr_t)malloc;
	const uintptr_t others[] = {(uintptr_t)free, (uintptr_t)calloc, (uintptr_t)realloc};
	for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
		first = others[i] < first ? others[i] : first;
		last = others[i] > last ? others[i] : last;
	}
	struct mapping mapping = mapping_of(first);
	first &= ~(uintptr_t)(PAGE - 1);
	last = (last & ~(uintptr_t)(PAGE - 1)) + PAGE;
	int file = open(mapping.path, O_RDONLY);
	off_t offset = (off_t)(mapping.offset + (first - mapping.start));
	if (file < 0 || last > mapping.end)
		gate_fail("the C library");
	for (int i = 0; i < COPIES; i++) {
		/* A page apart, or the kernel makes one mapping of them. */
		char *place = mmap(NULL, last - first + PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (place == MAP_FAILED ||
		    mmap(place, last - first, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, file, offset) ==
			    MAP_FAILED)
			gate_fail("mmap");
	}
	close(file);
	gate_wait();
	gate_write(1, "alive\n", 6);
	gate_finish();
	return 0;
}
