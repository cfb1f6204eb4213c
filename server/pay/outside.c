/* See outside.h. The lock guards the table of calls under way; the thread that takes turns and the reactor that ends calls meet there. */
#include "pay/outside.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define ASK_DEADLINE_MS 60000   /* it may answer after the receipt */
#define VERIFY_DEADLINE_MS 10000
#define AGAIN_MS 5000           /* between two questions about one payment */
#define USED_GRACE_MS 60000     /* used and no money seen: that long, for endpoints that lag */
#define ANSWER_MAX 65536
#define CALLS_MAX 256           /* payments looked after at once */
#define BUSY_POLL_MS 500
#define LIFE_SLACK_S 600        /* beyond what the terms ask for */
#define OVER_GRACE_S 60         /* like USED_GRACE_MS */

struct call {
	struct outside *owner;
	struct uuid payment;
	bool taken, under_way;
	bool listed; /* this turn */
	char *body;
	deadline_ms again;      /* not asked before */
	deadline_ms used_until; /* 0: not seen used */
};

struct outside {
	struct outside_config config;
	struct settler_config chain; /* for settler_trace */
	char *settle_url;
	struct turns *turns;
	pthread_mutex_t lock;
	struct call calls[CALLS_MAX];
};

/* ---- bodies ---- */

static const char *hex_member(const json_t *stored, const char *name)
{
	return json_string_value(json_object_get(stored, name));
}

static enum err read_address(const json_t *stored, const char *name, struct address *ret)
{
	const char *s = hex_member(stored, name);

	return s ? address_parse(s, ret) : ERR_BAD_FIELD;
}

static enum err read_number(const json_t *stored, const char *name, struct u256 *ret)
{
	const char *s = hex_member(stored, name);

	return s && !strncmp(s, "0x", 2) && !u256_parse(s + 2, strlen(s + 2), 16, ret) ? ERR_OK : ERR_BAD_FIELD;
}

struct plain { /* an authorization in plain form, read */
	struct address from, to;
	struct u256 value, after, before, nonce;
	const char *signature, *nonce_text;
};

static enum err read_plain(const json_t *stored, struct plain *ret)
{
	struct plain p = { .signature = hex_member(stored, "signature"), .nonce_text = hex_member(stored, "nonce") };

	if (!p.signature || read_address(stored, "from", &p.from) || read_address(stored, "to", &p.to) || read_number(stored, "value", &p.value) ||
	    read_number(stored, "validAfter", &p.after) || read_number(stored, "validBefore", &p.before) || read_number(stored, "nonce", &p.nonce))
		return ERR_BAD_FIELD;
	*ret = p;
	return ERR_OK;
}

static json_t *eip3009_payload(const struct plain *p)
{
	return json_must(json_pack("{s:s, s:{s:s, s:s, s:s, s:s, s:s, s:s}}", "signature", p->signature, "authorization", "from", address_format_eip55(&p->from).s, "to",
				   address_format_eip55(&p->to).s, "value", u256_format(&p->value).s, "validAfter", u256_format(&p->after).s, "validBefore",
				   u256_format(&p->before).s, "nonce", p->nonce_text));
}

static json_t *permit2_payload(const struct x402 *x, const struct plain *p, bool upto)
{
	json_t *witness = json_must(json_pack("{s:s, s:s}", "to", address_format_eip55(&p->to).s, "validAfter", u256_format(&p->after).s));

	if (upto)
		json_object_set_new(witness, "facilitator", json_must(json_string(address_format_eip55(&x->facilitator).s)));
	return json_must(json_pack("{s:s, s:{s:s, s:{s:s, s:s}, s:s, s:s, s:s, s:o}}", "signature", p->signature, "permit2Authorization", "from",
				   address_format_eip55(&p->from).s, "permitted", "token", address_format_eip55(&x->token).s, "amount", u256_format(&p->value).s, "spender",
				   address_format_eip55(upto ? &X402_UPTO_PROXY : &X402_EXACT_PROXY).s, "nonce", u256_format(&p->nonce).s, "deadline",
				   u256_format(&p->before).s, "witness", witness));
}

