// C++'s ways into the allocator, from several threads, with a ledger: operator new and delete in
// all their forms, containers and strings, constructors that throw, and requests that fail.
//
// What reaches the C library is counted, not what the program wrote: operator new(0) asks malloc
// for 1 byte, and an exception object is a block of its own, see `exception_header`.
//
// libstdc++ has no frame pointers, so a stack that is followed by them lacks the caller of
// operator new. Each part's function therefore reaches operator new through another one.
//
// Usage: ledger_cpp [CALLS]
#include "../c/tally.h"

#include <atomic>
#include <dlfcn.h>
#include <map>
#include <memory>
#include <new>
#include <pthread.h>
#include <string>
#include <sys/mman.h>
#include <vector>

namespace {

constexpr int threads = 4;
constexpr std::size_t slots = 2048;

enum Part { operators, aligned_operators, containers, exceptions, failures };
const char *const part_names[] = {
	"part_operators",
	// libstdc++'s uses the frame pointer for something else: it is the last that a stack shows.
	"operator new(unsigned long, std::align_val_t)",
	"part_containers",
	"part_exceptions",
	"part_failures",
	nullptr};

enum Case {
	plain,
	array,
	aligned,
	nothrow_form,
	zero_sized,
	constructor_threw,
	bad_alloc_caught,
	nothrow_failed,
	freed_elsewhere,
	container_grew,
};
const char *const case_names[] = {
	"plain",	     "array",	       "aligned",	  "nothrow",	     "zero_sized",
	"constructor_threw", "bad_alloc_caught", "nothrow_failed", "freed_elsewhere", "container_grew",
	nullptr};

// sizeof(__cxa_refcounted_exception), which lies in front of every exception object and is part
// of the C++ ABI of 64-bit Linux (libsupc++ and libc++abi agree).
constexpr std::size_t exception_header = 128;

struct Block {
	std::atomic<char *> pointer{nullptr};
	std::size_t size = 0;
	Case form = plain;
};

struct Worker {
	tally counts;
	Block blocks[slots];
	// One block at a time for the next thread to delete.
	Block handed_over;
	std::uint64_t random = 0;
	std::uint64_t calls = 0;
	Worker *next = nullptr;
	pthread_t thread{};
};

pthread_barrier_t start, rest, end;
std::atomic<int> working{0};

// What the thread is doing, for the hooks below that are not told. Initialised to constants and
// in the program itself, so that no access allocates.
thread_local tally *current = nullptr;
thread_local Part current_part = operators;
thread_local std::size_t thrown_size = 0;

void count_alloc(std::size_t size) {
	current->calls += 1;
	tally_alloc(current, current_part, size ? size : 1);
}

void count_free(std::size_t size) {
	current->calls += 1;
	tally_free(current, current_part, size ? size : 1);
}

// The one caller of each form of operator new.
TRACED void *ask(std::size_t size) { return ::operator new(size); }
TRACED void *ask_array(std::size_t size) { return ::operator new[](size); }
TRACED void *ask_aligned(std::size_t size) { return ::operator new(size, std::align_val_t{64}); }
TRACED void *ask_nothrow(std::size_t size) { return ::operator new(size, std::nothrow); }

// Counts what a container asks for.
template <typename T> struct Counting {
	using value_type = T;
	Counting() = default;
	template <typename U> Counting(const Counting<U> &) {}
	T *allocate(std::size_t n) {
		T *block = static_cast<T *>(ask(n * sizeof(T)));
		count_alloc(n * sizeof(T));
		return block;
	}
	void deallocate(T *block, std::size_t n) {
		count_free(n * sizeof(T));
		::operator delete(block);
	}
	template <typename U> bool operator==(const Counting<U> &) const { return true; }
	template <typename U> bool operator!=(const Counting<U> &) const { return false; }
};

using String = std::basic_string<char, std::char_traits<char>, Counting<char>>;
using Vector = std::vector<String, Counting<String>>;
using Map = std::map<std::uint64_t, String, std::less<>,
		     Counting<std::pair<const std::uint64_t, String>>>;

// Throws from its constructor, after operator new has succeeded: the language deletes the block.
struct Throws {
	char bytes[200];
	TRACED explicit Throws(int value) {
		bytes[0] = static_cast<char>(value);
		throw value;
	}
};

TRACED Throws *make_throws() { return new Throws(3); }

void release(Worker &worker, char *pointer, std::size_t size, Case form) {
	current_part = form == aligned ? aligned_operators : operators;
	count_free(size);
	switch (form) {
	case array:
		::operator delete[](pointer);
		break;
	case aligned:
		::operator delete(pointer, std::align_val_t{64});
		break;
	case nothrow_form:
		::operator delete(pointer, std::nothrow);
		break;
	default:
		if (worker.random & 64)
			::operator delete(pointer, size);
		else
			::operator delete(pointer);
	}
}

} // namespace

