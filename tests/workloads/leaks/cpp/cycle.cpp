// Sessions and the timers that end them, each of which knows the other.
//
// Healthy: the timer holds its session weakly. Leaky: both hold each other, and live for ever.
#include "patterns.h"

#include <deque>
#include <memory>

namespace {

struct Session;

struct Timer {
	std::shared_ptr<Session> session;
	std::weak_ptr<Session> weak_session;
};

struct Session {
	std::shared_ptr<Timer> timer;
	char state[150];
};

std::deque<std::shared_ptr<Session>> open_sessions;

TRACED std::shared_ptr<Timer> cycle_start_timer(const std::shared_ptr<Session> &session,
						bool strong) {
	auto timer = std::make_shared<Timer>(); // LEAK: cycle_start_timer
	if (strong)
		timer->session = session;
	else
		timer->weak_session = session;
	return timer;
}

TRACED std::shared_ptr<Session> cycle_open_session(bool leaky) {
	auto session = std::make_shared<Session>(); // LEAK: cycle_open_session
	session->timer = cycle_start_timer(session, leaky);
	return session;
}

} // namespace

void cycle_tick(turn *turn) {
	open_sessions.push_back(cycle_open_session(turn->leaky && turn->tick % 2 == 0));
	if (open_sessions.size() > 100)
		open_sessions.pop_front();
}
