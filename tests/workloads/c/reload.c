/* Loads two libraries in turn, each at the place of the other, which has just been closed, and has them
 * allocate at once.
 *
 * Arguments: the libraries, the rounds, and how: `closed`, or `renamed`: both are loaded by one path, at
 * which the file of the other is put in between. Built without frame pointers.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>

#include "gate.h"

#define CALLS 20

static const char *path;
static char copy[4096];

static void put_file(const char *from)
{
	char part[4096 + 8];
	snprintf(copy, sizeof copy, "%s/plugin.so", path);
	snprintf(part, sizeof part, "%s.part", copy);
	char command[16384];
	snprintf(command, sizeof command, "cp %s %s && mv %s %s", from, part, part, copy);
	if (system(command) != 0)
		gate_fail("cannot copy");
}

TRACED uintptr_t load_and_call(const char *library, size_t size)
{
	if (path) {
		put_file(library);
		library = copy;
	}
	void *handle = dlopen(library, RTLD_NOW);
	if (!handle)
		gate_fail(dlerror());
	struct link_map *map;
	dlinfo(handle, RTLD_DI_LINKMAP, &map);
	uintptr_t base = map->l_addr;
	void *(*entry)(size_t) = (void *(*)(size_t))dlsym(handle, "plugin_entry");
	for (int i = 0; i < CALLS; i++)
		free(entry(size));
	dlclose(handle);
	return base;
}

TRACED uintptr_t caller_a(const char *library)
{
	uintptr_t base = load_and_call(library, 1001);
	__asm__ volatile("");
	return base;
}

TRACED uintptr_t caller_b(const char *library)
{
	uintptr_t base = load_and_call(library, 1002);
	__asm__ volatile("");
	return base;
}

int main(int argc, char **argv)
{
	if (argc < 4)
		gate_fail("reload LIBRARY LIBRARY ROUNDS [FOLDER]");
	path = argv[4];
	gate_wait();
	int rounds = atoi(argv[3]), same = 0;
	for (int i = 0; i < rounds; i++)
		same += caller_a(argv[1]) == caller_b(argv[2]);
	/* Or the test would show nothing. */
	if (same == 0)
		gate_fail("never at the same place");
	gate_write(1, "done\n", 5);
	gate_finish();
	return 0;
}
