/* The blob store in a folder. Called by the model registry's handlers and the node agent, on any thread.
 * Locks: no mutexes. A file in incoming/ is flock()ed by the process that writes it, so that another process which opens the
 * store sweeps only what nobody writes any more. A rename makes the finished file visible at once and whole. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "blob/blob.h"
#include "crypto/crypto.h"

struct blob_store {
	int dir, incoming, sha256; /* open folders */
};

struct blob_upload {
	struct blob_store *store;
	int fd;
	char name[33];
	struct sha256 *hash;
	uint64_t size, max;
	bool broken; /* a write failed: what is on disk is not what was hashed */
};

struct blob_name {
	char folder[3], file[63];
};

static struct blob_name blob_name_of(const struct hash *hash)
{
	struct blob_name n;
	char hex[65];

	hex_encode(hash->b, sizeof(hash->b), hex);
	memcpy(n.folder, hex, 2);
	n.folder[2] = '\0';
	memcpy(n.file, hex + 2, 63);
	return n;
}

/* ---- the store ---- */

static int folder_open(int parent, const char *name)
{
	if (mkdirat(parent, name, 0750) == 0) {
		if (parent != AT_FDCWD && fsync(parent) != 0) /* or a crash could lose the folder with what it will hold */
			return -1;
	} else if (errno != EEXIST) {
		return -1;
	}
	return openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (parent == AT_FDCWD ? 0 : O_NOFOLLOW));
}

