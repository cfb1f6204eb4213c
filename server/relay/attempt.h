/* One attempt: one request to one node. Signs the ticket, sends the caller's exact bytes, takes the answer (whole, or event by
 * event with back-pressure), counts and hashes every byte, and finds the receipt. It decides nothing about money or verdicts. */
#ifndef OPGATE_RELAY_ATTEMPT_H
#define OPGATE_RELAY_ATTEMPT_H

#include "base/buf.h"
#include "net/net.h"
#include "proof/statements.h"

#define ANSWER_MAX (16u << 20) /* bytes of one answer that is held in memory */
#define STREAM_MAX (256u << 20) /* bytes of one answer on the wire */

struct attempt;

struct attempt_result {
	enum err err;      /* ERR_OK: a complete HTTP answer (any status) */
	char error[160];   /* words; the call they come from may be gone before the result is */
	int status;        /* 0: none */
	char content_type[128];
	char tensor_header_length[24]; /* Inference-Header-Content-Length of a binary tensor answer, or "" */
	bool streamed;     /* an event stream; then body is empty unless kept */
	bool done;         /* the stream ended with [DONE] */
	struct buf body;   /* the answer; taken or freed by the owner of the result */
	struct hash response_hash;
	uint64_t events, bytes;
	char *receipt;     /* JSON form, or NULL */
	size_t receipt_len;
};

struct attempt_spec {
	struct net *net;
	const struct secret_key *gateway_key;
	uint64_t chain_id;
	struct ticket ticket; /* all but expires_at, which comes from deadline_ms */
	const char *node_url, *path, *content_type, *tensor_header_length; /* copied */
	const char *request_id, *client_accept;                            /* may be NULL; copied */
	const void *body; /* borrowed until on_end has returned */
	size_t body_len;
	int64_t deadline_ms, stall_timeout_ms; /* from now */
	bool keep_stream; /* also keep the event stream's bytes in result.body (for stored answers), as far as they fit */
	/* On a reactor's thread; must not block. The first two only for event streams with status 200. */
	void (*on_stream)(void *arg, const char *content_type);
	enum net_flow (*on_event)(void *arg, const char *data, size_t len); /* NET_PAUSE: taken, but no more until attempt_resume */
	void (*on_end)(void *arg, struct attempt_result *result);           /* exactly once; the result is the callee's to finish with attempt_result_done */
	void *arg;
};

enum err attempt_start(const struct attempt_spec *spec, struct attempt **ret) WARN_UNUSED; /* then on_end will come */
void attempt_cancel(struct attempt *a); /* any thread */
void attempt_resume(struct attempt *a);
void attempt_unref(struct attempt *a);  /* the starter's reference */
void attempt_result_done(struct attempt_result *r);

#endif
