/* Children that each load a library, allocate by it and end at once: by fork alone, and after an exec.
 *
 * Arguments: the libraries of the one and of the other. Built without frame pointers.
 */
#include <dlfcn.h>
#include <sys/wait.h>

#include "gate.h"

#define CALLS 20

typedef void *entry_of(void *(*allocate)(size_t), size_t size);

TRACED void brief_call(entry_of *entry)
{
	for (int i = 0; i < CALLS; i++)
		free(entry(malloc, 853));
}

static int brief(const char *library, const char *name)
{
	void *handle = dlopen(library, RTLD_NOW);
	if (!handle)
		gate_fail(dlerror());
	brief_call((entry_of *)dlsym(handle, name));
	return 0;
}

static void start(char **argv, int is_exec)
{
	int status;
	pid_t pid = fork();
	if (pid == 0) {
		if (is_exec)
			execl("/proc/self/exe", "brief", argv[2], (char *)NULL);
		_exit(brief(argv[1], "plugin_a_entry"));
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
		gate_fail("a child failed");
}

int main(int argc, char **argv)
{
	if (argc == 2)
		_exit(brief(argv[1], "plugin_b_entry"));
	if (argc != 3)
		gate_fail("brief LIBRARY LIBRARY");
	gate_wait();
	start(argv, 0);
	start(argv, 1);
	gate_write(1, "done\n", 5);
	gate_finish();
	return 0;
}
