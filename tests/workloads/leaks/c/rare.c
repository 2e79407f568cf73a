/* Small tickets, taken and given back, fifty thousand a second.
 *
 * Leaky: one in a hundred thousand is not given back. */
#include "patterns.h"

TRACED static void *rare_ticket(void) {
	return need(malloc(16)); /* LEAK: rare_ticket */
}

void rare_tick(struct turn *turn) {
	static unsigned long tickets;
	for (int i = 0; i < 50; i++) {
		void *ticket = rare_ticket();
		tickets++;
		if (!turn->leaky || tickets % 100000 != 0)
			free(ticket);
	}
}
