/* The one table of the agent's settings and the checks across them. Called once by main.c before threads; no locks. */
#include "node/settings.h"

#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include "base/json.h"
#include "net/net.h"

#define PROFILE_MAX 8192

#define S(type_, member, def, lo, hi, secret_, text) \
	{ .name = #member, .type = SETTING_##type_, .offset = offsetof(struct node_settings, member), .default_text = def, \
	  .min = lo, .max = hi, .secret = secret_, .doc = text }

const struct setting NODE_SETTINGS[] = {
	S(STR, gateway_url, NULL, 0, 0, false, "the gateway this node serves"),
	S(ADDRESS, gateway_address, NULL, 0, 0, false, "the gateway's key, pinned: only tickets it signed are served"),
	S(INT, chain_id, NULL, 1, INT64_MAX, false, "chain id in every signature"),
	S(STR, node_key_file, NULL, 0, 0, false, "file with this node's signing key, 64 hex digits"),
	S(STR, operator_key_file, "", 0, 0, false, "file with the operator's key, to sign the registration here"),
	S(STR, operator_signature_file, "", 0, 0, false,
	  "instead: a file {\"operator\",\"issued_at\",\"signature\"} made where the operator's key is"),
	S(STR, listen_host, "127.0.0.1", 0, 0, false, "address to listen on"),
	S(INT, listen_port, "0", 0, 65535, false, "port to listen on; 0 takes a free one"),
	S(STR, public_url, "", 0, 0, false, "where the gateway reaches this node; empty: the listening address"),
	S(STR, data_dir, NULL, 0, 0, false, "folder for downloaded versions and backend logs"),
	S(STR, serve, "all", 0, 0, false, "what to serve: all, or a comma list of model ids and sha256: digests"),
	S(STR, ask_currency, "OPG", 0, 0, false, "OPG, or USD: turned into OPG by the gateway's rate at each job"),
	S(AMOUNT, ask_input, "0", 0, 0, false, "price per input unit, in 10^-18 of that currency"),
	S(AMOUNT, ask_output, "0", 0, 0, false, "price per output unit, likewise"),
	S(INT, capacity, "8", 1, 10000, false, "jobs at a time, per version"),
	S(STR, tensor_backend_command, "", 0, 0, false, "command of a tensor backend, words with {dir} and {port}; one process per version"),
	S(STR, chat_backend_command, "", 0, 0, false, "command of a chat backend, words with {dir} and {port}; one process per version"),
	S(STR, tensor_backend_url, "", 0, 0, false, "a tensor backend that already runs, its URL without /v2; needs an explicit serve list"),
	S(STR, chat_backend_url, "", 0, 0, false, "a chat backend that already runs, its URL without /v1; needs an explicit serve list"),
	S(STR, tensor_backend_model, "", 0, 0, false, "model name the tensor backend knows; empty: the model's own name"),
	S(STR, chat_backend_model, "", 0, 0, false, "model name the chat backend knows; empty: the first of its GET /v1/models"),
	S(STR, tensor_backend_profile, "", 0, 0, false, "execution profile document (JSON object); empty: made from the settings"),
	S(STR, chat_backend_profile, "", 0, 0, false, "execution profile document (JSON object); empty: made from the settings"),
	S(INT, backend_start_timeout_ms, "120000", 100, 3600000, false, "a backend not ready after this long is started again"),
	S(INT, request_timeout_ms, "300000", 100, 3600000, false, "absolute deadline of one call to a backend"),
	S(INT, stall_timeout_ms, "60000", 50, 3600000, false, "a backend that sends no byte for this long has failed"),
	S(INT, poll_ms, "1000", 20, 600000, false, "how often the gateway's list of versions is read"),
	S(INT, workers, "4", 1, 256, false, "worker threads"),
	S(INT, daemons, "1", 1, 64, false, "listening threads"),
	S(INT, connections_max, "1024", 16, 100000, false, "open connections"),
	S(INT, drain_timeout_ms, "30000", 0, 600000, false, "how long SIGTERM waits for running jobs"),
	S(STR, log_level, "info", 0, 0, false, "debug, info, warn or error"),
};
const size_t NODE_SETTINGS_COUNT = sizeof(NODE_SETTINGS) / sizeof(NODE_SETTINGS[0]);

