// Windows listen for changes of a document while they are open.
//
// Leaky: a window that closes does not take its listener with it.
#include "patterns.h"

#include <deque>
#include <functional>
#include <list>

namespace {

using Listeners = std::list<std::function<void(int)>>;

Listeners listeners;

struct Window {
	Listeners::iterator listener;
	unsigned long shown = 0;
};

std::deque<Window> windows;

TRACED Listeners::iterator listener_add(unsigned long number) {
	char title[40] = {static_cast<char>(number)};
	auto listener = [title, number](int change) { return title[0] + change + number; };
	return listeners.insert(listeners.end(), listener); // LEAK: listener_add
}

} // namespace

void listener_tick(turn *turn) {
	windows.push_back(Window{listener_add(turn->tick), 0});
	if (windows.size() > 200) {
		if (!turn->leaky || turn->tick % 3 != 0)
			listeners.erase(windows.front().listener);
		windows.pop_front();
	}
	if (turn->tick % 5000 == 0)
		for (auto &listener : listeners)
			listener(1);
}
