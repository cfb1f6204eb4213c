/* The life of the agent: settings, keys, parts; then registration, heartbeats and offers until SIGTERM; then no new work, the
 * running jobs end, the backends stop. Everything here runs on the main thread. */
#include "node/node.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "node/agent.h"

#define HEARTBEAT_MS 2000
#define TICK_MS 50
#define BACKOFF_FIRST_MS 250
#define BACKOFF_MAX_MS 10000

struct options {
	const char *config;
	bool check;
};

static bool options_read(int argc, char **argv, struct options *ret)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--config") == 0 && i + 1 < argc)
			ret->config = argv[++i];
		else if (strcmp(argv[i], "--check") == 0)
			ret->check = true;
		else if (i != 1 || strcmp(argv[i], "node") != 0) /* `opgate node …` may pass its own word on */
			return false;
	}
	return ret->config != NULL;
}

static enum log_level level_of(const char *name)
{
	return !strcmp(name, "debug") ? LOG_DEBUG : !strcmp(name, "warn") ? LOG_WARN : !strcmp(name, "error") ? LOG_ERROR : LOG_INFO;
}

/* data_dir exists and is absolute: backends may change their folder. */
static bool data_dir_make(struct node_settings *s)
{
	char full[PATH_MAX];
	if ((mkdir(s->data_dir, 0755) != 0 && errno != EEXIST) || !realpath(s->data_dir, full))
		return false;
	free(s->data_dir);
	s->data_dir = xstrdup(full);
	return true;
}

/* Settings and key; false: said why. */
static bool agent_load(struct agent *a, const char *path)
{
	struct config_why why = { "" };
	enum err e = node_settings_load(path, &a->settings, &why);
	if (e) {
		fprintf(stderr, "opgate node: %s\n", why.text);
		return false;
	}
	e = secret_key_read_file(a->settings.node_key_file, &a->key);
	if (e || !data_dir_make(&a->settings)) {
		fprintf(stderr, "opgate node: %s: %s\n", e ? "node_key_file" : "data_dir", e == ERR_BAD_FIELD ? "holds no key" : "cannot be read or made");
		node_settings_free(&a->settings);
		return false;
	}
	log_set_level(level_of(a->settings.log_level));
	agent_init(a);
	snprintf(a->public_url, sizeof(a->public_url), "%s", a->settings.public_url);
	return true;
}

static int check_only(struct agent *a)
{
	_cleanup_free_ char *body = NULL;
	struct config_why why = { "" };
	if (!*a->public_url)
		snprintf(a->public_url, sizeof(a->public_url), "http://%s:%lld", a->settings.listen_host, (long long)a->settings.listen_port);
	if (registration_body(a, clock_wall_ms(), &body, &why)) {
		fprintf(stderr, "opgate node: %s\n", why.text);
		return 1;
	}
	printf("{\"node\":\"%s\",\"url\":\"%s\"}\n", address_format(&a->address).s, a->public_url);
	return 0;
}

static enum err agent_start(struct agent *a)
{
	const struct node_settings *s = &a->settings;
	const struct net_config api = { .reactors = 1, .allow_private = true, .connections_per_host_max = 8 };
	const struct net_config backend = { .reactors = 1, .allow_private = true, .connections_per_host_max = 10000 };
	const struct http_config http = {
		.host = s->listen_host, .port = (uint16_t)s->listen_port, .daemons = (unsigned)s->daemons, .workers = (unsigned)s->workers,
		.queue_max = 1024, .connections_max = (unsigned)s->connections_max, .header_timeout_ms = 10000,
		.request_timeout_ms = 60000, .handler_timeout_ms = s->request_timeout_ms, .routes = NODE_ROUTES,
		.route_count = NODE_ROUTES_COUNT, .app = a, .after = node_after,
	};
	enum err e = net_start(&api, &a->api);
	if (!e)
		e = net_start(&backend, &a->backend);
	if (!e)
		e = http_start(&http, &a->http);
	if (!e && !*a->public_url)
		snprintf(a->public_url, sizeof(a->public_url), "http://%s:%u", s->listen_host, (unsigned)http_port(a->http));
	return e;
}

/* Waits for a signal at most so long; true: it is time to end. */
static bool ended(const sigset_t *signals, int64_t ms)
{
	const struct timespec wait = { .tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000L };
	return sigtimedwait(signals, NULL, &wait) > 0;
}

/* What the gateway has been told. */
struct standing {
	bool registered, offered;
	uint64_t generation;
	deadline_ms heartbeat_at, retry_at;
	int64_t backoff;
};

