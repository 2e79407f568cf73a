/* A small service that a test builds twice: for the second build it puts the parts behind the lines
 * `PART` into the opposite order, adds functions, and calls them where `ADDED` stands. It does the same
 * work each time it runs, once a byte has come on standard input, and keeps the same memory. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(__clang__)
#define APART __attribute__((noinline))
#else
#define APART __attribute__((noipa))
#endif

struct entry {
	struct entry *next;
	char *name;
};

static struct entry *entries;
static char *buffer;

void *service_copy(const char *text);
void service_remember(const char *text);
void service_grow(size_t length);
size_t service_answer(const char *text);
void service_work(int rounds);
void service_more(int rounds);

/* PART */
APART void *service_copy(const char *text) {
	size_t length = strlen(text) + 1;
	char *copy = malloc(length);
	if (copy == NULL)
		abort();
	return memcpy(copy, text, length);
}

/* PART */
/* Keeps two blocks for good. */
APART void service_remember(const char *text) {
	struct entry *entry = calloc(1, sizeof *entry);
	if (entry == NULL)
		abort();
	entry->name = service_copy(text);
	entry->next = entries;
	entries = entry;
}

/* PART */
/* Keeps one, that grows. */
APART void service_grow(size_t length) {
	buffer = realloc(buffer, length);
	if (buffer == NULL)
		abort();
	buffer[length - 1] = 1;
}

/* PART */
/* Keeps nothing. */
APART size_t service_answer(const char *text) {
	char *answer = service_copy(text);
	size_t length = strlen(answer);
	free(answer); /* FREED */
	return length;
}

/* PART */
APART void service_work(int rounds) {
	size_t length = 0;
	for (int round = 0; round < rounds; round++) {
		if (round % 10 == 0)
			service_remember("an entry of some length");
		length += service_answer("the answer to one question");
		service_grow(100 + length % 1000);
	}
}

/* PART */
int main(void) {
	char byte;
	if (write(1, "ready\n", 6) != 6 || read(0, &byte, 1) != 1)
		return 1;
	/* ADDED TO main */
	service_work(200);
	return entries == NULL;
}