/* Removes the uploads that nobody holds locked. */
static void incoming_sweep(int incoming)
{
	int fd = openat(incoming, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((entry = readdir(dir)) != NULL) {
		int file;

		if (entry->d_name[0] == '.')
			continue;
		file = openat(incoming, entry->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
		if (file >= 0 && flock(file, LOCK_EX | LOCK_NB) == 0)
			unlinkat(incoming, entry->d_name, 0);
		if (file >= 0)
			close(file);
	}
	closedir(dir);
}

enum err blob_store_open(const char *folder, struct blob_store **ret)
{
	struct blob_store *store = xcalloc(1, sizeof(*store));

	store->incoming = store->sha256 = -1;
	store->dir = folder_open(AT_FDCWD, folder);
	if (store->dir >= 0) {
		store->incoming = folder_open(store->dir, "incoming");
		store->sha256 = folder_open(store->dir, "sha256");
	}
	if (store->incoming < 0 || store->sha256 < 0) {
		blob_store_close(store);
		return ERR_IO;
	}
	incoming_sweep(store->incoming);
	*ret = store;
	return ERR_OK;
}

void blob_store_close(struct blob_store *store)
{
	if (!store)
		return;
	if (store->incoming >= 0)
		close(store->incoming);
	if (store->sha256 >= 0)
		close(store->sha256);
	if (store->dir >= 0)
		close(store->dir);
	mem_cleanup_free(&store);
}

/* ---- uploads ---- */

/* A new locked file. Between its creation and its lock another process may sweep it; then it has no name left. */
static int incoming_create(struct blob_store *store, char ret_name[33])
{
	for (int tries = 0; tries < 8; tries++) {
		uint8_t raw[16];
		struct stat st;
		int fd;

		random_bytes(raw, sizeof(raw));
		hex_encode(raw, sizeof(raw), ret_name);
		fd = openat(store->incoming, ret_name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0640);
		if (fd < 0)
			return -1;
		if (flock(fd, LOCK_EX) == 0 && fstat(fd, &st) == 0 && st.st_nlink == 1)
			return fd;
		close(fd);
	}
	return -1;
}

enum err blob_begin(struct blob_store *store, uint64_t max_bytes, struct blob_upload **ret)
{
	struct blob_upload *upload = xcalloc(1, sizeof(*upload));

	upload->store = store;
	upload->max = max_bytes;
	upload->fd = incoming_create(store, upload->name);
	if (upload->fd < 0) {
		mem_cleanup_free(&upload);
		return ERR_IO;
	}
	upload->hash = sha256_new();
	*ret = upload;
	return ERR_OK;
}

enum err blob_write(struct blob_upload *upload, const void *p, size_t len)
{
	const char *at = p;

	if (upload->broken)
		return ERR_IO;
	if (len > upload->max - upload->size) {
		upload->broken = true;
		return ERR_TOO_LARGE;
	}
	if (len == 0)
		return ERR_OK;
	sha256_update(upload->hash, p, len);
	upload->size += len;
	while (len > 0) {
		ssize_t n = write(upload->fd, at, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			upload->broken = true;
			return ERR_IO;
		}
		at += n;
		len -= (size_t)n;
	}
	return ERR_OK;
}

static void upload_free(struct blob_upload *upload)
{
	close(upload->fd);
	sha256_free(upload->hash);
	mem_cleanup_free(&upload);
}

void blob_abandon(struct blob_upload *upload)
{
	if (!upload)
		return;
	unlinkat(upload->store->incoming, upload->name, 0);
	upload_free(upload);
}

/* Gives the finished file its name. A file that is already there has the same bytes; replacing it would do no harm, but it
 * would cost its readers the page cache. */
static enum err upload_place(struct blob_upload *upload, const struct hash *hash)
{
	struct blob_store *store = upload->store;
	struct blob_name name = blob_name_of(hash);
	struct stat st;
	enum err e = ERR_IO;
	int folder;

	if (fsync(upload->fd) != 0)
		return ERR_IO;
	folder = folder_open(store->sha256, name.folder);
	if (folder < 0)
		return ERR_IO;
	if (fstatat(folder, name.file, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == upload->size) {
		unlinkat(store->incoming, upload->name, 0);
		e = ERR_OK;
	} else if (renameat(store->incoming, upload->name, folder, name.file) == 0) {
		e = ERR_OK;
	}
	/* Also when the file was there: whoever put it there may not have come to this line. */
	if (e == ERR_OK && (fsync(folder) != 0 || fsync(store->sha256) != 0))
		e = ERR_IO;
	close(folder);
	return e;
}

static enum err upload_end(struct blob_upload *upload, const struct hash *expected, struct hash *ret_hash, uint64_t *ret_size)
{
	struct hash hash;
	enum err e;

	sha256_final(upload->hash, &hash);
	if (upload->broken)
		e = ERR_IO;
	else
		e = expected && !hash_equal(expected, &hash) ? ERR_BAD_FIELD : upload_place(upload, &hash);
	if (e != ERR_OK) {
		blob_abandon(upload);
		return e;
	}
	if (ret_hash)
		*ret_hash = hash;
	*ret_size = upload->size;
	upload_free(upload);
	return ERR_OK;
}

enum err blob_commit(struct blob_upload *upload, struct hash *ret_hash, uint64_t *ret_size)
{
	return upload_end(upload, NULL, ret_hash, ret_size);
}

enum err blob_commit_as(struct blob_upload *upload, const struct hash *expected, uint64_t *ret_size)
{
	return upload_end(upload, expected, NULL, ret_size);
}

/* ---- reading ---- */

enum err blob_open(const struct blob_store *store, const struct hash *hash, int *ret_fd, uint64_t *ret_size)
{
	struct blob_name name = blob_name_of(hash);
	char path[sizeof(name.folder) + sizeof(name.file)];
	struct stat st;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", name.folder, name.file);
	fd = openat(store->sha256, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return ERR_IO;
	}
	*ret_fd = fd;
	*ret_size = (uint64_t)st.st_size;
	return ERR_OK;
}

bool blob_exists(const struct blob_store *store, const struct hash *hash)
{
	uint64_t size;
	int fd;

	if (blob_open(store, hash, &fd, &size) != ERR_OK)
		return false;
	close(fd);
	return true;
}

enum err blob_read(const struct blob_store *store, const struct hash *hash, struct buf *out)
{
	char piece[65536];
	uint64_t size;
	int fd;
	enum err e = blob_open(store, hash, &fd, &size);

	if (e != ERR_OK)
		return e;
	if (size > out->max - out->len)
		e = ERR_TOO_LARGE;
	while (e == ERR_OK) {
		ssize_t n = read(fd, piece, sizeof(piece));

		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0)
			break;
		if (n < 0)
			e = ERR_IO;
		else if (buf_append(out, piece, (size_t)n) != ERR_OK)
			e = ERR_TOO_LARGE;
	}
	close(fd);
	return e;
}
