/* Signed statements: EIP-712 digest and the canonical JSON form. Called by everyone who signs or checks one; no state, no
 * locks. The reader walks the text against the form, literal by literal, and each value has one spelling only: what it
 * accepts is therefore what doc_write writes, byte for byte. */
#include "proof/document.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

static const char HEAD[] = "{\"domain\":{\"name\":\"opgate\",\"version\":\"1\",\"chainId\":\"";

/* Half the order of secp256k1: s above it is the same signature spelled another way. */
static const uint8_t HALF_ORDER[32] = { 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
					0x5d, 0x57, 0x6e, 0x73, 0x57, 0xa4, 0x50, 0x1d, 0xdf, 0xe9, 0x2f, 0x46, 0x68, 0x1b, 0x20, 0xa0 };

/* Bytes of a kind that is written as hex, 0 for the others. */
static size_t kind_bytes(enum doc_kind kind)
{
	return kind == DOC_BYTES16 ? 16 : kind == DOC_BYTES32 ? 32 : kind == DOC_ADDRESS ? 20 : 0;
}

static size_t kind_text_cap(enum doc_kind kind)
{
	return kind == DOC_STRING ? 64 : kind == DOC_TEXT ? 256 : 0;
}

static uint64_t kind_number_max(enum doc_kind kind)
{
	return kind == DOC_UINT16 ? UINT16_MAX : kind == DOC_UINT32 ? UINT32_MAX : UINT64_MAX;
}

static uint64_t number_of(enum doc_kind kind, const char *at)
{
	if (kind == DOC_UINT16) {
		uint16_t v;
		memcpy(&v, at, sizeof(v));
		return v;
	}
	if (kind == DOC_UINT32) {
		uint32_t v;
		memcpy(&v, at, sizeof(v));
		return v;
	}
	uint64_t v;
	memcpy(&v, at, sizeof(v));
	return v;
}

static void number_set(enum doc_kind kind, char *at, uint64_t v)
{
	uint16_t v16 = (uint16_t)v;
	uint32_t v32 = (uint32_t)v;
	if (kind == DOC_UINT16)
		memcpy(at, &v16, sizeof(v16));
	else if (kind == DOC_UINT32)
		memcpy(at, &v32, sizeof(v32));
	else
		memcpy(at, &v, sizeof(v));
}

static bool text_char_ok(char c)
{
	return c >= 0x20 && c <= 0x7e && c != '"' && c != '\\';
}

bool doc_text_ok(const char *s, size_t cap)
{
	size_t len = strnlen(s, cap);
	if (len == cap)
		return false;
	for (size_t i = 0; i < len; i++)
		if (!text_char_ok(s[i]))
			return false;
	return true;
}

bool doc_number_parse(const char *s, size_t len, uint64_t max, uint64_t *ret)
{
	if (len == 0 || len > 20 || (len > 1 && s[0] == '0'))
		return false;
	uint64_t v = 0;
	for (size_t i = 0; i < len; i++) {
		if (s[i] < '0' || s[i] > '9')
			return false;
		uint64_t digit = (uint64_t)(s[i] - '0');
		if (v > (UINT64_MAX - digit) / 10)
			return false;
		v = v * 10 + digit;
	}
	if (v > max)
		return false;
	*ret = v;
	return true;
}

/* ---- digest and signature ---- */

static void field_encode(struct eip712 *e, const struct doc_field *f, const char *at)
{
	switch (f->kind) {
	case DOC_BYTES16:
		eip712_bytes16(e, (const uint8_t *)at);
		return;
	case DOC_BYTES32:
		eip712_hash(e, (const struct hash *)(const void *)at);
		return;
	case DOC_ADDRESS:
		eip712_address(e, (const struct address *)(const void *)at);
		return;
	case DOC_UINT64:
	case DOC_UINT32:
	case DOC_UINT16:
		eip712_uint(e, number_of(f->kind, at));
		return;
	case DOC_STRING:
	case DOC_TEXT:
		if (!doc_text_ok(at, kind_text_cap(f->kind)))
			panic("doc: text that a statement cannot carry");
		eip712_string(e, at);
		return;
	}
	panic("doc: unknown field kind");
}

