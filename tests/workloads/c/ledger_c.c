/* Every allocator function of the C library, from several threads, with a ledger: successful,
 * failed and zero-sized calls, realloc in place, moved, shrunk, failed and to zero, and frees in
 * another thread than the allocation's.
 *
 * Usage: ledger_c [CALLS]
 */
#define _GNU_SOURCE
#include "tally.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>

#define THREADS 4
#define SLOTS 4096
#define RING 1024

enum part {
	MALLOC,
	CALLOC,
	REALLOC,
	REALLOCARRAY,
	POSIX_MEMALIGN,
	ALIGNED_ALLOC,
	MEMALIGN,
	VALLOC,
	PVALLOC,
	MALLOCX,
	RALLOCX,
	XALLOCX,
};
static const char *const part_names[] = {
	"call_malloc",	     "call_calloc",	   "call_realloc",  "call_reallocarray",
	"call_posix_memalign", "call_aligned_alloc", "call_memalign", "call_valloc",
	"call_pvalloc",	     "call_mallocx",	   "call_rallocx",  "call_xallocx",
	NULL,
};

enum kase {
	ZERO_SIZED,
	REALLOC_IN_PLACE,
	REALLOC_MOVED,
	REALLOC_SHRUNK,
	REALLOC_FAILED,
	REALLOC_ZERO,
	REALLOC_NULL,
	CALLOC_OVERFLOW,
	REALLOCARRAY_OVERFLOW,
	MALLOC_FAILED,
	POSIX_MEMALIGN_FAILED,
	MEMALIGN_FAILED,
	FREED_ELSEWHERE,
	FREE_SIZED,
	XALLOCX_RESIZED,
	XALLOCX_REFUSED,
	DALLOCX,
	SDALLOCX,
};
static const char *const case_names[] = {
	"zero_sized",	  "realloc_in_place", "realloc_moved",	       "realloc_shrunk",
	"realloc_failed", "realloc_zero",     "realloc_null",	       "calloc_overflow",
	"reallocarray_overflow", "malloc_failed", "posix_memalign_failed", "memalign_failed",
	"freed_elsewhere", "free_sized",      "xallocx_resized",       "xallocx_refused",
	"dallocx",	  "sdallocx",	      NULL,
};

struct block {
	void *pointer;
	size_t size;
	int part;
};

/* Blocks on their way to the next thread, which frees them. One writer, one reader. */
struct ring {
	_Alignas(128) atomic_size_t head;
	_Alignas(128) atomic_size_t tail;
	struct block blocks[RING];
};

struct worker {
	struct tally tally;
	struct ring inbox;
	struct block slots[SLOTS];
	uint64_t random;
	uint64_t calls;
	struct worker *next;
	pthread_t thread;
};

static pthread_barrier_t start, rest, end;

/* C23's, in C libraries that have them. */
extern void free_sized(void *pointer, size_t size) __attribute__((weak));
extern void free_aligned_sized(void *pointer, size_t alignment, size_t size)
	__attribute__((weak));

/* jemalloc's, where it serves the program. */
extern void *mallocx(size_t size, int flags) __attribute__((weak));
extern void *rallocx(void *pointer, size_t size, int flags) __attribute__((weak));
extern size_t xallocx(void *pointer, size_t size, size_t extra, int flags) __attribute__((weak));
extern void dallocx(void *pointer, int flags) __attribute__((weak));
extern void sdallocx(void *pointer, size_t size, int flags) __attribute__((weak));

