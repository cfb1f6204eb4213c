/* Settings: one table per program {name, type, default, …}; values from a file of `name = value` lines and from
 * OPGATE_<NAME> variables (which win). Unknown names and malformed values stop the start with the line and the reason. */
#ifndef OPGATE_BASE_CONFIG_H
#define OPGATE_BASE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/amount.h"
#include "base/err.h"
#include "base/hex.h"

enum setting_type {
	SETTING_STR,     /* char * (owned by the config) */
	SETTING_INT,     /* int64_t, min…max */
	SETTING_BOOL,    /* bool: true/false */
	SETTING_ADDRESS, /* struct address */
	SETTING_HASH,    /* struct hash */
	SETTING_AMOUNT,  /* struct amount */
};

struct setting {
	const char *name;
	enum setting_type type;
	size_t offset;            /* in the settings struct */
	const char *default_text; /* NULL: required */
	int64_t min, max;         /* SETTING_INT */
	bool secret;              /* never printed */
	const char *doc;
};

struct config_why {
	char text[256];
};

/* Fills `out` from defaults, then the file (path may be NULL), then the environment. */
enum err config_load(const struct setting *table, size_t count, const char *path, void *out, struct config_why *why) WARN_UNUSED;
void config_print(const struct setting *table, size_t count, const void *values, FILE *out); /* secrets as *** */
void config_print_markdown(const struct setting *table, size_t count, FILE *out);            /* for docs */
void config_free(const struct setting *table, size_t count, void *values);

#endif
