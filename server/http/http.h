/* The inbound HTTP boundary over libmicrohttpd: listener, framing guards, limits, router, workers, replies, streams.
 * It knows routes and requests, no table and no business rule. The gateway and the node agent both use it.
 *
 * Life of a request: daemon thread parses and guards → route → (INLINE) handler at once, or suspend → bounded queue →
 * worker runs `before` then the handler, top to bottom → reply → resume. A handler may defer: then another thread answers
 * later by reply_*() + request_finish(). Everything born in the request dies with its arena in the completion callback. */
#ifndef OPGATE_HTTP_HTTP_H
#define OPGATE_HTTP_HTTP_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/hex.h"

enum http_method { HTTP_GET, HTTP_POST, HTTP_PUT, HTTP_PATCH, HTTP_DELETE }; /* HEAD runs GET; OPTIONS is the router's */

enum route_mode {
	ROUTE_INLINE, /* handler runs on the daemon thread: must not block */
	ROUTE_WORKER, /* body collected up to body_max, handler on a worker */
	ROUTE_UPLOAD, /* `before` on a worker when the headers are in, the body streamed to the upload sink, handler on a worker after it */
};

enum route_auth {
	ROUTE_PUBLIC,   /* nobody looks at Authorization */
	ROUTE_OPTIONAL, /* a valid principal is attached, a bad one refused, none is fine */
	ROUTE_ACCOUNT,  /* an account is required */
	ROUTE_NODE,     /* a node's signed request */
};

enum surface { SURFACE_PROBLEM, SURFACE_OPENAI, SURFACE_OIP, SURFACE_BOTH /* problem+json with an `error` member */ };

struct request;
typedef enum err (*handler_fn)(struct request *req);

struct route {
	enum http_method method;
	const char *pattern; /* "/v1/jobs/{id}"; "{rest...}" as last segment takes the remaining path; "{model*}" takes one
	                        or two segments (author/name as two segments, or one with %2F). A literal beats a parameter,
	                        so a model cannot be named like a sub-resource and be reached as two segments */
	const char *name;    /* operation id */
	enum route_mode mode;
	enum route_auth auth;
	const char *scope;   /* scope an API key needs, or NULL */
	const char *role;    /* account role needed ("admin"), or NULL */
	size_t body_max;     /* bytes */
	const char *rate;    /* rate class name: "read", "write", "paid", "auth" */
	enum surface surface;
	handler_fn handler;
	const char *summary;
	const char *request_schema;  /* name in the schema table, or NULL */
	const char *response_schema;
};

struct stream;
struct http_server;

/* Where an upload's bytes go while they arrive (the blob store implements it). All calls on one thread at a time. */
struct upload_sink {
	enum err (*begin)(void *app, struct request *req, void **ret_upload);
	enum err (*write)(void *upload, const void *p, size_t len); /* an error ends the request with it */
	void (*abandon)(void *upload); /* called exactly once unless the handler took it (request_take_upload) */
};

struct request {
	struct arena *arena;
	const char *id; /* X-Request-Id: a sane incoming one, or ours */
	enum http_method method;
	bool head;
	const char *path;  /* raw, as received, without the query */
	const char *query; /* raw, "" when absent */
	const struct route *route;
	const char *body; /* NUL-terminated after body_len bytes */
	size_t body_len;
	void *upload;     /* ROUTE_UPLOAD, in the handler */
	void *app;
	void *principal;  /* set by `before`, arena memory */
	deadline_ms deadline;
	struct http_exchange *x; /* the boundary's own */
};

const char *request_header(const struct request *req, const char *name); /* NULL when absent */
bool request_header_repeated(const struct request *req, const char *name); /* sent more than once? */
/* Bounded: an embedded NUL, or the same header twice where that is ambiguous, was refused before. */
const char *request_param(const struct request *req, const char *name);  /* path parameter, percent-decoded */
const char *request_query(const struct request *req, const char *name);  /* query parameter, decoded; NULL when absent */
const char *request_client_ip(const struct request *req);
void *request_take_upload(struct request *req);

