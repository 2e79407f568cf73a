// Threads that come and go, each with a parser of its own.
//
// Healthy: a thread_local unique_ptr owns it. Leaky: a thread_local plain pointer does.
#include "patterns.h"

#include <memory>
#include <pthread.h>

namespace {

struct Parser {
	char text[600];
	int depth = 0;
};

TRACED Parser *thread_local_make_parser() {
	return new Parser; // LEAK: thread_local_make_parser
}

TRACED void *thread_local_leaky(void *) {
	static thread_local Parser *parser = nullptr;
	if (parser == nullptr)
		parser = thread_local_make_parser();
	parser->depth++;
	return nullptr;
}

TRACED void *thread_local_healthy(void *) {
	static thread_local std::unique_ptr<Parser> parser;
	if (parser == nullptr)
		parser.reset(thread_local_make_parser());
	parser->depth++;
	return nullptr;
}

} // namespace

void thread_local_tick(turn *turn) {
	static pthread_t thread;
	auto start = turn->leaky ? thread_local_leaky : thread_local_healthy;
	if (turn->tick % 25 == 0 && pthread_create(&thread, nullptr, start, nullptr) != 0)
		gate_fail("pthread_create");
	if (turn->tick % 25 == 20)
		pthread_join(thread, nullptr);
}
