/* Maps files of a folder as code, each under a name that is no UTF-8; at its gate. Behind it, toggles the protection
 * of a page of code of its own, as JIT compilers do, and allocates each time.
 *
 * Arguments: the folder, the number of files, the number of toggles.
 */
#include "tally.h"

#include <fcntl.h>
#include <sys/mman.h>

static const char *const part_names[] = {"mapper_allocate", NULL};
static struct tally tally;

TRACED void mapper_allocate(size_t size) {
	if (malloc(size) == NULL)
		gate_fail("malloc");
	tally.calls += 1;
	tally_alloc(&tally, 0, size);
}

int main(int count, char **arguments) {
	if (count != 4)
		gate_fail("wrong arguments");
	int files = atoi(arguments[2]), toggles = atoi(arguments[3]);
	for (int i = 0; i < files; i++) {
		char path[512];
		snprintf(path, sizeof path, "%s/\xff\n%d", arguments[1], i);
		int file = open(path, O_RDONLY);
		if (file < 0 || mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0) == MAP_FAILED)
			gate_fail(path);
		close(file);
	}
	char *page = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		gate_fail("mmap");
	gate_wait();
	for (int i = 0; i < toggles; i++) {
		if (mprotect(page, 4096, PROT_READ | PROT_WRITE) != 0)
			gate_fail("mprotect");
		page[i % 4096] = 1;
		if (mprotect(page, 4096, PROT_READ | PROT_EXEC) != 0)
			gate_fail("mprotect");
		mapper_allocate(16 + i % 100);
		usleep(200);
	}
	tally_print(&tally, 1, part_names, NULL);
	gate_finish();
	return 0;
}
