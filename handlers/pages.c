/* The web pages: "/", "/operator" and "/assets/{file}". They run on the listening threads, so they answer from memory and never touch the
 * disk. Names carry no version, so browsers ask again each time (no-cache) and get 304 by the ETag. */
#include "handlers/pages.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "crypto/crypto.h"
#include "handlers/app.h"
#include "handlers/routes.h"

#define ASSETS_MAX 64
#define PAGE_BYTES_MAX (1u << 20)

/* Nothing from elsewhere, nothing inline, nobody frames it: a model's description can never become a script. */
static const char POLICY[] = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

struct page {
	char name[64];
	const char *type;
	char *bytes;
	size_t len;
	char etag[36]; /* 32 hex digits in quotes */
};

static struct page index_page, operator_page;
static struct page assets[ASSETS_MAX];
static size_t asset_count;

static const char *type_of(const char *name)
{
	static const char *const types[][2] = {
		{ ".html", "text/html; charset=utf-8" },	{ ".css", "text/css; charset=utf-8" },
		{ ".js", "text/javascript; charset=utf-8" },	{ ".svg", "image/svg+xml" },
		{ ".json", "application/json" },		{ ".png", "image/png" },
		{ ".txt", "text/plain; charset=utf-8" },
	};
	const char *dot = strrchr(name, '.');
	for (size_t i = 0; dot && dot != name && i < sizeof(types) / sizeof(types[0]); i++)
		if (strcmp(dot, types[i][0]) == 0)
			return types[i][1];
	return NULL;
}

static enum err bytes_read(int fd, size_t len, char *ret)
{
	for (size_t got = 0; got < len;) {
		ssize_t n = read(fd, ret + got, len - got);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return ERR_IO; /* it shrank meanwhile */
		got += (size_t)n;
	}
	return ERR_OK;
}

static enum err fd_read(int fd, struct page *p)
{
	struct stat st;
	if (fstat(fd, &st) || !S_ISREG(st.st_mode))
		return ERR_IO;
	if (st.st_size > (off_t)PAGE_BYTES_MAX)
		return ERR_LIMIT;
	p->len = (size_t)st.st_size;
	p->bytes = xmalloc(p->len + 1);
	return bytes_read(fd, p->len, p->bytes);
}

static enum err page_read(int folder, const char *name, const char *type, struct page *ret)
{
	struct page p = { .type = type };
	struct hash digest;
	if (strlen(name) >= sizeof(p.name))
		return ERR_LIMIT;
	memcpy(p.name, name, strlen(name));
	int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return ERR_IO;
	enum err e = fd_read(fd, &p);
	close(fd);
	if (e) {
		free(p.bytes);
		return e;
	}
	sha256_of(p.bytes, p.len, &digest);
	p.etag[0] = '"';
	hex_encode(digest.b, 16, p.etag + 1);
	p.etag[33] = '"';
	*ret = p;
	return ERR_OK;
}

static void pages_drop(void)
{
	free(index_page.bytes);
	free(operator_page.bytes);
	index_page = operator_page = (struct page){ 0 };
	while (asset_count)
		free(assets[--asset_count].bytes);
}

/* Takes every file of a known type; editors' leftovers have none. */
static enum err assets_read(DIR *dir)
{
	struct dirent *entry;
	while ((entry = readdir(dir))) {
		const char *type = entry->d_name[0] == '.' ? NULL : type_of(entry->d_name);
		if (!type)
			continue;
		if (asset_count == ASSETS_MAX)
			return ERR_LIMIT;
		enum err e = page_read(dirfd(dir), entry->d_name, type, &assets[asset_count]);
		if (e)
			return e;
		asset_count++;
	}
	return ERR_OK;
}

enum err pages_load(const char *dir)
{
	pages_drop();
	int folder = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder < 0)
		return ERR_IO;
	enum err e = page_read(folder, "index.html", type_of("index.html"), &index_page);
	if (!e)
		e = page_read(folder, "operator.html", type_of("operator.html"), &operator_page);
	int sub = e ? -1 : openat(folder, "assets", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	close(folder);
	if (sub < 0)
		return e ? e : ERR_IO;
	DIR *list = fdopendir(sub);
	if (!list) {
		close(sub);
		return ERR_IO;
	}
	e = assets_read(list);
	closedir(list);
	return e;
}

/* Does If-None-Match name this tag? Weak comparison, a list, or `*`. */
static bool is_known(const char *sent, const char *etag)
{
	if (!sent)
		return false;
	return strcmp(sent, "*") == 0 || strstr(sent, etag) != NULL;
}

static enum err page_reply(struct request *req, const struct page *p)
{
	reply_header(req, "ETag", p->etag);
	reply_header(req, "Cache-Control", "no-cache");
	reply_header(req, "Content-Security-Policy", POLICY);
	reply_header(req, "Referrer-Policy", "no-referrer");
	if (is_known(request_header(req, "If-None-Match"), p->etag))
		reply_empty(req, 304);
	else
		reply_bytes(req, 200, p->type, p->bytes, p->len);
	return ERR_OK;
}

enum err handle_page_index(struct request *req)
{
	return index_page.bytes ? page_reply(req, &index_page) : ERR_NOT_FOUND;
}

enum err handle_page_operator(struct request *req)
{
	return operator_page.bytes ? page_reply(req, &operator_page) : ERR_NOT_FOUND;
}

enum err handle_page_asset(struct request *req)
{
	const char *name = request_param(req, "file");
	for (size_t i = 0; name && i < asset_count; i++)
		if (strcmp(name, assets[i].name) == 0)
			return page_reply(req, &assets[i]);
	return ERR_NOT_FOUND;
}
