/* The finding about a receipt. Called by the gateway on arrival, by POST /v1/verify and by `opgate verify`; no state, no
 * locks, no I/O. A check that cannot be made says unverifiable; only a contradiction says failed. */
#include "proof/verdict.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "proof/stream_match.h"

const char *verdict_name(enum verdict v)
{
	return v == VERDICT_PASSED ? "passed" : v == VERDICT_FAILED ? "failed" : "unverifiable";
}

static void add(struct verdict_report *rep, const char *name, enum verdict result, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

static void add(struct verdict_report *rep, const char *name, enum verdict result, const char *fmt, ...)
{
	if (rep->count == VERDICT_CHECKS_MAX)
		panic("verdict: more checks than VERDICT_CHECKS_MAX");
	struct verdict_check *c = &rep->checks[rep->count++];
	c->name = name;
	c->result = result;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(c->detail, sizeof(c->detail), fmt, ap);
	va_end(ap);
}

static void add_hash(struct verdict_report *rep, const char *name, const struct hash *want, const struct hash *got, const char *what)
{
	if (hash_equal(want, got))
		add(rep, name, VERDICT_PASSED, "%s", hash_format(got).s);
	else
		add(rep, name, VERDICT_FAILED, "the receipt names another %s: %s", what, hash_format(got).s);
}

/* ---- who signed ---- */

static bool check_signature(struct verdict_report *rep)
{
	const struct receipt *r = &rep->receipt;
	if (doc_signer(&RECEIPT_TYPE, r, rep->chain_id, &rep->signature, &rep->signer)) {
		memset(&rep->signer, 0, sizeof(rep->signer));
		add(rep, "signature", VERDICT_FAILED, "no key could have made this signature");
		return false;
	}
	add(rep, "signature", VERDICT_PASSED, "signed by %s", address_format(&rep->signer).s);
	bool own = address_equal(&rep->signer, &r->node);
	if (own)
		add(rep, "signer", VERDICT_PASSED, "the node named in the receipt");
	else
		add(rep, "signer", VERDICT_FAILED, "the receipt names %s, another key signed it", address_format(&r->node).s);
	return true;
}

struct finding {
	enum verdict result;
	char detail[160];
};

static struct finding finding(enum verdict result, const char *detail)
{
	struct finding f = { .result = result };
	snprintf(f.detail, sizeof(f.detail), "%s", detail);
	return f;
}

/* What the gateway's statement says about the signer. The profile it names is returned for its own check. */
static struct finding judge_statement(const struct verdict_input *in, const struct verdict_report *rep, struct hash *ret_profile)
{
	struct node_statement st;
	struct signature sig;
	struct address signer;
	uint64_t chain_id;
	if (doc_read(&NODE_STATEMENT_TYPE, in->statement_text, in->statement_len, &st, &chain_id, &sig, NULL))
		return finding(VERDICT_FAILED, "the registration statement is not in its canonical form");
	if (doc_signer(&NODE_STATEMENT_TYPE, &st, chain_id, &sig, &signer) || !address_equal(&signer, &st.gateway))
		return finding(VERDICT_FAILED, "the registration statement is not signed by the gateway it names");
	if (chain_id != rep->chain_id)
		return finding(VERDICT_FAILED, "the registration statement is for another chain");
	if (!address_equal(&st.node, &rep->signer))
		return finding(VERDICT_FAILED, "the registration statement is about another node");
	if (!hash_equal(&st.model_digest, &rep->receipt.model_digest))
		return finding(VERDICT_FAILED, "the registration statement is for another model version");
	if (!in->gateway)
		return finding(VERDICT_UNVERIFIABLE, "the registration statement counts only with the gateway's key (--gateway)");
	if (!address_equal(&st.gateway, in->gateway))
		return in->own_gateway ? finding(VERDICT_UNVERIFIABLE, "the registration statement is by another gateway: it counts only with that one's key (gateway)")
				       : finding(VERDICT_FAILED, "the registration statement is by another gateway than the pinned one");
	if (st.registered_at > rep->receipt.finished_at && st.registered_at - rep->receipt.finished_at > VERDICT_CLOCK_SLACK_MS)
		return finding(VERDICT_UNVERIFIABLE, "the node registered after this receipt; the statement says nothing about the time before");
	*ret_profile = st.profile_hash;
	return finding(VERDICT_PASSED, "the pinned gateway states that this node serves this model version");
}

static struct finding judge_pin(const struct verdict_input *in, const struct verdict_report *rep)
{
	return address_equal(in->node, &rep->signer) ? finding(VERDICT_PASSED, "the pinned node signed")
						     : finding(VERDICT_FAILED, "another key than the pinned node's signed");
}

static void check_registration(const struct verdict_input *in, struct verdict_report *rep)
{
	static const struct hash none;
	struct hash profile = none;
	struct finding f = finding(VERDICT_UNVERIFIABLE, "nothing says that this key is a registered node: pin the node (--node), or "
							 "give its statement and the gateway (--statement, --gateway)");
	if (in->node)
		f = judge_pin(in, rep);
	if (in->statement_text) {
		struct finding s = judge_statement(in, rep, &profile);
		/* A contradiction always shows; otherwise the better knowledge counts. */
		if (s.result == VERDICT_FAILED || (s.result == VERDICT_PASSED && f.result != VERDICT_FAILED) || !in->node)
			f = s;
	}
	add(rep, "registration", f.result, "%s", f.detail);
	if (in->profile_hash)
		add_hash(rep, "profile", in->profile_hash, &rep->receipt.profile_hash, "execution profile");
	else if (!hash_equal(&profile, &none) && !hash_equal(&profile, &rep->receipt.profile_hash))
		add(rep, "profile", VERDICT_UNVERIFIABLE, "the registration statement is for another execution profile of this node");
}

/* ---- what was asked ---- */

static void check_ticket(const struct ticket *t, struct verdict_report *rep)
{
	const struct receipt *r = &rep->receipt;
	struct { const char *name; bool same; } fields[] = {
		{ "jobId", memcmp(t->job_id.b, r->job_id.b, sizeof(r->job_id.b)) == 0 },
		{ "attempt", t->attempt == r->attempt },
		{ "gateway", address_equal(&t->gateway, &r->gateway) },
		{ "node", address_equal(&t->node, &r->node) },
		{ "modelDigest", hash_equal(&t->model_digest, &r->model_digest) },
		{ "policy", strcmp(t->policy, r->policy) == 0 },
		{ "requestHash", hash_equal(&t->request_hash, &r->request_hash) },
	};
	char names[96] = "";
	size_t used = 0;
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		if (!fields[i].same)
			used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s", used ? ", " : "", fields[i].name);
	if (used)
		add(rep, "ticket", VERDICT_FAILED, "the receipt differs from what was asked in: %s", names);
	else
		add(rep, "ticket", VERDICT_PASSED, "job, attempt, gateway, node, model, policy and request as asked");
}

static const char *const OUR_PATHS[] = { "/v1/jobs", "/v1/chat/completions", "/v1/completions", "/v1/embeddings" };
/* A hash cannot match by accident, so trying what clients usually send costs nothing but time. */
static const char *const USUAL_TYPES[] = { "application/json", "application/json; charset=utf-8", "application/json;charset=utf-8",
					   "application/octet-stream", "" };

/* The request as given, under each route and content type it may have been sent with. */
static bool request_matches(const struct verdict_input *in, const struct hash *want, const char **ret_path)
{
	const char *const *paths = in->request_path ? &in->request_path : OUR_PATHS;
	size_t path_count = in->request_path ? 1 : sizeof(OUR_PATHS) / sizeof(OUR_PATHS[0]);
	size_t usual = sizeof(USUAL_TYPES) / sizeof(USUAL_TYPES[0]);
	const char *method = in->request_method ? in->request_method : "POST";
	for (size_t p = 0; p < path_count; p++) {
		for (size_t t = 0; t <= usual; t++) {
			const char *type = t < usual ? USUAL_TYPES[t] : in->request_content_type;
			if (!type)
				continue;
			struct hash got;
			request_hash(method, paths[p], type, in->request_inference_header_length, in->request_body, in->request_len, &got);
			if (hash_equal(&got, want)) {
				*ret_path = paths[p];
				return true;
			}
		}
	}
	return false;
}

static void check_request(const struct verdict_input *in, struct verdict_report *rep)
{
	const struct hash *want = &rep->receipt.request_hash;
	if (in->request_hash) {
		add_hash(rep, "request", in->request_hash, want, "request");
	} else if (in->request_body) {
		const char *path;
		if (request_matches(in, want, &path))
			add(rep, "request", VERDICT_PASSED, "these bytes were asked at %.100s", path);
		else if (in->request_path)
			add(rep, "request", VERDICT_FAILED, "not the request of this receipt (at this path, with this content type)");
		else
			add(rep, "request", VERDICT_FAILED,
			    "not the request of this receipt at any /v1 route; if it went to the model's /v2 path, give --path");
	}
}

static void check_response(const struct verdict_input *in, struct verdict_report *rep)
{
	const struct hash *want = &rep->receipt.response_hash;
	if (in->response_hash) {
		add_hash(rep, "response", in->response_hash, want, "response");
		return;
	}
	if (!in->response_body)
		return;
	struct hash plain;
	sha256_of(in->response_body, in->response_len, &plain);
	if (hash_equal(&plain, want)) {
		add(rep, "response", VERDICT_PASSED, "these bytes were answered");
		return;
	}
	switch (stream_match(in->response_body, in->response_len, want, in->receipt_text, in->receipt_len)) {
	case STREAM_SAME:
		add(rep, "response", VERDICT_PASSED, "these events were answered");
		return;
	case STREAM_STRAY:
		add(rep, "response", VERDICT_FAILED, "the events are the answered ones, but the stream holds bytes that are no part of the answer");
		return;
	case STREAM_OTHER_RECEIPT:
		add(rep, "response", VERDICT_FAILED, "the events are the answered ones, but the stream carries another receipt");
		return;
	case STREAM_OTHER:
		break;
	}
	add(rep, "response", VERDICT_FAILED, "not the response of this receipt");
}

/* ---- what the receipt says by itself ---- */

static void check_times(const struct verdict_input *in, struct verdict_report *rep)
{
	const struct receipt *r = &rep->receipt;
	if (r->finished_at < r->started_at)
		add(rep, "times", VERDICT_FAILED, "it ends before it starts");
	else if (in->now_ms > 0 && r->finished_at > (uint64_t)in->now_ms + VERDICT_CLOCK_SLACK_MS)
		add(rep, "times", VERDICT_FAILED, "it ends in the future");
	else
		add(rep, "times", VERDICT_PASSED, "%llu ms", (unsigned long long)(r->finished_at - r->started_at));
}

static void check_units(const struct verdict_input *in, struct verdict_report *rep)
{
	const struct receipt *r = &rep->receipt;
	if (!in->input_units_max && !in->output_units_max)
		return;
	bool input_over = in->input_units_max && r->input_units > in->input_units_max;
	bool output_over = in->output_units_max && r->output_units > in->output_units_max;
	if (input_over || output_over)
		add(rep, "units", VERDICT_PASSED, "%s units above what is plausible: only the plausible number is charged",
		    input_over && output_over ? "input and output" : input_over ? "input" : "output");
	else
		add(rep, "units", VERDICT_PASSED, "%llu in, %llu out", (unsigned long long)r->input_units, (unsigned long long)r->output_units);
}

static void check_made_for(const struct verdict_input *in, struct verdict_report *rep)
{
	const struct address *gateway = &rep->receipt.gateway;
	unsigned long long chain = rep->chain_id;
	if (in->chain_id && in->chain_id != rep->chain_id)
		add(rep, "chain", in->own_chain ? VERDICT_UNVERIFIABLE : VERDICT_FAILED, "made for chain %llu%s", chain, in->own_chain ? ", which is not known here" : "");
	else if (in->chain_id)
		add(rep, "chain", VERDICT_PASSED, "%llu", chain);
	if (in->gateway && address_equal(in->gateway, gateway))
		add(rep, "gateway", VERDICT_PASSED, in->own_gateway ? "made for this gateway" : "made for the pinned gateway");
	else if (in->gateway)
		add(rep, "gateway", in->own_gateway ? VERDICT_UNVERIFIABLE : VERDICT_FAILED, "made for gateway %s%s", address_format(gateway).s,
		    in->own_gateway ? ", about which nothing is known here" : "");
}

/* none and signed ask for no more than the signature; the other policies need evidence that is not in a receipt. */
static void check_policy(struct verdict_report *rep)
{
	const char *policy = rep->receipt.policy;
	if (strcmp(policy, "signed") == 0 || strcmp(policy, "none") == 0)
		add(rep, "policy", VERDICT_PASSED, "%s", policy);
	else
		add(rep, "policy", VERDICT_UNVERIFIABLE, "the evidence that policy %s needs is not in a receipt", policy);
}

static void check_status(struct verdict_report *rep)
{
	unsigned status = rep->receipt.status;
	if (status < 100 || status > 599)
		add(rep, "status", VERDICT_FAILED, "%u is no HTTP status", status);
	else
		add(rep, "status", VERDICT_PASSED, "%u%s", status, status == 499 ? ", a partial answer: the caller left" : "");
}

static void conclude(struct verdict_report *rep)
{
	bool form = false, signature = false, registration = false, unverifiable = false;
	for (size_t i = 0; i < rep->count; i++) {
		const struct verdict_check *c = &rep->checks[i];
		if (c->result == VERDICT_FAILED) {
			rep->verdict = VERDICT_FAILED;
			return;
		}
		unverifiable |= c->result == VERDICT_UNVERIFIABLE;
		form |= strcmp(c->name, "form") == 0;
		signature |= strcmp(c->name, "signature") == 0;
		registration |= strcmp(c->name, "registration") == 0;
	}
	rep->verdict = !unverifiable && form && signature && registration ? VERDICT_PASSED : VERDICT_UNVERIFIABLE;
}

void verdict_check(const struct verdict_input *in, struct verdict_report *ret)
{
	*ret = (struct verdict_report){ .verdict = VERDICT_UNVERIFIABLE };
	struct json_why why = { "" };
	if (doc_read(&RECEIPT_TYPE, in->receipt_text, in->receipt_len, &ret->receipt, &ret->chain_id, &ret->signature, &why)) {
		add(ret, "form", VERDICT_FAILED, "not a receipt in its canonical form: %s", why.text);
		conclude(ret);
		return;
	}
	ret->has_receipt = true;
	add(ret, "form", VERDICT_PASSED, "canonical");
	if (check_signature(ret))
		check_registration(in, ret);
	check_made_for(in, ret);
	if (in->ticket)
		check_ticket(in->ticket, ret);
	if (in->model_digest)
		add_hash(ret, "model", in->model_digest, &ret->receipt.model_digest, "model version");
	check_request(in, ret);
	check_response(in, ret);
	check_times(in, ret);
	check_units(in, ret);
	check_policy(ret);
	check_status(ret);
	conclude(ret);
}

json_t *verdict_json(const struct verdict_report *report)
{
	json_t *checks = json_must(json_array());
	for (size_t i = 0; i < report->count; i++) {
		const struct verdict_check *c = &report->checks[i];
		json_t *line = json_must(json_pack("{s:s, s:s, s:s}", "name", c->name, "result", verdict_name(c->result), "detail", c->detail));
		if (json_array_append_new(checks, line))
			panic("verdict: out of memory");
	}
	json_t *receipt = NULL, *signer = NULL;
	if (report->has_receipt) {
		_cleanup_free_ char *text = doc_write(&RECEIPT_TYPE, &report->receipt, report->chain_id, &report->signature);
		receipt = json_must(json_loads(text, 0, NULL));
		if (!address_is_zero(&report->signer))
			signer = json_must(json_string(address_format(&report->signer).s));
	}
	return json_must(json_pack("{s:s, s:o, s:o, s:o}", "verdict", verdict_name(report->verdict), "checks", checks, "receipt",
				   receipt ? receipt : json_null(), "signer", signer ? signer : json_null()));
}
