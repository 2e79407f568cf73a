// The patterns in C++, one file each.
#ifndef PATTERNS_H
#define PATTERNS_H

#include "../leaks.h"

void cache_tick(turn *turn);
void cycle_tick(turn *turn);
void error_path_tick(turn *turn);
void listener_tick(turn *turn);
void map_tick(turn *turn);
void pool_tick(turn *turn);
void thread_local_tick(turn *turn);
void view_tick(turn *turn);
void warm_up_tick(turn *turn);

#endif
