/* What `odd_names` loads: allocates for whoever calls. */
#include <stdlib.h>

void *odd_entry(size_t size) {
	void *volatile block = malloc(size);
	return block;
}