/* One function for each of the allocator's, for the stacks to name. */
TRACED void *call_malloc(size_t size) { return malloc(size); }
TRACED void *call_calloc(size_t count, size_t size) { return calloc(count, size); }
TRACED void *call_realloc(void *old, size_t size) { return realloc(old, size); }
TRACED void *call_reallocarray(void *old, size_t count, size_t size) {
	return reallocarray(old, count, size);
}
TRACED void *call_posix_memalign(size_t alignment, size_t size) {
	void *result = NULL;
	return posix_memalign(&result, alignment, size) == 0 ? result : NULL;
}
TRACED void *call_aligned_alloc(size_t alignment, size_t size) {
	return aligned_alloc(alignment, size);
}
TRACED void *call_memalign(size_t alignment, size_t size) { return memalign(alignment, size); }
TRACED void *call_valloc(size_t size) { return valloc(size); }
/* musl has none. */
#ifdef __GLIBC__
TRACED void *call_pvalloc(size_t size) { return pvalloc(size); }
#endif
TRACED void *call_mallocx(size_t size) { return mallocx(size, 0); }
TRACED void *call_rallocx(void *old, size_t size) { return rallocx(old, size, 0); }
TRACED size_t call_xallocx(void *block, size_t size) { return xallocx(block, size, 0, 0); }

/* Mostly small, sometimes nothing, seldom past glibc's threshold for mmap. */
static size_t pick_size(struct worker *worker) {
	uint64_t r = random_next(&worker->random);
	switch (r % 64) {
	case 0:
		return 0;
	case 1:
		return (r >> 8) % 40000;
	case 2:
		return (r >> 8) % 512 == 0 ? 200000 + (r >> 20) % 100000 : (r >> 8) % 5000;
	default:
		return 1 + (r >> 8) % 600;
	}
}

static struct block fresh(struct worker *worker, void *pointer, size_t size, int part) {
	struct block block = {pointer, size, part};
	worker->tally.calls += 1;
	if (pointer == NULL)
		gate_fail("an allocation failed that should not");
	tally_alloc(&worker->tally, part, size);
	worker->tally.cases[ZERO_SIZED] += size == 0;
	memset(pointer, 0x5a, size < 64 ? size : 64);
	return block;
}

static struct block allocate(struct worker *worker) {
	size_t size = pick_size(worker);
	uint64_t r = random_next(&worker->random);
	size_t alignment = (size_t)8 << (r >> 16) % 6;
	size_t count = 1 + (r >> 24) % 7;
	if (mallocx && r % 5 == 0) {
		size += 1;
		return fresh(worker, call_mallocx(size), size, MALLOCX);
	}
	switch (r % 24) {
	case 0 ... 3:
		return fresh(worker, call_calloc(count, size), count * size, CALLOC);
	case 4 ... 5:
		worker->tally.cases[REALLOC_NULL] += 1;
		return fresh(worker, call_realloc(NULL, size), size, REALLOC);
	case 6:
		return fresh(worker, call_reallocarray(NULL, count, size), count * size,
			     REALLOCARRAY);
	case 7 ... 8:
		return fresh(worker, call_posix_memalign(alignment, size), size, POSIX_MEMALIGN);
	case 9:
		return fresh(worker, call_aligned_alloc(alignment, size), size, ALIGNED_ALLOC);
	case 10:
		return fresh(worker, call_memalign(alignment, size), size, MEMALIGN);
	case 11:
		if ((r >> 32) % 8 == 0)
			return fresh(worker, call_valloc(size), size, VALLOC);
#ifdef __GLIBC__
		/* Nor has jemalloc: glibc's would give out what that can't take back. */
		if (!mallocx && (r >> 32) % 8 == 1)
			return fresh(worker, call_pvalloc(size), size, PVALLOC);
#endif
		/* fall through */
	default:
		return fresh(worker, call_malloc(size), size, MALLOC);
	}
}

static void release(struct worker *worker, struct block *block) {
	worker->tally.calls += 1;
	tally_free(&worker->tally, block->part, block->size);
	if (free_sized && block->part == MALLOC && random_next(&worker->random) % 4 == 0) {
		worker->tally.cases[FREE_SIZED] += 1;
		free_sized(block->pointer, block->size);
	} else if (block->part == XALLOCX) {
		/* Shrunk, it is as large as before: its size is no longer what sdallocx wants to know. */
		worker->tally.cases[DALLOCX] += 1;
		dallocx(block->pointer, 0);
	} else if (block->part >= MALLOCX && random_next(&worker->random) % 2) {
		worker->tally.cases[SDALLOCX] += 1;
		sdallocx(block->pointer, block->size, 0);
	} else {
		free(block->pointer);
	}
	block->pointer = NULL;
}

