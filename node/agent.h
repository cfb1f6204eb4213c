/* The agent's parts, shared by the files of node/ and its tests only.
 *
 * Threads: main (registration, heartbeats, offers, signals), catalog (downloads), keeper (backends), pusher (late
 * receipts), the HTTP
 * workers and daemons (requests), one reactor each for the gateway's API and for the backends. */
#ifndef OPGATE_NODE_AGENT_H
#define OPGATE_NODE_AGENT_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "base/log.h"
#include "blob/blob.h"
#include "http/http.h"
#include "net/net.h"
#include "node/settings.h"
#include "proof/statements.h"

#define NODE_ANSWER_MAX ((size_t)16 << 20)
#define NODE_BODY_MAX ((size_t)16 << 20)

enum node_surface { NODE_TENSOR, NODE_CHAT };
const char *node_surface_name(enum node_surface s);

/* ---- versions.c: the versions this node runs ---- */
enum served_state { SERVED_WAITING /* to be started at start_at */, SERVED_STARTING, SERVED_READY };

struct served {
	struct hash digest;
	char model[200]; /* author/name */
	int64_t number;
	enum node_surface surface;
	char *dir;     /* verified files; NULL for a backend that already runs */
	char *profile; /* execution profile document */
	struct hash profile_hash;
	char precision[33];
	int64_t capacity;

	/* under agent->lock */
	enum served_state state;
	char base_url[256], backend_model[200];
	int64_t running;

	/* keeper thread only */
	pid_t pid; /* 0: none */
	int stdin_fd;
	uint16_t port;
	deadline_ms start_at, ready_by;
	int failures;
	struct served *next; /* set before it is published in the list; entries live until the agent ends */
};

struct infer;
struct push;

/* Tickets seen, until they expire: see ticket.c. */
struct ticket_table;
struct ticket_table *ticket_table_new(size_t max);
void ticket_table_free(struct ticket_table *t);
/* ERR_CONFLICT: seen before; ERR_OVERLOADED: `max` unexpired tickets are remembered. Thread-safe. */
enum err ticket_table_use(struct ticket_table *t, const struct ticket *ticket, int64_t now) WARN_UNUSED;

struct agent {
	struct node_settings settings;
	struct secret_key key;
	struct address address;
	char public_url[256];
	struct net *api;     /* the gateway */
	struct net *backend; /* the backends */
	struct http_server *http;
	struct ticket_table *tickets;
	atomic_bool stopping;

	pthread_mutex_t lock;
	struct served *served; /* newest first */
	uint64_t offers_generation; /* counts changes of what is ready */
	struct infer *running;

	pthread_mutex_t push_lock;
	pthread_cond_t push_wake;
	struct push *push_first, **push_end;
	size_t push_count;
	bool push_stop;
};

void agent_init(struct agent *a); /* locks and lists; after settings and key are set */
void agent_done(struct agent *a);

/* versions.c */
struct served *served_find(struct agent *a, const struct hash *digest); /* NULL when not known */
void served_add(struct agent *a, struct served *take);
void served_set_state(struct agent *a, struct served *s, enum served_state state);
/* Takes one place when ready: ERR_NO_NODE not ready, ERR_OVERLOADED full. Copies where its backend is. */
struct served_backend { char base_url[256], model[200]; };
enum err served_acquire(struct agent *a, struct served *s, struct served_backend *ret) WARN_UNUSED;
void served_release(struct agent *a, struct served *s);
void served_free(struct served *s);
/* The body of PUT offers: every ready version. The caller frees. */
char *offers_body(struct agent *a, uint64_t *ret_generation);
/* Does the setting name this version? */
bool serve_matches(const char *serve, const char *model, const struct hash *digest);

/* ---- gateway.c: signed calls to the gateway ---- */
struct api_answer {
	int status;
	char *body; /* NUL-terminated; the caller frees */
	size_t len;
	char error[160];
};
void api_answer_done(struct api_answer *answer);
/* One call; `signed_` adds Opgate-Node. cancel may be NULL: when it becomes true the call ends with ERR_CANCELLED. */
struct api_call {
	const char *method, *path;
	const char *body; /* NULL: none */
	size_t body_len;
	bool signed_;
	size_t response_max;
	int64_t deadline_ms;
	const atomic_bool *cancel;
};
enum err api_run(struct agent *a, const struct api_call *call, struct api_answer *ret) WARN_UNUSED;
char *api_signature(struct agent *a, const char *method, const char *path, const void *body, size_t len); /* header value; caller frees */
enum err api_register(struct agent *a) WARN_UNUSED; /* ERR_OK: accepted; ERR_FORBIDDEN and the like: refused for good */
enum err api_heartbeat(struct agent *a) WARN_UNUSED; /* ERR_NOT_FOUND: register again */
enum err api_offers(struct agent *a, const char *body) WARN_UNUSED;
enum err api_drain(struct agent *a) WARN_UNUSED;
/* The registration body {"registration","operator_signature"}; the caller frees. */
enum err registration_body(struct agent *a, int64_t now, char **ret, struct config_why *why) WARN_UNUSED;

/* ---- fetch.c: a blocking call that can be cancelled and may stream its answer ---- */
struct fetch_sink {
	enum err (*data)(void *arg, const void *p, size_t len); /* on the reactor; only for status 200 */
	void *arg;
};
enum err fetch_run(struct net *net, const struct net_request *request, const struct fetch_sink *sink, const atomic_bool *cancel,
		   struct api_answer *ret) WARN_UNUSED;

