/* Parcels from a library, see parcel.h.
 *
 * Leaky: heavy ones are looked at and not closed. */
#include "patterns.h"

#include "parcel.h"

TRACED static void library_use(struct turn *turn) {
	struct parcel *parcel = parcel_open(1 + turn_random(turn, 200));
	if (turn->leaky && parcel_weight(parcel) > 150)
		return;
	parcel_close(parcel);
}

void library_tick(struct turn *turn) {
	for (int i = 0; i < 2; i++)
		library_use(turn);
}
