/* Hexadecimal, and the fixed-size byte words that travel as hex: 20-byte addresses, 32-byte hashes, 16-byte ids. */
#ifndef OPGATE_BASE_HEX_H
#define OPGATE_BASE_HEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct address { uint8_t b[20]; };
struct hash { uint8_t b[32]; };
struct uuid { uint8_t b[16]; };

struct address_str { char s[43]; }; /* 0x + 40, lower case */
struct hash_str { char s[67]; };    /* 0x + 64 */
struct uuid_str { char s[37]; };    /* 8-4-4-4-12, lower case */

void hex_encode(const void *p, size_t len, char *ret); /* 2·len + NUL, lower case, no 0x */
int hex_digit(char c); /* its value, -1: it is none */
enum err hex_decode(const char *s, size_t len, uint8_t *ret, size_t ret_len) WARN_UNUSED; /* exactly 2·ret_len digits, any case, no 0x */

struct address_str address_format(const struct address *a);
enum err address_parse(const char *s, struct address *ret) WARN_UNUSED; /* 0x + 40 digits, any case */
bool address_equal(const struct address *a, const struct address *b);
bool address_is_zero(const struct address *a);
struct hash_str hash_format(const struct hash *h);
enum err hash_parse(const char *s, struct hash *ret) WARN_UNUSED; /* 0x + 64 digits, or 64 digits, or sha256: + 64 */
bool hash_equal(const struct hash *a, const struct hash *b); /* constant time */
struct uuid_str uuid_format(const struct uuid *u);
enum err uuid_parse(const char *s, struct uuid *ret) WARN_UNUSED;
struct uuid uuid_new(void); /* version 7: time-ordered, from getrandom */


void random_bytes(void *p, size_t len); /* getrandom; aborts when the kernel has none */

#endif
