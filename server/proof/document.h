/* Signed statements as EIP-712 typed data with one canonical JSON form:
 *   {"domain":{"name":"opgate","version":"1","chainId":"84532"},"message":{…fields in type order…},"signature":"0x…"}
 * lower-case hex, decimal strings for integers, no white space, low-s, v 27/28. Parsing accepts exactly what writing makes
 * (parse, write again, compare bytes), so "any byte changed" is refused. */
#ifndef OPGATE_PROOF_DOCUMENT_H
#define OPGATE_PROOF_DOCUMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/json.h"
#include "crypto/crypto.h"

enum doc_kind { DOC_BYTES16, DOC_BYTES32, DOC_ADDRESS, DOC_UINT64, DOC_UINT32, DOC_UINT16, DOC_STRING /* char[64], printable ASCII without quotes or backslash */, DOC_TEXT /* char[256], same alphabet */ };

struct doc_field {
	const char *name;
	enum doc_kind kind;
	size_t offset; /* uuid, hash, address, uint64_t, uint32_t, uint16_t, char[64], char[256] */
};

struct doc_type {
	const char *type; /* "Receipt(bytes16 jobId,uint32 attempt,…)" */
	const struct doc_field *fields;
	size_t field_count;
};

#define DOC_JSON_MAX 4096

/* The digest to sign. chain_id is in the domain. */
void doc_digest(const struct doc_type *type, const void *message, uint64_t chain_id, struct hash *ret);
void doc_sign(const struct doc_type *type, const void *message, uint64_t chain_id, const struct secret_key *key, struct signature *ret);
/* Canonical JSON text; the caller frees. */
char *doc_write(const struct doc_type *type, const void *message, uint64_t chain_id, const struct signature *sig);
/* ERR_BAD_FIELD for anything but the canonical form; `why` says what differed. Does not check the signature. */
enum err doc_read(const struct doc_type *type, const char *text, size_t len, void *ret_message, uint64_t *ret_chain_id,
		  struct signature *ret_sig, struct json_why *why) WARN_UNUSED;
/* Who signed. ERR_BAD_SIGNATURE. */
enum err doc_signer(const struct doc_type *type, const void *message, uint64_t chain_id, const struct signature *sig, struct address *ret) WARN_UNUSED;

/* May this text stand in a DOC_STRING (cap 64) or DOC_TEXT (cap 256) field? doc_write and doc_digest abort when it may not:
 * whoever takes such text from outside asks here first. */
bool doc_text_ok(const char *s, size_t cap);
/* A decimal number as written here: digits, no sign, no leading zero, at most `max`. */
bool doc_number_parse(const char *s, size_t len, uint64_t max, uint64_t *ret);

#endif
