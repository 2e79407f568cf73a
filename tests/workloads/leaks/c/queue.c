/* A queue between one who sends and one who receives, each a few items a tick.
 *
 * Leaky: the one who receives is too slow, and falls ever further behind. */
#include "patterns.h"

struct item {
	struct item *next;
	char text[120];
};

static struct item *first, **last = &first;

TRACED static void queue_send(struct turn *turn) {
	struct item *item = need(malloc(sizeof *item)); /* LEAK: queue_send */
	item->next = NULL;
	memset(item->text, (int)turn->tick, sizeof item->text);
	*last = item;
	last = &item->next;
}

TRACED static void queue_receive(void) {
	struct item *item = first;
	if (item == NULL)
		return;
	first = item->next;
	if (first == NULL)
		last = &first;
	free(item);
}

void queue_tick(struct turn *turn) {
	int received = turn->leaky ? 3 : 4;
	for (int i = 0; i < 4; i++)
		queue_send(turn);
	for (int i = 0; i < received; i++)
		queue_receive();
}
