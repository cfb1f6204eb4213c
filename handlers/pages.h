/* The web pages, held in memory. main loads them once, before the listener starts; read-only from then on, so no locks. */
#ifndef OPGATE_HANDLERS_PAGES_H
#define OPGATE_HANDLERS_PAGES_H

#include "base/err.h"

/* Reads dir/index.html, dir/operator.html and dir/assets/. ERR_IO: one of them is missing or unreadable; ERR_LIMIT: too many or too large. Drops what was
 * loaded before. */
enum err pages_load(const char *dir) WARN_UNUSED;

#endif
