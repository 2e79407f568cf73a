/* A shared library of its own, so that the allocation and the mistake are in different files. */
#include "parcel.h"

#include <stdlib.h>

struct parcel {
	size_t weight;
	char content[];
};

struct parcel *parcel_open(size_t weight) {
	struct parcel *parcel = malloc(sizeof *parcel + weight); /* LEAK: parcel_open */
	if (parcel == NULL)
		abort();
	parcel->weight = weight;
	parcel->content[0] = 1;
	return parcel;
}

size_t parcel_weight(const struct parcel *parcel) { return parcel->weight; }

void parcel_close(struct parcel *parcel) { free(parcel); }
