/* The OpenAPI document: every route is in it, every reference leads somewhere, every schema is one. The checks themselves are
 * shown to fail on documents that are wrong. */
#include <ctype.h>

#include "base/json.h"
#include "handlers/openapi.h"
#include "handlers/routes.h"
#include "handlers/schemas.h"
#include "tests/unit/unit.h"

#define BASE "https://gateway.example"

static json_t *document_make(void)
{
	return openapi_document(ROUTE_TABLE, ROUTE_TABLE_COUNT, BASE);
}

/* Says what is wrong, so that a red test names the place. */
static int bad(const char *what, const char *where)
{
	print_message("  %s: %s\n", what, where);
	return 1;
}

/* ---- references ---- */

static bool ref_resolves(const json_t *root, const char *ref)
{
	if (strncmp(ref, "#/", 2) != 0)
		return false;
	const json_t *at = root;
	for (const char *p = ref + 2; at && *p;) {
		size_t n = strcspn(p, "/");
		char *key = xstrndup(p, n);
		at = json_object_get(at, key);
		free(key);
		p += n + (p[n] == '/');
	}
	return at != NULL;
}

static int refs_bad(const json_t *root, const json_t *at)
{
	const json_t *ref = json_object_get(at, "$ref");
	int n = json_is_string(ref) && !ref_resolves(root, json_string_value(ref)) ? bad("leads nowhere", json_string_value(ref)) : 0;
	const char *key;
	json_t *value;
	size_t i;
	json_object_foreach((json_t *)at, key, value)
		n += refs_bad(root, value);
	json_array_foreach(at, i, value)
		n += refs_bad(root, value);
	return n;
}

/* ---- schemas ---- */

static bool keyword_known(const char *key)
{
	static const char *const known[] = { "type", "properties", "required", "items", "enum", "const", "anyOf", "allOf", "$ref", "pattern", "format", "minLength",
		"maxLength", "minimum", "maximum", "minItems", "maxItems", "additionalProperties", "description", "default" };
	for (size_t i = 0; i < COUNT_OF(known); i++)
		if (strcmp(key, known[i]) == 0)
			return true;
	return false;
}

static bool type_known(const json_t *type)
{
	static const char *const known[] = { "string", "integer", "number", "boolean", "object", "array", "null" };
	if (json_is_array(type)) {
		size_t i;
		json_t *one;
		json_array_foreach(type, i, one)
			if (!json_is_string(one) || !type_known(one))
				return false;
		return json_array_size(type) > 0;
	}
	for (size_t i = 0; json_is_string(type) && i < COUNT_OF(known); i++)
		if (strcmp(json_string_value(type), known[i]) == 0)
			return true;
	return false;
}

static int schema_bad(const json_t *s, const char *where)
{
	if (!json_is_object(s))
		return bad("a schema that is no object", where);
	const json_t *properties = json_object_get(s, "properties"), *type = json_object_get(s, "type");
	int n = type && !type_known(type) ? bad("unknown type", where) : 0;
	const char *key;
	json_t *value;
	size_t i;
	json_object_foreach((json_t *)s, key, value)
		if (!keyword_known(key))
			n += bad("unknown keyword", key);
	json_array_foreach(json_object_get(s, "required"), i, value)
		if (!json_is_string(value) || !json_object_get(properties, json_string_value(value)))
			n += bad("required but not described", json_is_string(value) ? json_string_value(value) : where);
	json_object_foreach((json_t *)properties, key, value)
		n += schema_bad(value, key);
	json_array_foreach(json_object_get(s, "anyOf"), i, value)
		n += schema_bad(value, where);
	json_array_foreach(json_object_get(s, "allOf"), i, value)
		n += schema_bad(value, where);
	if (json_object_get(s, "items"))
		n += schema_bad(json_object_get(s, "items"), where);
	if (json_array_size(json_object_get(s, "required")) && !properties)
		n += bad("required without properties", where);
	return n;
}

