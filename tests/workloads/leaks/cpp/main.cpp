// The gallery's patterns in C++.
#include "patterns.h"

#include <new>

// libstdc++'s own has no frame pointer, and the caller of new would be missing where stacks are
// followed by those.
void *operator new(std::size_t size) { return need(std::malloc(size)); }
void operator delete(void *block) noexcept { std::free(block); }
void operator delete(void *block, std::size_t) noexcept { std::free(block); }

int main(int argc, char **argv) {
	static const pattern patterns[] = {
		{"cache", cache_tick},
		{"cycle", cycle_tick},
		{"error_path", error_path_tick},
		{"listener", listener_tick},
		{"map", map_tick},
		{"pool", pool_tick},
		{"thread_local", thread_local_tick},
		{"view", view_tick},
		{"warm_up", warm_up_tick},
		{nullptr, nullptr},
	};
	return leaks_main(argc, argv, patterns);
}
