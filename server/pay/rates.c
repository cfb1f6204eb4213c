/* See rates.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/metrics.h"
#include "net/net.h"
#include "pay/rates.h"

#define DOCUMENT_MAX (256 * 1024)
#define FIXED "fixed:"

/* ---- sources ---- */

static enum err source_parse(const char *word, struct rate_source *ret)
{
	struct rate_source s = { .url = "" };
	const char *fragment = strchr(word, '#');

	if (strlen(word) >= RATE_SOURCE_MAX)
		return ERR_BAD_FIELD;
	if (!strncmp(word, FIXED, strlen(FIXED))) {
		if (amount_parse_decimal(word + strlen(FIXED), strlen(word) - strlen(FIXED), &s.fixed) || amount_is_zero(s.fixed))
			return ERR_BAD_FIELD;
		*ret = s;
		return ERR_OK;
	}
	if (!fragment || fragment[1] != '/')
		return ERR_BAD_FIELD;
	memcpy(s.url, word, (size_t)(fragment - word));
	snprintf(s.pointer, sizeof(s.pointer), "%s", fragment + 1);
	if (net_url_check(s.url, true))
		return ERR_BAD_FIELD;
	*ret = s;
	return ERR_OK;
}

enum err rate_sources_parse(const char *list, struct rate_source ret[RATE_SOURCES_MAX], size_t *ret_count, char ret_bad[RATE_SOURCE_MAX])
{
	_cleanup_free_ char *words = xstrdup(list);
	char *rest = words, *word;
	size_t n = 0;

	while ((word = strsep(&rest, " \t"))) {
		if (!*word)
			continue;
		if (n == RATE_SOURCES_MAX || source_parse(word, &ret[n])) {
			snprintf(ret_bad, RATE_SOURCE_MAX, "%s", word);
			return ERR_BAD_FIELD;
		}
		n++;
	}
	*ret_count = n;
	return ERR_OK;
}

/* One step of a pointer: a member, or an index of an array. ~1 stands for / and ~0 for ~. */
static const json_t *step(const json_t *at, const char *token, size_t len)
{
	char name[RATE_SOURCE_MAX];
	size_t n = 0, index = 0;

	for (size_t i = 0; i < len; i++) {
		bool escaped = token[i] == '~' && i + 1 < len;

		name[n++] = !escaped ? token[i] : token[i + 1] == '1' ? '/' : '~';
		i += escaped;
	}
	name[n] = '\0';
	if (json_is_object(at))
		return json_object_get(at, name);
	if (!json_is_array(at) || n == 0 || n > 6 || strspn(name, "0123456789") != n)
		return NULL;
	for (size_t i = 0; i < n; i++)
		index = index * 10 + (size_t)(name[i] - '0');
	return json_array_get(at, index);
}

enum err rate_read(const char *document, size_t len, const char *pointer, struct amount *ret)
{
	_cleanup_json_ json_t *whole = NULL;
	struct json_why why;
	struct amount value;
	char number[400];
	enum err e = json_parse(document, len, &whole, &why);
	const json_t *at = whole;

	if (e)
		return e;
	while (at && *pointer == '/') {
		size_t n = strcspn(pointer + 1, "/");

		at = step(at, pointer + 1, n);
		pointer += 1 + n;
	}
	if (!at)
		return ERR_NOT_FOUND;
	if (json_is_string(at))
		snprintf(number, sizeof(number), "%s", json_string_value(at));
	else if (json_is_integer(at))
		snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(at));
	else if (json_is_real(at))
		snprintf(number, sizeof(number), "%.15f", json_real_value(at)); /* as many digits as a double is true to */
	else
		return ERR_BAD_FIELD;
	e = amount_parse_decimal(number, strlen(number), &value);
	if (!e && amount_is_zero(value))
		e = ERR_BAD_FIELD;
	if (!e)
		*ret = value;
	return e;
}

/* ---- agreement ---- */

