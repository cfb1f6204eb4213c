/* What the files of server/http share and nobody else sees: the server, a connection, an exchange, a reply.
 *
 * Threads: each libmicrohttpd daemon has one thread ("daemon thread"); workers run handlers; one janitor. A response is
 * queued only by the daemon thread, inside the access callback: other threads store the reply and resume.
 *
 * Lock order, outermost first: registry_lock → conn.lock → exchange.lock → (libmicrohttpd's own);
 * watch_lock, streams_lock and stream.lock → (libmicrohttpd's own). No callback of the application runs under any of
 * them, except on_drain under the stream's drain_lock. */
#ifndef OPGATE_HTTP_INTERNAL_H
#define OPGATE_HTTP_INTERNAL_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/buf.h"
#include "base/mem.h"
#include "http/http.h"
#include "http/router.h"

#define HTTP_MEMORY_LIMIT (256 * 1024) /* per connection; the library zeroes it between requests, so a large one costs each of them. What does not fit gets its own 414 or 431 page */
#define HTTP_URI_MAX 16384            /* bytes of path and query: past it our 414 */
#define HTTP_HEAD_MAX 49152           /* bytes of request line and headers: past it our 431 */
#define HTTP_UPLOAD_CHUNK (128 * 1024) /* handed to the sink at once */
#define HTTP_DISCARD_MAX (64 * 1024)  /* body bytes of a refused request read for the sake of keep-alive */
#define HTTP_LINGER_MAX (1024 * 1024) /* bytes swallowed after a final answer, so that the client can read it */
#define HTTP_LINGER_MS 2000

enum conn_phase { CONN_HEAD, CONN_BODY, CONN_BUSY, CONN_IDLE, CONN_LINGER };
#define CONN_CUT INT64_MIN /* in conn.deadline: the janitor has shut it down */

/* One TCP connection; linked in the registry from NOTIFY_CONNECTION started to closed. */
struct conn {
	struct conn *next, *prev;
	struct http_server *server;
	int fd;
	char ip[46];
	_Atomic int64_t deadline; /* absolute, 0: none, CONN_CUT */
	_Atomic int phase;
	pthread_mutex_t lock;
	struct http_exchange *x; /* under lock */
};

struct header {
	struct header *next;
	const char *name, *value;
};

enum body_kind { BODY_BYTES, BODY_FILE, BODY_STREAM };

struct reply {
	bool set;
	int status;
	enum body_kind kind;
	const char *content_type;
	const void *p;
	uint64_t len, offset;
	int fd; /* -1 unless BODY_FILE and still ours */
	struct stream *stream;
	struct header *headers;
};

struct job {
	struct job *next;
	void (*fn)(void *arg);
	void *arg;
	bool posted; /* heap memory of the queue's own */
};

enum stage {
	STAGE_HEAD,     /* the request line is in */
	STAGE_BODY,     /* headers accepted, body arriving */
	STAGE_WAIT,     /* somebody else has it; we are called again when it is ready or the server stops */
	STAGE_ANSWERED, /* a response is queued */
	STAGE_LINGER,   /* answered by hand; what still arrives is thrown away */
};

enum wait_for { WAIT_ANSWER, WAIT_BEFORE, WAIT_WRITE };

struct http_exchange {
	struct request req;
	struct http_server *server;
	struct conn *conn;
	struct MHD_Connection *mhd;
	int fd;                 /* the connection's, valid until completed */
	char ip[46];
	atomic_uint refs;

	/* daemon thread only (or whoever holds the request while it is suspended) */
	enum stage stage;
	enum wait_for wait_for;
	bool began, http10, chunked, has_body, close, deferred, finished, unread;
	bool refused_body;      /* an answer waits for the end of a small unwanted body */
	uint64_t declared;      /* Content-Length, 0 when absent */
	uint64_t body_seen;
	struct buf body;        /* the collected body, or the upload's current chunk */
	bool upload_begun, upload_taken;
	const char *raw_uri;    /* where libmicrohttpd keeps it: only for the framing check */
	size_t raw_uri_len;
	const char *allow;
	struct route_match match;
	const char *fail_text, *fail_param;
	struct header *headers; /* copies, once deferred */
	bool headers_copied;
	struct reply reply;
	int status;             /* as sent */
	int64_t start_us;
	struct job job;

	pthread_mutex_t lock;   /* guards the rest */
	pthread_cond_t gone_idle;
	bool suspended, ready, killed, completed;
	_Atomic bool gone;
	bool gone_running, gone_posted;
	pthread_t gone_thread;
	void (*gone_fn)(void *arg);
	void *gone_arg;
	struct http_exchange *gone_next; /* the janitor's list, under watch_lock */

	struct watch *watch;    /* under watch_lock */
};