void doc_digest(const struct doc_type *type, const void *message, uint64_t chain_id, struct hash *ret)
{
	struct eip712 e;
	eip712_begin(&e, type->type);
	for (size_t i = 0; i < type->field_count; i++)
		field_encode(&e, &type->fields[i], (const char *)message + type->fields[i].offset);
	struct hash domain;
	eip712_domain("opgate", "1", chain_id, NULL, &domain);
	eip712_digest(&e, &domain, ret);
}

void doc_sign(const struct doc_type *type, const void *message, uint64_t chain_id, const struct secret_key *key, struct signature *ret)
{
	struct hash digest;
	doc_digest(type, message, chain_id, &digest);
	ecdsa_sign(key, &digest, ret);
}

enum err doc_signer(const struct doc_type *type, const void *message, uint64_t chain_id, const struct signature *sig, struct address *ret)
{
	struct hash digest;
	doc_digest(type, message, chain_id, &digest);
	return ecdsa_recover(&digest, sig, ret);
}

/* ---- writing ---- */

static void must(enum err e)
{
	if (e)
		panic("doc: a statement longer than DOC_JSON_MAX");
}

static void write_hex(struct buf *b, const void *p, size_t len)
{
	char hex[2 * sizeof(struct signature) + 1];
	hex_encode(p, len, hex);
	must(buf_printf(b, "\"0x%s\"", hex));
}

char *doc_write(const struct doc_type *type, const void *message, uint64_t chain_id, const struct signature *sig)
{
	struct buf b = BUF_INIT(DOC_JSON_MAX);
	must(buf_printf(&b, "%s%llu\"},\"message\":{", HEAD, (unsigned long long)chain_id));
	for (size_t i = 0; i < type->field_count; i++) {
		const struct doc_field *f = &type->fields[i];
		const char *at = (const char *)message + f->offset;
		must(buf_printf(&b, "%s\"%s\":", i ? "," : "", f->name));
		if (kind_bytes(f->kind)) {
			write_hex(&b, at, kind_bytes(f->kind));
		} else if (kind_text_cap(f->kind)) {
			if (!doc_text_ok(at, kind_text_cap(f->kind)))
				panic("doc: text that a statement cannot carry");
			must(buf_printf(&b, "\"%s\"", at));
		} else {
			must(buf_printf(&b, "\"%llu\"", (unsigned long long)number_of(f->kind, at)));
		}
	}
	must(buf_puts(&b, "},\"signature\":"));
	write_hex(&b, sig->b, sizeof(sig->b));
	must(buf_puts(&b, "}"));
	return buf_steal(&b);
}

/* ---- reading ---- */

struct cursor {
	const char *start, *p, *end;
	struct json_why *why; /* may be NULL */
};

static enum err refuse(const struct cursor *c, const char *expected)
{
	if (c->why)
		snprintf(c->why->text, sizeof(c->why->text), "byte %zu: expected %s", (size_t)(c->p - c->start), expected);
	return ERR_BAD_FIELD;
}

static enum err take(struct cursor *c, const char *literal)
{
	size_t len = strlen(literal);
	if ((size_t)(c->end - c->p) < len || memcmp(c->p, literal, len) != 0)
		return refuse(c, literal);
	c->p += len;
	return ERR_OK;
}

static enum err take_hex(struct cursor *c, uint8_t *ret, size_t len)
{
	enum err e = take(c, "\"0x");
	if (e)
		return e;
	if ((size_t)(c->end - c->p) < 2 * len)
		return refuse(c, "more hex digits");
	for (size_t i = 0; i < 2 * len; i++)
		if (!((c->p[i] >= '0' && c->p[i] <= '9') || (c->p[i] >= 'a' && c->p[i] <= 'f')))
			return refuse(c, "lower-case hex digits");
	if (ret && hex_decode(c->p, 2 * len, ret, len))
		return refuse(c, "hex digits");
	c->p += 2 * len;
	return take(c, "\"");
}