static int text_bad(const char *text, const char *where)
{
	if (!text)
		return 0;
	json_t *s = json_quoted(text);
	int n = s ? schema_bad(s, where) : bad("does not parse", where);
	json_decref(s);
	return n;
}

/* ---- routes ---- */

static const struct route *route_named(const char *name, size_t len)
{
	for (size_t i = 0; i < ROUTE_TABLE_COUNT; i++)
		if (strlen(ROUTE_TABLE[i].name) == len && memcmp(ROUTE_TABLE[i].name, name, len) == 0)
			return &ROUTE_TABLE[i];
	return NULL;
}

static const struct schema *schema_named(const char *name)
{
	for (size_t i = 0; i < SCHEMAS_COUNT; i++)
		if (strcmp(SCHEMAS[i].name, name) == 0)
			return &SCHEMAS[i];
	return NULL;
}

/* The operation of that id: *ret_path is its path. */
static const json_t *operation_named(const json_t *document, const char *id, const char *method, const char **ret_path, int *ret_count)
{
	const json_t *found = NULL;
	const char *path, *verb;
	json_t *item, *op;
	*ret_count = 0;
	json_object_foreach(json_object_get(document, "paths"), path, item)
		json_object_foreach(item, verb, op)
			if (strcmp(json_string_value(json_object_get(op, "operationId")), id) == 0) {
				++*ret_count;
				if (strcmp(verb, method) == 0) {
					found = op;
					*ret_path = path;
				}
			}
	return found;
}

static int declared_in_path(const json_t *op, const char *name, size_t len)
{
	int n = 0;
	size_t i;
	json_t *p;
	json_array_foreach(json_object_get(op, "parameters"), i, p) {
		const char *in = json_string_value(json_object_get(p, "in")), *s = json_string_value(json_object_get(p, "name"));
		n += strcmp(in, "path") == 0 && strlen(s) == len && memcmp(s, name, len) == 0 && json_is_true(json_object_get(p, "required"));
	}
	return n;
}

/* Every {parameter} of the path is declared once, and no other is; the names are plain. */
static int path_bad(const char *path, const json_t *op)
{
	int in_path = 0, declared = 0, n = 0;
	size_t i;
	json_t *p;
	for (const char *s = path; (s = strchr(s, '{')); in_path++) {
		size_t len = strcspn(++s, "}");
		for (size_t k = 0; k < len; k++)
			n += isalnum((unsigned char)s[k]) || s[k] == '_' ? 0 : bad("not a plain name", path);
		n += declared_in_path(op, s, len) == 1 ? 0 : bad("a parameter is not declared once", path);
	}
	json_array_foreach(json_object_get(op, "parameters"), i, p)
		declared += strcmp(json_string_value(json_object_get(p, "in")), "path") == 0;
	return n + (declared == in_path ? 0 : bad("declares a parameter it has not", path));
}

static const char *method_text(enum http_method m)
{
	static const char *const names[] = { "get", "post", "put", "patch", "delete" };
	return names[m];
}

static int route_bad(const json_t *document, const struct route *r)
{
	const char *path = "";
	int count;
	const json_t *op = operation_named(document, r->name, method_text(r->method), &path, &count);
	if (!op || count != 1)
		return bad("is not there exactly once", r->name);
	const json_t *security = json_object_get(op, "security"), *first = json_array_get(security, 0);
	bool guarded = json_object_get(first, "bearerAuth") || json_object_get(first, "nodeSignature");
	int n = path_bad(path, op);
	n += guarded == (r->auth == ROUTE_ACCOUNT || r->auth == ROUTE_NODE) ? 0 : bad("says the wrong thing about who may call", r->name);
	n += json_array_size(json_object_get(op, "tags")) == 1 && json_string_length(json_array_get(json_object_get(op, "tags"), 0)) ? 0 : bad("belongs nowhere", r->name);
	n += !r->request_schema || json_object_get(op, "requestBody") ? 0 : bad("takes a body but says nothing of it", r->name);
	n += r->method == HTTP_GET && json_object_get(op, "requestBody") ? bad("GET with a body", r->name) : 0;
	n += json_object_get(json_object_get(op, "responses"), "default") ? 0 : bad("says nothing of errors", r->name);
	return n;
}