// The C++ runtime calls these through the dynamic linker, so the program's own come first: an
// exception's block is counted wherever it is thrown, inside the library too.
extern "C" void *__cxa_allocate_exception(std::size_t size) noexcept {
	static const auto next = reinterpret_cast<void *(*)(std::size_t)>(
		dlsym(RTLD_NEXT, "__cxa_allocate_exception"));
	void *exception = next(size);
	count_alloc(size + exception_header);
	// Each part throws one at a time, so its size can wait here for the exception's end.
	thrown_size = size;
	return exception;
}

extern "C" void __cxa_free_exception(void *exception) noexcept {
	static const auto next =
		reinterpret_cast<void (*)(void *)>(dlsym(RTLD_NEXT, "__cxa_free_exception"));
	count_free(thrown_size + exception_header);
	next(exception);
}

// Gives the block to the next thread, if that has room, or deletes it.
void give_up(Worker &worker, Block &block, bool hand_over) {
	char *pointer = block.pointer;
	Block &target = worker.next->handed_over;
	block.pointer = nullptr;
	if (hand_over && target.pointer == nullptr) {
		target.size = block.size;
		target.form = block.form;
		target.pointer = pointer;
	} else {
		release(worker, pointer, block.size, block.form);
	}
}

void keep(Worker &worker, Block &block, void *pointer, std::size_t size, Case form) {
	count_alloc(size);
	worker.counts.cases[form] += 1;
	worker.counts.cases[zero_sized] += size == 0;
	block.size = size;
	block.form = form;
	block.pointer = static_cast<char *>(pointer);
}

TRACED void part_operators(Worker &worker, Block &block) {
	std::uint64_t r = random_next(&worker.random);
	std::size_t size = r % 61 == 0 ? 0 : 1 + (r >> 20) % 700;
	current_part = operators;
	switch (r % 3) {
	case 0:
		keep(worker, block, ask(size), size, plain);
		break;
	case 1:
		keep(worker, block, ask_array(size), size, array);
		break;
	default:
		keep(worker, block, ask_nothrow(size), size, nothrow_form);
	}
}

TRACED void part_aligned(Worker &worker, Block &block) {
	// A multiple of the alignment: libstdc++ rounds up to one.
	std::size_t size = (random_next(&worker.random) % 10 + 1) * 64;
	current_part = aligned_operators;
	keep(worker, block, ask_aligned(size), size, aligned);
}

TRACED void take_handed_over(Worker &worker) {
	if (char *pointer = worker.handed_over.pointer) {
		worker.counts.cases[freed_elsewhere] += 1;
		std::size_t size = worker.handed_over.size;
		Case form = worker.handed_over.form;
		worker.handed_over.pointer = nullptr;
		release(worker, pointer, size, form);
	}
}

TRACED void part_containers(Worker &worker) {
	current_part = containers;
	std::uint64_t r = random_next(&worker.random);
	Vector vector;
	Map map;
	for (std::uint64_t i = 0; i < 8 + r % 24; i++) {
		vector.push_back(String(10 + (r >> 8) % 50, 'x'));
		vector.back().append(20, 'y');
		map[r >> (i % 40)] = vector.back();
	}
	worker.counts.cases[container_grew] += 1;
}

TRACED void throw_and_catch(Worker &worker) {
	current_part = exceptions;
	try {
		// `new Throws` asks for the object, then for the exception, and gives the object
		// back while the exception unwinds.
		count_alloc(sizeof(Throws));
		std::unique_ptr<Throws> never(make_throws());
		gate_fail(never ? "the constructor returned" : "no object");
	} catch (int) {
		worker.counts.cases[constructor_threw] += 1;
		count_free(sizeof(Throws));
	}
}

