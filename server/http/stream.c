/* A response whose bytes come later. The producer (any one thread) fills a ring; the daemon thread empties it from the
 * content reader, and suspends the connection when there is nothing to send. `waiting`, under the stream's lock, is the
 * token of that suspend: whoever clears it resumes, once.
 *
 * References: the producer's, the exchange's (until completed), the response's (until libmicrohttpd frees it). The stream
 * holds its exchange. The reader runs under libmicrohttpd's mutex of the response, so nothing here touches the response. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http/internal.h"

#define RING_MAX ((size_t)256 * 1024)
#define RING_FIRST ((size_t)4096)
#define HIGH_WATER ((size_t)128 * 1024)
#define LOW_WATER ((size_t)32 * 1024)
#define READ_BLOCK 16384

struct stream {
	struct stream *next, *prev; /* server->streams, under streams_lock */
	bool listed;
	struct http_exchange *x;
	atomic_uint refs;
	bool events; /* text/event-stream */

	pthread_mutex_t drain_lock; /* recursive: on_drain may end or release the stream */
	void (*drain_fn)(void *arg);
	void *drain_arg;

	pthread_mutex_t lock; /* guards the rest */
	char *ring;
	size_t cap, head, len;
	bool waiting;  /* the connection is suspended for us */
	bool ended, aborted;
	bool cut;      /* the client left, or the server stops */
	bool closed;   /* no reader any more */
	bool finished; /* the reader has passed the end on */
	bool above;    /* crossed high water, not yet below low water */
	char tail[4];  /* the last bytes written: a heartbeat goes between events only */
	int64_t written_at;
};

void stream_ref(struct stream *s)
{
	atomic_fetch_add(&s->refs, 1);
}

void stream_unref(struct stream *s)
{
	if (atomic_fetch_sub(&s->refs, 1) != 1)
		return;
	struct http_exchange *x = s->x;
	pthread_mutex_destroy(&s->lock);
	pthread_mutex_destroy(&s->drain_lock);
	free(s->ring);
	free(s);
	exchange_unref(x);
}

static struct stream *stream_new(struct http_exchange *x, const char *content_type)
{
	struct stream *s = xcalloc(1, sizeof(*s));
	s->x = x;
	exchange_ref(x);
	atomic_init(&s->refs, 2); /* the producer's and the exchange's */
	s->events = !strncasecmp(content_type, "text/event-stream", 17);
	s->written_at = clock_mono_ms();
	pthread_mutex_init(&s->lock, NULL);
	pthread_mutexattr_t attr;
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&s->drain_lock, &attr);
	pthread_mutexattr_destroy(&attr);
	return s;
}

/* ---- the daemon's side ---- */

static size_t ring_take(struct stream *s, char *out, size_t max)
{
	size_t n = s->len < max ? s->len : max;
	size_t first = s->cap - s->head < n ? s->cap - s->head : n;
	memcpy(out, s->ring + s->head, first);
	memcpy(out + first, s->ring, n - first);
	s->head = (s->head + n) & (s->cap - 1);
	s->len -= n;
	return n;
}

static void drain_call(struct stream *s)
{
	pthread_mutex_lock(&s->drain_lock);
	if (s->drain_fn)
		s->drain_fn(s->drain_arg);
	pthread_mutex_unlock(&s->drain_lock);
}

static ssize_t stream_read(void *cls, uint64_t pos, char *out, size_t max)
{
	struct stream *s = cls;
	ssize_t n = 0;
	bool drained = false;
	(void)pos;
	pthread_mutex_lock(&s->lock);
	if (s->cut) {
		n = MHD_CONTENT_READER_END_WITH_ERROR;
	} else if (s->len) {
		n = (ssize_t)ring_take(s, out, max);
		drained = s->above && s->len < LOW_WATER;
		if (drained)
			s->above = false;
	} else if (s->aborted) {
		n = MHD_CONTENT_READER_END_WITH_ERROR;
	} else if (s->ended) {
		s->finished = true;
		n = MHD_CONTENT_READER_END_OF_STREAM;
	} else {
		s->waiting = true;
		MHD_suspend_connection(s->x->mhd);
	}
	pthread_mutex_unlock(&s->lock);
	if (drained)
		drain_call(s);
	return n;
}

void stream_close(struct stream *s)
{
	pthread_mutex_lock(&s->lock);
	s->closed = true;
	pthread_mutex_unlock(&s->lock);
}

bool stream_finished(struct stream *s)
{
	pthread_mutex_lock(&s->lock);
	bool done = s->finished || s->aborted;
	pthread_mutex_unlock(&s->lock);
	return done;
}

static void stream_response_free(void *cls)
{
	struct stream *s = cls;
	struct http_server *server = s->x->server;
	pthread_mutex_lock(&server->streams_lock);
	if (s->listed) {
		if (s->prev)
			s->prev->next = s->next;
		else
			server->streams = s->next;
		if (s->next)
			s->next->prev = s->prev;
		s->listed = false;
	}
	pthread_mutex_unlock(&server->streams_lock);
	stream_close(s);
	stream_unref(s);
}

struct MHD_Response *stream_response(struct stream *s)
{
	struct http_server *server = s->x->server;
	stream_ref(s);
	struct MHD_Response *r =
		MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, READ_BLOCK, stream_read, s, stream_response_free);
	if (!r) {
		stream_unref(s);
		return NULL;
	}
	if (s->events) {
		pthread_mutex_lock(&server->streams_lock);
		s->next = server->streams;
		if (s->next)
			s->next->prev = s;
		server->streams = s;
		s->listed = true;
		pthread_mutex_unlock(&server->streams_lock);
	}
	return r;
}

/* ---- the producer's side ---- */

