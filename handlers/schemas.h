/* What travels in bodies, queries and headers, as JSON Schema (2020-12), beside the handlers that read and write it. Called by
 * openapi.c and the tests. A schema's name is what routes.h says. They are read with json_quoted. */
#ifndef OPGATE_HANDLERS_SCHEMAS_H
#define OPGATE_HANDLERS_SCHEMAS_H

#include <jansson.h>
#include <stddef.h>

struct schema {
	const char *name;
	const char *text;
};
extern const struct schema SCHEMAS[];
extern const size_t SCHEMAS_COUNT;

/* What routes.h has no column for. Absent: 200, application/json, no parameters but those of the path. */
struct route_detail {
	const char *route;                         /* operation id */
	int status;                                /* of success; 0: 200 */
	int also_status;                           /* another one with the same body (202: it has not ended yet), or 0 */
	const char *request_type, *request_schema; /* a body that is not the JSON of routes.h; schema text, or NULL for any bytes */
	const char *response_type, *response_schema;
	const char *response_also_type;            /* another type the same answer may have, or NULL */
};
extern const struct route_detail ROUTE_DETAILS[];
extern const size_t ROUTE_DETAILS_COUNT;

struct route_parameter {
	const char *routes; /* operation ids, separated by spaces; "" for a path parameter wherever it appears */
	const char *in;     /* query, header, path */
	const char *name;
	const char *schema, *description;
};
extern const struct route_parameter ROUTE_PARAMETERS[];
extern const size_t ROUTE_PARAMETERS_COUNT;

#endif