/* ---- download.c ---- */
/* Brings every file of the manifest to `dir`, verified; removes what does not belong. ERR_UNPROCESSABLE: the gateway sent
 * other bytes than the manifest says. */
enum err version_fetch(struct agent *a, const char *model, const struct hash *digest, const struct manifest *m, const char *dir,
		       struct json_why *why) WARN_UNUSED;
enum err file_matches(const char *path, const struct manifest_file *want, bool *ret) WARN_UNUSED; /* ERR_IO; *ret false when absent */
/* GET path of one file, percent-encoded; the caller frees. */
char *file_url_path(const char *model, const struct hash *digest, const char *path);

/* ---- catalog.c ---- */
void *catalog_run(void *agent);
void catalog_sync(struct agent *a); /* one pass, for tests */
/* Manifest of a version out of the gateway's answer, checked against the digest. ERR_UNPROCESSABLE */
enum err version_manifest(const char *text, size_t len, const struct hash *digest, struct manifest *ret, struct json_why *why) WARN_UNUSED;

/* ---- backend.c ---- */
void *backend_run(void *agent); /* the keeper: ticks until the agent stops; backend_stop_all comes after it */
void backend_tick(struct agent *a, struct served *s);
void backend_stop_all(struct agent *a);
/* Splits at white space and fills {dir} and {port}; NULL-terminated; free with argv_free. NULL when there is no word. */
char **argv_make(const char *command, const char *dir, uint16_t port);
void argv_free(char **argv);
char *profile_make(const struct node_settings *s, enum node_surface surface); /* the caller frees */

/* ---- ticket.c ---- */
/* The request as received, for the ticket's hash. */
struct ticket_request {
	const char *method, *path, *content_type, *inference_header_length;
	const void *body;
	size_t body_len;
};
/* Everything but the replay and whether we serve it. ERR_BAD_SIGNATURE for each; `why` says what. */
enum err ticket_check(const struct agent *a, const char *header, const struct ticket_request *request, int64_t now, struct ticket *ret,
		      struct json_why *why) WARN_UNUSED;

/* ---- chat.c: bodies towards and from a chat backend ---- */
struct chat_request {
	bool stream;
	bool wants_usage; /* the caller asked for the usage event */
};
/* The backend's body: `model` replaced, `opgate` dropped, usage asked for when streamed. The caller frees. */
enum err chat_rewrite(const char *body, size_t len, const char *model, struct chat_request *ret, char **ret_body, struct json_why *why) WARN_UNUSED;
/* The answer of /v1/completions with its text in `completion` too, where OpenGradient's SDKs read it; NULL: nothing to add. The
 * caller frees. */
char *completion_rewrite(json_t *answer);
char *chat_text(const json_t *j); /* like json_text, but numbers keep their digits */
struct units { uint64_t input, output; };
/* Usage of an answer or event; false when it has none or a senseless one. */
bool units_from_usage(const json_t *answer, struct units *ret);

/* ---- stream.c: an event stream on its way through ---- */
struct sse_rewrite;
struct sse_out {
	enum err (*write)(void *arg, const char *p, size_t len); /* whole events */
	void *arg;
};
struct sse_rewrite *sse_rewrite_new(bool drop_usage, const struct sse_out *out);
/* ERR_BAD_JSON: an event that is no JSON object; ERR_LIMIT; what out->write returned. */
enum err sse_rewrite_feed(struct sse_rewrite *r, const void *p, size_t len) WARN_UNUSED;
bool sse_rewrite_done(const struct sse_rewrite *r); /* [DONE] came; it was not written */
void sse_rewrite_hash(const struct sse_rewrite *r, struct hash *ret); /* over what was written */
struct units sse_rewrite_units(const struct sse_rewrite *r);
uint64_t sse_rewrite_events(const struct sse_rewrite *r); /* written */
void sse_rewrite_free(struct sse_rewrite *r);

/* ---- receipt.c ---- */
/* Signed JSON form; the caller frees. */
char *receipt_write(const struct agent *a, const struct receipt *receipt);
char *receipt_header(const char *text); /* base64url; the caller frees */
void receipt_push(struct agent *a, char *take_text); /* queued for the pusher; dropped with a log line when there are too many */
void *push_run(void *agent);
void push_end(struct agent *a); /* lets push_run return once what is queued was tried */

/* ---- serve.c, infer.c ---- */
extern const struct route NODE_ROUTES[];
extern const size_t NODE_ROUTES_COUNT;
void node_after(struct request *req, int status, int64_t us);

enum backend_path { PATH_INFER, PATH_CHAT, PATH_COMPLETIONS };
struct infer_start {
	struct request *req;
	struct served *served; /* a place was acquired; infer takes it over */
	struct ticket ticket;
	struct served_backend backend;
	enum backend_path path;
	struct chat_request chat;
	char *body; /* NULL: the request's own bytes */
	size_t body_len;
};
/* Always answers: the request is deferred, or the place given back and an error returned. Takes start->body. */
enum err infer_begin(struct agent *a, const struct infer_start *start);
void infer_cancel_all(struct agent *a);
size_t infer_count(struct agent *a);

#endif