static enum err refuse(struct config_why *why, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static enum err refuse(struct config_why *why, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(why->text, sizeof(why->text), fmt, ap);
	va_end(ap);
	return ERR_BAD_FIELD;
}

static enum err url_setting(const char *name, char *url, bool optional, struct config_why *why)
{
	size_t len = strlen(url);
	while (len && url[len - 1] == '/')
		url[--len] = '\0';
	if (optional && len == 0)
		return ERR_OK;
	if (net_url_check(url, true) || strchr(url, '?'))
		return refuse(why, "%s: must be an http or https URL without query, user or fragment", name);
	return ERR_OK;
}

static enum err profile_setting(const char *name, const char *text, struct config_why *why)
{
	if (!*text)
		return ERR_OK;
	_cleanup_json_ json_t *j = NULL;
	struct json_why jwhy = { "" };
	if (strlen(text) > PROFILE_MAX || json_parse(text, strlen(text), &j, &jwhy) || !json_is_object(j))
		return refuse(why, "%s: must be a JSON object of at most %d bytes. %s", name, PROFILE_MAX, jwhy.text);
	return ERR_OK;
}

static enum err backend_settings(const char *kind, const char *command, const char *url, const char *serve, struct config_why *why)
{
	if (*command && *url)
		return refuse(why, "%s_backend_command and %s_backend_url: only one of them", kind, kind);
	/* What a backend that we did not start runs is the operator's word: they must name it. */
	if (*url && strcmp(serve, "all") == 0)
		return refuse(why, "serve: must name the versions when %s_backend_url is set", kind);
	return ERR_OK;
}

static enum err settings_check(struct node_settings *s, struct config_why *why)
{
	enum err e = url_setting("gateway_url", s->gateway_url, false, why);
	if (!e)
		e = url_setting("public_url", s->public_url, true, why);
	if (!e)
		e = url_setting("tensor_backend_url", s->tensor_backend_url, true, why);
	if (!e)
		e = url_setting("chat_backend_url", s->chat_backend_url, true, why);
	if (!e)
		e = profile_setting("tensor_backend_profile", s->tensor_backend_profile, why);
	if (!e)
		e = profile_setting("chat_backend_profile", s->chat_backend_profile, why);
	if (!e)
		e = backend_settings("tensor", s->tensor_backend_command, s->tensor_backend_url, s->serve, why);
	if (!e)
		e = backend_settings("chat", s->chat_backend_command, s->chat_backend_url, s->serve, why);
	if (!e && !*s->operator_key_file == !*s->operator_signature_file)
		e = refuse(why, "operator_key_file or operator_signature_file: exactly one of them");
	if (!e && !*s->tensor_backend_command && !*s->chat_backend_command && !*s->tensor_backend_url && !*s->chat_backend_url)
		e = refuse(why, "tensor_backend_command, chat_backend_command: at least one backend is needed");
	if (!e && strcmp(s->ask_currency, "OPG") != 0 && strcmp(s->ask_currency, "USD") != 0)
		e = refuse(why, "ask_currency: must be OPG or USD");
	if (!e && strlen(s->public_url) > 255)
		e = refuse(why, "public_url: at most 255 bytes");
	return e;
}

enum err node_settings_load(const char *path, struct node_settings *ret, struct config_why *why)
{
	struct node_settings s = { 0 };
	enum err e = config_load(NODE_SETTINGS, NODE_SETTINGS_COUNT, path, &s, why);
	if (e)
		return e;
	e = settings_check(&s, why);
	if (e) {
		node_settings_free(&s);
		return e;
	}
	*ret = s;
	return ERR_OK;
}

void node_settings_free(struct node_settings *settings)
{
	config_free(NODE_SETTINGS, NODE_SETTINGS_COUNT, settings);
}
