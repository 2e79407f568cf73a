/* A cache of pages by key, most of which are asked for only once.
 *
 * Healthy: the oldest goes when there are too many, which is so after 20 seconds. Leaky: there are
 * never too many. */
#include "patterns.h"

#define BOUND 20000
#define BUCKETS 16384

struct page {
	struct page *next_in_bucket;
	struct page *next_by_age;
	unsigned long key;
	char text[200];
};

static struct page *buckets[BUCKETS];
static struct page *oldest, *newest;
static size_t count;

TRACED static struct page *cache_load(unsigned long key) {
	struct page *page = need(malloc(sizeof *page)); /* LEAK: cache_load */
	page->key = key;
	page->next_by_age = NULL;
	memset(page->text, (int)key, sizeof page->text);
	return page;
}

TRACED static void cache_evict(void) {
	struct page *page = oldest;
	struct page **link = &buckets[page->key % BUCKETS];
	while (*link != page)
		link = &(*link)->next_in_bucket;
	*link = page->next_in_bucket;
	oldest = page->next_by_age;
	free(page);
	count--;
}

TRACED static struct page *cache_get(unsigned long key, size_t bound) {
	struct page **bucket = &buckets[key % BUCKETS];
	for (struct page *page = *bucket; page != NULL; page = page->next_in_bucket)
		if (page->key == key)
			return page;
	if (count == bound)
		cache_evict();
	struct page *page = cache_load(key);
	page->next_in_bucket = *bucket;
	*bucket = page;
	if (count == 0)
		oldest = page;
	else
		newest->next_by_age = page;
	newest = page;
	count++;
	return page;
}

void cache_tick(struct turn *turn) {
	size_t bound = turn->leaky ? SIZE_MAX : BOUND;
	cache_get(turn->tick, bound);
	cache_get(turn->tick - turn_random(turn, turn->tick % 1000 + 1), bound);
}
