/* The gallery's patterns in C. */
#include "patterns.h"

int main(int argc, char **argv) {
	static const struct pattern patterns[] = {
		{"blocked", blocked_tick},
		{"bursts", bursts_tick},
		{"cache", cache_tick},
		{"error_path", error_path_tick},
		{"forgotten", forgotten_tick},
		{"intern", intern_tick},
		{"library", library_tick},
		{"pool", pool_tick},
		{"queue", queue_tick},
		{"rare", rare_tick},
		{"thread_local", thread_local_tick},
		{"vector", vector_tick},
		{NULL, NULL},
	};
	return leaks_main(argc, argv, patterns);
}
