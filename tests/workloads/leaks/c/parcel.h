/* A library whose objects belong to its caller. */
#ifndef PARCEL_H
#define PARCEL_H

#include <stddef.h>

struct parcel;

/* A parcel of this weight. The caller closes it. */
struct parcel *parcel_open(size_t weight);
size_t parcel_weight(const struct parcel *parcel);
void parcel_close(struct parcel *parcel);

#endif
