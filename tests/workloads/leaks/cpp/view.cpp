// A stream is read in large buffers. What is left at the end of one, a few bytes, belongs to the
// message that goes on in the next.
//
// Healthy: those bytes are copied. Leaky: the next buffer keeps a view of them, and with it the
// whole buffer, which has kept the one before.
#include "patterns.h"

#include <memory>
#include <string>
#include <string_view>

namespace {

struct Buffer {
	char bytes[4000];
	std::shared_ptr<const Buffer> before;
	std::string_view left;
	std::string left_copy;
};

std::shared_ptr<const Buffer> current;

TRACED std::shared_ptr<Buffer> view_read(unsigned long number) {
	auto buffer = std::make_shared<Buffer>(); // LEAK: view_read
	memset(buffer->bytes, static_cast<int>(number), sizeof buffer->bytes);
	return buffer;
}

TRACED void view_next(unsigned long number, bool leaky) {
	auto buffer = view_read(number);
	if (current != nullptr) {
		std::string_view left(current->bytes + 3980, 20);
		if (leaky) {
			buffer->left = left;
			buffer->before = current;
		} else {
			buffer->left_copy = left;
		}
	}
	current = buffer;
}

} // namespace

void view_tick(turn *turn) {
	if (turn->tick % 10 == 0)
		view_next(turn->tick, turn->leaky);
}
