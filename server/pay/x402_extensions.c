/* See x402_extensions.h. Members are those of the official packages; their schemas say no more than is needed, because every byte
 * of this is sent with a 402 and comes back with the payment. */
#include "pay/x402_extensions.h"

#include <string.h>

#include "base/json.h"

#define DRAFT "'$schema':'https://json-schema.org/draft/2020-12/schema','type':'object',"
#define ADDRESS "{'type':'string','pattern':'^0x[a-fA-F0-9]{40}$'}"
#define NUMBER "{'type':'string','pattern':'^[0-9]+$'}"
#define HEX "{'type':'string','pattern':'^0x[a-fA-F0-9]+$'}"
#define VERSION "{'type':'string','pattern':'^[0-9]+(\\\\.[0-9]+)*$'}"

#define IDENTIFIER_SCHEMA \
	"{" DRAFT "'properties':{'required':{'type':'boolean'},'id':{'type':'string','minLength':16,'maxLength':128,'pattern':'^[a-zA-Z0-9_-]+$'}}," \
	"'required':['required']}"
#define EIP2612 \
	"{'info':{'description':'An EIP-2612 permit for Permit2, sent in this extension, is put on chain together with the payment; we pay the gas.','version':'1'}," \
	"'schema':{" DRAFT "'properties':{'from':" ADDRESS ",'asset':" ADDRESS ",'spender':" ADDRESS ",'amount':" NUMBER ",'nonce':" NUMBER ",'deadline':" NUMBER \
	",'signature':" HEX ",'version':" VERSION "},'required':['from','asset','spender','amount','nonce','deadline','signature','version']}}"
#define ERC20_APPROVAL \
	"{'info':{'description':'A signed transaction approve(Permit2), sent in this extension, is broadcast before the payment; we give the gas that is missing.'," \
	"'version':'1'}," \
	"'schema':{" DRAFT "'properties':{'from':" ADDRESS ",'asset':" ADDRESS ",'spender':" ADDRESS ",'amount':" NUMBER ",'signedTransaction':" HEX ",'version':" VERSION "}," \
	"'required':['from','asset','spender','amount','signedTransaction','version']}}"

/* ---- bazaar ---- */

static const struct {
	const char *body, *body_schema; /* an example, and what any body is */
	const char *output;             /* an example */
} CALLS[] = {
	[X402_CALL_CHAT] = { "{'model':'','messages':[{'role':'user','content':'Hello'}],'max_tokens':16}",
			     "{'type':'object','properties':{'model':{'type':'string'},'messages':{'type':'array','items':{'type':'object'}},"
			     "'max_tokens':{'type':'integer','minimum':1},'stream':{'type':'boolean'}},'required':['model','messages']}",
			     "{'choices':[{'index':0,'message':{'role':'assistant','content':'Hello!'},'finish_reason':'stop'}],"
			     "'usage':{'prompt_tokens':8,'completion_tokens':2,'total_tokens':10}}" },
	[X402_CALL_COMPLETIONS] = { "{'model':'','prompt':'Once upon','max_tokens':16}",
				    "{'type':'object','properties':{'model':{'type':'string'},'prompt':{'type':['string','array']},"
				    "'max_tokens':{'type':'integer','minimum':1},'stream':{'type':'boolean'}},'required':['model','prompt']}",
				    "{'choices':[{'index':0,'text':' a time','finish_reason':'length'}],'usage':{'prompt_tokens':2,'completion_tokens':2,'total_tokens':4}}" },
	[X402_CALL_TENSORS] = { "{'inputs':[{'name':'x','shape':[1],'datatype':'FP32','data':[1]}]}",
				"{'type':'object','properties':{'inputs':{'type':'array','items':{'type':'object','required':['name','shape','datatype','data']}}},'required':['inputs']}",
				"{'outputs':[{'name':'y','shape':[1],'datatype':'FP32','data':[1]}]}" },
};

static json_t *example_body(const struct x402_declared *d)
{
	json_t *body = json_must(json_quoted(CALLS[d->call].body));

	if (json_object_get(body, "model"))
		json_object_set_new(body, "model", json_must(json_string(d->model)));
	return body;
}

size_t x402_example_size(const struct x402_declared *d, int64_t *ret_max_output)
{
	_cleanup_json_ json_t *body = example_body(d);
	_cleanup_free_ char *text = json_text(body);
	const json_t *max = json_object_get(body, "max_tokens");

	*ret_max_output = max ? json_integer_value(max) : -1;
	return strlen(text);
}

static json_t *bazaar(const struct x402_declared *d)
{
	return json_must(json_pack(
		"{s:{s:{s:s,s:s,s:s,s:o},s:{s:s,s:o}},s:o}", "info", "input", "type", "http", "method", "POST", "bodyType", "json", "body", example_body(d), "output", "type", "json",
		"example", json_must(json_quoted(CALLS[d->call].output)), "schema",
		json_must(json_pack("{s:s,s:s,s:{s:{s:s,s:{s:o,s:o,s:o,s:o},s:[s,s,s,s],s:b},s:{s:s,s:{s:{s:s},s:{s:s}},s:[s]}},s:[s]}", "$schema",
				    "https://json-schema.org/draft/2020-12/schema", "type", "object", "properties", "input", "type", "object", "properties", "type",
				    json_quoted("{'type':'string','const':'http'}"), "method", json_quoted("{'type':'string','enum':['POST']}"), "bodyType",
				    json_quoted("{'type':'string','enum':['json']}"), "body", json_quoted(CALLS[d->call].body_schema), "required", "type", "method", "bodyType",
				    "body", "additionalProperties", 0, "output", "type", "object", "properties", "type", "type", "string", "example", "type", "object", "required",
				    "type", "required", "input"))));
}

/* ---- all of them ---- */

json_t *x402_extensions_json(const struct x402_declared *d)
{
	json_t *all = json_must(json_pack("{s:o,s:{s:{s:b},s:o}}", X402_BAZAAR, bazaar(d), X402_IDENTIFIER, "info", "required", d->identifier_required, "schema",
					  json_must(json_quoted(IDENTIFIER_SCHEMA))));

	if (d->permits)
		json_object_set_new(all, X402_EIP2612, json_must(json_quoted(EIP2612)));
	if (d->approvals)
		json_object_set_new(all, X402_ERC20_APPROVAL, json_must(json_quoted(ERC20_APPROVAL)));
	return all;
}

enum x402_identified x402_identifier_read(const struct x402_payment *p, const char **ret_id)
{
	const json_t *extension = json_object_get(p->extensions, X402_IDENTIFIER);
	const char *id = x402_payment_identifier(p);

	if (p->version != 2 || !extension || json_is_null(extension))
		return X402_ID_NONE;
	if (id) {
		*ret_id = id;
		return X402_ID_GIVEN;
	}
	/* An echo of what we declared has no id, and asks for nothing. */
	return json_is_object(x402_payment_extension(p, X402_IDENTIFIER)) && !json_object_get(x402_payment_extension(p, X402_IDENTIFIER), "id") ? X402_ID_NONE : X402_ID_MALFORMED;
}
