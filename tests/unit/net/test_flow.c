/* Time and threads: pauses, deadlines, stalls, cancelling at any moment, many calls at once, stopping. */
#include <errno.h>
#include <sched.h>

#include "serve.h"

struct reader {
	struct probe *p;
	int resumes;
};

/* Another thread that lets a paused call go on, until it is done. */
static void *resume_loop(void *arg)
{
	struct reader *reader = arg;
	struct probe *p = reader->p;

	pthread_mutex_lock(&p->lock);
	for (;;) {
		while (!p->paused && !p->dones)
			pthread_cond_wait(&p->changed, &p->lock);
		if (p->dones)
			break;
		p->paused = false;
		reader->resumes++;
		pthread_mutex_unlock(&p->lock);
		net_resume(p->call);
		pthread_mutex_lock(&p->lock);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static void paused_run(struct world *w, bool pause_head, int pause_every)
{
	struct probe p;
	struct url u = url_of(w->server, "/count/20000");
	struct reader reader = { .p = &p };
	pthread_t thread;
	char line[32];

	probe_init(&p);
	p.pause_head = pause_head;
	p.pause_every = pause_every;
	struct net_request r = request_for(&p, "GET", u.s);
	assert_int_equal(net_call(w->net, &r, &p.call), ERR_OK);
	assert_int_equal(pthread_create(&thread, NULL, resume_loop, &reader), 0);
	pthread_join(thread, NULL);
	assert_int_equal(p.e, ERR_OK);
	assert_int_equal(p.heads, 1);
	assert_true(reader.resumes >= (pause_head ? 1 : 0) + (pause_every ? 10 : 0));
	assert_int_equal(p.body.len, 20000 * 15);
	for (int i = 0; i < 20000; i++) { /* nothing lost, doubled or reordered */
		snprintf(line, sizeof(line), "chunk %08d\n", i);
		assert_memory_equal(p.body.data + (size_t)i * 15, line, 15);
	}
	assert_int_equal(net_call_body_bytes(p.call), 20000 * 15);
	probe_free(&p);
}

static void test_pause_and_resume(void **state)
{
	paused_run(*state, false, 0);
	paused_run(*state, true, 0);
	paused_run(*state, false, 2);
	paused_run(*state, true, 3);
}

static void test_deadline(void **state)
{
	struct world *w = *state;
	static const char *const paths[] = { "/silent", "/stall", "/bigbody" };

	for (int i = 0; i < 3; i++) {
		struct probe p;
		struct url u = url_of(w->server, paths[i]);
		int64_t before = clock_mono_ms(), took;

		probe_init(&p);
		struct net_request r = request_for(&p, "GET", u.s);
		r.deadline_ms = 150;
		r.response_max = SIZE_MAX;
		if (i == 2)
			r.on_data = NULL; /* a body that never ends, quickly */
		assert_int_equal(probe_run(w->net, &p, &r), ERR_DEADLINE);
		took = clock_mono_ms() - before;
		assert_in_range(took, 140, 30000);
		assert_int_equal(p.status, i == 0 ? 0 : 200);
		probe_free(&p);
	}
}

static void test_deadline_while_paused(void **state)
{
	struct world *w = *state;
	struct probe p;
	struct url u = url_of(w->server, "/count/1000");

	probe_init(&p);
	p.pause_every = 1;
	struct net_request r = request_for(&p, "GET", u.s);
	r.deadline_ms = 200;
	r.stall_timeout_ms = 20; /* does not run while we are the ones who wait */
	assert_int_equal(probe_run(w->net, &p, &r), ERR_DEADLINE);
	assert_string_equal(p.error, "the deadline passed");
	net_resume(p.call); /* too late, harmless */
	probe_free(&p);
}

static void test_stall(void **state)
{
	struct world *w = *state;
	struct probe p;
	struct url u = url_of(w->server, "/stall");

	probe_init(&p);
	struct net_request r = request_for(&p, "GET", u.s);
	r.stall_timeout_ms = 100;
	assert_int_equal(probe_run(w->net, &p, &r), ERR_DEADLINE);
	assert_string_equal(p.error, "the answer stalled");
	assert_int_equal(p.status, 200);
	assert_int_equal(p.body.len, 5);
	probe_free(&p);
}

static void test_connect_timeout(void **state)
{
	struct world *w = *state;
	struct probe p;
	char url[64];
	int port, full = listen_loopback(0, &port), fillers[16];
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port) };

	for (int i = 0; i < 16; i++) { /* a full backlog: the kernel drops further connections */
		fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		assert_true(connect(fillers[i], (struct sockaddr *)&in, sizeof(in)) == 0 || errno == EINPROGRESS);
	}
	snprintf(url, sizeof(url), "http://127.0.0.1:%d/", port);
	probe_init(&p);
	struct net_request r = request_for(&p, "GET", url);
	r.connect_timeout_ms = 100;
	assert_int_equal(probe_run(w->net, &p, &r), ERR_IO);
	probe_free(&p);
	for (int i = 0; i < 16; i++)
		close(fillers[i]);
	close(full);
}

