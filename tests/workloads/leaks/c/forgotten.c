/* A function returns a text that its caller is to free.
 *
 * Leaky: one of the two callers does not know. */
#include "patterns.h"

TRACED static char *forgotten_describe(unsigned long number) {
	char *text = need(malloc(48)); /* LEAK: forgotten_describe */
	snprintf(text, 48, "item %lu", number);
	return text;
}

TRACED static size_t forgotten_log(struct turn *turn) {
	char *text = forgotten_describe(turn->tick);
	size_t length = strlen(text);
	if (!turn->leaky)
		free(text);
	return length;
}

TRACED static size_t forgotten_print(struct turn *turn) {
	char *text = forgotten_describe(turn->tick);
	size_t length = strlen(text);
	free(text);
	return length;
}

void forgotten_tick(struct turn *turn) {
	if (forgotten_log(turn) != forgotten_print(turn))
		gate_fail("two descriptions of the same differ");
}
