/* Token buckets in a table of fixed size: how often one account or client address may call a class of routes. It protects
 * this process, not money: limits that money depends on are in the database. Thread-safe; locks one stripe at a time. */
#ifndef OPGATE_HANDLERS_RATE_H
#define OPGATE_HANDLERS_RATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rate_key {
	const char *class; /* "read", "write", "paid", "auth" */
	char kind;         /* 'a' account, 'i' address, 'f' failures of an address */
	const void *id;
	size_t len;
};

/* Takes one token from the bucket of key, which refills at per_second and holds four seconds' worth. false: empty, and
 * *ret_wait_s says when to come back. per_second 0: always true. */
bool rate_take(const struct rate_key *key, int64_t per_second, int64_t now_ms, int64_t *ret_wait_s);
/* Like rate_take, but takes nothing. */
bool rate_peek(const struct rate_key *key, int64_t per_second, int64_t now_ms, int64_t *ret_wait_s);

#endif