static int by_value(const void *a, const void *b)
{
	return amount_cmp(*(const struct amount *)a, *(const struct amount *)b);
}

static enum err median(const struct amount *sorted, size_t n, struct amount *ret)
{
	struct amount sum;
	enum err e;

	if (n % 2) {
		*ret = sorted[n / 2];
		return ERR_OK;
	}
	e = amount_add(sorted[n / 2 - 1], sorted[n / 2], &sum);
	return e ? e : amount_share_floor(sum, 5000, ret);
}

/* |value - middle| <= middle × bps / 10000 */
static bool near(struct amount value, struct amount middle, uint32_t bps)
{
	struct amount gap, room;

	if (amount_sub(amount_max(value, middle), amount_min(value, middle), &gap) || amount_share_floor(middle, bps, &room))
		return false;
	return amount_cmp(gap, room) <= 0;
}

enum err rate_agree(struct amount *values, size_t count, size_t sources, uint32_t deviation_bps, struct amount *ret)
{
	struct amount middle;
	size_t kept = 0;
	enum err e;

	if (count == 0)
		return ERR_CONFLICT;
	qsort(values, count, sizeof(*values), by_value);
	e = median(values, count, &middle);
	if (e)
		return e;
	for (size_t i = 0; i < count; i++)
		if (near(values[i], middle, deviation_bps))
			values[kept++] = values[i];
	return kept * 2 <= sources ? ERR_CONFLICT : median(values, kept, ret);
}

/* ---- the thread ---- */

static enum err ask(const struct rates_config *c, const struct rate_source *s, struct amount *ret)
{
	struct net_request request = { .method = "GET", .url = s->url, .deadline_ms = c->deadline_ms, .response_max = DOCUMENT_MAX };
	struct net_answer answer = { .body = BUF_INIT(DOCUMENT_MAX) };
	enum err e;

	if (!*s->url) {
		*ret = s->fixed;
		return ERR_OK;
	}
	e = net_fetch(c->net, &request, &answer);
	if (!e && answer.status != 200)
		e = ERR_IO;
	if (!e)
		e = rate_read((const char *)answer.body.data, answer.body.len, s->pointer, ret);
	buf_done(&answer.body);
	return e;
}

/* The number in the log is the source's place in the setting, from 1: its URL may hold a key. */
static enum err rates_turn(const void *config, struct db *db, bool *ret_busy)
{
	const struct rates_config *c = config;
	struct amount values[RATE_SOURCES_MAX], value;
	size_t n = 0;
	bool accepted = false;
	enum err e;

	*ret_busy = false;
	for (size_t i = 0; i < c->count; i++) {
		e = ask(c, &c->sources[i], &values[n]);
		if (e)
			c->log("rate_source_failed", (int64_t)i + 1, err_info(e)->code);
		else
			n++;
	}
	if (rate_agree(values, n, c->count, c->deviation_bps, &value)) {
		metric_add(METRIC_USD_RATES_REFUSED, 1);
		c->log("rate_sources_disagree", (int64_t)n, "fewer than half of the sources agree; the last rate stands until it runs out");
		return ERR_OK;
	}
	e = db_rate_set(db, value, c->max_age_ms, c->jump_bps, &accepted);
	if (e)
		return e;
	metric_add(accepted ? METRIC_USD_RATES : METRIC_USD_RATES_REFUSED, 1);
	if (!accepted)
		c->log("rate_jumped", 0, amount_format(value).s);
	return ERR_OK;
}

struct turns *rates_start(const struct rates_config *config)
{
	const struct turns_config turns = { .database_url = config->database_url, .poll_ms = config->poll_ms, .busy_ms = config->poll_ms, .turn = rates_turn, .log = config->log,
					    .name = "rates" };

	struct turns *t = turns_start(&turns, config, sizeof(*config));

	turns_kick(t); /* without a rate nothing that costs dollars is sold */
	return t;
}
