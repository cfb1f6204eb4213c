/* See settle_data.h. */
#include "pay/settle_data.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/base64.h"
#include "base/buf.h"
#include "base/mem.h"
#include "crypto/crypto.h"
#include "pay/x402_headers.h"

#define TIMESTAMP_MAX 9007199254740991 /* what JavaScript counts exactly */

static enum err refuse(struct x402_why *why, const char *text, const char *name)
{
	snprintf(why->text, sizeof(why->text), "%s%.43s", text, name);
	return ERR_BAD_REQUEST;
}
#define MISSING(why, name) refuse(why, "Missing required settlement field. Expected one of: ", name)
#define INVALID(why, name) refuse(why, "Invalid settlement field: ", name)

enum err settle_data_type_read(const char *header, enum settle_data_type *ret, struct x402_why *why)
{
	static const struct {
		const char *name;
		enum settle_data_type type;
	} names[] = { { "private", SETTLE_DATA_PRIVATE }, { "pivate", SETTLE_DATA_PRIVATE }, { "batch", SETTLE_DATA_BATCH },
		      { "individual", SETTLE_DATA_INDIVIDUAL }, { "inidvidual", SETTLE_DATA_INDIVIDUAL } };

	for (size_t i = 0; header && i < sizeof(names) / sizeof(names[0]); i++)
		if (!strcasecmp(header, names[i].name)) {
			*ret = names[i].type;
			return ERR_OK;
		}
	refuse(why, "Unsupported x-settlement-type: ", header ? header : "undefined");
	for (char *p = why->text; *p; p++)
		if (*p < 0x20 || *p > 0x7e)
			*p = '?';
	return ERR_BAD_REQUEST;
}

static const char *text_of(const json_t *o, const char *name)
{
	return json_string_value(json_object_get(o, name));
}

/* 32 bytes in hex, 0x or not. */
static enum err read_hash(const json_t *o, const char *name, struct hash *ret, struct x402_why *why)
{
	const char *s = text_of(o, name);

	if (!s || !*s)
		return MISSING(why, name);
	if (!strncmp(s, "0x", 2))
		s += 2;
	return strlen(s) == 64 && !hex_decode(s, 64, ret->b, sizeof(ret->b)) ? ERR_OK : INVALID(why, name);
}

static enum err read_signature(const json_t *o, struct data_settlement *d, struct x402_why *why)
{
	const char *s = text_of(o, "tee_signature");
	_cleanup_free_ char *bytes = s && *s ? base64_decode(s, strlen(s), &d->tee_signature_len) : NULL;

	if (!s || !*s)
		return MISSING(why, "tee_signature");
	if (!bytes || d->tee_signature_len == 0 || d->tee_signature_len > sizeof(d->tee_signature))
		return INVALID(why, "tee_signature");
	memcpy(d->tee_signature, bytes, d->tee_signature_len);
	return ERR_OK;
}

/* A whole JSON number, decimal digits or 0x hex. */
static bool read_seconds(const json_t *j, int64_t *ret)
{
	const char *s = json_string_value(j);
	bool hex = s && !strncmp(s, "0x", 2);
	struct u256 v;
	uint64_t n;

	if (json_is_number(j)) {
		double d = json_number_value(j);

		if (!(d >= 0 && d <= TIMESTAMP_MAX) || d != (double)(int64_t)d)
			return false;
		*ret = (int64_t)d;
		return true;
	}
	if (!s || u256_parse(hex ? s + 2 : s, strlen(s) - (hex ? 2 : 0), hex ? 16 : 10, &v) || u256_to_u64(&v, &n) || n > TIMESTAMP_MAX)
		return false;
	*ret = (int64_t)n;
	return true;
}

static enum err read_timestamp(const json_t *o, struct data_settlement *d, struct x402_why *why)
{
	const json_t *j = json_object_get(o, "tee_timestamp");

	if (!j || json_is_null(j))
		j = json_object_get(o, "timestamp");
	if (!j || json_is_null(j))
		return MISSING(why, "tee_timestamp, timestamp");
	return read_seconds(j, &d->tee_timestamp) ? ERR_OK : INVALID(why, "tee_timestamp");
}

/* What a statement of its own on chain names besides. */
static enum err read_individual(const json_t *o, struct data_settlement *d, struct x402_why *why)
{
	const char *address = text_of(o, "eth_address");

	d->input = text_of(o, "input");
	d->output = text_of(o, "output");
	if (!d->input)
		return MISSING(why, "input");
	if (!d->output)
		return MISSING(why, "output");
	if (!address || !*address)
		return MISSING(why, "eth_address");
	return address_parse(address, &d->eth_address) ? INVALID(why, "eth_address") : ERR_OK;
}

static void add(struct buf *b, const void *p, size_t len)
{
	uint8_t be[8];

	for (size_t i = 0; i < sizeof(be); i++)
		be[i] = (uint8_t)((uint64_t)len >> (56 - 8 * i));
	if (buf_append(b, be, sizeof(be)) || buf_append(b, p, len))
		panic("a statement is larger than the header it came in");
}

/* Each member with its length before it: no two statements have the same bytes. */
static void content_of(struct data_settlement *d, size_t header_len)
{
	struct buf b = BUF_INIT(header_len + 4096);
	uint8_t seconds[8];

	for (size_t i = 0; i < sizeof(seconds); i++)
		seconds[i] = (uint8_t)((uint64_t)d->tee_timestamp >> (56 - 8 * i));
	add(&b, d->individual ? "individual" : "batch", d->individual ? 10 : 5);
	add(&b, d->tee_id.b, 32);
	add(&b, d->input_hash.b, 32);
	add(&b, d->output_hash.b, 32);
	add(&b, d->tee_signature, d->tee_signature_len);
	add(&b, seconds, sizeof(seconds));
	if (d->individual) {
		add(&b, d->eth_address.b, 20);
		add(&b, d->input, strlen(d->input));
		add(&b, d->output, strlen(d->output));
	}
	sha256_of(b.data, b.len, &d->content);
	buf_done(&b);
}

enum err settle_data_read(enum settle_data_type type, const char *header, struct settle_data *ret, struct x402_why *why)
{
	size_t header_len = header ? strlen(header) : 0, len = 0;
	_cleanup_free_ char *text = header_len ? base64_decode(header, header_len, &len) : NULL;
	struct settle_data s = { .row.individual = type == SETTLE_DATA_INDIVIDUAL };
	struct json_why unread;
	enum err e = ERR_OK;

	if (!header_len)
		return refuse(why, "Missing x-settlement-data", "");
	if (!text || json_parse(text, len, &s.root, &unread) || !json_is_object(s.root)) {
		json_decref(s.root);
		return refuse(why, "x-settlement-data is not base64 of a JSON object", "");
	}
	e = read_hash(s.root, "tee_id", &s.row.tee_id, why);
	if (!e)
		e = read_hash(s.root, "input_hash", &s.row.input_hash, why);
	if (!e)
		e = read_hash(s.root, "output_hash", &s.row.output_hash, why);
	if (!e)
		e = read_signature(s.root, &s.row, why);
	if (!e)
		e = read_timestamp(s.root, &s.row, why);
	if (!e && s.row.individual)
		e = read_individual(s.root, &s.row, why);
	if (e) {
		json_decref(s.root);
		return e;
	}
	content_of(&s.row, header_len);
	*ret = s;
	return ERR_OK;
}

void settle_data_done(struct settle_data *d)
{
	json_decref(d->root);
	d->root = NULL;
}
