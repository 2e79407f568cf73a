/* Healthy: every few seconds a batch of work comes at once, is kept for half a second, and is gone.
 */
#include "patterns.h"

#define PERIOD 7000
#define HELD 500
#define BATCH 3000

TRACED static void *bursts_item(struct turn *turn) {
	return need(malloc(100 + turn_random(turn, 200)));
}

void bursts_tick(struct turn *turn) {
	static void *batch[BATCH];
	unsigned long phase = turn->tick % PERIOD;
	if (phase < BATCH / 20) {
		for (int i = 0; i < 20; i++)
			batch[phase * 20 + i] = bursts_item(turn);
	} else if (phase == HELD) {
		for (int i = 0; i < BATCH; i++) {
			free(batch[i]);
			batch[i] = NULL;
		}
	}
}