static void test_cancel(void **state)
{
	struct world *w = *state;
	static const char *const paths[] = { "/silent", "/stall", "/count/100000" };

	for (int i = 0; i < 3; i++) {
		struct probe p;
		struct url u = url_of(w->server, paths[i]);

		probe_init(&p);
		p.pause_every = i == 2;
		struct net_request r = request_for(&p, "GET", u.s);
		assert_int_equal(net_call(w->net, &r, &p.call), ERR_OK);
		if (i == 0)
			while (atomic_load(&w->server->waiting) == 0)
				sched_yield();
		else if (i == 1)
			PROBE_WAIT(&p, p.body.len == 5);
		else
			PROBE_WAIT(&p, p.paused);
		net_cancel(p.call);
		PROBE_WAIT(&p, p.dones > 0);
		assert_int_equal(p.e, ERR_CANCELLED);
		net_cancel(p.call);
		net_resume(p.call);
		assert_int_equal(p.dones, 1);
		probe_free(&p);
	}
}

/* Calls beyond the bound on connections wait in curl; they too can be cancelled, and have a deadline. */
static void test_waiting_for_a_connection(void **state)
{
	struct world *w = *state;
	struct net *net = net_open(false, false, 2);
	struct probe p[10];
	struct url u = url_of(w->server, "/silent");

	for (int i = 0; i < 10; i++) {
		probe_init(&p[i]);
		struct net_request r = request_for(&p[i], "GET", u.s);
		if (i == 4)
			r.deadline_ms = 50;
		assert_int_equal(net_call(net, &r, &p[i].call), ERR_OK);
	}
	while (atomic_load(&w->server->waiting) < 2)
		sched_yield();
	PROBE_WAIT(&p[4], p[4].dones > 0);
	assert_int_equal(p[4].e, ERR_DEADLINE);
	net_cancel(p[5].call);
	PROBE_WAIT(&p[5], p[5].dones > 0);
	assert_int_equal(p[5].e, ERR_CANCELLED);
	assert_int_equal(w->server->connections, 2);
	net_cancel(p[0].call); /* a running one makes room */
	eventfd_write(w->server->gate, 1);
	for (int i = 0; i < 10; i++) {
		PROBE_WAIT(&p[i], p[i].dones > 0);
		if (i > 0 && i != 4 && i != 5)
			assert_int_equal(p[i].e, ERR_OK);
		probe_free(&p[i]);
	}
	assert_in_range(w->server->connections, 2, 3);
	net_stop(net);
}

static void test_many_at_once(void **state)
{
	struct world *w = *state;
	struct probe *p = xcalloc(200, sizeof(*p));
	struct url waits = url_of(w->server, "/silent"), counts = url_of(w->server, "/count/500");

	for (int i = 0; i < 200; i++) {
		probe_init(&p[i]);
		struct net_request r = request_for(&p[i], "GET", i % 2 ? waits.s : counts.s);
		assert_int_equal(net_call(w->net, &r, &p[i].call), ERR_OK);
	}
	while (atomic_load(&w->server->waiting) < 100) /* all of them at the same time */
		sched_yield();
	eventfd_write(w->server->gate, 1);
	for (int i = 0; i < 200; i++) {
		PROBE_WAIT(&p[i], p[i].dones > 0);
		assert_int_equal(p[i].e, ERR_OK);
		assert_int_equal(p[i].body.len, i % 2 ? 4 : 7500);
		assert_int_equal(p[i].dones, 1);
		probe_free(&p[i]);
	}
	free(p);
}

struct racer {
	struct world *w;
	unsigned seed;
	int ended[ERR_COUNT];
};

