/* The route table as data; see routes.h. Read by gateway.c (the boundary) and openapi.c. */
#include "handlers/routes.h"

#define X(method_, pattern_, fn, mode_, auth_, scope_, role_, body, rate_, surface_, request, response, summary_) \
	{ .method = HTTP_##method_, .pattern = pattern_, .name = #fn, .mode = ROUTE_##mode_, .auth = ROUTE_##auth_, .scope = scope_, .role = role_, \
	  .body_max = body, .rate = rate_, .surface = SURFACE_##surface_, .handler = handle_##fn, .summary = summary_, .request_schema = request, \
	  .response_schema = response },
const struct route ROUTE_TABLE[] = { ROUTES(X) };
#undef X
const size_t ROUTE_TABLE_COUNT = sizeof(ROUTE_TABLE) / sizeof(ROUTE_TABLE[0]);
