/* Fuzzes net_url_check: whatever it accepts is a plain http(s) URL, and what it accepts as public it accepts at all. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "net/net.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *url = xstrndup((const char *)data, size);
	bool any = net_url_check(url, true) == ERR_OK, public = net_url_check(url, false) == ERR_OK;

	if (public && !any)
		abort();
	if (!any)
		return 0;
	if (strncasecmp(url, "http://", 7) != 0 && strncasecmp(url, "https://", 8) != 0)
		abort();
	const char *authority = strstr(url, "://") + 3;
	size_t len = strcspn(authority, "/?");

	if (len == 0 || memchr(authority, '@', len) || strchr(url, '#') || strlen(url) > 2048)
		abort();
	for (const char *p = url; *p; p++)
		if (*p <= ' ' || *p > '~')
			abort();
	static const char *const here[] = { "localhost", "127.0.0.1", "[::1]" };

	for (size_t i = 0; public && i < sizeof(here) / sizeof(here[0]); i++)
		if (strlen(here[i]) == len && strncasecmp(authority, here[i], len) == 0)
			abort();
	return 0;
}
