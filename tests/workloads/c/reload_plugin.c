/* A library that another one takes the place of: the same code at the same addresses but for its names
 * and the size of its frames (`INNER`, `FRAME`). Built without frame pointers.
 */
#include "gate.h"

TRACED void *INNER(size_t size)
{
	volatile char frame[FRAME];
	frame[0] = 1;
	char *block = malloc(size);
	frame[1] = 1;
	return block;
}

TRACED void *plugin_entry(size_t size)
{
	volatile char frame[FRAME];
	frame[0] = 1;
	void *block = INNER(size);
	frame[1] = 1;
	return block;
}
