/* Processes and threads that come and go: the first argument says how. The parent's ledger has what its
 * children allocate as well: they do as they are told.
 */
#define _GNU_SOURCE
#include "tally.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#define CHILD_BLOCKS 20
#define PROGRAM_BLOCKS 30
#define AT_ONCE 4

static const char *const part_names[] = {"family_own", "family_child", "family_program", "vforked", NULL};
static struct tally tally;
static char **arguments;

TRACED void family_own(size_t count) {
	for (size_t i = 0; i < count; i++) {
		if (malloc(100 + i % 50) == NULL)
			gate_fail("malloc");
		tally.calls += 1;
		tally_alloc(&tally, 0, 100 + i % 50);
	}
}

TRACED void family_child(void) {
	for (int i = 0; i < CHILD_BLOCKS; i++)
		if (malloc(333) == NULL)
			gate_fail("malloc");
}

TRACED void family_program(void) {
	for (int i = 0; i < PROGRAM_BLOCKS; i++) {
		void *block = malloc(555);
		if (block == NULL)
			gate_fail("malloc");
		if (i % 2 == 0)
			free(block);
	}
}

/* Of the children, those that exec become programs, and what they held goes with their memory. */
static void expect_children(int children, int programs) {
	for (int i = 0; i < children * CHILD_BLOCKS; i++) {
		tally_alloc(&tally, 1, 333);
		if (i < programs * CHILD_BLOCKS)
			tally_free(&tally, 1, 333);
	}
	for (int i = 0; i < programs * PROGRAM_BLOCKS; i++) {
		tally_alloc(&tally, 2, 555);
		if (i % 2 == 0)
			tally_free(&tally, 2, 555);
	}
}

static void become_program(const char *program, const char *how) {
	execl(program, arguments[0], how, (char *)NULL);
	gate_fail("exec");
}

static void print_ledger(void) { tally_print(&tally, 1, part_names, NULL); }

/* Every third child execs. */
static void children(int count) {
	int running = 0;
	gate_wait();
	for (int i = 0; i < count; i++) {
		if (running == AT_ONCE && wait(NULL) > 0)
			running -= 1;
		pid_t child = fork();
		if (child < 0)
			gate_fail("fork");
		if (child == 0) {
			family_child();
			if (i % 3 == 0)
				become_program("/proc/self/exe", "program");
			_exit(0);
		}
		running += 1;
		family_own(1);
	}
	while (wait(NULL) > 0 || errno == EINTR)
		;
	expect_children(count, (count + 2) / 3);
	print_ledger();
	gate_finish();
}

/* A child of vfork that allocates before it execs, in its parent's memory. */
static void *volatile block;

TRACED void vforked(void) { block = malloc(77); }

static void vforks(void) {
	gate_wait();
	for (int i = 0; i < 50; i++) {
		pid_t child = vfork();
		if (child == 0) {
			family_own(1);
			vforked();
			if (i % 2 == 0)
				_exit(0);
			become_program("/proc/self/exe", "program");
		}
		waitpid(child, NULL, 0);
		free(block);
		tally_alloc(&tally, 3, 77);
		tally_free(&tally, 3, 77);
	}
	expect_children(0, 25);
	print_ledger();
	gate_finish();
}

static pthread_t first_thread;

/* Goes on when the first thread has ended. */
static void *alone(void *before_gate) {
	char byte;
	if (before_gate != NULL) {
		pthread_join(first_thread, NULL);
		gate_wait();
	} else {
		gate_wait();
		/* The first thread waits for that. */
		gate_write(1, "leave\n", 6);
		pthread_kill(first_thread, SIGUSR1);
		pthread_join(first_thread, NULL);
	}
	family_own(2500);
	gate_write(1, "alone\n", 6);
	if (read(0, &byte, 1) != 1)
		gate_fail("read");
	family_own(2500);
	print_ledger();
	gate_finish();
	_exit(0);
}

static void first_thread_ends(int before_gate) {
	pthread_t thread;
	sigset_t leave;
	int signal;
	sigemptyset(&leave);
	sigaddset(&leave, SIGUSR1);
	sigprocmask(SIG_BLOCK, &leave, NULL);
	first_thread = pthread_self();
	if (pthread_create(&thread, NULL, alone, before_gate ? &tally : NULL) != 0)
		gate_fail("thread");
	if (!before_gate)
		sigwait(&leave, &signal);
	pthread_exit(NULL);
}

static void *exec_from_thread(void *unused) {
	(void)unused;
	family_own(100);
	expect_children(0, 1);
	print_ledger();
	become_program("/proc/self/exe", "program-at-gate");
	return NULL;
}

static void thread_execs(void) {
	pthread_t thread;
	gate_wait();
	if (pthread_create(&thread, NULL, exec_from_thread, NULL) != 0)
		gate_fail("thread");
	pthread_join(thread, NULL);
}

/* What daemon(3) does. */
static void becomes_daemon(void) {
	if (fork() != 0)
		_exit(0);
	setsid();
	for (int i = 0; i < 20; i++) {
		family_own(10);
		usleep(20000);
	}
	print_ledger();
}

int main(int argc, char **argv) {
	const char *how = argc > 1 ? argv[1] : "";
	arguments = argv;
	if (strcmp(how, "program") == 0) {
		family_program();
	} else if (strcmp(how, "program-at-gate") == 0) {
		family_program();
		gate_write(1, "program\n", 8);
		gate_finish();
	} else if (strcmp(how, "children") == 0 && argc > 2) {
		children(atoi(argv[2]));
	} else if (strcmp(how, "vfork") == 0) {
		vforks();
	} else if (strcmp(how, "first-gone") == 0) {
		first_thread_ends(1);
	} else if (strcmp(how, "first-ends") == 0) {
		first_thread_ends(0);
	} else if (strcmp(how, "thread-execs") == 0) {
		thread_execs();
	} else if (strcmp(how, "daemon") == 0) {
		becomes_daemon();
	} else if (strcmp(how, "becomes") == 0 && argc > 2) {
		gate_wait();
		family_own(10);
		become_program(argv[2], "program-at-gate");
	} else {
		gate_fail("how?");
	}
	return 0;
}
