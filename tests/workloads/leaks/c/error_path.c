/* Messages are copied, checked and dropped. Now and then a few in a row are malformed.
 *
 * Leaky: the way out for malformed ones forgets the copy. */
#include "patterns.h"

TRACED static char *error_path_copy(const char *message, size_t length) {
	char *copy = need(malloc(length)); /* LEAK: error_path_copy */
	memcpy(copy, message, length);
	return copy;
}

TRACED static int error_path_handle(struct turn *turn, const char *message, size_t length) {
	char *copy = error_path_copy(message, length);
	if (copy[0] != '{') {
		if (!turn->leaky)
			free(copy);
		return -1;
	}
	free(copy);
	return 0;
}

void error_path_tick(struct turn *turn) {
	static unsigned long trouble;
	char message[300] = "{}";
	/* About every second, for some ten messages. */
	if (turn->tick >= trouble + 15)
		trouble = turn->tick + 700 + turn_random(turn, 500);
	for (int i = 0; i < 4; i++) {
		int malformed = turn->tick >= trouble && turn_random(turn, 4) == 0;
		message[0] = malformed ? '?' : '{';
		if (error_path_handle(turn, message, 40 + turn_random(turn, 200)) != -malformed)
			gate_fail("a message was taken for another");
	}
}