TRACED void fail_and_go_on(Worker &worker) {
	static volatile std::size_t huge = PTRDIFF_MAX;
	current_part = failures;
	worker.counts.failed += 1;
	worker.counts.calls += 1;
	if (random_next(&worker.random) % 2) {
		worker.counts.cases[nothrow_failed] += 1;
		if (ask_nothrow(huge) != nullptr)
			gate_fail("an allocation succeeded that should not");
		return;
	}
	try {
		void *block = ask(huge);
		gate_fail(block == nullptr ? "operator new returned nothing" : "an allocation succeeded that should not");
	} catch (const std::bad_alloc &) {
		worker.counts.cases[bad_alloc_caught] += 1;
	}
}

TRACED void part_exceptions(Worker &worker) { throw_and_catch(worker); }
TRACED void part_failures(Worker &worker) { fail_and_go_on(worker); }

TRACED void step(Worker &worker) {
	std::uint64_t r = random_next(&worker.random);
	Block &block = worker.blocks[(r >> 8) % slots];
	if (r % 211 == 0)
		part_exceptions(worker);
	else if (r % 223 == 0)
		part_failures(worker);
	else if (r % 61 == 0)
		part_containers(worker);
	else if (block.pointer != nullptr)
		give_up(worker, block, r % 5 == 0);
	else if (r % 4 == 0)
		part_aligned(worker, block);
	else
		part_operators(worker, block);
	take_handed_over(worker);
}

extern "C" TRACED void *work(void *argument) {
	Worker &worker = *static_cast<Worker *>(argument);
	static tally warm_up[threads];
	// The first throw of a thread sets up the runtime: before the gate, and in no part.
	current = &warm_up[working++];
	throw_and_catch(worker);
	fail_and_go_on(worker);
	worker.counts = tally();
	current = &worker.counts;
	pthread_barrier_wait(&start);
	pthread_barrier_wait(&start);
	while (worker.counts.calls < worker.calls)
		step(worker);
	pthread_barrier_wait(&rest);
	take_handed_over(worker);
	for (std::size_t i = 0; i < slots; i += 2) {
		if (char *pointer = worker.blocks[i].pointer) {
			worker.blocks[i].pointer = nullptr;
			release(worker, pointer, worker.blocks[i].size, worker.blocks[i].form);
		}
	}
	pthread_barrier_wait(&rest);
	pthread_barrier_wait(&end);
	return nullptr;
}

int main(int argc, char **argv) {
	std::uint64_t calls = argc > 1 ? strtoull(argv[1], nullptr, 10) : 3000000;
	void *memory = mmap(nullptr, threads * sizeof(Worker), PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		gate_fail("mmap");
	Worker *workers = static_cast<Worker *>(memory);
	static tally tallies[threads];
	for (int i = 0; i < threads; i++)
		new (&workers[i]) Worker();
	pthread_barrier_init(&start, nullptr, threads + 1);
	pthread_barrier_init(&rest, nullptr, threads + 1);
	pthread_barrier_init(&end, nullptr, threads + 1);
	for (int i = 0; i < threads; i++) {
		workers[i].random = UINT64_C(0x9E3779B97F4A7C15) * static_cast<std::uint64_t>(i + 1);
		workers[i].calls = calls / threads;
		workers[i].next = &workers[(i + 1) % threads];
		if (pthread_create(&workers[i].thread, nullptr, work, &workers[i]) != 0)
			gate_fail("pthread_create");
	}
	pthread_barrier_wait(&start);
	gate_wait();
	pthread_barrier_wait(&start);
	pthread_barrier_wait(&rest);
	pthread_barrier_wait(&rest);
	for (int i = 0; i < threads; i++)
		tallies[i] = workers[i].counts;
	tally_print(tallies, threads, part_names, case_names);
	gate_finish();
	pthread_barrier_wait(&end);
	for (int i = 0; i < threads; i++)
		pthread_join(workers[i].thread, nullptr);
	return 0;
}