/* The rest of a string value up to its closing quote, which is consumed. */
static enum err take_text(struct cursor *c, const char **ret_text, size_t *ret_len)
{
	const char *from = c->p;
	while (c->p < c->end && text_char_ok(*c->p))
		c->p++;
	size_t len = (size_t)(c->p - from);
	enum err e = take(c, "\"");
	if (e)
		return e;
	*ret_text = from;
	*ret_len = len;
	return ERR_OK;
}

static enum err take_number(struct cursor *c, uint64_t max, uint64_t *ret)
{
	const char *text;
	size_t len;
	enum err e = take_text(c, &text, &len);
	if (e)
		return e;
	if (!doc_number_parse(text, len, max, ret)) {
		c->p = text;
		return refuse(c, "a decimal number in range, without sign or leading zero");
	}
	return ERR_OK;
}

static enum err take_field(struct cursor *c, const struct doc_field *f, char *at)
{
	if (kind_bytes(f->kind))
		return take_hex(c, (uint8_t *)at, kind_bytes(f->kind));
	enum err e = take(c, "\"");
	if (e)
		return e;
	size_t cap = kind_text_cap(f->kind);
	if (!cap) {
		uint64_t v;
		e = take_number(c, kind_number_max(f->kind), &v);
		if (!e && at)
			number_set(f->kind, at, v);
		return e;
	}
	const char *text;
	size_t len;
	e = take_text(c, &text, &len);
	if (e)
		return e;
	if (len >= cap) {
		c->p = text;
		return refuse(c, "a shorter text");
	}
	if (at) {
		memset(at, 0, cap);
		memcpy(at, text, len);
	}
	return ERR_OK;
}

/* One walk over the text; message NULL only checks, so that nothing is written before everything was read. */
static enum err walk(const struct doc_type *type, struct cursor *c, char *message, uint64_t *ret_chain_id, struct signature *ret_sig)
{
	enum err e = take(c, HEAD);
	if (!e)
		e = take_number(c, UINT64_MAX, ret_chain_id);
	if (!e)
		e = take(c, "},\"message\":{");
	for (size_t i = 0; !e && i < type->field_count; i++) {
		const struct doc_field *f = &type->fields[i];
		char name[64];
		snprintf(name, sizeof(name), "%s\"%s\":", i ? "," : "", f->name);
		e = take(c, name);
		if (!e)
			e = take_field(c, f, message ? message + f->offset : NULL);
	}
	if (!e)
		e = take(c, "},\"signature\":");
	if (!e)
		e = take_hex(c, ret_sig->b, sizeof(ret_sig->b));
	if (!e)
		e = take(c, "}");
	if (!e && c->p != c->end)
		e = refuse(c, "the end");
	return e;
}

enum err doc_read(const struct doc_type *type, const char *text, size_t len, void *ret_message, uint64_t *ret_chain_id,
		  struct signature *ret_sig, struct json_why *why)
{
	struct cursor c = { text, text, text + len, why };
	if (len > DOC_JSON_MAX)
		return refuse(&c, "a shorter document");
	uint64_t id;
	struct signature sig;
	enum err e = walk(type, &c, NULL, &id, &sig);
	if (e)
		return e;
	if ((sig.b[64] != 27 && sig.b[64] != 28) || memcmp(sig.b + 32, HALF_ORDER, 32) > 0)
		return refuse(&c, "a signature with low s and v 27 or 28");
	c.p = text;
	e = walk(type, &c, ret_message, ret_chain_id, ret_sig);
	if (e)
		panic("doc: one text read in two ways");
	return ERR_OK;
}