/* A block that realloc has just given up for `pointer`, whatever became of it. */
static void replace(struct worker *worker, struct block *block, void *pointer, size_t size,
		    int part) {
	uintptr_t before = (uintptr_t)block->pointer;
	worker->tally.calls += 1;
	if (pointer == NULL && size > 0)
		gate_fail("a reallocation failed that should not");
	tally_free(&worker->tally, block->part, block->size);
	/* A free in glibc, a block of no bytes in musl. */
	worker->tally.cases[REALLOC_ZERO] += size == 0;
	if (pointer == NULL) {
		block->pointer = NULL;
		return;
	}
	tally_alloc(&worker->tally, part, size);
	worker->tally.cases[before == (uintptr_t)pointer ? REALLOC_IN_PLACE : REALLOC_MOVED] += 1;
	worker->tally.cases[REALLOC_SHRUNK] += size < block->size;
	block->pointer = pointer;
	block->size = size;
	block->part = part;
}

/* Resizes a block where it lies, if there is room. */
static void resize(struct worker *worker, struct block *block, size_t size) {
	worker->tally.calls += 1;
	if (call_xallocx(block->pointer, size) < size) {
		worker->tally.cases[XALLOCX_REFUSED] += 1;
		return;
	}
	worker->tally.cases[XALLOCX_RESIZED] += 1;
	tally_free(&worker->tally, block->part, block->size);
	tally_alloc(&worker->tally, XALLOCX, size);
	block->size = size;
	block->part = XALLOCX;
}

static void reallocate(struct worker *worker, struct block *block) {
	uint64_t r = random_next(&worker->random);
	size_t size = block->size;
	if (block->part >= MALLOCX) {
		size = 1 + (r >> 8) % (2 * size);
		if (r % 3 == 0)
			replace(worker, block, call_rallocx(block->pointer, size), size, RALLOCX);
		else
			resize(worker, block, size);
		return;
	}
	switch (r % 8) {
	case 0: /* shrink */
		size = size > 1 ? 1 + (r >> 8) % size : 1;
		break;
	case 1: /* grow in place, where there is room */
		size += 1 + (r >> 8) % 8;
		break;
	case 2: /* to zero */
		size = 0;
		break;
	case 3: { /* an array of it */
		size_t count = 1 + (r >> 8) % 5;
		replace(worker, block, call_reallocarray(block->pointer, count, 48), count * 48,
			REALLOCARRAY);
		return;
	}
	default: /* grow, or start small again */
		size = size < 20000 ? size * 2 + 16 : 16;
		break;
	}
	replace(worker, block, call_realloc(block->pointer, size), size, REALLOC);
}

/* Calls that cannot succeed. `volatile` keeps the compiler from knowing that. */
static void fail(struct worker *worker, struct block *block) {
	static volatile size_t huge = (size_t)PTRDIFF_MAX + 1, half = SIZE_MAX / 2 + 1;
	void *result;
	worker->tally.calls += 1;
	worker->tally.failed += 1;
	switch (random_next(&worker->random) % 6) {
	case 0:
		worker->tally.cases[MALLOC_FAILED] += 1;
		result = call_malloc(huge);
		break;
	case 1:
		worker->tally.cases[CALLOC_OVERFLOW] += 1;
		result = call_calloc(half, 2);
		break;
	case 2:
		worker->tally.cases[REALLOC_FAILED] += block->pointer != NULL;
		result = call_realloc(block->pointer, huge);
		break;
	case 3:
		worker->tally.cases[REALLOCARRAY_OVERFLOW] += block->pointer != NULL;
		result = call_reallocarray(block->pointer, half, 4);
		break;
	case 4: /* not a power of two */
		worker->tally.cases[POSIX_MEMALIGN_FAILED] += 1;
		result = call_posix_memalign(24, 100);
		break;
	default:
		worker->tally.cases[MEMALIGN_FAILED] += 1;
		result = call_memalign(64, huge);
		break;
	}
	if (result != NULL)
		gate_fail("an allocation succeeded that should not");
}

