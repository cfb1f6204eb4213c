/* The files of a version on this machine: fetched by digest, hashed while they arrive, renamed into place only when they are
 * exactly what the manifest says. Called by the catalog thread; one version at a time, no locks. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node/agent.h"

#define DOWNLOAD_DEADLINE_MS ((int64_t)24 * 3600 * 1000)
#define DOWNLOAD_STALL_MS 30000
#define READ_BLOCK ((size_t)1 << 16)

char *file_url_path(const char *model, const struct hash *digest, const char *path)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/";
	char hex[65];
	struct buf b = BUF_INIT((size_t)4096);
	hex_encode(digest->b, sizeof(digest->b), hex);
	enum err e = buf_printf(&b, "/%s/resolve/sha256:%s/", model, hex);
	for (const char *p = path; !e && *p; p++)
		e = strchr(plain, *p) ? buf_append(&b, p, 1) : buf_printf(&b, "%%%02X", (unsigned char)*p);
	if (e)
		panic("node: a checked path is too long");
	return buf_steal(&b);
}

static enum err open_no_link(const char *path, int *ret)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR || errno == ELOOP ? ERR_NOT_FOUND : ERR_IO;
	*ret = fd;
	return ERR_OK;
}

enum err file_matches(const char *path, const struct manifest_file *want, bool *ret)
{
	int fd;
	enum err e = open_no_link(path, &fd);
	if (e == ERR_NOT_FOUND) {
		*ret = false;
		return ERR_OK;
	}
	if (e)
		return e;
	struct stat st;
	struct hash got = { { 0 } };
	bool same = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == want->size;
	ssize_t n = 0;
	if (same) {
		_cleanup_free_ char *block = xmalloc(READ_BLOCK);
		struct sha256 *hash = sha256_new();
		while ((n = read(fd, block, READ_BLOCK)) > 0 || (n < 0 && errno == EINTR))
			if (n > 0)
				sha256_update(hash, block, (size_t)n);
		sha256_final(hash, &got);
		sha256_free(hash);
	}
	close(fd);
	if (n < 0)
		return ERR_IO;
	*ret = same && hash_equal(&got, &want->hash);
	return ERR_OK;
}

/* ---- one file ---- */

struct sink {
	int fd;
	struct sha256 *hash;
	uint64_t size, size_max;
};

static enum err sink_data(void *arg, const void *p, size_t len)
{
	struct sink *s = arg;
	const char *at = p;
	if (len > s->size_max - s->size)
		return ERR_UNPROCESSABLE; /* longer than the manifest says */
	s->size += len;
	sha256_update(s->hash, p, len);
	while (len > 0) {
		ssize_t n = write(s->fd, at, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return ERR_IO;
		at += n;
		len -= (size_t)n;
	}
	return ERR_OK;
}

/* Every folder above `path`; dir itself exists. */
static enum err parents_make(const char *dir, const char *path)
{
	_cleanup_free_ char *full = xasprintf("%s/%s", dir, path);
	for (char *p = full + strlen(dir) + 1; (p = strchr(p, '/')); p++) {
		*p = '\0';
		if (mkdir(full, 0755) != 0 && errno != EEXIST)
			return ERR_IO;
		*p = '/';
	}
	return ERR_OK;
}

static enum err file_download(struct agent *a, const char *model, const struct hash *digest, const struct manifest_file *f, int fd,
			      struct json_why *why)
{
	_cleanup_free_ char *path = file_url_path(model, digest, f->path);
	_cleanup_free_ char *url = xasprintf("%s%s", a->settings.gateway_url, path);
	struct sink sink = { .fd = fd, .hash = sha256_new(), .size_max = f->size };
	const struct fetch_sink fetch_sink = { .data = sink_data, .arg = &sink };
	const struct net_request r = { .method = "GET", .url = url, .deadline_ms = DOWNLOAD_DEADLINE_MS,
				       .stall_timeout_ms = DOWNLOAD_STALL_MS, .response_max = (size_t)f->size + 1 };
	struct api_answer answer;
	struct hash got;
	enum err e = fetch_run(a->api, &r, &fetch_sink, &a->stopping, &answer);
	sha256_final(sink.hash, &got);
	sha256_free(sink.hash);
	if (!e && answer.status != 200)
		e = ERR_IO;
	snprintf(why->text, sizeof(why->text), "%.60s: %.60s (status %d)", f->path, e == ERR_UNPROCESSABLE ? "too long" : answer.error,
		 answer.status);
	api_answer_done(&answer);
	if (!e && (sink.size != f->size || !hash_equal(&got, &f->hash))) {
		snprintf(why->text, sizeof(why->text), "%.60s: the bytes are not those of the manifest", f->path);
		e = ERR_UNPROCESSABLE;
	}
	return e;
}

static enum err file_place(int fd, const char *temp, const char *full)
{
	if (fchmod(fd, 0444) != 0 || fsync(fd) != 0 || rename(temp, full) != 0)
		return ERR_IO;
	_cleanup_free_ char *parent = xstrdup(full);
	*strrchr(parent, '/') = '\0';
	int dir = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return ERR_IO;
	int rc = fsync(dir);
	close(dir);
	return rc == 0 ? ERR_OK : ERR_IO;
}

static enum err file_bring(struct agent *a, const char *model, const struct hash *digest, const struct manifest_file *f,
			   const char *dir, struct json_why *why)
{
	_cleanup_free_ char *full = xasprintf("%s/%s", dir, f->path);
	_cleanup_free_ char *temp = xasprintf("%s.part", dir);
	bool good = false;
	enum err e = file_matches(full, f, &good);
	if (e || good)
		return e;
	e = parents_make(dir, f->path);
	if (e) {
		snprintf(why->text, sizeof(why->text), "%.60s: its folder cannot be made", f->path);
		return e;
	}
	unlink(temp);
	int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0) {
		snprintf(why->text, sizeof(why->text), "data_dir: %s", strerror(errno));
		return ERR_IO;
	}
	e = file_download(a, model, digest, f, fd, why);
	if (!e) {
		e = file_place(fd, temp, full);
		if (e)
			snprintf(why->text, sizeof(why->text), "%.60s: %s", f->path, strerror(errno));
	}
	close(fd);
	if (e)
		unlink(temp);
	return e;
}

