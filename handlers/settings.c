/* The one table of gateway settings. `opgate config` prints it; docs/OPERATIONS.md holds its Markdown form. */
#include "handlers/settings.h"

#define S(type_, member, def, lo, hi, secret_, text) \
	{ .name = #member, .type = SETTING_##type_, .offset = offsetof(struct settings, member), .default_text = def, \
	  .min = lo, .max = hi, .secret = secret_, .doc = text }

const struct setting SETTINGS[] = {
	S(STR, listen_host, "127.0.0.1", 0, 0, false, "address to listen on"),
	S(INT, listen_port, "8080", 0, 65535, false, "port to listen on; 0 takes a free one"),
	S(STR, base_url, NULL, 0, 0, false, "public URL of this gateway: domain and uri of sign-in messages"),
	S(STR, database_url, NULL, 0, 0, true, "PostgreSQL connection string"),
	S(STR, rpc_url, NULL, 0, 0, true, "JSON-RPC endpoint of the chain"),
	S(INT, chain_id, NULL, 1, INT64_MAX, false, "chain id; start is refused when the endpoint says otherwise"),
	S(ADDRESS, opg_token, NULL, 0, 0, false, "address of the OPG token"),
	S(ADDRESS, treasury, NULL, 0, 0, false, "address deposits are sent to"),
	S(HASH, genesis_hash, "0x0000000000000000000000000000000000000000000000000000000000000000", 0, 0, false,
	  "hash of block 0 as recorded at deployment; all zero: not checked. Development keys need it"),
	S(INT, deposit_confirmations, "12", 1, 10000, false, "blocks until a deposit is credited, its own included"),
	S(STR, gateway_key_file, NULL, 0, 0, false, "file with the gateway's signing key, 64 hex digits"),
	S(STR, jwt_secret_file, NULL, 0, 0, false, "file with the token secret, 64 hex digits"),
	S(STR, blob_dir, NULL, 0, 0, false, "folder of the content-addressed store"),
	S(STR, public_dir, "public", 0, 0, false, "folder of the web pages"),
	S(STR, admin_addresses, "", 0, 0, false, "comma-separated addresses with the admin role"),
	S(STR, cors_origin, "*", 0, 0, false, "allowed browser origin: *, one origin, or empty for none"),
	S(STR, log_level, "info", 0, 0, false, "debug, info, warn or error"),
	S(INT, platform_fee_bps, "1000", 0, 10000, false, "platform fee on ask plus royalty, in 1/10000"),
	S(BOOL, allow_private_nodes, "false", 0, 0, false, "accept node URLs in private address ranges (development)"),
	S(INT, http_daemons, "2", 1, 64, false, "listening threads"),
	S(INT, workers, "16", 2, 256, false, "worker threads, each with its own database connection"),
	S(INT, reactors, "2", 1, 16, false, "threads for outgoing calls to nodes"),
	S(INT, queue_max, "1024", 1, 100000, false, "requests waiting for a worker; past it 503"),
	S(INT, connections_max, "4096", 16, 100000, false, "open client connections"),
	S(INT, upload_max_bytes, "8589934592", 1, INT64_MAX, false, "largest model file"),
	S(INT, node_timeout_ms, "15000", 1000, 600000, false, "a node silent for this long gets no work"),
	S(INT, job_timeout_ms, "300000", 1000, 3600000, false, "absolute deadline of one job"),
	S(INT, stall_timeout_ms, "60000", 1000, 600000, false, "a node that sends no byte for this long has failed"),
	S(INT, instance_timeout_ms, "10000", 500, 600000, false, "a gateway process silent for this long is dead; its jobs are resolved by another"),
	S(INT, drain_timeout_ms, "30000", 0, 600000, false, "how long SIGTERM waits for running jobs"),
	S(INT, poll_ms, "500", 50, 60000, false, "how often chain, queue and leases are looked at"),
	S(INT, attempts_max, "3", 1, 10, false, "nodes tried for one job"),
	S(INT, rate_read, "2000", 0, 1000000, false, "reading requests a second of one account, or of one client address without one; 0: unlimited"),
	S(INT, rate_write, "500", 0, 1000000, false, "likewise for requests that change something"),
	S(INT, rate_paid, "10000", 0, 1000000, false, "likewise for paid requests"),
	S(INT, rate_auth, "100", 0, 1000000, false, "likewise for sign-ins and registrations, and for refused credentials"),
};
const size_t SETTINGS_COUNT = sizeof(SETTINGS) / sizeof(SETTINGS[0]);
