/* A chain whose endpoint the test makes up (fake_rpc.h): one of them, from the first test of a file to its last. */
#ifndef OPGATE_TESTS_FAKE_CHAIN_H
#define OPGATE_TESTS_FAKE_CHAIN_H

#include "chain/chain.h"
#include "crypto/crypto.h"
#include "net/net.h"
#include "tests/unit/chain/fake_rpc.h"
#include "tests/unit/unit.h"

static struct fake_rpc fake;
static struct net *net;
static struct chain *chain;

static int fake_chain_begin(void **state)
{
	const struct net_config config = { .reactors = 1, .connections_per_host_max = 8 };
	(void)state;

	crypto_init();
	if (net_start(&config, &net))
		return -1;
	fake_start(&fake);
	chain = chain_new(net, fake.url, 10000);
	return 0;
}

static int fake_chain_end(void **state)
{
	(void)state;
	chain_free(chain);
	fake_stop(&fake);
	net_stop(net);
	return 0;
}

#define RUN_TESTS_OF_CHAIN(tests) cmocka_run_group_tests(tests, fake_chain_begin, fake_chain_end)

#endif
