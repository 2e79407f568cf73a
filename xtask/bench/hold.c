/* Holds blocks of 16 to 64 bytes, and keeps a ledger of them.
 *
 * Reads lines "COUNT" from standard input, allocates until it holds that many blocks, and answers
 * with their number and the sum of their sizes. It never frees one, and allocates nothing else.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define MOST 100000000

/* Only what is used of it takes memory. */
static void *blocks[MOST];

int main(void)
{
	unsigned held = 0, wanted;
	uint64_t bytes = 0;
	uint32_t random = 2463534242;

	while (scanf("%u", &wanted) == 1) {
		if (wanted > MOST)
			abort();
		for (; held < wanted; held++) {
			unsigned size;

			random ^= random << 13;
			random ^= random >> 17;
			random ^= random << 5;
			size = 16 + random % (64 - 16 + 1);
			blocks[held] = malloc(size);
			if (!blocks[held])
				abort();
			*(volatile char *)blocks[held] = 1;
			bytes += size;
		}
		printf("%u %llu\n", held, (unsigned long long)bytes);
		fflush(stdout);
	}
	return 0;
}
