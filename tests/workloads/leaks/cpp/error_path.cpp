// Orders are read, checked and booked. Now and then the check throws.
//
// Healthy: a unique_ptr owns the order. Leaky: a plain pointer does, and delete is never reached.
#include "patterns.h"

#include <memory>
#include <stdexcept>

namespace {

struct Order {
	unsigned long number;
	char lines[180];
};

TRACED Order *error_path_read(unsigned long number) {
	Order *order = new Order; // LEAK: error_path_read
	order->number = number;
	return order;
}

TRACED void error_path_check(const Order &order) {
	// Twenty in a row, about once a second.
	if (order.number % 2100 < 20)
		throw std::runtime_error("no such customer");
}

TRACED void error_path_book(unsigned long number, bool leaky) {
	if (leaky) {
		Order *order = error_path_read(number);
		error_path_check(*order);
		delete order;
	} else {
		std::unique_ptr<Order> order(error_path_read(number));
		error_path_check(*order);
	}
}

} // namespace

void error_path_tick(turn *turn) {
	for (unsigned long i = 0; i < 2; i++) {
		try {
			error_path_book(turn->tick * 2 + i, turn->leaky);
		} catch (const std::runtime_error &) {
		}
	}
}
