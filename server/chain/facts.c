/* See facts.h. `lock` guards the queue and the count of calls; an entry lives on its asker's stack and is the asker's again once it is woken
 * with `done`, for which it does not need the lock: many are woken at once. */
#include "chain/facts.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/gather.h"
#include "base/mem.h"
#include "base/thread.h"
#include "chain/calls.h"
#include "chain/rpc.h"

#define CALLS_MAX 2 /* at once: more would only make each carry less */
#define GATHER_MS 5
#define GAS 200000
#define GAS_EACH 150000 /* four cold accounts and as many storage words, and 200 for each byte of the answer */
#define ASK_WORDS 3
#define ANSWER_WORDS 5

/* contracts/Facts.yul, compiled. */
static const uint8_t CODE[] = {
	0x61, 0x01, 0x52, 0x80, 0x38, 0x03, 0x80, 0x91, 0x60, 0x80, 0x39, 0x60, 0x80, 0x51, 0x90, 0x60,
	0xa0, 0x51, 0x90, 0x80, 0x60, 0x80, 0x01, 0x91, 0x82, 0x93, 0x60, 0xc0, 0x91, 0x5b, 0x85, 0x83,
	0x10, 0x61, 0x00, 0x30, 0x57, 0x50, 0x50, 0x50, 0x90, 0x03, 0x60, 0x7f, 0x19, 0x01, 0x90, 0xf3,
	0x5b, 0x90, 0x91, 0x93, 0x60, 0xa0, 0x60, 0x60, 0x91, 0x86, 0x51, 0x80, 0x3b, 0x82, 0x52, 0x60,
	0x20, 0x88, 0x01, 0x51, 0x90, 0x60, 0x40, 0x89, 0x01, 0x51, 0x82, 0x60, 0x00, 0x14, 0x61, 0x00,
	0xa2, 0x57, 0x61, 0x00, 0x61, 0x90, 0x60, 0x40, 0x85, 0x01, 0x90, 0x83, 0x89, 0x61, 0x00, 0xde,
	0x56, 0x5b, 0x61, 0x00, 0x6e, 0x86, 0x85, 0x01, 0x83, 0x8a, 0x61, 0x01, 0x05, 0x56, 0x5b, 0x60,
	0x01, 0x1b, 0x17, 0x91, 0x61, 0x00, 0x88, 0x57, 0x5b, 0x50, 0x60, 0x20, 0x82, 0x01, 0x52, 0x01,
	0x94, 0x01, 0x91, 0x90, 0x61, 0x00, 0x1d, 0x56, 0x5b, 0x61, 0x00, 0x98, 0x90, 0x86, 0x60, 0x80,
	0x85, 0x01, 0x91, 0x89, 0x61, 0x01, 0x2b, 0x56, 0x5b, 0x60, 0x02, 0x1b, 0x17, 0x38, 0x61, 0x00,
	0x78, 0x56, 0x5b, 0x61, 0x00, 0xb2, 0x90, 0x60, 0x40, 0x85, 0x01, 0x90, 0x83, 0x8a, 0x61, 0x00,
	0xb7, 0x56, 0x5b, 0x61, 0x00, 0x61, 0x56, 0x5b, 0x60, 0x00, 0x90, 0x60, 0x20, 0x94, 0x93, 0x60,
	0x44, 0x93, 0x63, 0x74, 0xa5, 0x00, 0x81, 0x60, 0xe1, 0x1b, 0x84, 0x52, 0x60, 0x04, 0x52, 0x60,
	0x24, 0x52, 0x81, 0x84, 0x52, 0x5a, 0xfa, 0x60, 0x1f, 0x3d, 0x11, 0x16, 0x90, 0x56, 0x5b, 0x60,
	0x00, 0x90, 0x60, 0x20, 0x94, 0x93, 0x60, 0x44, 0x93, 0x63, 0x13, 0xf8, 0x0a, 0xd1, 0x60, 0xe2,
	0x1b, 0x84, 0x52, 0x60, 0x04, 0x52, 0x60, 0x24, 0x52, 0x81, 0x84, 0x52, 0x5a, 0xfa, 0x60, 0x1f,
	0x3d, 0x11, 0x16, 0x90, 0x56, 0x5b, 0x60, 0x00, 0x60, 0x24, 0x91, 0x60, 0x20, 0x94, 0x93, 0x63,
	0x70, 0xa0, 0x82, 0x31, 0x60, 0xe0, 0x1b, 0x83, 0x52, 0x60, 0x04, 0x52, 0x81, 0x83, 0x52, 0x81,
	0x84, 0x52, 0x5a, 0xfa, 0x60, 0x1f, 0x3d, 0x11, 0x16, 0x90, 0x56, 0x5b, 0x60, 0x00, 0x90, 0x60,
	0x20, 0x94, 0x93, 0x60, 0x44, 0x93, 0x63, 0x6e, 0xb1, 0x76, 0x9f, 0x60, 0xe1, 0x1b, 0x84, 0x52,
	0x60, 0x04, 0x52, 0x60, 0x24, 0x52, 0x81, 0x84, 0x52, 0x5a, 0xfa, 0x60, 0x1f, 0x3d, 0x11, 0x16,
	0x90, 0x56,
};

