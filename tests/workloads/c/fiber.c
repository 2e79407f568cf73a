/* A fiber as libraries make them by hand: the stack pointer is set by an instruction of which the call
 * frame information says nothing, and above lies what earlier calls have left: return addresses, of
 * calls that ended long ago. Built without frame pointers.
 */
#include "gate.h"

#define BLOCKS 100

/* Calls a function on the stack that ends at `top`. */
void fiber_switch(void (*function)(void), void *top);

__asm__(".text\n"
	".globl fiber_switch\n"
	".type fiber_switch, @function\n"
	"fiber_switch:\n"
	"	.cfi_startproc\n"
	"	push %rbx\n"
	"	.cfi_adjust_cfa_offset 8\n"
	"	.cfi_offset %rbx, -16\n"
	"	mov %rsp, %rbx\n"
	"	mov %rsi, %rsp\n"
	"	call *%rdi\n"
	"	mov %rbx, %rsp\n"
	"	pop %rbx\n"
	"	.cfi_adjust_cfa_offset -8\n"
	"	.cfi_restore %rbx\n"
	"	ret\n"
	"	.cfi_endproc\n"
	".size fiber_switch, .-fiber_switch\n");

static char stack[64 << 10] __attribute__((aligned(16)));
static void *kept[BLOCKS];
static void *return_address;

static TRACED void innocent_callee(void)
{
	return_address = __builtin_return_address(0);
}

/* Has called, and been called, but not by what runs in the fiber. */
static TRACED void innocent(void)
{
	innocent_callee();
	__asm__ volatile("");
}

static TRACED void in_fiber(void)
{
	for (int i = 0; i < BLOCKS; i++)
		kept[i] = malloc(64);
}

int main(void)
{
	char *top = stack + sizeof stack - 1024;
	gate_wait();
	innocent();
	for (size_t i = 0; i < 1024 / sizeof(void *); i++)
		((void **)top)[i] = return_address;
	fiber_switch(in_fiber, top);
	gate_write(1, "done\n", 5);
	gate_finish();
	return 0;
}