/* Starts calls and cancels or resumes them at odd moments. */
static void *race(void *arg)
{
	struct racer *racer = arg;
	struct url urls[3] = { url_of(racer->w->server, "/hello"), url_of(racer->w->server, "/count/300"), url_of(racer->w->server, "/stall") };

	for (int i = 0; i < 250; i++) {
		struct probe p;
		unsigned n = (unsigned)rand_r(&racer->seed), kind = n % 3;

		probe_init(&p);
		p.pause_every = n % 5 == 0 ? 1 : 0;
		p.pause_head = n % 7 == 0;
		struct net_request r = request_for(&p, "GET", urls[kind].s);
		assert_int_equal(net_call(racer->w->net, &r, &p.call), ERR_OK);
		for (unsigned spin = n % 64; spin > 0; spin--)
			sched_yield();
		if (n % 2)
			net_resume(p.call);
		if (n % 4 == 1)
			PROBE_WAIT(&p, p.dones || p.paused || p.body.len);
		net_cancel(p.call);
		PROBE_WAIT(&p, p.dones > 0);
		assert_int_equal(p.dones, 1);
		racer->ended[p.e]++;
		probe_free(&p);
	}
	return NULL;
}

static void test_cancel_races(void **state)
{
	struct racer racers[4];
	pthread_t threads[4];
	int cancelled = 0, all = 0;

	for (int i = 0; i < 4; i++) {
		racers[i] = (struct racer){ .w = *state, .seed = 77u + (unsigned)i };
		assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		cancelled += racers[i].ended[ERR_CANCELLED];
		all += racers[i].ended[ERR_CANCELLED] + racers[i].ended[ERR_OK];
	}
	assert_int_equal(all, 1000);
	assert_true(cancelled > 0);
}

/* on_done that at once starts the next call, also while the reactor is being stopped. */
struct chain {
	struct net *net;
	struct net_request r;
	_Atomic int dones, refused;
};

static void chain_done(void *arg, enum err e, int status)
{
	struct chain *c = arg;

	(void)e, (void)status;
	atomic_fetch_add(&c->dones, 1);
	if (net_call(c->net, &c->r, NULL) == ERR_STOPPING)
		atomic_fetch_add(&c->refused, 1);
}

static void test_stop_with_running_calls(void **state)
{
	struct world *w = *state;
	struct net *net = net_open(false, false, 0);
	struct probe p[30];
	struct url paths[3] = { url_of(w->server, "/silent"), url_of(w->server, "/stall"), url_of(w->server, "/count/100000") };
	struct url hello = url_of(w->server, "/hello");
	struct chain chain = { .net = net, .r = { .method = "GET", .url = hello.s, .deadline_ms = 60000, .on_done = chain_done, .arg = &chain } };

	for (int i = 0; i < 30; i++) {
		probe_init(&p[i]);
		p[i].pause_every = i % 3 == 2;
		struct net_request r = request_for(&p[i], "GET", paths[i % 3].s);
		assert_int_equal(net_call(net, &r, &p[i].call), ERR_OK);
	}
	assert_int_equal(net_call(net, &chain.r, NULL), ERR_OK);
	while (atomic_load(&chain.dones) < 20 || atomic_load(&w->server->waiting) < 20)
		sched_yield();
	net_stop(net);
	assert_int_equal(chain.refused, 1);
	for (int i = 0; i < 30; i++) {
		assert_int_equal(p[i].dones, 1);
		assert_int_equal(p[i].e, ERR_CANCELLED);
		net_cancel(p[i].call); /* the handle outlives its net */
		net_resume(p[i].call);
		probe_free(&p[i]);
	}
}

/* Callbacks may start, cancel and resume; a call that cancels itself still ends exactly once. */
static enum net_flow cancel_self(void *arg, const void *data, size_t len)
{
	struct probe *p = arg;

	(void)data, (void)len;
	net_cancel(p->call);
	net_resume(p->call);
	return NET_CONTINUE;
}

static void test_cancel_from_its_callback(void **state)
{
	struct world *w = *state;
	struct probe p;
	struct url u = url_of(w->server, "/hello");

	probe_init(&p);
	struct net_request r = request_for(&p, "GET", u.s);
	r.on_data = cancel_self;
	assert_int_equal(net_call(w->net, &r, &p.call), ERR_OK);
	PROBE_WAIT(&p, p.dones > 0);
	assert_int_equal(p.e, ERR_CANCELLED);
	probe_free(&p);
}

#define WORLD(test) cmocka_unit_test_setup_teardown(test, world_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD(test_pause_and_resume), WORLD(test_deadline), WORLD(test_deadline_while_paused), WORLD(test_stall), WORLD(test_connect_timeout),
		WORLD(test_cancel), WORLD(test_waiting_for_a_connection), WORLD(test_many_at_once), WORLD(test_cancel_races),
		WORLD(test_stop_with_running_calls), WORLD(test_cancel_from_its_callback),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
