/* Uploads of model files: gateway.c gives the sink to the HTTP boundary. */
#ifndef OPGATE_HANDLERS_FILES_H
#define OPGATE_HANDLERS_FILES_H

#include "http/http.h"

extern const struct upload_sink FILES_SINK;

#endif