enum err outside_body(const struct x402 *x, const char *scheme, const char *method, const json_t *stored, struct amount amount, json_t **ret)
{
	bool upto = !strcmp(scheme, "upto"), eip3009 = !strcmp(method, "eip3009");
	struct plain p;
	struct x402_offer offer = { .scheme = upto ? X402_UPTO : X402_EXACT, .method = eip3009 ? X402_EIP3009 : X402_PERMIT2, .chain_id = x->chain_id, .asset = x->token,
				    .pay_to = x->pay_to, .max_timeout_s = x->timeout_s, .name = x->token_name, .version = x->token_version, .facilitator = x->facilitator };
	json_t *accepted;

	if (read_plain(stored, &p))
		return ERR_BAD_FIELD;
	offer.amount = p.value;
	accepted = x402_offer_json(&offer);
	if (upto)
		offer.amount = u256_from_amount(amount);
	*ret = json_must(json_pack("{s:i, s:{s:i, s:o, s:o}, s:o}", "x402Version", 2, "paymentPayload", "x402Version", 2, "accepted", accepted, "payload",
				   eip3009 ? eip3009_payload(&p) : permit2_payload(x, &p, upto), "paymentRequirements", x402_offer_json(&offer)));
	return ERR_OK;
}

/* ---- questions that wait for the answer ---- */

static char *url_of(const char *base, const char *what)
{
	size_t n = strlen(base);

	while (n > 0 && base[n - 1] == '/')
		n--;
	return xasprintf("%.*s/%s", (int)n, base, what);
}

/* The JSON object it answers with status 200; ERR_CHAIN_DOWN for anything else. */
static enum err fetch(struct net *net, const char *base, const char *what, const char *body, json_t **ret)
{
	static const struct net_header headers[] = { { "Content-Type", "application/json" }, { "Accept", "application/json" } };
	_cleanup_free_ char *url = url_of(base, what);
	const struct net_request request = { .method = body ? "POST" : "GET", .url = url, .headers = headers, .header_count = 2, .body = body,
					     .body_len = body ? strlen(body) : 0, .deadline_ms = VERIFY_DEADLINE_MS, .response_max = ANSWER_MAX };
	struct net_answer answer = { .body = BUF_INIT(ANSWER_MAX) };
	struct json_why why;
	json_t *j = NULL;
	enum err e = net_fetch(net, &request, &answer);

	if (!e && answer.status == 200 && json_parse(answer.body.data ? answer.body.data : "", answer.body.len, &j, &why) == ERR_OK && json_is_object(j)) {
		*ret = j;
	} else {
		json_decref(j);
		e = ERR_CHAIN_DOWN;
	}
	buf_done(&answer.body);
	return e;
}

enum err outside_supported(struct net *net, const char *url, uint64_t chain_id, struct address *ret_upto, struct outside_why *why)
{
	_cleanup_json_ json_t *answer = NULL;
	const struct x402_network_str ours = x402_network_format(chain_id);
	struct address upto = { { 0 } };
	const json_t *kinds;
	bool exact = false;
	enum err e = fetch(net, url, "supported", NULL, &answer);

	if (e) {
		snprintf(why->text, sizeof(why->text), "no usable answer to /supported");
		return e;
	}
	kinds = json_object_get(answer, "kinds");
	for (size_t i = 0; i < json_array_size(kinds); i++) {
		const json_t *kind = json_array_get(kinds, i), *version = json_object_get(kind, "x402Version");
		const char *scheme = json_string_value(json_object_get(kind, "scheme")), *network = json_string_value(json_object_get(kind, "network"));
		const char *address = json_string_value(json_object_get(json_object_get(kind, "extra"), "facilitatorAddress"));

		if (!scheme || !network || strcmp(network, ours.s) != 0 || json_number_value(version) != 2)
			continue;
		exact |= !strcmp(scheme, "exact");
		if (!strcmp(scheme, "upto") && address && address_parse(address, &upto))
			upto = (struct address){ { 0 } };
	}
	if (!exact) {
		snprintf(why->text, sizeof(why->text), "it does not settle `exact` on %s", ours.s);
		return ERR_CONFLICT;
	}
	*ret_upto = upto;
	return ERR_OK;
}

/* What is not settled stays open as long as it could be: so nobody may have it open for ever. */
static bool lives_too_long(const struct x402 *x, const struct x402_auth *a)
{
	struct u256 most = u256_from_u64((uint64_t)x402_now_s(x) + x->timeout_s + LIFE_SLACK_S);

	return a->valid_before.range != X402_FITS || u256_cmp(&a->valid_before.v, &most) > 0;
}

