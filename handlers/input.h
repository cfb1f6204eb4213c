/* Reading what a caller sent: the body into a plain struct by a field table, and the paging parameters. Called by handlers. */
#ifndef OPGATE_HANDLERS_INPUT_H
#define OPGATE_HANDLERS_INPUT_H

#include "base/json.h"
#include "http/http.h"

/* The body as one strict JSON value that lives as long as the request. ERR_BAD_JSON with words. */
enum err input_json(struct request *req, json_t **ret) WARN_UNUSED;
/* Fields of the body into `out`, which holds the defaults; strings are borrowed from the request. An empty body counts as {}. */
enum err input_read(struct request *req, const struct json_field *fields, size_t count, void *out) WARN_UNUSED;
#define INPUT_READ(req, fields, out) input_read(req, fields, sizeof(fields) / sizeof((fields)[0]), out)

/* A decimal number without sign or leading zeros, at most 18 digits; for ids and counts in paths and queries. */
bool input_uint(const char *s, int64_t *ret);
/* ?limit=, between 1 and max; `standard` when absent. */
enum err input_limit(struct request *req, int64_t standard, int64_t max, size_t *ret) WARN_UNUSED;
/* ?limit= and ?after=, the number of the last row that was seen; 0 when absent. */
enum err input_page(struct request *req, int64_t standard, int64_t max, size_t *ret_limit, int64_t *ret_after) WARN_UNUSED;

/* RFC 3339 text, or null for 0. */
json_t *json_time(int64_t wall_ms);

#endif