/* ---- what does not belong ---- */

static bool belongs(const struct manifest *m, const char *path, bool folder)
{
	size_t len = strlen(path);
	for (size_t i = 0; i < m->count; i++) {
		const char *p = m->files[i].path;
		if (folder ? strncmp(p, path, len) == 0 && p[len] == '/' : strcmp(p, path) == 0)
			return true;
	}
	return false;
}

/* The backend is told a folder and reads what it finds there: anything but the verified files goes. */
static enum err strangers_remove(const struct manifest *m, const char *dir, const char *prefix, int depth)
{
	_cleanup_free_ char *here = *prefix ? xasprintf("%s/%s", dir, prefix) : xstrdup(dir);
	DIR *d = opendir(here);
	if (!d || depth > 256) {
		if (d)
			closedir(d);
		return ERR_IO;
	}
	enum err e = ERR_OK;
	for (struct dirent *entry; !e && (entry = readdir(d));) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		_cleanup_free_ char *path = *prefix ? xasprintf("%s/%s", prefix, entry->d_name) : xstrdup(entry->d_name);
		_cleanup_free_ char *full = xasprintf("%s/%s", dir, path);
		struct stat st;
		if (lstat(full, &st) != 0) {
			e = ERR_IO;
		} else if (S_ISDIR(st.st_mode)) {
			e = strangers_remove(m, dir, path, depth + 1);
			if (!e && !belongs(m, path, true) && rmdir(full) != 0)
				e = ERR_IO;
		} else if ((!S_ISREG(st.st_mode) || !belongs(m, path, false)) && unlink(full) != 0) {
			e = ERR_IO;
		}
	}
	closedir(d);
	return e;
}

enum err version_fetch(struct agent *a, const char *model, const struct hash *digest, const struct manifest *m, const char *dir,
		       struct json_why *why)
{
	why->text[0] = '\0';
	if (mkdir(dir, 0755) != 0 && errno != EEXIST) {
		snprintf(why->text, sizeof(why->text), "data_dir: %s", strerror(errno));
		return ERR_IO;
	}
	enum err e = strangers_remove(m, dir, "", 0);
	if (e)
		snprintf(why->text, sizeof(why->text), "files that do not belong cannot be removed");
	for (size_t i = 0; !e && i < m->count; i++)
		e = file_bring(a, model, digest, &m->files[i], dir, why);
	return e;
}
