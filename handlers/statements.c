/* GET /v1/statements: a line for each earning, from its job to the transaction that paid it; as JSON, or as CSV for spreadsheets. */
#include <string.h>

#include "base/clock.h"
#include "db/payouts.h"
#include "handlers/app.h"
#include "handlers/input.h"
#include "handlers/routes.h"

#define LINES_MAX 10000
#define CSV_MAX ((size_t)8 << 20)

static const char *const COLUMNS[] = { "id", "at", "job", "role", "model", "amount", "payout", "payout_state", "transaction" };
#define COLUMN_COUNT (sizeof(COLUMNS) / sizeof(COLUMNS[0]))

/* An RFC 3339 time, or a day, which begins at midnight UTC. */
static enum err read_time(struct request *req, const char *name, int64_t *ret)
{
	const char *text = request_query(req, name);
	const char *whole = text && strlen(text) == 10 ? arena_printf(req->arena, "%sT00:00:00Z", text) : text;

	if (whole && !time_parse_rfc3339(whole, ret))
		return request_fail(req, ERR_BAD_FIELD, "%s: must be a day or an RFC 3339 time", name);
	return ERR_OK;
}

static enum err wants_csv(struct request *req, bool *ret)
{
	const char *format = request_query(req, "format"), *accept = request_header(req, "Accept");

	if (format && strcmp(format, "csv") != 0 && strcmp(format, "json") != 0)
		return request_fail(req, ERR_BAD_FIELD, "format: must be json or csv");
	*ret = format ? !strcmp(format, "csv") : accept && strstr(accept, "text/csv");
	return ERR_OK;
}

static json_t *line_json(const struct db_result *r, int row)
{
	json_t *o = json_must(json_object());

	for (size_t i = 0; i < COLUMN_COUNT; i++)
		json_object_set_new(o, COLUMNS[i], json_must(db_is_null(r, row, COLUMNS[i]) ? json_null() : json_string(db_get_text(r, row, COLUMNS[i]))));
	return o;
}

static void reply_lines(struct request *req, const struct db_result *r, int count, bool more)
{
	json_t *data = json_must(json_array());

	for (int i = 0; i < count; i++)
		json_array_append_new(data, line_json(r, i));
	reply_json(req, 200, json_must(json_pack("{s:s, s:o, s:b, s:{s:s, s:i}}", "object", "list", "data", data, "has_more", more, "asset", "symbol", "OPG", "decimals", 18)));
}

/* RFC 4180; and what a spreadsheet would take for a formula stays text. */
static enum err put_cell(struct buf *out, const char *text, bool last)
{
	bool quoted = strpbrk(text, ",\"\r\n") != NULL, formula = *text && strchr("=+-@\t\r", *text);
	enum err e = buf_append(out, "\"", quoted);

	if (!e && formula)
		e = buf_append(out, "'", 1);
	for (const char *p = text; !e && *p; p++)
		e = *p == '"' ? buf_append(out, "\"\"", 2) : buf_append(out, p, 1);
	if (!e)
		e = buf_append(out, "\"", quoted);
	return e ? e : last ? buf_append(out, "\r\n", 2) : buf_append(out, ",", 1);
}

static enum err reply_csv(struct request *req, const struct db_result *r, int count, bool more)
{
	struct buf out = BUF_INIT(CSV_MAX);
	enum err e = ERR_OK;

	for (int row = -1; !e && row < count; row++)
		for (size_t i = 0; !e && i < COLUMN_COUNT; i++)
			e = put_cell(&out, row < 0 ? COLUMNS[i] : db_get_text(r, row, COLUMNS[i]), i + 1 == COLUMN_COUNT);
	if (!e) {
		reply_header(req, "Content-Disposition", "attachment; filename=\"statement.csv\"");
		if (more)
			reply_header(req, "Opgate-Next", db_get_text(r, count - 1, "id"));
		reply_bytes(req, 200, "text/csv; charset=utf-8; header=present", arena_memdup(req->arena, out.data, out.len), out.len);
	}
	buf_done(&out);
	return e;
}

enum err handle_statements_get(struct request *req)
{
	_cleanup_result_ struct db_result *r = NULL;
	struct statement_query q = { .account = ((const struct principal *)req->principal)->account };
	size_t limit = 0;
	bool csv = false;
	enum err e = input_page(req, 1000, LINES_MAX, &limit, &q.after);

	if (!e)
		e = wants_csv(req, &csv);
	if (!e)
		e = read_time(req, "from", &q.from);
	if (!e)
		e = read_time(req, "to", &q.to);
	q.limit = (int)limit;
	if (!e)
		e = db_statement(request_db(req), &q, &r);
	if (e)
		return e;
	bool more = db_rows(r) > q.limit;
	int count = more ? q.limit : db_rows(r);
	if (csv)
		return reply_csv(req, r, count, more);
	reply_lines(req, r, count, more);
	return ERR_OK;
}