/* ---- tests ---- */

static void every_schema_is_one(void **state)
{
	(void)state;
	int n = 0;
	for (size_t i = 0; i < SCHEMAS_COUNT; i++) {
		n += text_bad(SCHEMAS[i].text, SCHEMAS[i].name);
		n += schema_named(SCHEMAS[i].name) == &SCHEMAS[i] ? 0 : bad("there twice", SCHEMAS[i].name);
	}
	for (size_t i = 0; i < ROUTE_DETAILS_COUNT; i++) {
		n += text_bad(ROUTE_DETAILS[i].request_schema, ROUTE_DETAILS[i].route);
		n += text_bad(ROUTE_DETAILS[i].response_schema, ROUTE_DETAILS[i].route);
	}
	for (size_t i = 0; i < ROUTE_PARAMETERS_COUNT; i++)
		n += text_bad(ROUTE_PARAMETERS[i].schema, ROUTE_PARAMETERS[i].name);
	assert_int_equal(n, 0);
}

static void every_schema_of_a_route_exists(void **state)
{
	(void)state;
	int n = 0;
	for (size_t i = 0; i < ROUTE_TABLE_COUNT; i++) {
		const struct route *r = &ROUTE_TABLE[i];
		n += !r->request_schema || schema_named(r->request_schema) ? 0 : bad("no such schema", r->request_schema);
		n += !r->response_schema || schema_named(r->response_schema) ? 0 : bad("no such schema", r->response_schema);
	}
	assert_int_equal(n, 0);
}

static void details_name_routes(void **state)
{
	(void)state;
	int n = 0;
	for (size_t i = 0; i < ROUTE_DETAILS_COUNT; i++) {
		const char *name = ROUTE_DETAILS[i].route;
		n += route_named(name, strlen(name)) ? 0 : bad("no such route", name);
	}
	for (size_t i = 0; i < ROUTE_PARAMETERS_COUNT; i++)
		for (const char *p = ROUTE_PARAMETERS[i].routes; *p; p += strcspn(p, " "), p += strspn(p, " "))
			n += route_named(p, strcspn(p, " ")) ? 0 : bad("no such route", p);
	assert_int_equal(n, 0);
}

static void every_route_is_in_the_document(void **state)
{
	(void)state;
	json_t *document = document_make();
	int n = 0, operations = 0;
	const char *path;
	json_t *item;
	for (size_t i = 0; i < ROUTE_TABLE_COUNT; i++)
		n += route_bad(document, &ROUTE_TABLE[i]);
	json_object_foreach(json_object_get(document, "paths"), path, item)
		operations += (int)json_object_size(item);
	assert_int_equal(n, 0);
	assert_int_equal(operations, ROUTE_TABLE_COUNT);
	assert_string_equal(json_string_value(json_object_get(document, "openapi")), "3.1.0");
	json_decref(document);
}

static void every_reference_leads_somewhere(void **state)
{
	(void)state;
	json_t *document = document_make();
	assert_int_equal(refs_bad(document, document), 0);
	json_decref(document);
}

static void errors_are_those_of_the_table(void **state)
{
	(void)state;
	json_t *document = document_make();
	const json_t *codes = json_object_get(json_object_get(json_object_get(json_object_get(document, "components"), "schemas"), "ErrorCode"), "enum");
	assert_int_equal(json_array_size(codes), ERR_LIMIT - 1); /* ERR_LIMIT is the first that never leaves */
	assert_int_equal(json_array_size(json_object_get(document, "x-errors")), ERR_LIMIT - 1);
	assert_string_equal(json_string_value(json_array_get(codes, ERR_INTERNAL - 1)), "internal_error");
	json_decref(document);
}

