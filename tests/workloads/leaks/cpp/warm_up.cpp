// Healthy: modules are loaded the first time they are needed and stay. The more there are, the rarer
// is a new one: after half a minute one in twelve is missing.
#include "patterns.h"

#include <memory>
#include <vector>

namespace {

constexpr std::size_t count = 6000;

struct Module {
	char code[300];
	unsigned long uses = 0;
};

std::vector<std::unique_ptr<Module>> modules(count);

TRACED std::unique_ptr<Module> warm_up_load() { return std::make_unique<Module>(); }

} // namespace

void warm_up_tick(turn *turn) {
	if (turn->tick % 2 != 0)
		return;
	auto &module = modules[turn_random(turn, count)];
	if (module == nullptr)
		module = warm_up_load();
	module->uses++;
}
