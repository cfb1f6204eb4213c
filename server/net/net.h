/* Outbound HTTP over libcurl: R reactor threads (multi_socket + epoll + eventfd), streamed answers with back-pressure,
 * absolute deadlines, bounded bodies. A node's calls go to one reactor by hash so keep-alive connections are reused.
 *
 * Two instances exist: `trusted` (chain RPC, the operator's own settings) and `hostile` (URLs that users registered); they
 * never share handles or connections. Hostile rules: http/https only, no redirects, no proxy, the resolved address is judged
 * at connect time, private and special ranges refused unless allow_private. */
#ifndef OPGATE_NET_NET_H
#define OPGATE_NET_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"

struct net;
struct net_call;

struct net_config {
	unsigned reactors;
	bool hostile;
	bool allow_private;
	unsigned connections_per_host_max;
};

enum err net_start(const struct net_config *config, struct net **ret) WARN_UNUSED;
void net_stop(struct net *net); /* cancels what runs: every on_done has returned when this returns. Accepts NULL */

struct net_header { const char *name, *value; };

enum net_flow { NET_CONTINUE, NET_PAUSE /* data was NOT taken and comes again after net_resume */, NET_ABORT };

struct net_request {
	const char *method; /* "GET", "POST", … */
	const char *url;
	const struct net_header *headers; /* copied */
	size_t header_count;
	const void *body; /* borrowed until on_done has returned */
	size_t body_len;
	int64_t connect_timeout_ms; /* 0: 3000 */
	int64_t deadline_ms;        /* total, from now; required */
	int64_t stall_timeout_ms;   /* no byte received for this long ends the call; 0: none */
	size_t response_max;        /* bytes of body; past it ERR_TOO_LARGE; 0: 1 MiB */
	bool repeatable; /* sending it twice does no harm, so a kept connection that ends without an answer is no failure; a plain GET or HEAD always is */
	/* Callbacks run on the reactor's thread, must not block. All may be NULL but on_done. */
	enum net_flow (*on_head)(void *arg, int status); /* headers are complete: net_call_header works from here on */
	enum net_flow (*on_data)(void *arg, const void *p, size_t len);
	/* Last call, always exactly once: ERR_OK (the body was complete as framed), ERR_IO, ERR_DEADLINE, ERR_TOO_LARGE, ERR_CANCELLED,
	 * ERR_FORBIDDEN (address refused). status 0 when no answer came. A close-delimited body counts as incomplete (ERR_IO). */
	void (*on_done)(void *arg, enum err e, int status);
	void *arg;
	/* net_call gives *ret with a reference of the caller's own (net_call_unref): safe to use while racing with on_done. */
	bool hold;
};

/* On ERR_OK on_done will be called; otherwise never. ret may be NULL. The call handle is valid until on_done returns. */
enum err net_call(struct net *net, const struct net_request *request, struct net_call **ret) WARN_UNUSED;
void net_resume(struct net_call *call); /* after NET_PAUSE, from any thread */
void net_cancel(struct net_call *call); /* from any thread; on_done comes with ERR_CANCELLED unless already done */
/* Keeps the handle valid past on_done (for threads that race with it): */
void net_call_ref(struct net_call *call);
void net_call_unref(struct net_call *call);
const char *net_call_header(struct net_call *call, const char *name); /* in callbacks; NULL when absent or repeated */
uint64_t net_call_body_bytes(const struct net_call *call);
const char *net_call_error(const struct net_call *call); /* words, for logs */

/* Blocking form for worker threads: the whole answer in `ret_body` (bounded by its max). Transport errors only: check *ret_status. */
struct net_answer {
	int status;
	struct buf body; /* .max set by the caller */
	char content_type[128];
	char error[160];
};
enum err net_fetch(struct net *net, const struct net_request *request, struct net_answer *answer) WARN_UNUSED;

/* May this URL be stored as a node or webhook URL at all? http/https, no user info, no fragment, a host. ERR_BAD_FIELD. */
enum err net_url_check(const char *url, bool allow_private) WARN_UNUSED;

#endif
