/* Which addresses and URLs users may make us connect to: the pure judgement, then real calls that must not connect. */
#include "serve.h"

#include "net/hostile.h"

struct judged {
	const char *ip;
	bool public;
};

static const struct judged addresses[] = {
	{ "0.0.0.0", false }, { "0.1.2.3", false }, { "1.0.0.0", true }, { "1.1.1.1", true }, { "8.8.8.8", true },
	{ "9.255.255.255", true }, { "10.0.0.0", false }, { "10.255.255.255", false }, { "11.0.0.0", true },
	{ "100.63.255.255", true }, { "100.64.0.0", false }, { "100.127.255.255", false }, { "100.128.0.0", true },
	{ "126.255.255.255", true }, { "127.0.0.1", false }, { "127.255.255.255", false }, { "128.0.0.0", true },
	{ "169.253.255.255", true }, { "169.254.169.254", false }, { "169.255.0.0", true },
	{ "172.15.255.255", true }, { "172.16.0.0", false }, { "172.31.255.255", false }, { "172.32.0.0", true },
	{ "192.0.0.1", false }, { "192.0.2.1", false }, { "192.0.3.0", true }, { "192.88.99.1", false },
	{ "192.167.255.255", true }, { "192.168.0.0", false }, { "192.168.255.255", false }, { "192.169.0.0", true },
	{ "198.17.255.255", true }, { "198.18.0.0", false }, { "198.19.255.255", false }, { "198.20.0.0", true },
	{ "198.51.100.7", false }, { "203.0.113.255", false }, { "203.0.114.0", true }, { "223.255.255.255", true },
	{ "224.0.0.1", false }, { "239.255.255.255", false }, { "240.0.0.1", false }, { "255.255.255.255", false },
	{ "::", false }, { "::1", false }, { "::127.0.0.1", false }, { "::8.8.8.8", false },
	{ "::ffff:127.0.0.1", false }, { "::ffff:10.1.2.3", false }, { "::ffff:8.8.8.8", true }, { "::ffff:0:8.8.8.8", false },
	{ "64:ff9b::127.0.0.1", false }, { "64:ff9b::a9fe:a9fe", false }, { "64:ff9b::8.8.8.8", true }, { "64:ff9b:1::8.8.8.8", false },
	{ "2002:7f00:1::", false }, { "2002:c0a8:101::1", false }, { "2002:808:808::1", true },
	{ "2001::1", false }, { "2001:0:7f00:1::", false }, { "2001:2::1", false }, { "2001:10::1", false }, { "2001:1ff:ffff::1", false },
	{ "2001:200::1", true }, { "2001:db8::1", false }, { "2001:db9::1", true }, { "2606:4700:4700::1111", true }, { "3fff::1", false },
	{ "3fff:fff:ffff::1", false }, { "3fff:1000::1", true }, { "3ffe::1", true }, { "4000::1", false }, { "100::1", false }, { "5f00::1", false },
	{ "fc00::1", false }, { "fdff::1", false }, { "fe80::1", false }, { "febf::1", false }, { "fec0::1", false }, { "ff02::1", false }, { "ffff::", false },
	{ "", false }, { "nonsense", false }, { "fe80::1%lo", false }, { "127.1", false },
};

static void test_addresses(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++)
		if (address_text_is_public(addresses[i].ip) != addresses[i].public)
			fail_msg("%s", addresses[i].ip);
}

static void test_sockaddrs(void **state)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
	struct sockaddr un = { .sa_family = AF_UNIX };

	(void)state;
	inet_pton(AF_INET, "8.8.8.8", &in.sin_addr);
	inet_pton(AF_INET6, "2606:4700:4700::1111", &in6.sin6_addr);
	assert_true(sockaddr_is_public((struct sockaddr *)&in, sizeof(in)));
	assert_true(sockaddr_is_public((struct sockaddr *)&in6, sizeof(in6)));
	assert_false(sockaddr_is_public((struct sockaddr *)&in, sizeof(in) - 1));
	assert_false(sockaddr_is_public((struct sockaddr *)&in6, sizeof(in6) - 1));
	assert_false(sockaddr_is_public(&un, sizeof(un)));
	inet_pton(AF_INET, "127.0.0.1", &in.sin_addr);
	inet_pton(AF_INET6, "::1", &in6.sin6_addr);
	assert_false(sockaddr_is_public((struct sockaddr *)&in, sizeof(in)));
	assert_false(sockaddr_is_public((struct sockaddr *)&in6, sizeof(in6)));
}

/* Every spelling of this machine that a resolver understands. %d is the port of a server that must see nobody. */
static const char *const spellings[] = {
	"http://127.0.0.1:%d/hello", "http://127.1:%d/hello", "http://127.0.1:%d/hello", "http://127.000.000.001:%d/hello", "http://2130706433:%d/hello",
	"http://0x7f000001:%d/hello", "http://0x7f.1:%d/hello", "http://0X7F.0.0.1:%d/hello", "http://0x7f.0x0.0x0.0x1:%d/hello",
	"http://0177.0.0.1:%d/hello", "http://017700000001:%d/hello", "http://00000177.1:%d/hello", "http://127.0.0.0x1:%d/hello", "http://0:%d/hello",
	"http://0.0.0.0:%d/hello", "http://%%31%%32%%37.0.0.1:%d/hello", "http://127.255.255.254:%d/hello", "http://[::1]:%d/hello",
	"http://[0:0:0:0:0:0:0:1]:%d/hello", "http://[::]:%d/hello", "http://[::ffff:127.0.0.1]:%d/hello", "http://[::ffff:7f00:1]:%d/hello",
	"http://[0:0:0:0:0:ffff:7f00:0001]:%d/hello", "http://[::127.0.0.1]:%d/hello", "http://[64:ff9b::7f00:1]:%d/hello",
	"http://[64:ff9b::127.0.0.1]:%d/hello", "http://[2002:7f00:1::]:%d/hello", "http://localhost:%d/hello", "http://LOCALHOST:%d/hello",
	"HTTP://127.0.0.1:%d/hello", "http://169.254.169.254:%d/hello", "http://[fe80::1]:%d/hello",
	"http://[fd00::1]:%d/hello", "http://10.0.0.1:%d/hello", "http://192.168.1.1:%d/hello", "http://172.16.0.1:%d/hello",
	"http://100.64.0.1:%d/hello", "http://224.0.0.1:%d/hello", "http://255.255.255.255:%d/hello", "https://127.0.0.1:%d/hello",
};

