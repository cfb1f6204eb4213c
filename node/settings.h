/* The agent's settings; the table with types, defaults and docs is settings.c. */
#ifndef OPGATE_NODE_SETTINGS_H
#define OPGATE_NODE_SETTINGS_H

#include "base/config.h"

struct node_settings {
	char *gateway_url, *node_key_file, *operator_key_file, *operator_signature_file, *listen_host, *public_url, *data_dir, *serve, *log_level;
	struct address gateway_address;
	int64_t chain_id, listen_port, capacity, backend_start_timeout_ms, request_timeout_ms, stall_timeout_ms, poll_ms, workers, daemons,
		connections_max, drain_timeout_ms;
	char *ask_currency;
	struct amount ask_input, ask_output;
	char *tensor_backend_command, *chat_backend_command, *tensor_backend_url, *chat_backend_url, *tensor_backend_model,
		*chat_backend_model, *tensor_backend_profile, *chat_backend_profile;
};

extern const struct setting NODE_SETTINGS[];
extern const size_t NODE_SETTINGS_COUNT;

/* Loads, then checks what no single row can: URLs, profiles, serve against backends. Trailing slashes of URLs are cut. */
enum err node_settings_load(const char *path, struct node_settings *ret, struct config_why *why) WARN_UNUSED;
void node_settings_free(struct node_settings *settings);

#endif
