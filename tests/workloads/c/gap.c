/* Allocates below a function that nothing describes and nothing names as one, with 0 in `rbp`: what a
 * compiler that keeps neither a table nor frame pointers leaves there. Built without frame pointers.
 */
#include "gate.h"

#define BLOCKS 100

void in_gap(void (*function)(void));

__asm__(".text\n"
	".skip 64, 0x90\n"
	".globl in_gap\n"
	"in_gap:\n"
	"	push %rbp\n"
	"	xor %ebp, %ebp\n"
	"	sub $16, %rsp\n"
	"	call *%rdi\n"
	"	add $16, %rsp\n"
	"	pop %rbp\n"
	"	ret\n"
	".skip 64, 0x90\n");

static void *kept[BLOCKS];

static void gap_allocate(void)
{
	for (int i = 0; i < BLOCKS; i++)
		kept[i] = malloc(64);
}

int main(void)
{
	gate_wait();
	in_gap(gap_allocate);
	gate_write(1, "done\n", 5);
	gate_finish();
	return 0;
}
