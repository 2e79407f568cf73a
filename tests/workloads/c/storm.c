/* Processes, threads, programs and signals in random order by a seed: `storm SEED ROUNDS [PLUGIN PLUGIN]`. All of
 * them keep one ledger, in memory that they share, of what they allocate: exec and exit take care of the rest.
 * With the libraries a and b, each of them is opened and closed, often where the other one was, and allocates
 * blocks of a size that nothing else has.
 */
#define _GNU_SOURCE
#include "gate.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>

/* What the libraries allocate comes last: by malloc, and by a function of the program that they call back. */
enum part { THREAD, CHILD, PROGRAM, ALONE, SIGNAL, BUSY, OWN_A, OWN_B, BACK_A, BACK_B, PARTS };

static const char *const names[PARTS] = {"storm_thread", "storm_child", "storm_program", "storm_alone",
					  "storm_signal", "storm_busy", "own_a", "own_b", "back_a",
					  "back_b"};

struct ledger {
	uint64_t objects[PARTS];
	uint64_t bytes[PARTS];
	/* A library was opened where the other one had been in the same process. */
	uint64_t replaced;
};

static struct ledger *ledger;
static int ledger_file;
static uint64_t state;

static void open_ledger(int file) {
	ledger_file = file;
	ledger = mmap(NULL, sizeof *ledger, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (ledger == MAP_FAILED)
		gate_fail("mmap");
}

static uint64_t below(uint64_t limit) {
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (state >> 11) % limit;
}

static inline __attribute__((always_inline)) void note(enum part part, size_t size) {
	__atomic_fetch_add(&ledger->objects[part], 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&ledger->bytes[part], size, __ATOMIC_RELAXED);
}

static inline __attribute__((always_inline)) void allocate(enum part part, size_t size, int keep) {
	void *block = malloc(size);
	if (block == NULL)
		gate_fail("malloc");
	note(part, size);
	if (!keep)
		free(block);
}

typedef void *entry_of(void *(*allocate)(size_t), size_t size);

static const char *libraries[2];
static const char *const entries[2] = {"plugin_a_entry", "plugin_b_entry"};
/* What a process opens: both libraries, a alone, or none. */
static enum { BOTH, ONE, NONE, CHOICES } choice;
/* Open ones, and where each has been. */
static void *opened[2];
static uintptr_t places[2][16];

TRACED void *storm_back(size_t size) {
	void *block = malloc(size);
	__asm__ volatile("");
	return block;
}

static inline __attribute__((always_inline)) void call(int which, entry_of *entry) {
	size_t own = which ? 907 : 853, back = which ? 967 : 1013;
	for (int i = 0; i < 4; i++) {
		void *first = entry(malloc, own), *second = entry(storm_back, back);
		if (first == NULL || second == NULL)
			gate_fail("malloc");
		note(OWN_A + which, own);
		note(BACK_A + which, back);
		free(first);
		if (i != 0)
			free(second);
	}
}

TRACED void storm_call_a(entry_of *entry) {
	call(0, entry);
}

TRACED void storm_call_b(entry_of *entry) {
	call(1, entry);
}

static void note_place(int which) {
	struct link_map *map;
	size_t i = 0;
	if (dlinfo(opened[which], RTLD_DI_LINKMAP, &map) != 0)
		gate_fail(dlerror());
	for (i = 0; i < 16 && places[!which][i] != 0; i++)
		if (places[!which][i] == map->l_addr)
			__atomic_fetch_add(&ledger->replaced, 1, __ATOMIC_RELAXED);
	for (i = 0; i < 16 && places[which][i] != 0 && places[which][i] != map->l_addr; i++) {
	}
	if (i < 16)
		places[which][i] = map->l_addr;
}

static void close_one(int which) {
	if (opened[which] && dlclose(opened[which]) != 0)
		gate_fail(dlerror());
	opened[which] = NULL;
}

/* Whichever it is, it often comes to where the other one was. */
static void plugin(uint64_t how) {
	int which = choice == BOTH && how & 1;
	if (libraries[0] == NULL || choice == NONE)
		return;
	if (how & 2)
		close_one(!which);
	if (opened[which] == NULL && (opened[which] = dlopen(libraries[which], RTLD_NOW)) == NULL)
		gate_fail(dlerror());
	note_place(which);
	entry_of *entry = (entry_of *)dlsym(opened[which], entries[which]);
	(which ? storm_call_b : storm_call_a)(entry);
	if (how & 4)
		close_one(which);
}

TRACED void *storm_thread(void *unused) {
	for (size_t i = 0; i < 40; i++)
		allocate(THREAD, 20 + i, i % 4 == 0);
	return unused;
}

TRACED void storm_child(void) {
	for (size_t i = 0; i < 30; i++)
		allocate(CHILD, 300 + i, i % 2);
}

TRACED void storm_program(void) {
	for (size_t i = 0; i < 25; i++)
		allocate(PROGRAM, 500 + i, i % 2);
}

TRACED void storm_alone(void) {
	for (size_t i = 0; i < 35; i++)
		allocate(ALONE, 700 + i, i % 2);
}

static volatile sig_atomic_t signals_left;

TRACED void storm_signal(int signal) {
	int error = errno;
	(void)signal;
	signals_left -= 1;
	allocate(SIGNAL, 48, 0);
	errno = error;
}

/* None, one, or several after each other. */
static void plugins(void) {
	for (uint64_t times = below(4); times > 0; times--)
		plugin(below(8));
}

static void *plugins_in_thread(void *unused) {
	plugins();
	return unused;
}

static void become_program(void) {
	char file[16], seed[24];
	snprintf(file, sizeof file, "%d", ledger_file);
	snprintf(seed, sizeof seed, "%llu", (unsigned long long)state);
	execl("/proc/self/exe", "storm", "program", file, seed, libraries[0], libraries[1], (char *)NULL);
	gate_fail("exec");
}

static void *exec_from_thread(void *unused) {
	(void)unused;
	become_program();
	return NULL;
}

static void *alone(void *first) {
	pthread_join(*(pthread_t *)first, NULL);
	storm_alone();
	_exit(0);
}

/* What a child does. */
static void child(uint64_t how) {
	static pthread_t first;
	pthread_t thread;
	storm_child();
	plugins();
	switch (how) {
	case 0:
		_exit(0);
	case 1:
		become_program();
		break;
	case 2:
		if (pthread_create(&thread, NULL, exec_from_thread, NULL) != 0)
			gate_fail("thread");
		pthread_join(thread, NULL);
		break;
	default:
		first = pthread_self();
		if (pthread_create(&thread, NULL, alone, &first) != 0)
			gate_fail("thread");
		pthread_exit(NULL);
	}
	_exit(1);
}

static void reap(void) {
	int status;
	pid_t ended;
	while ((ended = wait(&status)) > 0 || errno == EINTR)
		if (ended > 0 && status != 0)
			gate_fail("a child failed");
}

TRACED void storm_busy(void) {
	while (signals_left > 0)
		allocate(BUSY, 1000, 0);
}

static void signals(void) {
	struct itimerval often = {{0, 300}, {0, 300}}, never = {{0, 0}, {0, 0}};
	/* From the thread's cache from now on: the arena's lock may be held where the handler comes. */
	free(malloc(48));
	free(malloc(1000));
	setitimer(ITIMER_REAL, &often, NULL);
	signals_left = 10;
	storm_busy();
	setitimer(ITIMER_REAL, &never, NULL);
}

static void toggle(void) {
	long page = sysconf(_SC_PAGESIZE);
	void *code = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < 50; i++) {
		mprotect(code, page, PROT_READ | PROT_EXEC);
		mprotect(code, page, PROT_READ | PROT_WRITE);
	}
	munmap(code, page);
}

