/* What every workload in C and C++ shares: the gate that lets the tests attach in mid-life, and
 * output that never enters the allocator (no stdio, no buffers from the heap).
 *
 * The protocol: the program sets itself up, prints `ready`, and waits for a byte on standard
 * input. It then does its work, prints its ledger as one line of JSON, and waits for end of file
 * before it exits, so that whatever the C library frees at exit comes after the measurement.
 */
#ifndef GATE_H
#define GATE_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Functions that tests look for in stacks: never inlined, cloned, merged or renamed. */
#if defined(__clang__)
#define TRACED __attribute__((noinline))
#else
#define TRACED __attribute__((noipa))
#endif

#ifdef __cplusplus
extern "C" {
#endif

static inline void gate_write(int fd, const char *text, size_t length) {
	while (length > 0) {
		ssize_t n = write(fd, text, length);
		if (n <= 0)
			_exit(90);
		text += n;
		length -= (size_t)n;
	}
}

static inline void gate_fail(const char *what) {
	gate_write(2, what, strlen(what));
	gate_write(2, "\n", 1);
	_exit(91);
}

/* A line of output that is built on the stack. */
struct line {
	size_t length;
	char text[8192];
};

__attribute__((format(printf, 2, 3))) static inline void line_add(struct line *line,
								   const char *format, ...) {
	va_list arguments;
	va_start(arguments, format);
	int n = vsnprintf(line->text + line->length, sizeof line->text - line->length, format,
			  arguments);
	va_end(arguments);
	if (n < 0 || line->length + (size_t)n >= sizeof line->text)
		gate_fail("line too long");
	line->length += (size_t)n;
}

static inline void line_print(struct line *line) {
	line_add(line, "\n");
	gate_write(1, line->text, line->length);
	line->length = 0;
}

/* Says that the program is set up, and waits to be let go. */
static inline void gate_wait(void) {
	char byte;
	gate_write(1, "ready\n", 6);
	if (read(0, &byte, 1) != 1)
		gate_fail("gate closed before it opened");
}

/* Waits for the tests to let the program exit. */
static inline void gate_finish(void) {
	char byte;
	while (read(0, &byte, 1) > 0) {
	}
}

/* xorshift64*: cheap, and the same sequence in every run. */
static inline uint64_t random_next(uint64_t *state) {
	uint64_t x = *state;
	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return (x * UINT64_C(0x2545F4914F6CDD1D)) >> 16;
}

#ifdef __cplusplus
}
#endif
#endif
