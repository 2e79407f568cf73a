/* Interned strings: each text is kept once, for ever.
 *
 * Healthy: only names from a vocabulary are interned, most of them early. Leaky: so are the names
 * of requests, each of which is new. */
#include "patterns.h"

#define BUCKETS 16384
#define VOCABULARY 3000

struct name {
	struct name *next;
	char text[];
};

static struct name *names[BUCKETS];

TRACED static struct name *intern_copy(const char *text) {
	size_t length = strlen(text) + 1;
	struct name *name = need(malloc(sizeof *name + length)); /* LEAK: intern_copy */
	memcpy(name->text, text, length);
	return name;
}

TRACED static const char *intern(const char *text) {
	unsigned hash = 5381;
	for (const char *at = text; *at != '\0'; at++)
		hash = hash * 33 + (unsigned char)*at;
	struct name **bucket = &names[hash % BUCKETS];
	for (struct name *name = *bucket; name != NULL; name = name->next)
		if (strcmp(name->text, text) == 0)
			return name->text;
	struct name *name = intern_copy(text);
	name->next = *bucket;
	*bucket = name;
	return name->text;
}

void intern_tick(struct turn *turn) {
	char text[64];
	snprintf(text, sizeof text, "header-%lu", turn_random(turn, VOCABULARY));
	intern(text);
	if (turn->leaky && turn->tick % 2 == 0) {
		snprintf(text, sizeof text, "request-%lu", turn->tick);
		intern(text);
	}
}
