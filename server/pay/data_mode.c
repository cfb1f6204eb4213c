/* See data_mode.h. */
#include <ctype.h>
#include <stddef.h>
#include <string.h>

#include "pay/data_mode.h"

static const struct {
	const char *name;
	enum data_mode mode;
} SPELLINGS[] = {
	{ "private", DATA_PRIVATE }, { "pivate", DATA_PRIVATE }, { "settle", DATA_PRIVATE }, { "settle_individual", DATA_PRIVATE }, { "settle_private", DATA_PRIVATE },
	{ "batch", DATA_BATCH }, { "batch_hashed", DATA_BATCH }, { "settle_batch", DATA_BATCH },
	{ "individual", DATA_INDIVIDUAL }, { "inidvidual", DATA_INDIVIDUAL }, { "individual_full", DATA_INDIVIDUAL }, { "settle_metadata", DATA_INDIVIDUAL },
	{ "settle_individual_with_metadata", DATA_INDIVIDUAL },
};

static int same(const char *text, const char *name)
{
	while (*text && (*text == '-' ? '_' : tolower((unsigned char)*text)) == *name) {
		text++;
		name++;
	}
	return !*text && !*name;
}

enum err data_mode_parse(const char *text, enum data_mode *ret)
{
	for (size_t i = 0; i < sizeof(SPELLINGS) / sizeof(SPELLINGS[0]); i++)
		if (same(text, SPELLINGS[i].name)) {
			*ret = SPELLINGS[i].mode;
			return ERR_OK;
		}
	return ERR_BAD_FIELD;
}

const char *data_mode_name(enum data_mode mode)
{
	return mode == DATA_PRIVATE ? "private" : mode == DATA_BATCH ? "batch" : "individual";
}
