/* A library that is loaded in mid-run and allocates. */
#include <stdlib.h>
#include <string.h>

__attribute__((noinline)) void *plugin_inner(size_t size)
{
	void *block = malloc(size);

	if (block)
		memset(block, 1, size);
	return block;
}

void *plugin_allocate(size_t size)
{
	char *block = plugin_inner(size);

	return block ? block : NULL;
}