/* Records what was wrong, in words for the caller, and returns e: `return request_fail(req, ERR_BAD_FIELD, "model: …")`. */
enum err request_fail(struct request *req, enum err e, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Extra member of the error body (`param` in the OpenAI shape). */
void request_fail_param(struct request *req, const char *param);

/* ---- replies: one per request. Memory must live as long as the arena unless said otherwise. ---- */
void reply_header(struct request *req, const char *name, const char *value); /* copied; replaces an earlier one of that name */
void reply_bytes(struct request *req, int status, const char *content_type, const void *p, size_t len);
void reply_json(struct request *req, int status, json_t *take_body); /* compact; frees it */
void reply_empty(struct request *req, int status);
/* A file: takes the fd; HEAD, a single Range and If-None-Match against etag (may be NULL) are handled. */
void reply_file(struct request *req, const char *content_type, int take_fd, uint64_t size, const char *etag);
/* The body of error e in the request's surface; used by the dispatcher for handlers that return an error, and by deferred code. */
void reply_error(struct request *req, enum err e);

/* The handler will not answer on return: whoever holds req must later reply and call request_finish exactly once.
 * Call before handing req to another thread. A handler that deferred and then returns an error takes the request back:
 * nobody else may hold it, and the error is the answer. */
void request_defer(struct request *req);
void request_finish(struct request *req);

/* Runs fn(arg) at most once, on the janitor's thread, when the client leaves before the answer is complete (suspended or
 * streaming). request_clear_gone guarantees fn is not running and will not run after it returns. */
void request_on_gone(struct request *req, void (*fn)(void *arg), void *arg);
void request_clear_gone(struct request *req);
bool request_gone(const struct request *req);

/* ---- streams: a response whose bytes come later, from any one thread ---- */
/* Sends the head and resumes the connection: stands for reply + request_finish of a deferred request, so req must not be
 * touched by the producer afterwards except through the stream; it stays allocated until the stream is released. */
struct stream *reply_stream(struct request *req, int status, const char *content_type);
enum err stream_write(struct stream *s, const void *p, size_t len) WARN_UNUSED; /* ERR_CANCELLED: client gone. Never blocks; ring is bounded: ERR_LIMIT past its hard maximum */
bool stream_full(const struct stream *s); /* above high water: stop feeding until on_drain */
void stream_on_drain(struct stream *s, void (*fn)(void *arg), void *arg); /* called on a daemon thread when below low water */
void stream_end(struct stream *s);   /* complete: last chunk after what is buffered */
void stream_abort(struct stream *s); /* incomplete: the connection is cut */
void stream_release(struct stream *s); /* the producer's reference */
/* A comment ": \n\n" heartbeat is sent by the janitor when nothing was written for 15 s, for text/event-stream. */

/* ---- server ---- */
struct http_config {
	const char *host;
	uint16_t port;          /* 0: any free one */
	unsigned daemons;       /* libmicrohttpd daemons on SO_REUSEPORT */
	unsigned workers;
	unsigned queue_max;     /* requests waiting for a worker; past it 503 + Retry-After */
	unsigned connections_max;
	int64_t header_timeout_ms, request_timeout_ms; /* absolute: to the end of the headers; to the end of the body */
	int64_t handler_timeout_ms; /* sets req->deadline */
	const struct route *routes;
	size_t route_count;
	const char *cors_origin; /* "*", one origin, or NULL for none */
	void *app;
	enum err (*before)(struct request *req); /* authentication and rate limits, on a worker (not for INLINE) */
	void (*after)(struct request *req, int status, int64_t us); /* log and count, once per request, on the completing thread */
	void *(*worker_new)(void *app); /* per-worker state (a database connection); NULL for none */
	void (*worker_free)(void *state);
	struct upload_sink upload;
	int64_t idle_timeout_ms; /* keep-alive and stalled answers, daemon-wide; 0: 75 s */
	int64_t heartbeat_ms;    /* of quiet event streams; 0: 15 s */
};

enum err http_start(const struct http_config *config, struct http_server **ret) WARN_UNUSED;
uint16_t http_port(const struct http_server *server);
void *http_worker_state(void); /* of the calling worker thread; NULL elsewhere */
/* Runs fn(arg) on a worker, ahead of new requests; never refused. For completions: work already paid for. */
void http_post(struct http_server *server, void (*fn)(void *arg), void *arg);
/* New requests get 503 stopping; waits until none is in flight or the deadline; returns how many were left. */
unsigned http_drain(struct http_server *server, deadline_ms deadline);
void http_stop(struct http_server *server); /* resumes every suspended connection, joins all threads, frees */

#endif
