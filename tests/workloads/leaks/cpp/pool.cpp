// A pool of buffers that are handed out, given back and handed out again.
//
// Leaky: they are given back to the wrong list, from which nobody takes any.
#include "patterns.h"

#include <deque>
#include <memory>
#include <vector>

namespace {

using Buffer = std::vector<char>;

std::vector<std::unique_ptr<Buffer>> idle, retired;
std::deque<std::unique_ptr<Buffer>> busy;

TRACED std::unique_ptr<Buffer> pool_create() {
	return std::make_unique<Buffer>(500); // LEAK: pool_create
}

TRACED std::unique_ptr<Buffer> pool_get() {
	if (idle.empty())
		return pool_create();
	auto buffer = std::move(idle.back());
	idle.pop_back();
	return buffer;
}

TRACED void pool_give_back(std::unique_ptr<Buffer> buffer, bool leaky) {
	(leaky ? retired : idle).push_back(std::move(buffer));
}

} // namespace

void pool_tick(turn *turn) {
	if (turn->tick == 0) {
		idle.reserve(100);
		retired.reserve(200000);
	}
	busy.push_back(pool_get());
	if (busy.size() > 20) {
		pool_give_back(std::move(busy.front()), turn->leaky);
		busy.pop_front();
	}
}