/* One route of each kind, as a reader of the document sees it. */
static void a_route_in_full(void **state)
{
	(void)state;
	static const struct route routes[] = {
		{ .method = HTTP_POST, .pattern = "/v2/models/{model*}/infer", .name = "oip_infer", .auth = ROUTE_ACCOUNT, .scope = "inference", .body_max = 16777216,
		  .rate = "paid", .surface = SURFACE_OIP, .summary = "Inference" },
		{ .method = HTTP_GET, .pattern = "/{author}/{name}/resolve/{revision}/{path...}", .name = "files_get", .auth = ROUTE_OPTIONAL, .rate = "read",
		  .surface = SURFACE_PROBLEM, .summary = "File" },
	};
	json_t *document = openapi_document(routes, 2, BASE), *paths = json_object_get(document, "paths");
	const json_t *infer = json_object_get(json_object_get(paths, "/v2/models/{model}/infer"), "post");
	const json_t *file = json_object_get(json_object_get(paths, "/{author}/{name}/resolve/{revision}/{path}"), "get");
	const json_t *answers = json_object_get(infer, "responses");
	assert_non_null(infer);
	assert_non_null(file);
	assert_string_equal(json_string_value(json_object_get(infer, "x-scope")), "inference");
	assert_int_equal(json_integer_value(json_object_get(infer, "x-body-max")), 16777216);
	assert_string_equal(json_string_value(json_object_get(json_object_get(answers, "402"), "$ref")), "#/components/responses/OipError");
	assert_null(json_object_get(json_object_get(file, "responses"), "402"));
	assert_int_equal(json_object_size(json_array_get(json_object_get(file, "security"), 0)), 0); /* nobody, too */
	assert_int_equal(json_array_size(json_object_get(file, "security")), 2);
	assert_string_equal(json_string_value(json_object_get(json_array_get(json_object_get(document, "servers"), 0), "url")), BASE);
	json_decref(document);
}

/* The checks above find what they look for. */
static void the_checks_can_fail(void **state)
{
	(void)state;
	static const struct route wrong = { .method = HTTP_GET, .pattern = "/v1/x/{id}", .name = "x", .rate = "read", .surface = SURFACE_PROBLEM, .summary = "x",
					    .response_schema = "Nothing" };
	json_t *document = openapi_document(&wrong, 1, BASE);
	assert_int_equal(refs_bad(document, document), 1);
	assert_int_equal(route_bad(document, &wrong), 0);
	json_t *op = json_object_get(json_object_get(json_object_get(document, "paths"), "/v1/x/{id}"), "get");
	json_array_clear(json_object_get(op, "parameters"));
	assert_true(route_bad(document, &wrong) > 0);
	assert_true(route_bad(document, &ROUTE_TABLE[0]) > 0);
	json_decref(document);
	assert_true(text_bad("{'type':'strin'}", "a") > 0);
	assert_true(text_bad("{'typ':'string'}", "a") > 0);
	assert_true(text_bad("{'type':'object','required':['a'],'properties':{}}", "a") > 0);
	assert_true(text_bad("{'type':'object'", "a") > 0);
	assert_true(text_bad("{'type':'array','items':{'typo':1}}", "a") > 0);
	assert_int_equal(text_bad("{'type':['string','null']}", "a"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_schema_is_one),
		cmocka_unit_test(every_schema_of_a_route_exists),
		cmocka_unit_test(details_name_routes),
		cmocka_unit_test(every_route_is_in_the_document),
		cmocka_unit_test(every_reference_leads_somewhere),
		cmocka_unit_test(errors_are_those_of_the_table),
		cmocka_unit_test(a_route_in_full),
		cmocka_unit_test(the_checks_can_fail),
	};
	return RUN_TESTS(tests);
}
