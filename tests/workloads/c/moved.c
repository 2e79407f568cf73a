/* Allocates below a function that was moved after the gate: the kernel tells nobody of that, so that it lies in
 * no mapping that anybody knows of. It keeps a frame pointer. The argument is the number of blocks.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "gate.h"

#define PAGE 4096

/* push %rbp; mov %rsp,%rbp; call *%rdi; pop %rbp; ret */
static const uint8_t code[] = {0x55, 0x48, 0x89, 0xe5, 0xff, 0xd7, 0x5d, 0xc3};

static volatile int blocks;

static void moved_allocate(void)
{
	for (int i = 0; i < blocks; i++)
		free(malloc(64));
}

int main(int argc, char **argv)
{
	blocks = argc > 1 ? atoi(argv[1]) : 0;
	int anonymous = MAP_PRIVATE | MAP_ANONYMOUS;
	void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, anonymous, -1, 0);
	void *place = mmap(NULL, PAGE, PROT_NONE, anonymous, -1, 0);
	if (page == MAP_FAILED || place == MAP_FAILED)
		return 1;
	memcpy(page, code, sizeof code);
	if (mprotect(page, PAGE, PROT_READ | PROT_EXEC) != 0)
		return 1;
	gate_wait();
	page = mremap(page, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, place);
	if (page == MAP_FAILED)
		return 1;
	void (*call)(void (*)(void));
	memcpy(&call, &page, sizeof call);
	call(moved_allocate);
	gate_write(1, "done\n", 5);
	gate_finish();
	return 0;
}
