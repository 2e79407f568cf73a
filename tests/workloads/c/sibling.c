/* A child and its parent that each load a library at the same place, the parent before and the child after the
 * test says so. Arguments: the parent's library and the child's. Built without frame pointers.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <sys/wait.h>

#include "gate.h"

#define CALLS 50

typedef void *entry_of(void *(*allocate)(size_t), size_t size);

static int to_child[2];

TRACED uintptr_t sibling_call(const char *library, const char *name)
{
	struct link_map *map;
	void *handle = dlopen(library, RTLD_NOW);
	if (!handle || dlinfo(handle, RTLD_DI_LINKMAP, &map) != 0)
		gate_fail(dlerror());
	entry_of *entry = (entry_of *)dlsym(handle, name);
	for (int i = 0; i < CALLS; i++)
		free(entry(malloc, 853));
	return map->l_addr;
}

static void child(const char *library)
{
	uintptr_t theirs;
	if (read(to_child[0], &theirs, sizeof theirs) != sizeof theirs)
		gate_fail("the parent is gone");
	/* Or the test would show nothing. */
	if (sibling_call(library, "plugin_b_entry") != theirs)
		gate_fail("not at the same place");
	_exit(0);
}

int main(int argc, char **argv)
{
	int status;
	char byte;
	if (argc != 3)
		gate_fail("sibling LIBRARY LIBRARY");
	if (pipe(to_child) != 0)
		gate_fail("pipe");
	gate_wait();
	pid_t pid = fork();
	if (pid == 0)
		child(argv[2]);
	uintptr_t place = sibling_call(argv[1], "plugin_a_entry");
	gate_write(1, "loaded\n", 7);
	if (read(0, &byte, 1) != 1)
		gate_fail("nobody said so");
	gate_write(to_child[1], (char *)&place, sizeof place);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
		gate_fail("the child failed");
	gate_write(1, "done\n", 5);
	gate_finish();
	return 0;
}