static void test_calls_are_refused(void **state)
{
	struct world *w = *state;
	struct net *net = net_open(true, false, 0);

	for (size_t i = 0; i < sizeof(spellings) / sizeof(spellings[0]); i++) {
		struct probe p;
		char url[128];
		enum err e;

		probe_init(&p);
		snprintf(url, sizeof(url), spellings[i], w->server->port);
		struct net_request r = request_for(&p, "GET", url);
		e = probe_run(net, &p, &r);
		if (e != ERR_FORBIDDEN || p.status != 0)
			fail_msg("%s: error %d (%s), status %d", url, e, p.error, p.status);
		if (net_url_check(url, false) != ERR_BAD_FIELD)
			fail_msg("%s may be stored", url);
		probe_free(&p);
	}
	assert_int_equal(w->server->connections, 0);
	net_stop(net);
}

static void test_private_when_allowed(void **state)
{
	struct world *w = *state;
	struct net *net = net_open(true, true, 0);
	struct probe p;
	struct url u = url_of(w->server, "/redirect");

	probe_init(&p);
	struct net_request r = request_for(&p, "GET", u.s);
	assert_int_equal(probe_run(net, &p, &r), ERR_OK);
	assert_int_equal(p.status, 302);
	assert_int_equal(w->server->requests, 1);
	probe_free(&p);
	net_stop(net);
}

/* The trusted side's open connection to an address must not serve a hostile call to it. */
static void test_connections_are_not_shared(void **state)
{
	struct world *w = *state;
	struct net *net = net_open(true, false, 0);
	struct probe p;
	struct url u = url_of(w->server, "/hello");

	for (int turn = 0; turn < 3; turn++) {
		probe_init(&p);
		struct net_request r = request_for(&p, "GET", u.s);
		assert_int_equal(probe_run(turn == 1 ? net : w->net, &p, &r), turn == 1 ? ERR_FORBIDDEN : ERR_OK);
		probe_free(&p);
	}
	assert_int_equal(w->server->connections, 1);
	assert_int_equal(w->server->requests, 2);
	net_stop(net);
}

static void test_urls(void **state)
{
	static const char *const good[] = { "http://example.com", "https://example.com/", "https://example.com:8443/v1/x?y=%20z", "HTTPS://Node-1.Example.com/a@b",
		"http://8.8.8.8/", "http://[2606:4700:4700::1111]:80/", "https://a_b.example/", "http://134744072/", "http://example.com?q=1" };
	static const char *const bad[] = { "", "example.com", "//example.com", "ftp://example.com/", "file:///etc/passwd", "javascript:alert(1)", "http:/example.com",
		"http:example.com", "http://", "http:///x", "http://?x", "http://user@example.com/", "http://user:pass@example.com/", "http://@example.com/",
		"http://example.com/#f", "http://example.com#", "http://exa mple.com/", " http://example.com/", "http://example.com/\n", "http://example.com/\x7f",
		"http://ex\xc3\xa4mple.com/", "http://example.com\\@evil.com/", "http://example.com:99999/", "http://example.com:x/", "http://[::1", "http://[1::2]x/",
		"http://[fe80::1%25lo]/", "http://[fe80::1%lo]/", "http://exa%00mple.com/", "http://exa%2fmple.com/", "http://exa%40mple.com/", "http://./", "http://../",
		"http://[::zz]/", "https:///example.com/", "http://a,b/" };
	static const char *const private[] = { "http://localhost/", "http://x.localhost/", "http://LocalHost./", "http://127.0.0.1/", "http://127.0.0.1./",
		"http://10.1.2.3/", "http://[::1]/", "http://0x7f.1/", "https://192.168.0.1:8080/x" };
	_cleanup_free_ char *longest = xmalloc(2100);

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		if (net_url_check(good[i], false) != ERR_OK || net_url_check(good[i], true) != ERR_OK)
			fail_msg("%s is refused", good[i]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (net_url_check(bad[i], true) != ERR_BAD_FIELD || net_url_check(bad[i], false) != ERR_BAD_FIELD)
			fail_msg("%s is accepted", bad[i]);
	for (size_t i = 0; i < sizeof(private) / sizeof(private[0]); i++)
		if (net_url_check(private[i], true) != ERR_OK || net_url_check(private[i], false) != ERR_BAD_FIELD)
			fail_msg("%s is judged wrongly", private[i]);
	memset(longest, 'a', 2099);
	memcpy(longest, "http://example.com/", 19);
	longest[2048] = '\0';
	assert_int_equal(net_url_check(longest, false), ERR_OK);
	longest[2048] = 'a';
	longest[2049] = '\0';
	assert_int_equal(net_url_check(longest, false), ERR_BAD_FIELD);
}

#define WORLD(test) cmocka_unit_test_setup_teardown(test, world_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses), cmocka_unit_test(test_sockaddrs), cmocka_unit_test(test_urls),
		WORLD(test_calls_are_refused), WORLD(test_private_when_allowed), WORLD(test_connections_are_not_shared),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
