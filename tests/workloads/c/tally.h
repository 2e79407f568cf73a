/* The ledger of a workload in C or C++: what each part of the program has allocated and freed, by
 * the program's own count, in memory that never came from the allocator.
 *
 * The rules are the tracer's: a successful call is one object of the size asked for; a call that
 * fails counts as failed and as nothing else; realloc gives up the old block and makes a new one,
 * also in place; realloc to zero that returns NULL is a free.
 */
#ifndef TALLY_H
#define TALLY_H

#include "gate.h"

#define MAX_PARTS 16
#define MAX_CASES 24

struct amount {
	uint64_t alloc_objects;
	uint64_t alloc_bytes;
	uint64_t free_objects;
	uint64_t free_bytes;
};

/* One per thread, added up when all threads rest. */
struct tally {
	struct amount parts[MAX_PARTS];
	uint64_t cases[MAX_CASES];
	uint64_t calls;
	uint64_t failed;
	uint64_t null_frees;
} __attribute__((aligned(128)));

static inline void tally_alloc(struct tally *tally, int part, size_t size) {
	tally->parts[part].alloc_objects += 1;
	tally->parts[part].alloc_bytes += size;
}

static inline void tally_free(struct tally *tally, int part, size_t size) {
	tally->parts[part].free_objects += 1;
	tally->parts[part].free_bytes += size;
}

static inline void line_add_amount(struct line *line, const struct amount *amount) {
	line_add(line,
		 "\"alloc_objects\":%llu,\"alloc_bytes\":%llu,"
		 "\"free_objects\":%llu,\"free_bytes\":%llu",
		 (unsigned long long)amount->alloc_objects,
		 (unsigned long long)amount->alloc_bytes,
		 (unsigned long long)amount->free_objects,
		 (unsigned long long)amount->free_bytes);
}

/* Prints the sum of the threads' tallies. A part's name is the function that all of its
 * allocations are made below; NULL ends each list. */
static inline void tally_print(const struct tally *tallies, size_t count,
			       const char *const *part_names, const char *const *case_names) {
	struct tally sum;
	struct amount total;
	struct line line;
	memset(&sum, 0, sizeof sum);
	memset(&total, 0, sizeof total);
	line.length = 0;
	for (size_t i = 0; i < count; i++) {
		for (int part = 0; part < MAX_PARTS; part++) {
			const struct amount *from = &tallies[i].parts[part];
			struct amount *into[2] = {&sum.parts[part], &total};
			for (int k = 0; k < 2; k++) {
				into[k]->alloc_objects += from->alloc_objects;
				into[k]->alloc_bytes += from->alloc_bytes;
				into[k]->free_objects += from->free_objects;
				into[k]->free_bytes += from->free_bytes;
			}
		}
		for (int k = 0; k < MAX_CASES; k++)
			sum.cases[k] += tallies[i].cases[k];
		sum.calls += tallies[i].calls;
		sum.failed += tallies[i].failed;
		sum.null_frees += tallies[i].null_frees;
	}
	line_add(&line, "{\"calls\":%llu,\"failed\":%llu,\"null_frees\":%llu,\"total\":{",
		 (unsigned long long)sum.calls, (unsigned long long)sum.failed,
		 (unsigned long long)sum.null_frees);
	line_add_amount(&line, &total);
	line_add(&line, "},\"parts\":{");
	for (int part = 0; part_names[part] != NULL; part++) {
		line_add(&line, "%s\"%s\":{", part ? "," : "", part_names[part]);
		line_add_amount(&line, &sum.parts[part]);
		line_add(&line, "}");
	}
	line_add(&line, "},\"cases\":{");
	for (int k = 0; case_names != NULL && case_names[k] != NULL; k++)
		line_add(&line, "%s\"%s\":%llu", k ? "," : "", case_names[k],
			 (unsigned long long)sum.cases[k]);
	line_add(&line, "}}");
	line_print(&line);
}

#endif