struct http_server {
	struct http_config config;
	atomic_uint refs;
	uint16_t port;
	struct router *router;
	struct MHD_Daemon **daemons;
	bool layout_known; /* this libmicrohttpd keeps the head of a request as it came: the strict framing check can run */
	atomic_bool draining, stopping, killed;

	pthread_mutex_t registry_lock;
	struct conn *conns;

	atomic_uint inflight;
	pthread_mutex_t idle_lock;
	pthread_cond_t idle_cond;

	/* workers */
	pthread_mutex_t queue_lock;
	pthread_cond_t queue_cond;
	struct job *urgent, **urgent_tail, *normal, **normal_tail;
	unsigned waiting, reserved; /* in `normal` or reserved for it; reserved in all */
	bool queue_stop, queue_dead;
	unsigned worker_count;
	pthread_t *workers;

	/* janitor */
	pthread_t janitor;
	bool janitor_started;
	atomic_bool janitor_stop;
	int epoll_fd, wake_fd;
	pthread_mutex_t watch_lock;
	struct watch *graveyard;
	struct http_exchange *gone_head, **gone_tail;
	pthread_mutex_t streams_lock;
	struct stream *streams;
};

/* listener.c */
void server_unref(struct http_server *s);
void server_leave(struct http_server *s); /* one request less in flight */

/* conn.c: the registry of connections */
void conn_notify(void *cls, struct MHD_Connection *c, void **socket_context, enum MHD_ConnectionNotificationCode code);
struct conn *conn_of(struct MHD_Connection *c);
/* Moves the connection to another phase with another deadline; false: the janitor has already cut it. */
bool conn_phase(struct conn *c, enum conn_phase phase, int64_t deadline);
void conns_check_deadlines(struct http_server *s);
void conns_kill(struct http_server *s); /* resumes everything suspended, for the stop */

/* exchange.c */
void *exchange_uri(void *cls, const char *uri, struct MHD_Connection *c);
size_t exchange_keep_raw(void *cls, struct MHD_Connection *c, char *s);
enum MHD_Result exchange_access(void *cls, struct MHD_Connection *c, const char *url, const char *method, const char *version,
				const char *data, size_t *len, void **context);
void exchange_completed(void *cls, struct MHD_Connection *c, void **context, enum MHD_RequestTerminationCode code);
void exchange_ref(struct http_exchange *x);
void exchange_unref(struct http_exchange *x);
bool exchange_suspend(struct http_exchange *x); /* daemon thread, in the access callback; false: the server stops */
/* Resumes; x may be freed afterwards unless referenced. false: the exchange is already over, nobody will read the reply. */
bool exchange_ready(struct http_exchange *x);
void exchange_kill(struct http_exchange *x);
void exchange_mark_gone(struct http_exchange *x);
enum MHD_Result exchange_answer(struct http_exchange *x); /* queues x->reply, or sends it by hand when a body is in the way */

/* dispatch.c: what the workers do with a request */
bool dispatch_request(struct http_exchange *x); /* false: refused, x->reply is set */
enum MHD_Result dispatch_inline(struct http_exchange *x);
bool dispatch_upload_begin(struct http_exchange *x);
bool dispatch_upload_write(struct http_exchange *x);

/* guard.c */
enum err guard_check(struct http_exchange *x, const char *method, const char *version);
const char *guard_request_id(struct http_exchange *x);

/* options.c */
void options_reply(struct http_exchange *x);
void options_cors(struct http_exchange *x, void (*add)(void *arg, const char *name, const char *value), void *arg);
const char *options_allow(struct http_exchange *x, unsigned methods);

/* request.c */
void request_copy_headers(struct http_exchange *x);

/* reply.c */
struct MHD_Response *reply_response(struct http_exchange *x);
void reply_text(struct http_exchange *x, struct buf *out); /* the whole answer as bytes, Connection: close */
void reply_done(struct reply *r);

/* worker.c */
enum err workers_start(struct http_server *s);
void workers_stop(struct http_server *s);
/* A place in the queue; an urgent one is refused only when the workers are stopping. Then exactly one push or give back. */
bool worker_reserve(struct http_server *s, bool urgent);
void worker_give_back(struct http_server *s, bool urgent);
void worker_push(struct http_server *s, struct job *j, bool urgent);

/* janitor.c */
enum err janitor_start(struct http_server *s);
void janitor_stop(struct http_server *s);
void janitor_watch(struct http_exchange *x);   /* reports when the client hangs up */
void janitor_unwatch(struct http_exchange *x);
void janitor_post_gone(struct http_exchange *x);

/* stream.c */
struct MHD_Response *stream_response(struct stream *s); /* NULL: it ended before it began */
void stream_ref(struct stream *s);
void stream_unref(struct stream *s);
void stream_cut(struct stream *s);   /* the client left or the server stops */
void stream_close(struct stream *s); /* nobody will read it any more */
bool stream_finished(struct stream *s);
void streams_heartbeat(struct http_server *s, int64_t now);

#endif
