/* Content-addressed files in one folder, named by the SHA-256 of their bytes: sha256/ab/cdef…. What is being uploaded lives in
 * incoming/ until it is complete; leftovers of a crash are swept at open. Several processes may share the folder.
 * Paths are only ever made from digests and from our own random names, never from what a user sent.
 *
 * And the manifest of a model version: its text is what the version's digest is of. */
#ifndef OPGATE_BLOB_BLOB_H
#define OPGATE_BLOB_BLOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/hex.h"

struct blob_store;
struct blob_upload;

/* Makes the folder (its parent must exist) and what is inside. Thread-safe from here on. */
enum err blob_store_open(const char *folder, struct blob_store **ret) WARN_UNUSED; /* ERR_IO */
void blob_store_close(struct blob_store *store); /* after the last upload ended. Accepts NULL */

/* One upload: calls on one thread at a time. Ends with exactly one of commit and abandon. */
enum err blob_begin(struct blob_store *store, uint64_t max_bytes, struct blob_upload **ret) WARN_UNUSED; /* ERR_IO */
enum err blob_write(struct blob_upload *upload, const void *p, size_t len) WARN_UNUSED; /* ERR_TOO_LARGE, ERR_IO; then only abandon */
/* On disk when this returns ERR_OK; the same bytes twice are kept once. The upload is gone either way. */
enum err blob_commit(struct blob_upload *upload, struct hash *ret_hash, uint64_t *ret_size) WARN_UNUSED; /* ERR_IO */
/* Like blob_commit, when the digest is known in advance: other bytes are not kept. ERR_BAD_FIELD */
enum err blob_commit_as(struct blob_upload *upload, const struct hash *expected, uint64_t *ret_size) WARN_UNUSED;
void blob_abandon(struct blob_upload *upload); /* accepts NULL */

/* The caller closes the descriptor, which is open for reading. */
enum err blob_open(const struct blob_store *store, const struct hash *hash, int *ret_fd, uint64_t *ret_size) WARN_UNUSED; /* ERR_NOT_FOUND, ERR_IO */
bool blob_exists(const struct blob_store *store, const struct hash *hash);
enum err blob_read(const struct blob_store *store, const struct hash *hash, struct buf *out) WARN_UNUSED; /* small ones; ERR_TOO_LARGE */

/* ---- manifest.c ---- */

#define BLOB_PATH_MAX 255
#define BLOB_PATH_DEPTH_MAX 8
#define MANIFEST_FILES_MAX 4096

/* May a version have a file of this path? Segments of [A-Za-z0-9._-] separated by '/', none starting with a dot. ERR_BAD_FIELD */
enum err blob_path_check(const char *path) WARN_UNUSED;

struct manifest_file {
	struct hash hash;
	uint64_t size;
	char *path;
};

struct manifest {
	struct manifest_file *files; /* sorted by the bytes of the path */
	size_t count, cap;
};

#define MANIFEST_INIT ((struct manifest){ 0 })

void manifest_done(struct manifest *m);
#define _cleanup_manifest_ __attribute__((cleanup(manifest_done)))

/* ERR_BAD_FIELD (path), ERR_CONFLICT (there is one, or one would be the other's folder), ERR_LIMIT */
enum err manifest_add(struct manifest *m, const char *path, const struct hash *hash, uint64_t size) WARN_UNUSED;
const struct manifest_file *manifest_find(const struct manifest *m, const char *path); /* NULL: none */
enum err manifest_text(const struct manifest *m, struct buf *out) WARN_UNUSED; /* ERR_LIMIT: the buffer's bound */
void manifest_digest(const struct manifest *m, struct hash *ret); /* SHA-256 of the text */
/* Exactly what manifest_text writes, nothing else: so equal digests mean equal manifests. ERR_BAD_FIELD. `ret` starts empty. */
enum err manifest_parse(const char *text, size_t len, struct manifest *ret) WARN_UNUSED;

#endif