/* ---- one call ---- */

static void append_word(uint8_t **at, const void *p, size_t len)
{
	memset(*at, 0, 32 - len);
	memcpy(*at + 32 - len, p, len);
	*at += 32;
}

static json_t *call_data(const struct address *token, const struct chain_ask *asks, size_t count)
{
	size_t len = sizeof(CODE) + 64 + 32 * ASK_WORDS * count;
	_cleanup_free_ uint8_t *data = xmalloc(len);
	uint8_t *at = data;

	memcpy(at, CODE, sizeof(CODE));
	at += sizeof(CODE);
	append_word(&at, token->b, sizeof(token->b));
	append_word(&at, CALLS_PERMIT2.b, sizeof(CALLS_PERMIT2.b));
	for (size_t i = 0; i < count; i++) {
		append_word(&at, asks[i].payer.b, sizeof(asks[i].payer.b));
		append_word(&at, &(uint8_t){ asks[i].permit2 }, 1);
		append_word(&at, asks[i].place.b, sizeof(asks[i].place.b));
	}
	return rpc_data(data, len);
}

static void answer_read(const uint8_t *p, const struct chain_ask *ask, struct chain_facts *ret)
{
	struct u256 size = u256_from_be(p), known = u256_from_be(p + 32), want = u256_from_u64(ask->permit2 ? 7 : 3);

	*ret = (struct chain_facts){ .known = u256_cmp(&known, &want) == 0, .has_code = !u256_is_zero(&size), .nonce = u256_from_be(p + 64),
				     .balance = u256_from_be(p + 96) };
	if (ask->permit2)
		ret->allowance = u256_from_be(p + 128);
}

enum err chain_facts_read(struct chain *c, const struct address *token, const struct chain_ask *asks, size_t count, struct chain_facts *ret)
{
	_cleanup_json_ json_t *result = NULL;
	_cleanup_buf_ struct buf answer = BUF_INIT(32 * ANSWER_WORDS * CHAIN_FACTS_MAX);
	enum err e = rpc_call(c, "eth_call", json_pack("[{s:o, s:o}, s]", "data", call_data(token, asks, count), "gas", rpc_quantity(GAS + GAS_EACH * count), "latest"),
			      &result);

	if (!e)
		e = rpc_read_data(result, "the facts", &answer);
	if (!e && answer.len != 32 * ANSWER_WORDS * count)
		e = rpc_refuse("%zu bytes of facts about %zu payers", answer.len, count);
	for (size_t i = 0; !e && i < count; i++)
		answer_read((const uint8_t *)answer.data + 32 * ANSWER_WORDS * i, &asks[i], &ret[i]);
	return e;
}

/* ---- many askers ---- */

struct entry {
	struct entry *next;
	const struct chain_ask *ask;
	struct chain_facts facts;
	enum err err;
	char words[256]; /* of chain_error(), for the asker's thread */
	atomic_bool done;
	bool woken; /* a post of `wake` is on its way: there is never a second one, which could come after the asker has gone */
	sem_t wake; /* done, or it is this one's turn to call */
};

struct chain_facts_line {
	struct chain *chain;
	struct address token;
	pthread_mutex_t lock;
	struct entry *head, **tail;
	size_t waiting; /* in the queue */
	unsigned calls;
	bool gathering; /* the first in the queue waits for company */
	struct gather together; /* askers in one call */
};

struct chain_facts_line *chain_facts_new(struct chain *c, const struct address *token)
{
	struct chain_facts_line *line = xcalloc(1, sizeof(*line));

