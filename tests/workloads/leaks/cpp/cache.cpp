// A cache that forgets what was not used for longest: a list in the order of use, and a map.
//
// Healthy: it is full after 15 seconds. Leaky: what is forgotten goes from the list and stays in
// the map.
#include "patterns.h"

#include <list>
#include <memory>
#include <unordered_map>

namespace {

constexpr std::size_t bound = 15000;

struct Image {
	unsigned long key;
	char pixels[240];
};

struct Entry {
	std::unique_ptr<Image> image;
	std::list<unsigned long>::iterator use;
};

std::list<unsigned long> uses;
std::unordered_map<unsigned long, Entry> entries;

TRACED std::unique_ptr<Image> cache_render(unsigned long key) {
	auto image = std::make_unique<Image>(); // LEAK: cache_render
	image->key = key;
	return image;
}

TRACED void cache_forget(bool leaky) {
	if (!leaky)
		entries.erase(uses.front());
	uses.pop_front();
}

TRACED const Image &cache_get(unsigned long key, bool leaky) {
	auto found = entries.find(key);
	if (found != entries.end())
		return *found->second.image;
	if (uses.size() == bound)
		cache_forget(leaky);
	auto use = uses.insert(uses.end(), key);
	// One node of the map is lost with each image.
	auto entry = entries.emplace(key, Entry{cache_render(key), use}); // LEAK: cache_get
	return *entry.first->second.image;
}

} // namespace

void cache_tick(turn *turn) {
	if (turn->tick == 0)
		entries.reserve(100000);
	cache_get(turn->tick, turn->leaky);
	cache_get(turn->tick - turn_random(turn, turn->tick % 500 + 1), turn->leaky);
}
