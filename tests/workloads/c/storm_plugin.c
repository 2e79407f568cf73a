/* A library that another one takes the place of in a storm: the same code at the same addresses but for its
 * names and the size of its frames (`INNER`, `ENTRY`, `FRAME`). Built without frame pointers.
 */
#include "gate.h"

TRACED void *INNER(void *(*allocate)(size_t), size_t size) {
	volatile char frame[FRAME];
	frame[0] = 1;
	void *block = allocate(size);
	frame[1] = frame[0];
	return block;
}

TRACED void *ENTRY(void *(*allocate)(size_t), size_t size) {
	volatile char frame[FRAME];
	frame[0] = 1;
	void *block = INNER(allocate, size);
	frame[1] = frame[0];
	return block;
}
