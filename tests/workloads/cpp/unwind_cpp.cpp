// Allocations in C++'s own places: by `operator new` of the library, and in the constructor of what is
// thrown. Built without frame pointers.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "../c/gate.h"

static std::string *kept[100];

struct Thrown {
    std::string text;
    __attribute__((noinline)) Thrown() : text(200, 'x') {}
};

static __attribute__((noinline)) unsigned deeper(unsigned frames, bool throws)
{
    volatile unsigned done = 0;
    if (frames > 1) {
        done = done + deeper(frames - 1, throws);
    } else if (throws) {
        throw Thrown();
    } else {
        for (auto &place : kept)
            place = new std::string(100, 'y');
    }
    return done + 1;
}

int main(int argc, char **argv)
{
    bool throws = argc > 1 && !std::strcmp(argv[1], "throw");
    unsigned depth = argc > 2 ? unsigned(std::atoi(argv[2])) : 5;
    gate_wait();
    try {
        deeper(depth, throws);
    } catch (const Thrown &thrown) {
        kept[0] = new std::string(thrown.text);
    }
    gate_write(1, "done\n", 5);
    gate_finish();
    return 0;
}
