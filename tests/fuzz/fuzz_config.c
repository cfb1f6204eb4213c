/* Fuzzes the settings file: a refused file names itself and changes nothing; an accepted one stays within its bounds and
 * can be printed. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/config.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct settings {
	char *listen, *token;
	int64_t workers;
	bool dev;
	struct address payee;
	struct hash pin;
	struct amount floor;
};

#define AT(member) offsetof(struct settings, member)
static const struct setting table[] = {
	{ "listen", SETTING_STR, AT(listen), "127.0.0.1:8080", 0, 0, false, "" },
	{ "token", SETTING_STR, AT(token), NULL, 0, 0, true, "" },
	{ "workers", SETTING_INT, AT(workers), "8", 1, 256, false, "" },
	{ "dev", SETTING_BOOL, AT(dev), "false", 0, 0, false, "" },
	{ "payee", SETTING_ADDRESS, AT(payee), "0x0000000000000000000000000000000000000001", 0, 0, false, "" },
	{ "pin", SETTING_HASH, AT(pin), "0x0000000000000000000000000000000000000000000000000000000000000002", 0, 0, false, "" },
	{ "floor", SETTING_AMOUNT, AT(floor), "1000", 0, 0, false, "" },
};
#define COUNT (sizeof(table) / sizeof(table[0]))

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void check_printing(const struct settings *s)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0, lines = 0;
	FILE *out = open_memstream(&text, &len);
	config_print(table, COUNT, s, out);
	fclose(out);
	for (const char *p = text; *p; p++)
		lines += *p == '\n';
	must(lines == COUNT); /* no value can break out of its line */
	must(strstr(text, "\ntoken = ***\n") != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;
	static char path[40];
	if (fd < 0) {
		clearenv(); /* only the file counts here */
		fd = memfd_create("settings", MFD_CLOEXEC);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	}
	must(ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);

	struct settings s, before;
	struct config_why why = { "" };
	memset(&s, 0x5a, sizeof(s));
	before = s;
	if (config_load(table, COUNT, path, &s, &why)) {
		must(memcmp(&s, &before, sizeof(s)) == 0);
		must(strncmp(why.text, path, strlen(path)) == 0 || strncmp(why.text, "token: is required", 18) == 0);
		for (const char *p = why.text; *p; p++)
			must((unsigned char)*p >= 0x20);
		return 0;
	}
	must(s.workers >= 1 && s.workers <= 256);
	must(s.token != NULL && strchr(s.token, '\n') == NULL);
	check_printing(&s);
	config_free(table, COUNT, &s);
	return 0;
}
