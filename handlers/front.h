/* The front of a foreground run: a suspended request that becomes an answer or an event stream. Called by paid.c. */
#ifndef OPGATE_HANDLERS_FRONT_H
#define OPGATE_HANDLERS_FRONT_H

#include "handlers/app.h"
#include "pay/run.h"

/* Opens the run and defers the request. With an error or a status other than LANE_OK the request is still the handler's. */
enum err front_run(struct request *req, const struct run_spec *spec, enum lane_status *ret_status) WARN_UNUSED;

#endif
