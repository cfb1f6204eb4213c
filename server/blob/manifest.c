/* The manifest of a model version: which paths exist and what they must contain. Called by the registry's handlers, which make
 * one, and by node agents, which read one back and check every file against it. Values in, values out; locks nothing. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "blob/blob.h"
#include "crypto/crypto.h"

/* 64 hex digits, a space, 20 decimal digits, a space, the path, a line feed */
#define LINE_MAX_BYTES (64 + 1 + 20 + 1 + BLOB_PATH_MAX + 1)

static bool path_byte_is_good(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

enum err blob_path_check(const char *path)
{
	size_t len = strnlen(path, BLOB_PATH_MAX + 1), depth = 1;

	if (len == 0 || len > BLOB_PATH_MAX || path[len - 1] == '/')
		return ERR_BAD_FIELD;
	for (size_t i = 0; i < len; i++) {
		bool first = i == 0 || path[i - 1] == '/';

		if (path[i] == '/') {
			if (first || ++depth > BLOB_PATH_DEPTH_MAX)
				return ERR_BAD_FIELD;
		} else if (!path_byte_is_good(path[i]) || (first && path[i] == '.')) {
			return ERR_BAD_FIELD;
		}
	}
	return ERR_OK;
}

void manifest_done(struct manifest *m)
{
	for (size_t i = 0; i < m->count; i++)
		mem_cleanup_free(&m->files[i].path);
	mem_cleanup_free(&m->files);
	*m = MANIFEST_INIT;
}

/* The first file whose path is not less than `path`. */
static size_t manifest_at(const struct manifest *m, const char *path)
{
	size_t low = 0, high = m->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (strcmp(m->files[mid].path, path) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

const struct manifest_file *manifest_find(const struct manifest *m, const char *path)
{
	size_t at = manifest_at(m, path);

	return at < m->count && strcmp(m->files[at].path, path) == 0 ? &m->files[at] : NULL;
}

/* Would `path` need a folder where there is a file, or be a file where there is a folder? No disk can hold both. */
static bool manifest_clashes(const struct manifest *m, const char *path)
{
	char prefix[BLOB_PATH_MAX + 2];
	size_t len = strlen(path), at;

	for (size_t i = 0; i < len; i++)
		if (path[i] == '/') {
			memcpy(prefix, path, i);
			prefix[i] = '\0';
			if (manifest_find(m, prefix))
				return true;
		}
	snprintf(prefix, sizeof(prefix), "%s/", path);
	at = manifest_at(m, prefix);
	return at < m->count && strncmp(m->files[at].path, prefix, len + 1) == 0;
}

enum err manifest_add(struct manifest *m, const char *path, const struct hash *hash, uint64_t size)
{
	size_t at;

	if (blob_path_check(path) != ERR_OK)
		return ERR_BAD_FIELD;
	if (m->count >= MANIFEST_FILES_MAX)
		return ERR_LIMIT;
	if (manifest_find(m, path) || manifest_clashes(m, path))
		return ERR_CONFLICT;
	if (m->count == m->cap) {
		m->cap = m->cap ? 2 * m->cap : 16;
		m->files = xrealloc(m->files, m->cap * sizeof(*m->files));
	}
	at = manifest_at(m, path);
	memmove(&m->files[at + 1], &m->files[at], (m->count - at) * sizeof(*m->files));
	m->files[at] = (struct manifest_file){ .hash = *hash, .size = size, .path = xstrdup(path) };
	m->count++;
	return ERR_OK;
}

static int file_line(const struct manifest_file *f, char ret[LINE_MAX_BYTES + 1])
{
	char hex[65];

	hex_encode(f->hash.b, sizeof(f->hash.b), hex);
	return snprintf(ret, LINE_MAX_BYTES + 1, "%s %" PRIu64 " %s\n", hex, f->size, f->path);
}

enum err manifest_text(const struct manifest *m, struct buf *out)
{
	char line[LINE_MAX_BYTES + 1];

	for (size_t i = 0; i < m->count; i++) {
		enum err e = buf_append(out, line, (size_t)file_line(&m->files[i], line));

		if (e != ERR_OK)
			return e;
	}
	return ERR_OK;
}

void manifest_digest(const struct manifest *m, struct hash *ret)
{
	struct sha256 *h = sha256_new();
	char line[LINE_MAX_BYTES + 1];

	for (size_t i = 0; i < m->count; i++)
		sha256_update(h, line, (size_t)file_line(&m->files[i], line));
	sha256_final(h, ret);
	sha256_free(h);
}

/* Decimal without sign or leading zeros, below 2^63. */
static bool size_parse(const char *p, size_t len, uint64_t *ret)
{
	uint64_t n = 0;

	if (len == 0 || len > 19 || (len > 1 && p[0] == '0'))
		return false;
	for (size_t i = 0; i < len; i++) {
		if (p[i] < '0' || p[i] > '9')
			return false;
		n = n * 10 + (uint64_t)(p[i] - '0');
	}
	*ret = n;
	return n <= INT64_MAX;
}

/* One line without its line feed. Lines must ascend, so that one manifest has one text. */
static enum err line_parse(const char *line, size_t len, struct manifest *m)
{
	struct hash hash;
	uint64_t size;
	char path[BLOB_PATH_MAX + 1];
	const char *end = line + len, *space;

	if (len < 64 + 4 || line[64] != ' ' || hex_decode(line, 64, hash.b, sizeof(hash.b)) != ERR_OK)
		return ERR_BAD_FIELD;
	for (size_t i = 0; i < 64; i++)
		if (line[i] >= 'A' && line[i] <= 'F')
			return ERR_BAD_FIELD;
	space = memchr(line + 65, ' ', len - 65);
	if (!space || !size_parse(line + 65, (size_t)(space - line) - 65, &size))
		return ERR_BAD_FIELD;
	if ((size_t)(end - space - 1) > BLOB_PATH_MAX || memchr(space, '\0', (size_t)(end - space)))
		return ERR_BAD_FIELD;
	memcpy(path, space + 1, (size_t)(end - space - 1));
	path[end - space - 1] = '\0';
	if (m->count > 0 && strcmp(m->files[m->count - 1].path, path) >= 0)
		return ERR_BAD_FIELD;
	return manifest_add(m, path, &hash, size) == ERR_OK ? ERR_OK : ERR_BAD_FIELD;
}

enum err manifest_parse(const char *text, size_t len, struct manifest *ret)
{
	struct manifest m = MANIFEST_INIT;

	while (len > 0) {
		const char *feed = memchr(text, '\n', len);

		if (!feed || line_parse(text, (size_t)(feed - text), &m) != ERR_OK) {
			manifest_done(&m);
			return ERR_BAD_FIELD;
		}
		len -= (size_t)(feed - text) + 1;
		text = feed + 1;
	}
	*ret = m;
	return ERR_OK;
}
