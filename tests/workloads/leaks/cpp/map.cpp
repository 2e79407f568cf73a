// Requests under way, in a map by number.
//
// Leaky: those that were cancelled are never erased, and the map only grows.
#include "patterns.h"

#include <map>
#include <vector>

namespace {

std::map<unsigned long, std::vector<char>> requests;

TRACED void map_begin(unsigned long number) {
	requests.emplace(number, std::vector<char>(60)); // LEAK: map_begin
}

TRACED void map_end(unsigned long number) { requests.erase(number); }

} // namespace

void map_tick(turn *turn) {
	constexpr unsigned long duration = 50;
	map_begin(turn->tick);
	if (turn->tick < duration)
		return;
	unsigned long number = turn->tick - duration;
	bool cancelled = number % 4 == 0;
	if (!turn->leaky || !cancelled)
		map_end(number);
}
