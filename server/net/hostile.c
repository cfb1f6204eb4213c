/* The hostile-fetch rules that need no connection: which addresses are public, which URLs may be stored at all.
 * Called by call.c at connect time and by whoever stores a URL; locks nothing.
 * The list follows the IANA special-purpose registries; IPv6 is an allow-list (2000::/3) with exceptions. */
#include "net/hostile.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>

#include "net/internal.h"

#define NET_URL_MAX 2048

struct range {
	uint8_t ip[16];
	unsigned bits;
};

static const struct range special4[] = {
	{ { 0 }, 8 },             /* this network; 0 reaches the machine itself */
	{ { 10 }, 8 },            /* private */
	{ { 100, 64 }, 10 },      /* carrier-grade NAT */
	{ { 127 }, 8 },           /* loopback */
	{ { 169, 254 }, 16 },     /* link-local; clouds keep their metadata service here */
	{ { 172, 16 }, 12 },      /* private */
	{ { 192, 0, 0 }, 24 },    /* protocol assignments */
	{ { 192, 0, 2 }, 24 },    /* documentation */
	{ { 192, 31, 196 }, 24 }, /* AS112 */
	{ { 192, 52, 193 }, 24 }, /* AMT */
	{ { 192, 88, 99 }, 24 },  /* 6to4 relays */
	{ { 192, 168 }, 16 },     /* private */
	{ { 192, 175, 48 }, 24 }, /* AS112 */
	{ { 198, 18 }, 15 },      /* benchmarking */
	{ { 198, 51, 100 }, 24 }, /* documentation */
	{ { 203, 0, 113 }, 24 },  /* documentation */
	{ { 224 }, 4 },           /* multicast */
	{ { 240 }, 4 },           /* reserved, broadcast */
};

static const struct range special6[] = {
	{ { 0x20, 0x01 }, 23 },                   /* protocol assignments: Teredo, benchmarking, ORCHID */
	{ { 0x20, 0x01, 0x0d, 0xb8 }, 32 },       /* documentation */
	{ { 0x26, 0x20, 0x00, 0x4f, 0x80 }, 48 }, /* AS112 */
	{ { 0x3f, 0xff }, 20 },                   /* documentation */
};

static const struct range global6 = { { 0x20 }, 3 };

/* Prefixes that carry an IPv4 address, and where. */
static const struct embed {
	struct range range;
	unsigned at;
} embeds6[] = {
	{ { { [10] = 0xff, [11] = 0xff }, 96 }, 12 },        /* mapped */
	{ { { 0x00, 0x64, 0xff, 0x9b }, 96 }, 12 },          /* NAT64 */
	{ { { 0x20, 0x02 }, 16 }, 2 },                       /* 6to4 */
};

static bool range_has(const struct range *range, const uint8_t *ip)
{
	unsigned bytes = range->bits / 8, rest = range->bits % 8;

	if (memcmp(range->ip, ip, bytes) != 0)
		return false;
	return rest == 0 || ((range->ip[bytes] ^ ip[bytes]) >> (8 - rest)) == 0;
}

bool address4_is_public(const uint8_t ip[4])
{
	for (size_t i = 0; i < sizeof(special4) / sizeof(special4[0]); i++)
		if (range_has(&special4[i], ip))
			return false;
	return true;
}

bool address6_is_public(const uint8_t ip[16])
{
	for (size_t i = 0; i < sizeof(embeds6) / sizeof(embeds6[0]); i++)
		if (range_has(&embeds6[i].range, ip))
			return address4_is_public(ip + embeds6[i].at);
	if (!range_has(&global6, ip))
		return false; /* ::, ::1, IPv4-compatible, local NAT64, unique local, link-local, site-local, multicast, … */
	for (size_t i = 0; i < sizeof(special6) / sizeof(special6[0]); i++)
		if (range_has(&special6[i], ip))
			return false;
	return true;
}

bool sockaddr_is_public(const struct sockaddr *sa, socklen_t len)
{
	if (sa->sa_family == AF_INET && len >= sizeof(struct sockaddr_in)) {
		struct sockaddr_in in;

		memcpy(&in, sa, sizeof(in));
		return address4_is_public((const uint8_t *)&in.sin_addr);
	}
	if (sa->sa_family == AF_INET6 && len >= sizeof(struct sockaddr_in6)) {
		struct sockaddr_in6 in6;

		memcpy(&in6, sa, sizeof(in6));
		return address6_is_public(in6.sin6_addr.s6_addr);
	}
	return false;
}

bool address_text_is_public(const char *ip)
{
	uint8_t raw[16];

	if (inet_pton(AF_INET, ip, raw) == 1)
		return address4_is_public(raw);
	return inet_pton(AF_INET6, ip, raw) == 1 && address6_is_public(raw);
}

/* `host` as curl gives it: lower or upper case, IPv6 in brackets. Names that need DNS are judged when they are connected to. */
static bool host_is_acceptable(const char *host, bool allow_private)
{
	char name[256];
	size_t len = strlen(host);
	struct in_addr in;

	if (len == 0 || len >= sizeof(name))
		return false;
	if (host[0] == '[') {
		if (len < 3 || host[len - 1] != ']')
			return false;
		memcpy(name, host + 1, len - 2);
		name[len - 2] = '\0';
		return inet_pton(AF_INET6, name, (uint8_t[16]){ 0 }) == 1 && (allow_private || address_text_is_public(name));
	}
	memcpy(name, host, len + 1);
	while (len > 0 && name[len - 1] == '.') /* "localhost." is localhost */
		name[--len] = '\0';
	if (len == 0)
		return false;
	for (size_t i = 0; i < len; i++) {
		char c = name[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_'))
			return false;
	}
	if (allow_private)
		return true;
	if (inet_aton(name, &in)) /* also octal, hexadecimal and short spellings */
		return address4_is_public((const uint8_t *)&in);
	return strcasecmp(name, "localhost") != 0 && !(len > 10 && strcasecmp(name + len - 10, ".localhost") == 0);
}

static bool url_has_plain_text(const char *url)
{
	size_t len = strnlen(url, NET_URL_MAX + 1);

	if (len == 0 || len > NET_URL_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if (url[i] <= ' ' || url[i] > '~' || url[i] == '\\' || url[i] == '#')
			return false;
	return strncasecmp(url, "http://", 7) == 0 || strncasecmp(url, "https://", 8) == 0;
}

enum err net_url_check(const char *url, bool allow_private)
{
	CURLU *parts;
	char *host = NULL, *zone = NULL;
	const char *authority, *end;
	bool good = false;

	if (!url_has_plain_text(url))
		return ERR_BAD_FIELD;
	/* Exactly two slashes, and no '@' before the path: parsers disagree about everything else. */
	authority = strstr(url, "://") + 3;
	end = authority + strcspn(authority, "/?");
	if (end == authority || memchr(authority, '@', (size_t)(end - authority)))
		return ERR_BAD_FIELD;
	parts = curl_url();
	if (!parts)
		return ERR_BAD_FIELD;
	if (curl_url_set(parts, CURLUPART_URL, url, CURLU_DISALLOW_USER) == CURLUE_OK &&
	    curl_url_get(parts, CURLUPART_ZONEID, &zone, 0) == CURLUE_NO_ZONEID &&
	    curl_url_get(parts, CURLUPART_HOST, &host, 0) == CURLUE_OK)
		good = host_is_acceptable(host, allow_private);
	curl_free(host);
	curl_free(zone);
	curl_url_cleanup(parts);
	return good ? ERR_OK : ERR_BAD_FIELD;
}