static void round_of(uint64_t action) {
	pthread_t thread;
	pid_t pid;
	switch (action) {
	case 0:
		if (pthread_create(&thread, NULL, below(2) ? storm_thread : plugins_in_thread, NULL) !=
			    0 ||
		    pthread_join(thread, NULL) != 0)
			gate_fail("thread");
		break;
	case 1:
		signals();
		break;
	case 2:
		toggle();
		break;
	case 3:
		if ((pid = vfork()) == 0)
			become_program();
		break;
	case 4:
		plugins();
		break;
	default:
		pid = fork();
		/* Or all children would do the same. */
		uint64_t how = below(UINT32_MAX);
		if (pid == 0) {
			state ^= how << 16;
			choice = how / 4 % CHOICES;
			child(how % 4);
		}
		if (pid < 0)
			gate_fail("fork");
	}
	if (below(3) == 0)
		reap();
}

static void take_libraries(int argc, char **argv, int first) {
	for (int i = 0; i < 2 && first + 1 < argc; i++)
		libraries[i] = argv[first + i];
}

int main(int argc, char **argv) {
	struct sigaction action = {.sa_handler = storm_signal, .sa_flags = SA_RESTART};
	struct line line = {.length = 0};
	if (argc >= 4 && strcmp(argv[1], "program") == 0) {
		open_ledger(atoi(argv[2]));
		state = strtoull(argv[3], NULL, 10) | 1;
		take_libraries(argc, argv, 4);
		choice = below(CHOICES);
		plugins();
		storm_program();
		return 0;
	}
	if (argc != 3 && argc != 5)
		gate_fail("storm SEED ROUNDS [PLUGIN PLUGIN]");
	take_libraries(argc, argv, 3);
	state = strtoull(argv[1], NULL, 10) * UINT64_C(0x9e3779b97f4a7c15) | 1;
	int file = memfd_create("ledger", 0);
	if (file < 0 || ftruncate(file, sizeof *ledger) != 0)
		gate_fail("memfd");
	open_ledger(file);
	sigaction(SIGALRM, &action, NULL);
	choice = below(CHOICES);
	gate_wait();
	for (long rounds = atol(argv[2]); rounds > 0; rounds--)
		round_of(below(9));
	reap();
	line_add(&line, "{\"calls\":0,\"failed\":0,\"null_frees\":0,\"total\":{\"alloc_objects\":0,"
			"\"alloc_bytes\":0,\"free_objects\":0,\"free_bytes\":0},\"parts\":{");
	for (int part = 0; part < PARTS; part++)
		line_add(&line,
			 "%s\"%s\":{\"alloc_objects\":%llu,\"alloc_bytes\":%llu,"
			 "\"free_objects\":0,\"free_bytes\":0}",
			 part ? "," : "", names[part],
			 (unsigned long long)ledger->objects[part],
			 (unsigned long long)ledger->bytes[part]);
	line_add(&line, "},\"cases\":{\"replaced\":%llu}}", (unsigned long long)ledger->replaced);
	line_print(&line);
	gate_finish();
	return 0;
}