static void later(struct standing *st)
{
	st->backoff = st->backoff ? st->backoff * 2 : BACKOFF_FIRST_MS;
	if (st->backoff > BACKOFF_MAX_MS)
		st->backoff = BACKOFF_MAX_MS;
	st->retry_at = deadline_in(st->backoff);
}

/* One step towards: registered, offers up to date, heard of lately. */
static void standing_tick(struct agent *a, struct standing *st)
{
	if (!deadline_passed(st->retry_at))
		return;
	if (!st->registered) {
		if (api_register(a)) {
			later(st);
			return;
		}
		LOG_EVENT(LOG_INFO, "node.registered", L_STR("node", address_format(&a->address).s), L_STR("url", a->public_url));
		*st = (struct standing){ .registered = true, .heartbeat_at = deadline_in(0) };
	}
	uint64_t generation;
	_cleanup_free_ char *offers = offers_body(a, &generation);
	enum err e = ERR_OK;
	if (!st->offered || generation != st->generation) {
		e = api_offers(a, offers);
		st->offered = !e;
		st->generation = generation;
		if (!e)
			LOG_EVENT(LOG_INFO, "node.offers_sent", L_INT("generation", generation));
	}
	if (!e && deadline_passed(st->heartbeat_at)) {
		e = api_heartbeat(a);
		st->heartbeat_at = deadline_in(HEARTBEAT_MS);
	}
	if (e == ERR_NOT_FOUND)
		st->registered = false; /* the gateway does not know us any more */
	if (e)
		later(st);
	else
		st->backoff = 0;
}

static void agent_live(struct agent *a, const sigset_t *signals)
{
	struct standing st = { .retry_at = deadline_in(0) };
	do
		standing_tick(a, &st);
	while (!ended(signals, TICK_MS));
	LOG_EVENT(LOG_INFO, "node.draining", L_INT("running", infer_count(a)));
	if (st.registered && api_drain(a))
		LOG_EVENT(LOG_WARN, "node.drain_unsaid", L_INT("running", infer_count(a)));
}

/* Lets running jobs end, cuts what is left, then stops every part in an order that leaves nobody calling into a dead one. */
static void agent_stop(struct agent *a, pthread_t catalog, pthread_t keeper, pthread_t pusher)
{
	atomic_store(&a->stopping, true);
	unsigned left = http_drain(a->http, deadline_in(a->settings.drain_timeout_ms));
	infer_cancel_all(a);
	if (left)
		left = http_drain(a->http, deadline_in(2000));
	pthread_join(catalog, NULL);
	pthread_join(keeper, NULL);
	net_stop(a->backend);
	http_stop(a->http);
	push_end(a);
	pthread_join(pusher, NULL);
	net_stop(a->api);
	backend_stop_all(a);
	LOG_EVENT(LOG_INFO, "node.stopped", L_INT("cut", left));
}

static int agent_run(struct agent *a)
{
	sigset_t signals;
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	pthread_sigmask(SIG_BLOCK, &signals, NULL); /* before any thread: each inherits it */
	signal(SIGPIPE, SIG_IGN);
	enum err e = agent_start(a);
	if (e) {
		LOG_EVENT(LOG_ERROR, "node.start_failed", L_STR("error", err_info(e)->code), L_INT("port", a->settings.listen_port));
		return 1;
	}
	LOG_EVENT(LOG_INFO, "node.listening", L_STR("node", address_format(&a->address).s), L_INT("port", http_port(a->http)));
	pthread_t catalog, keeper, pusher;
	if (pthread_create(&catalog, NULL, catalog_run, a) || pthread_create(&keeper, NULL, backend_run, a) ||
	    pthread_create(&pusher, NULL, push_run, a))
		panic("node: no thread can be made");
	agent_live(a, &signals);
	agent_stop(a, catalog, keeper, pusher);
	return 0;
}

int node_main(int argc, char **argv)
{
	struct options options = { 0 };
	static struct agent agent;
	if (argc == 2 && strcmp(argv[1], "--help") == 0) {
		puts("usage: opgate node --config FILE [--check]   --check: read settings and keys, sign, and say who this node would be\n"
		     "The file holds lines `name = value`; a variable OPGATE_NAME wins over it.\n");
		config_print_markdown(NODE_SETTINGS, NODE_SETTINGS_COUNT, stdout);
		return 0;
	}
	if (!options_read(argc, argv, &options)) {
		fprintf(stderr, "usage: opgate node --config FILE [--check]   (--help: the settings)\n");
		return 2;
	}
	crypto_init();
	if (!agent_load(&agent, options.config))
		return 1;
	int rc = options.check ? check_only(&agent) : agent_run(&agent);
	if (rc == 0)
		agent_done(&agent);
	return rc;
}
