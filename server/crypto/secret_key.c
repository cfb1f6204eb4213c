/* Secret keys: made, parsed, kept in files. Called at start by main, the node agent and the tools; no locks. */
#include "crypto/crypto.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crypto/internal.h"

#define KEY_FILE_MAX 128 /* 0x, 64 digits, white space */

enum err secret_key_new(struct secret_key *ret)
{
	struct secret_key key;
	/* A draw outside the range has probability 2^-128: a second one means the generator is broken. */
	for (int i = 0; i < 2; i++) {
		random_bytes(key.b, sizeof(key.b));
		if (secp256k1_ec_seckey_verify(crypto_curve(), key.b)) {
			*ret = key;
			secret_key_wipe(&key);
			return ERR_OK;
		}
	}
	return ERR_INTERNAL;
}

enum err secret_key_parse(const char *hex, struct secret_key *ret)
{
	struct secret_key key = { { 0 } };
	if (!hex)
		return ERR_BAD_FIELD;
	if (hex[0] == '0' && hex[1] == 'x')
		hex += 2;
	enum err e = hex_decode(hex, strnlen(hex, 65), key.b, sizeof(key.b));
	if (!e && !secp256k1_ec_seckey_verify(crypto_curve(), key.b))
		e = ERR_BAD_FIELD;
	if (!e)
		*ret = key;
	secret_key_wipe(&key);
	return e;
}

enum err secret_key_read_file(const char *path, struct secret_key *ret)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return ERR_IO;
	char text[KEY_FILE_MAX + 1];
	size_t len = 0;
	ssize_t n = 1;
	while (len < sizeof(text) && n != 0) {
		n = read(fd, text + len, sizeof(text) - len);
		if (n < 0 && errno != EINTR)
			break;
		len += n > 0 ? (size_t)n : 0;
	}
	close(fd);
	enum err e = n < 0 ? ERR_IO : len > KEY_FILE_MAX ? ERR_BAD_FIELD : ERR_OK;
	if (!e) {
		while (len > 0 && strchr(" \t\r\n", text[len - 1]))
			len--;
		text[len] = '\0';
		/* a NUL inside ends the text early, and a short text is refused */
		e = strlen(text) == len ? secret_key_parse(text, ret) : ERR_BAD_FIELD;
	}
	crypto_wipe(text, sizeof(text));
	return e;
}

static bool write_all(int fd, const char *p, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, p, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

enum err secret_key_write_file(const char *path, const struct secret_key *key)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return errno == EEXIST ? ERR_CONFLICT : ERR_IO;
	char text[66];
	hex_encode(key->b, sizeof(key->b), text);
	text[64] = '\n';
	/* Synced, because money may be sent to the address of this key a moment later. */
	bool ok = fchmod(fd, 0600) == 0 && write_all(fd, text, 65) && fsync(fd) == 0;
	ok = close(fd) == 0 && ok;
	crypto_wipe(text, sizeof(text));
	if (!ok)
		unlink(path);
	return ok ? ERR_OK : ERR_IO;
}

void secret_key_wipe(struct secret_key *key)
{
	crypto_wipe(key, sizeof(*key));
}
