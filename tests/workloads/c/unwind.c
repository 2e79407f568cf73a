/* Allocations at the end of stacks of every kind. Argument 1 names the kind, argument 2 says how many
 * frames of `deeper` lie between it and the allocation. Built without frame pointers.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "gate.h"

#define BLOCKS 100

typedef void *(*allocate_fn)(size_t);

static void *kept[BLOCKS];
static unsigned depth;
static allocate_fn allocate = malloc;

/* What is done after a call keeps it from being a jump. */
static __attribute__((noinline)) unsigned deeper(unsigned frames)
{
	volatile unsigned done = 0;

	if (frames > 1)
		done += deeper(frames - 1);
	else
		for (int i = 0; i < BLOCKS; i++)
			kept[i] = allocate(64);
	return done + 1;
}

/* The stack pointer moves by an amount that only run time knows. */
static __attribute__((noinline)) unsigned variable(unsigned bytes)
{
	char array[bytes];

	memset(array, 1, bytes);
	return deeper(depth) + (unsigned)array[bytes / 2];
}

static void handler(int signal)
{
	(void)signal;
	deeper(depth);
}

static void by_signal(int flags)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = flags };

	sigaction(SIGUSR1, &action, NULL);
	raise(SIGUSR1);
}

static volatile sig_atomic_t ticks;

static void on_tick(int signal)
{
	(void)signal;
	ticks++;
	deeper(depth);
}

/* Signals that interrupt code which the kernel has put there: most of the time it is that which runs. */
static __attribute__((noinline)) unsigned in_vdso(void)
{
	struct sigaction action = { .sa_handler = on_tick };
	struct itimerval once = { { 0, 0 }, { 0, 500 } };
	struct timespec now;

	sigaction(SIGALRM, &action, NULL);
	/* Set anew each time: where the handler takes longer than the interval, nothing else would run. */
	for (int tick = 0; tick < 200; tick++) {
		setitimer(ITIMER_REAL, &once, NULL);
		while (ticks == tick)
			clock_gettime(CLOCK_MONOTONIC, &now);
	}
	return (unsigned)now.tv_nsec;
}

/* musl has no coroutines. */
#ifdef __GLIBC__
static ucontext_t back, coroutine;

static void coroutine_main(void)
{
	deeper(depth);
}

static void in_coroutine(void)
{
	static char stack[256 << 10];

	getcontext(&coroutine);
	coroutine.uc_stack.ss_sp = stack;
	coroutine.uc_stack.ss_size = sizeof(stack);
	coroutine.uc_link = &back;
	makecontext(&coroutine, coroutine_main, 0);
	swapcontext(&back, &coroutine);
}
#endif

/* Under frames of the C library: where that describes none of its functions, as musl, the walk has to
 * find its way through them. */
static int compare(const void *a, const void *b)
{
	static int called;

	if (!called++)
		deeper(depth);
	return *(const int *)a - *(const int *)b;
}

static void in_library(void)
{
	int numbers[] = { 3, 1, 2 };

	qsort(numbers, 3, sizeof(*numbers), compare);
	for (int i = 0; i < BLOCKS; i++)
		kept[i] = strdup("text");
}

static void *thread_main(void *unused)
{
	(void)unused;
	deeper(depth);
	return NULL;
}

int main(int argc, char **argv)
{
	const char *kind = argc > 1 ? argv[1] : "plain";
	static char signal_stack[256 << 10];
	stack_t alternative = { .ss_sp = signal_stack, .ss_size = sizeof(signal_stack) };

	depth = argc > 2 ? (unsigned)atoi(argv[2]) : 5;
	gate_wait();
	if (!strcmp(kind, "plain")) {
		deeper(depth);
	} else if (!strcmp(kind, "variable")) {
		variable(1000 + depth);
	} else if (!strcmp(kind, "signal")) {
		by_signal(0);
	} else if (!strcmp(kind, "altstack")) {
		sigaltstack(&alternative, NULL);
		by_signal(SA_ONSTACK);
#ifdef __GLIBC__
	} else if (!strcmp(kind, "coroutine")) {
		in_coroutine();
#endif
	} else if (!strcmp(kind, "vdso")) {
		in_vdso();
	} else if (!strcmp(kind, "library")) {
		in_library();
	} else if (!strcmp(kind, "thread")) {
		pthread_t thread;

		pthread_create(&thread, NULL, thread_main, NULL);
		pthread_join(thread, NULL);
	} else if (!strcmp(kind, "plugin") && argc > 3) {
		void *plugin = dlopen(argv[3], RTLD_NOW);

		if (!plugin)
			return 1;
		allocate = (allocate_fn)dlsym(plugin, "plugin_allocate");
		/* The tracer hears of a new library after it is there. */
		usleep(300000);
		deeper(depth);
	} else {
		return 1;
	}
	gate_write(1, "done\n", 5);
	gate_finish();
	return 0;
}