static int hand_over(struct worker *worker, struct block *block) {
	struct ring *ring = &worker->next->inbox;
	size_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
	if (head - atomic_load_explicit(&ring->tail, memory_order_acquire) == RING)
		return 0;
	ring->blocks[head % RING] = *block;
	atomic_store_explicit(&ring->head, head + 1, memory_order_release);
	block->pointer = NULL;
	return 1;
}

static void empty_inbox(struct worker *worker) {
	struct ring *ring = &worker->inbox;
	size_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
	while (tail != atomic_load_explicit(&ring->head, memory_order_acquire)) {
		struct block block = ring->blocks[tail % RING];
		atomic_store_explicit(&ring->tail, ++tail, memory_order_release);
		worker->tally.cases[FREED_ELSEWHERE] += 1;
		release(worker, &block);
	}
}

static void step(struct worker *worker) {
	uint64_t r = random_next(&worker->random);
	struct block *block = &worker->slots[(r >> 8) % SLOTS];
	if (r % 97 == 0) {
		fail(worker, block);
	} else if (r % 89 == 0) {
		worker->tally.calls += 1;
		worker->tally.null_frees += 1;
		free(NULL);
	} else if (block->pointer == NULL) {
		*block = allocate(worker);
	} else if (r % 3 == 0) {
		reallocate(worker, block);
	} else if (r % 7 > 1 || !hand_over(worker, block)) {
		release(worker, block);
	}
}

TRACED void *work(void *argument) {
	struct worker *worker = argument;
	pthread_barrier_wait(&start);
	while (worker->tally.calls < worker->calls) {
		step(worker);
		if (worker->tally.calls % 64 == 0)
			empty_inbox(worker);
	}
	/* Nobody hands over any more: what is left in the inboxes can go. */
	pthread_barrier_wait(&rest);
	empty_inbox(worker);
	for (size_t i = 0; i < SLOTS; i += 2)
		if (worker->slots[i].pointer != NULL)
			release(worker, &worker->slots[i]);
	pthread_barrier_wait(&rest);
	/* The thread's own end enters the allocator: only after the measurement. */
	pthread_barrier_wait(&end);
	return NULL;
}

int main(int argc, char **argv) {
	uint64_t calls = argc > 1 ? strtoull(argv[1], NULL, 10) : 5000000;
	struct worker *workers = mmap(NULL, THREADS * sizeof *workers, PROT_READ | PROT_WRITE,
				      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct tally tallies[THREADS];
	if (workers == MAP_FAILED)
		gate_fail("mmap");
	pthread_barrier_init(&start, NULL, THREADS + 1);
	pthread_barrier_init(&rest, NULL, THREADS + 1);
	pthread_barrier_init(&end, NULL, THREADS + 1);
	for (int i = 0; i < THREADS; i++) {
		workers[i].random = UINT64_C(0x9E3779B97F4A7C15) * (uint64_t)(i + 1);
		workers[i].calls = calls / THREADS;
		workers[i].next = &workers[(i + 1) % THREADS];
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
			gate_fail("pthread_create");
	}
	gate_wait();
	pthread_barrier_wait(&start);
	pthread_barrier_wait(&rest);
	pthread_barrier_wait(&rest);
	for (int i = 0; i < THREADS; i++)
		tallies[i] = workers[i].tally;
	tally_print(tallies, THREADS, part_names, case_names);
	gate_finish();
	pthread_barrier_wait(&end);
	for (int i = 0; i < THREADS; i++)
		pthread_join(workers[i].thread, NULL);
	return 0;
}
