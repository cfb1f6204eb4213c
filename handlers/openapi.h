/* /openapi.json: OpenAPI 3.1 made from the route table, the error table and the schemas, so that it cannot drift. */
#ifndef OPGATE_HANDLERS_OPENAPI_H
#define OPGATE_HANDLERS_OPENAPI_H

#include <jansson.h>

#include "http/http.h"

/* The document for any table of routes; new reference. */
json_t *openapi_document(const struct route *routes, size_t count, const char *base_url);
/* Makes the text that handle_openapi serves; once per process, later calls do nothing. */
void openapi_build(const char *base_url);

#endif
