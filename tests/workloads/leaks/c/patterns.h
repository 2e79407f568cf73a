/* The patterns in C, one file each. */
#ifndef PATTERNS_H
#define PATTERNS_H

#include "../leaks.h"

void blocked_tick(struct turn *turn);
void bursts_tick(struct turn *turn);
void cache_tick(struct turn *turn);
void error_path_tick(struct turn *turn);
void forgotten_tick(struct turn *turn);
void intern_tick(struct turn *turn);
void library_tick(struct turn *turn);
void pool_tick(struct turn *turn);
void queue_tick(struct turn *turn);
void rare_tick(struct turn *turn);
void thread_local_tick(struct turn *turn);
void vector_tick(struct turn *turn);

#endif
