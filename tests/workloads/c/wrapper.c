/* A library to be preloaded that hands all calls on to the next allocator, as those do that count or check
 * them.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>

static void *next(const char *name) { return dlsym(RTLD_NEXT, name); }

void *malloc(size_t size) {
	static void *(*real)(size_t);
	if (real == NULL)
		*(void **)&real = next("malloc");
	void *volatile block = real(size);
	return block;
}

void *realloc(void *old, size_t size) {
	static void *(*real)(void *, size_t);
	if (real == NULL)
		*(void **)&real = next("realloc");
	void *volatile block = real(old, size);
	return block;
}

void free(void *block) {
	static void (*real)(void *);
	if (real == NULL)
		*(void **)&real = next("free");
	real(block);
}