static void wake(struct stream *s)
{
	if (s->waiting && !s->closed) {
		s->waiting = false;
		MHD_resume_connection(s->x->mhd);
	}
}

static void ring_grow(struct stream *s, size_t need)
{
	size_t cap = s->cap ? s->cap : RING_FIRST;
	while (cap < need)
		cap *= 2;
	if (cap == s->cap)
		return;
	char *ring = xmalloc(cap);
	size_t len = s->len;
	if (len)
		ring_take(s, ring, len);
	free(s->ring);
	s->ring = ring;
	s->cap = cap;
	s->head = 0;
	s->len = len;
}

static void ring_put(struct stream *s, const char *p, size_t len)
{
	ring_grow(s, s->len + len);
	size_t at = (s->head + s->len) & (s->cap - 1);
	size_t first = s->cap - at < len ? s->cap - at : len;
	memcpy(s->ring + at, p, first);
	memcpy(s->ring, p + first, len - first);
	s->len += len;
	for (size_t i = len > 4 ? len - 4 : 0; i < len; i++) {
		memmove(s->tail, s->tail + 1, 3);
		s->tail[3] = p[i];
	}
}

enum err stream_write(struct stream *s, const void *p, size_t len)
{
	enum err e = ERR_OK;
	pthread_mutex_lock(&s->lock);
	if (s->cut || s->closed || s->ended || s->aborted) {
		e = ERR_CANCELLED;
	} else if (len > RING_MAX - s->len) {
		e = ERR_LIMIT;
	} else if (len) {
		ring_put(s, p, len);
		s->written_at = clock_mono_ms();
		if (s->len >= HIGH_WATER)
			s->above = true;
		wake(s);
	}
	pthread_mutex_unlock(&s->lock);
	return e;
}

bool stream_full(const struct stream *cs)
{
	struct stream *s = (struct stream *)(uintptr_t)cs; /* the lock is not part of the value */
	pthread_mutex_lock(&s->lock);
	bool full = s->above;
	pthread_mutex_unlock(&s->lock);
	return full;
}

void stream_on_drain(struct stream *s, void (*fn)(void *arg), void *arg)
{
	pthread_mutex_lock(&s->drain_lock);
	s->drain_fn = fn;
	s->drain_arg = arg;
	pthread_mutex_unlock(&s->drain_lock);
}

void stream_end(struct stream *s)
{
	pthread_mutex_lock(&s->lock);
	s->ended = true;
	wake(s);
	pthread_mutex_unlock(&s->lock);
}

void stream_abort(struct stream *s)
{
	pthread_mutex_lock(&s->lock);
	s->aborted = !s->ended;
	wake(s);
	pthread_mutex_unlock(&s->lock);
}

void stream_cut(struct stream *s)
{
	pthread_mutex_lock(&s->lock);
	s->cut = true;
	wake(s);
	pthread_mutex_unlock(&s->lock);
}

void stream_release(struct stream *s)
{
	struct http_exchange *x = s->x;
	stream_on_drain(s, NULL, NULL);
	stream_abort(s); /* nothing more can come: an unfinished stream is cut */
	pthread_mutex_lock(&x->lock);
	x->gone_fn = NULL;
	pthread_mutex_unlock(&x->lock);
	stream_unref(s);
}

/* Hands the reply over for good; the exchange may already be over (the server stopped). */
static void stream_publish(struct http_exchange *x, struct stream *s)
{
	bool deferred = x->deferred;
	janitor_watch(x);
	x->finished = true;
	if (!exchange_ready(x)) {
		stream_close(s);
		stream_unref(s);
	}
	if (deferred)
		exchange_unref(x);
}

/* Nobody will read: HTTP/1.0 has no chunks, and an end by close would look whole when it is not; HEAD has no body, but this
 * libmicrohttpd would send the last chunk all the same. The producer sees a client that left. */
static void stream_refuse(struct http_exchange *x, struct stream *s, int status, const char *content_type)
{
	bool deferred = x->deferred;
	if (x->http10)
		reply_error(&x->req, ERR_HTTP_VERSION);
	else
		reply_bytes(&x->req, status, content_type, NULL, 0);
	x->unread = x->finished = true;
	stream_close(s);
	stream_unref(s);
	exchange_mark_gone(x);
	(void)exchange_ready(x);
	if (deferred)
		exchange_unref(x);
}

struct stream *reply_stream(struct request *req, int status, const char *content_type)
{
	struct http_exchange *x = req->x;
	struct stream *s = stream_new(x, content_type);
	reply_done(&x->reply);
	if (x->http10 || req->head) {
		stream_refuse(x, s, status, content_type);
		return s;
	}
	x->reply.set = true;
	x->reply.status = status;
	x->reply.kind = BODY_STREAM;
	x->reply.content_type = arena_strdup(req->arena, content_type);
	x->reply.stream = s;
	stream_publish(x, s);
	return s;
}

static bool between_events(const struct stream *s)
{
	const char *t = s->tail;
	return !t[3] || (t[3] == '\n' && (t[2] == '\n' || (t[2] == '\r' && t[1] == '\n'))) || (t[3] == '\r' && t[2] == '\r');
}

void streams_heartbeat(struct http_server *server, int64_t now)
{
	static const char beat[] = ": \n\n";
	pthread_mutex_lock(&server->streams_lock);
	for (struct stream *s = server->streams; s; s = s->next) {
		pthread_mutex_lock(&s->lock);
		if (s->waiting && !s->closed && now - s->written_at >= server->config.heartbeat_ms && between_events(s)) {
			ring_put(s, beat, sizeof(beat) - 1);
			s->written_at = now;
			wake(s);
		}
		pthread_mutex_unlock(&s->lock);
	}
	pthread_mutex_unlock(&server->streams_lock);
}