enum err outside_verify(const struct x402 *x, const struct x402_paid *paid, struct x402_why *why, const char **ret_reason)
{
	_cleanup_json_ json_t *body = NULL, *answer = NULL;
	_cleanup_free_ char *text = NULL;
	const char *reason;
	enum err e;

	if (lives_too_long(x, &paid->auth)) {
		*ret_reason = paid->auth.method == X402_EIP3009 ? "invalid_exact_evm_payload_authorization_valid_before" : "permit2_deadline_expired";
		return ERR_OK;
	}
	e = outside_body(x, x402_scheme_name(paid->offer->scheme), x402_method_name(paid->auth.method), paid->stored, paid->amount, &body);

	if (!e) {
		text = json_text(body);
		e = fetch(x->outside, x->outside_url, "verify", text, &answer);
	}
	if (e)
		return e;
	*ret_reason = NULL;
	if (json_is_true(json_object_get(answer, "isValid")))
		return ERR_OK;
	reason = json_string_value(json_object_get(answer, "invalidReason"));
	snprintf(why->text, sizeof(why->text), "%s", reason && *reason ? reason : "invalid_payload");
	for (char *p = why->text; *p; p++)
		if (*p < 0x20 || *p > 0x7e)
			*p = '?';
	*ret_reason = why->text;
	return ERR_OK;
}

/* ---- settling ---- */

/* Whatever it says: our endpoint is asked. */
static void asked(void *arg, enum err e, int status)
{
	struct call *c = arg;
	struct outside *o = c->owner;

	(void)e;
	(void)status;
	pthread_mutex_lock(&o->lock);
	c->under_way = false;
	c->again = deadline_in(AGAIN_MS);
	turns_kick(o->turns);
	pthread_mutex_unlock(&o->lock);
}

/* The payment's place in the table; NULL when it is full: later. */
static struct call *call_of(struct outside *o, const struct uuid *payment)
{
	struct call *empty = NULL;

	for (size_t i = 0; i < CALLS_MAX; i++) {
		struct call *c = &o->calls[i];

		if (c->taken && !memcmp(&c->payment, payment, sizeof(*payment)))
			return c;
		if (!c->taken && !empty)
			empty = c;
	}
	if (empty) {
		free(empty->body);
		*empty = (struct call){ .owner = o, .payment = *payment, .taken = true };
	}
	return empty;
}

/* With the lock held, which a call's end takes too: net_call never calls back before it returns. */
static void ask(struct outside *o, struct call *c, const struct settling *p)
{
	static const struct net_header headers[] = { { "Content-Type", "application/json" }, { "Accept", "application/json" } };
	const struct x402 *x = o->config.x;
	struct net_request request = { .method = "POST", .url = o->settle_url, .headers = headers, .header_count = 2, .deadline_ms = ASK_DEADLINE_MS, .response_max = ANSWER_MAX,
				       .on_done = asked, .arg = c };
	_cleanup_json_ json_t *body = NULL;

	if (!c->body) {
		if (outside_body(x, p->scheme, p->method, p->payload, p->amount, &body))
			return; /* what cannot be written fails when its time is over */
		c->body = json_text(body);
	}
	request.body = c->body;
	request.body_len = strlen(c->body);
	c->under_way = net_call(x->outside, &request, NULL) == ERR_OK;
}

static enum err fail(struct outside *o, struct db *db, const struct settling *p, enum settler_seen seen)
{
	enum err e = chain_check_id(o->chain.chain, o->chain.chain_id); /* what another chain says of this payment is nothing */

	if (!e)
		e = db_payment_failed(db, &p->id, settler_reason(&o->chain, p, seen == SETTLER_USED));
	if (!e)
		o->config.ended(o->config.arg, &p->id, NULL, false);
	return e;
}

/* Has its time passed on the chain? Then nobody can use it any more. */
static bool is_over(const struct settling *p, uint64_t chain_time)
{
	struct u256 then = u256_from_u64(chain_time > OVER_GRACE_S ? chain_time - OVER_GRACE_S : 0);
	struct plain a;

	return read_plain(p->payload, &a) || u256_cmp(&a.before, &then) < 0;
}