	line->chain = c;
	line->token = *token;
	line->tail = &line->head;
	pthread_mutex_init(&line->lock, NULL);
	return line;
}

void chain_facts_free(struct chain_facts_line *line)
{
	if (!line)
		return;
	pthread_mutex_destroy(&line->lock);
	free(line);
}

/* The oldest ones; under lock. */
static size_t take(struct chain_facts_line *line, struct entry **ret)
{
	size_t count = 0;

	while (line->head && count < CHAIN_FACTS_MAX) {
		ret[count++] = line->head;
		line->head = line->head->next;
	}
	if (!line->head)
		line->tail = &line->head;
	line->waiting -= count;
	gather_went(&line->together, count);
	return count;
}

/* Under lock. */
static void wake(struct entry *e)
{
	if (!e->woken) {
		e->woken = true;
		sem_post(&e->wake);
	}
}

/* The same, and from here on it is the asker's: nothing of it is touched after what wakes them. Under lock. */
static void finish(struct entry *e)
{
	bool on_its_way = e->woken;

	e->woken = true;
	atomic_store(&e->done, true);
	if (!on_its_way)
		sem_post(&e->wake);
}

/* Asks for everybody who waits. Enters and leaves with the lock. */
static void call_for_all(struct chain_facts_line *line)
{
	struct entry *entries[CHAIN_FACTS_MAX];
	struct chain_ask asks[CHAIN_FACTS_MAX];
	struct chain_facts facts[CHAIN_FACTS_MAX];
	size_t count = take(line, entries);
	enum err e;

	line->calls++;
	if (line->head && line->calls < CALLS_MAX)
		wake(line->head);
	pthread_mutex_unlock(&line->lock);
	for (size_t i = 0; i < count; i++)
		asks[i] = *entries[i]->ask;
	e = chain_facts_read(line->chain, &line->token, asks, count, facts);
	pthread_mutex_lock(&line->lock);
	line->calls--;
	for (size_t i = 0; i < count; i++) {
		entries[i]->err = e;
		if (e)
			snprintf(entries[i]->words, sizeof(entries[i]->words), "%s", chain_error());
		else
			entries[i]->facts = facts[i];
		finish(entries[i]);
	}
	if (line->head)
		wake(line->head);
}

/* Enters and leaves with the lock. False: the time is up. */
static bool wait_until(struct chain_facts_line *line, struct entry *own, const struct timespec *until)
{
	int failed;

	pthread_mutex_unlock(&line->lock);
	while ((failed = sem_clockwait(&own->wake, CLOCK_MONOTONIC, until)) != 0 && errno == EINTR)
		;
	pthread_mutex_lock(&line->lock);
	own->woken = own->woken && failed;
	return !failed;
}

/* The first of those who may come together waits for them; they come while a call is under way anyway. Under lock. */
static void gather(struct chain_facts_line *line, struct entry *own)
{
	const struct timespec until = cond_until(GATHER_MS);

	if (line->gathering && gather_complete(&line->together, line->waiting))
		wake(line->head);
	if (line->gathering || line->calls > 0 || line->head != own)
		return;
	line->gathering = true;
	while (!gather_complete(&line->together, line->waiting) && wait_until(line, own, &until))
		;
	line->gathering = false;
}

/* Enters with the lock, leaves without it. */
static void wait_until_done(struct chain_facts_line *line, struct entry *own)
{
	while (!atomic_load(&own->done)) {
		if (line->calls < CALLS_MAX && line->head && !line->gathering) {
			call_for_all(line);
			continue;
		}
		pthread_mutex_unlock(&line->lock);
		while (sem_wait(&own->wake) != 0)
			;
		if (atomic_load(&own->done))
			return;
		pthread_mutex_lock(&line->lock);
		own->woken = false;
	}
	pthread_mutex_unlock(&line->lock);
}

enum err chain_facts_ask(struct chain_facts_line *line, const struct chain_ask *ask, struct chain_facts *ret)
{
	struct entry own = { .ask = ask };

	sem_init(&own.wake, 0, 0);
	pthread_mutex_lock(&line->lock);
	*line->tail = &own;
	line->tail = &own.next;
	line->waiting++;
	gather(line, &own);
	wait_until_done(line, &own);
	sem_destroy(&own.wake);
	if (own.err)
		return rpc_refuse("%s", own.words);
	if (!own.facts.known)
		return rpc_refuse("the token or Permit2 does not answer");
	*ret = own.facts;
	return ERR_OK;
}
