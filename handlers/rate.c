/* See rate.h. A set-associative table: a key has WAYS places; a new key takes the one unused for longest, whose owner
 * starts again with a full bucket. So an attacker with many addresses gains nothing but the buckets of his own making. */
#include "handlers/rate.h"

#include <pthread.h>
#include <string.h>

#include "base/hex.h"

#define SETS 4096
#define WAYS 8
#define STRIPES 64
#define BURST_SECONDS 4

struct bucket {
	uint64_t key;    /* 0: free */
	int64_t milli;   /* tokens × 1000 */
	int64_t used_ms; /* last refill */
};

static struct bucket buckets[SETS][WAYS];
static pthread_mutex_t stripes[STRIPES];
static pthread_once_t once = PTHREAD_ONCE_INIT;
static uint64_t seed;

static void rate_init(void)
{
	random_bytes(&seed, sizeof(seed));
	for (int i = 0; i < STRIPES; i++)
		pthread_mutex_init(&stripes[i], NULL);
}

/* FNV-1a from a secret start, finished with a mix: callers choose neither the start nor see the result. */
static uint64_t hash_bytes(uint64_t h, const void *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		h = (h ^ ((const uint8_t *)p)[i]) * 0x100000001b3u;
	h ^= h >> 29;
	h *= 0xbf58476d1ce4e5b9u;
	return h ^ (h >> 32);
}

static struct bucket *bucket_of(struct bucket *set, uint64_t key, int64_t full, int64_t now_ms)
{
	struct bucket *oldest = &set[0];
	for (int i = 0; i < WAYS; i++) {
		if (set[i].key == key)
			return &set[i];
		if (set[i].used_ms < oldest->used_ms)
			oldest = &set[i];
	}
	*oldest = (struct bucket){ .key = key, .milli = full, .used_ms = now_ms };
	return oldest;
}

static bool rate_use(const struct rate_key *key, int64_t per_second, int64_t now_ms, int64_t take, int64_t *ret_wait_s)
{
	if (per_second <= 0)
		return true;
	pthread_once(&once, rate_init);
	int64_t full = per_second * BURST_SECONDS * 1000;
	uint64_t h = hash_bytes(hash_bytes(hash_bytes(seed, key->class, strlen(key->class)), &key->kind, 1), key->id, key->len) | 1;
	size_t set = (size_t)(h >> 20) % SETS;
	pthread_mutex_t *lock = &stripes[set % STRIPES];
	pthread_mutex_lock(lock);
	struct bucket *b = bucket_of(buckets[set], h, full, now_ms);
	int64_t passed = now_ms - b->used_ms;
	if (passed > 0) {
		b->milli = passed > BURST_SECONDS * 1000 ? full : b->milli + passed * per_second;
		if (b->milli > full)
			b->milli = full;
		b->used_ms = now_ms;
	}
	bool ok = b->milli >= 1000;
	if (ok)
		b->milli -= take;
	else
		*ret_wait_s = (1000 - b->milli + per_second * 1000 - 1) / (per_second * 1000);
	pthread_mutex_unlock(lock);
	return ok;
}

bool rate_take(const struct rate_key *key, int64_t per_second, int64_t now_ms, int64_t *ret_wait_s)
{
	return rate_use(key, per_second, now_ms, 1000, ret_wait_s);
}

bool rate_peek(const struct rate_key *key, int64_t per_second, int64_t now_ms, int64_t *ret_wait_s)
{
	return rate_use(key, per_second, now_ms, 0, ret_wait_s);
}