static enum err look_after(struct outside *o, struct db *db, const struct settling *p, const struct chain_block *head)
{
	enum settler_seen seen = SETTLER_UNUSED;
	struct call *c;
	bool over = is_over(p, head->timestamp);
	enum err e = settler_trace(&o->chain, db, p, head->number, &seen);

	if (e && e != ERR_CONFLICT)
		return e;
	if (e) { /* used, perhaps by a transaction of ours from before, which is read first */
		seen = SETTLER_USED;
		over = false;
	}
	if (seen == SETTLER_UNSHOWN)
		seen = SETTLER_USED; /* it has its time, too */
	if (seen == SETTLER_SETTLED) {
		o->config.ended(o->config.arg, &p->id, NULL, false);
		return ERR_OK;
	}
	pthread_mutex_lock(&o->lock);
	c = call_of(o, &p->id);
	if (c) {
		c->listed = true;
		if (seen == SETTLER_USED && !c->used_until)
			c->used_until = deadline_in(USED_GRACE_MS);
		if (seen == SETTLER_UNUSED && !c->under_way && deadline_passed(c->again) && !over)
			ask(o, c, p);
	}
	pthread_mutex_unlock(&o->lock);
	if (seen == SETTLER_USED && c && deadline_passed(c->used_until))
		return fail(o, db, p, seen);
	return seen == SETTLER_UNUSED && over ? fail(o, db, p, seen) : ERR_OK;
}

/* Places of payments that have ended. */
static void forget_ended(struct outside *o)
{
	pthread_mutex_lock(&o->lock);
	for (size_t i = 0; i < CALLS_MAX; i++) {
		struct call *c = &o->calls[i];

		if (c->taken && !c->listed && !c->under_way)
			c->taken = false;
		c->listed = false;
	}
	pthread_mutex_unlock(&o->lock);
}

static enum err take_turn(const void *arg, struct db *db, bool *ret_busy)
{
	struct outside *o = *(struct outside *const *)arg;
	struct settling *list = xcalloc(CALLS_MAX, sizeof(*list));
	struct chain_block head;
	size_t count = 0;
	bool mine = false;
	enum err e = settler_watch(&o->chain, &head);

	*ret_busy = false;
	if (!e)
		e = db_settler_own(db, &o->config.x->pay_to, settler_idle_ms(&o->chain), &mine);
	if (!e && mine)
		e = db_settling_for_us(db, list, CALLS_MAX, &count);
	for (size_t i = 0; i < count; i++) {
		enum err one = look_after(o, db, &list[i], &head);

		e = e ? e : one;
		json_decref(list[i].payload);
	}
	if (!e && mine)
		forget_ended(o);
	*ret_busy = count > 0;
	free(list);
	return e;
}

/* ---- life ---- */

struct outside *outside_start(const struct outside_config *config)
{
	const struct turns_config turns = { .database_url = config->database_url, .poll_ms = config->poll_ms, .busy_ms = BUSY_POLL_MS, .turn = take_turn, .log = config->log,
					    .name = "outside" };
	struct outside *o = xcalloc(1, sizeof(*o));

	o->config = *config;
	o->chain = (struct settler_config){ .chain = config->x->chain, .chain_id = config->x->chain_id, .token = config->x->token, .pay_to = config->x->pay_to,
					    .contract = config->x->facilitator, .patience_ms = config->patience_ms, .view = config->view, .log = config->log };
	o->settle_url = url_of(config->x->outside_url, "settle");
	pthread_mutex_init(&o->lock, NULL);
	pthread_mutex_lock(&o->lock); /* the end of a call kicks */
	o->turns = turns_start(&turns, &o, sizeof(o));
	pthread_mutex_unlock(&o->lock);
	return o;
}

void outside_kick(struct outside *o)
{
	turns_kick(o->turns);
}

void outside_stop(struct outside *o)
{
	if (o)
		turns_stop(o->turns);
}

void outside_free(struct outside *o)
{
	if (!o)
		return;
	turns_free(o->turns);
	for (size_t i = 0; i < CALLS_MAX; i++)
		free(o->calls[i].body);
	pthread_mutex_destroy(&o->lock);
	free(o->settle_url);
	free(o);
}
