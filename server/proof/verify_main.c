/* `opgate verify receipt.json …`: reads files, asks verdict_check, prints. Called by main; needs no gateway, no network and
 * no settings. */
#include "proof/verify_main.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "proof/verdict.h"

#define EXIT_USAGE 64
#define BODY_MAX ((size_t)1 << 30)

static const char USAGE[] =
	"usage: opgate verify receipt.json [options]\n"
	"  --node 0x…            the node's key: its signature is the registration\n"
	"  --statement FILE      the gateway's statement about the node, with\n"
	"  --gateway 0x…         the gateway's key\n"
	"  --request FILE        the request's bytes, with --method M, --path P, --content-type T,\n"
	"                        --header-length N (Inference-Header-Content-Length) where they are not the usual ones\n"
	"  --response FILE       the response's bytes; a saved event stream is recognised\n"
	"  --model sha256:…      the model version's digest\n"
	"  --chain-id N          the chain the receipt must be made for\n"
	"  --json                print one JSON object\n"
	"exit: 0 passed, 1 failed, 2 unverifiable, 64 wrong usage\n";

struct options {
	const char *receipt, *node, *statement, *gateway, *request, *method, *path, *content_type, *header_length, *response, *model, *chain_id;
	bool json;
};

/* What the options stand for, in memory. */
struct inputs {
	struct address node, gateway;
	struct hash model;
	struct buf receipt, statement, request, response;
	struct verdict_input in;
};

static int usage(const char *what, const char *which)
{
	fprintf(stderr, "opgate verify: %s%s%s\n%s", what, which ? ": " : "", which ? which : "", USAGE);
	return EXIT_USAGE;
}

static const char **option_slot(struct options *o, const char *name, size_t len)
{
	const struct { const char *name; const char **slot; } table[] = {
		{ "--node", &o->node },		      { "--statement", &o->statement }, { "--gateway", &o->gateway },
		{ "--request", &o->request },	      { "--method", &o->method },	{ "--path", &o->path },
		{ "--content-type", &o->content_type }, { "--response", &o->response },	{ "--model", &o->model },
		{ "--chain-id", &o->chain_id },	      { "--header-length", &o->header_length },
	};
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (strlen(table[i].name) == len && memcmp(table[i].name, name, len) == 0)
			return table[i].slot;
	return NULL;
}

static int options_read(int argc, char **argv, struct options *ret)
{
	for (int i = 1; i < argc; i++) {
		const char *arg = argv[i];
		if (strcmp(arg, "--json") == 0) {
			ret->json = true;
			continue;
		}
		if (arg[0] != '-') {
			if (ret->receipt)
				return usage("one receipt at a time", arg);
			ret->receipt = arg;
			continue;
		}
		const char *equals = strchr(arg, '=');
		const char **slot = option_slot(ret, arg, equals ? (size_t)(equals - arg) : strlen(arg));
		if (!slot)
			return usage("unknown option", arg);
		if (*slot)
			return usage("given twice", arg);
		if (!equals && i + 1 == argc)
			return usage("a value is missing", arg);
		*slot = equals ? equals + 1 : argv[++i];
	}
	return ret->receipt ? 0 : usage("no receipt given", NULL);
}

/* The file's bytes, exactly. */
static int file_read(const char *path, size_t max, struct buf *ret)
{
	*ret = BUF_INIT(max);
	FILE *f = fopen(path, "rb");
	if (!f)
		return usage("cannot open", path);
	char chunk[65536];
	size_t n;
	enum err e = buf_append(ret, "", 0);
	while (!e && (n = fread(chunk, 1, sizeof(chunk), f)) > 0)
		e = buf_append(ret, chunk, n);
	bool broken = ferror(f);
	fclose(f);
	if (e)
		return usage("too large", path);
	return broken ? usage("cannot read", path) : 0;
}

static int values_read(const struct options *o, struct inputs *ret)
{
	if (o->node && address_parse(o->node, &ret->node))
		return usage("--node is no address", o->node);
	if (o->gateway && address_parse(o->gateway, &ret->gateway))
		return usage("--gateway is no address", o->gateway);
	if (o->model && hash_parse(o->model, &ret->model))
		return usage("--model is no digest", o->model);
	if (o->chain_id && (!doc_number_parse(o->chain_id, strlen(o->chain_id), UINT64_MAX, &ret->in.chain_id) || !ret->in.chain_id))
		return usage("--chain-id is no chain id", o->chain_id);
	if (!o->request && (o->method || o->path || o->content_type || o->header_length))
		return usage("--method, --path, --content-type and --header-length say how --request was sent", NULL);
	return 0;
}

static int files_read(const struct options *o, struct inputs *ret)
{
	const struct { const char *path; size_t max; struct buf *buf; } files[] = {
		/* A little above the longest document, so that a longer file is judged (as malformed) and not refused. */
		{ o->receipt, 1 << 20, &ret->receipt },
		{ o->statement, 1 << 20, &ret->statement },
		{ o->request, BODY_MAX, &ret->request },
		{ o->response, BODY_MAX, &ret->response },
	};
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		int rc = files[i].path ? file_read(files[i].path, files[i].max, files[i].buf) : 0;
		if (rc)
			return rc;
	}
	return 0;
}

static void input_fill(const struct options *o, struct inputs *x)
{
	struct verdict_input *in = &x->in;
	in->receipt_text = x->receipt.data;
	in->receipt_len = x->receipt.len;
	in->node = o->node ? &x->node : NULL;
	in->gateway = o->gateway ? &x->gateway : NULL;
	in->model_digest = o->model ? &x->model : NULL;
	in->statement_text = x->statement.data;
	in->statement_len = x->statement.len;
	in->request_body = x->request.data;
	in->request_len = x->request.len;
	in->request_method = o->method;
	in->request_path = o->path;
	in->request_content_type = o->content_type;
	in->request_inference_header_length = o->header_length;
	in->response_body = x->response.data;
	in->response_len = x->response.len;
	in->now_ms = clock_wall_ms();
}

static void report_print(const struct verdict_report *rep, bool json)
{
	if (json) {
		_cleanup_json_ json_t *j = verdict_json(rep);
		_cleanup_free_ char *text = json_text(j);
		printf("%s\n", text);
		return;
	}
	for (size_t i = 0; i < rep->count; i++)
		printf("%-13s %-13s %s\n", rep->checks[i].name, verdict_name(rep->checks[i].result), rep->checks[i].detail);
	printf("verdict: %s\n", verdict_name(rep->verdict));
}

int verify_main(int argc, char **argv)
{
	struct options o = { 0 };
	struct inputs x = { 0 };
	if (argc == 2 && strcmp(argv[1], "--help") == 0)
		return fputs(USAGE, stdout) < 0;
	crypto_init();
	int rc = options_read(argc, argv, &o);
	if (!rc)
		rc = values_read(&o, &x);
	if (!rc)
		rc = files_read(&o, &x);
	if (!rc) {
		struct verdict_report rep;
		input_fill(&o, &x);
		verdict_check(&x.in, &rep);
		report_print(&rep, o.json);
		rc = rep.verdict == VERDICT_PASSED ? 0 : rep.verdict == VERDICT_FAILED ? 1 : 2;
		if (fflush(stdout))
			rc = EXIT_USAGE; /* nobody could read the verdict */
	}
	struct buf *bufs[] = { &x.receipt, &x.statement, &x.request, &x.response };
	for (size_t i = 0; i < sizeof(bufs) / sizeof(bufs[0]); i++)
		buf_done(bufs[i]);
	return rc;
}
