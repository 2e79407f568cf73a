// Allocates by operator new alone.
#include "../c/gate.h"

#include <new>

int main() {
	static void *kept[10000];
	gate_wait();
	for (void *&block : kept)
		block = ::operator new(64);
	gate_write(1, "done\n", 5);
	gate_finish();
	return 0;
}
