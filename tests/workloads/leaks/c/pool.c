/* A pool of connections, each with scratch memory for the request it serves.
 *
 * Leaky: they are put back dirty, with the scratch memory still attached, and the next request
 * attaches its own. */
#include "patterns.h"

struct connection {
	struct connection *next;
	char *scratch;
};

static struct connection *pool;

TRACED static struct connection *pool_take(void) {
	struct connection *connection = pool;
	if (connection == NULL)
		connection = need(calloc(1, sizeof *connection));
	else
		pool = connection->next;
	return connection;
}

TRACED static char *pool_scratch(size_t size) {
	return need(malloc(size)); /* LEAK: pool_scratch */
}

TRACED static void pool_put(struct connection *connection, int dirty) {
	if (!dirty)
		free(connection->scratch);
	connection->scratch = NULL;
	connection->next = pool;
	pool = connection;
}

void pool_tick(struct turn *turn) {
	struct connection *connections[3];
	for (int i = 0; i < 3; i++) {
		connections[i] = pool_take();
		connections[i]->scratch = pool_scratch(50 + turn_random(turn, 100));
	}
	for (int i = 0; i < 3; i++)
		pool_put(connections[i], turn->leaky && i == 0);
}
