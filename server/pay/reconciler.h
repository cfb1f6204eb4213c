/* Looks at the books and the chain again and again (reconcile.h), on a thread of its own: adding the books up takes longer the more there is,
 * an endpoint may be slow, and nothing else may wait for either. Whoever asks gets what was seen last, or, while a look is quick, one that
 * was begun after they asked; however many ask, one looks. */
#ifndef OPGATE_PAY_RECONCILER_H
#define OPGATE_PAY_RECONCILER_H

#include "pay/reconcile.h"

struct reconciler;

struct reconciler_config {
	const char *database_url;
	struct pay *pay;
	struct reconcile_with with;
	void (*saw)(void *arg, const struct reconciliation *r); /* after each look, on its thread */
	void *arg;
	void (*log)(const char *event, int64_t number, const char *detail);
};

struct reconciler *reconciler_start(const struct reconciler_config *config);
void reconciler_kick(struct reconciler *r); /* look soon: something else found that the books may not hold. Accepts NULL */
/* The body of GET /v1/reconciliation; the caller's own copy. ERR_DB_DOWN: the newest look failed. ERR_OVERLOADED: the first is under way. */
enum err reconciler_ask(struct reconciler *r, json_t **ret) WARN_UNUSED;
void reconciler_stop(struct reconciler *r); /* cuts a look short; asking still does no harm. Accepts NULL */
void reconciler_free(struct reconciler *r); /* after reconciler_stop. Accepts NULL */

#endif
