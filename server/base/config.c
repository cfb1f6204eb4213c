/* Settings from defaults, a file and the environment. Called once by each program's main before threads; no locks. */
#include "base/config.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

#define CONFIG_FILE_MAX (1u << 20)
#define ENV_PREFIX "OPGATE_"

extern char **environ;

/* What one setting will be: its text, not yet stored, and where it came from for error texts. */
struct choice {
	char *text;
	int line; /* where the file set it; 0: not there */
};

static enum err why_set(struct config_why *why, enum err e, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static enum err why_set(struct config_why *why, enum err e, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(why->text, sizeof(why->text), fmt, ap);
	va_end(ap);
	for (char *p = why->text; *p; p++)
		if (iscntrl((unsigned char)*p))
			*p = '?';
	return e;
}

static void text_free(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text)); /* it may be a secret */
	free(text);
}

/* ---- one value ---- */

static bool int_parse(const char *s, int64_t *ret)
{
	bool negative = *s == '-';
	uint64_t v = 0, limit = negative ? (uint64_t)INT64_MAX + 1 : INT64_MAX;
	s += negative;
	if (*s == '\0')
		return false;
	for (; *s; s++) {
		if (*s < '0' || *s > '9')
			return false;
		uint64_t digit = (uint64_t)(*s - '0');
		if (v > (limit - digit) / 10)
			return false;
		v = v * 10 + digit;
	}
	*ret = negative ? (int64_t)(0 - v) : (int64_t)v;
	return true;
}

/* Stores `text` at dst, or only checks it when dst is NULL. The reason never quotes the value: it may be a secret. */
static const char *value_store(const struct setting *s, const char *text, void *dst, char *reason, size_t reason_size)
{
	int64_t i;
	struct address address;
	struct hash hash;
	struct amount amount;
	switch (s->type) {
	case SETTING_STR:
		if (dst)
			*(char **)dst = xstrdup(text);
		return NULL;
	case SETTING_INT:
		if (!int_parse(text, &i))
			return "must be an integer";
		if ((s->min != 0 || s->max != 0) && (i < s->min || i > s->max)) {
			snprintf(reason, reason_size, "must be between %" PRId64 " and %" PRId64, s->min, s->max);
			return reason;
		}
		if (dst)
			*(int64_t *)dst = i;
		return NULL;
	case SETTING_BOOL:
		if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
			return "must be true or false";
		if (dst)
			*(bool *)dst = text[0] == 't';
		return NULL;
	case SETTING_ADDRESS:
		if (address_parse(text, &address))
			return "must be an address: 0x and 40 hex digits";
		if (dst)
			memcpy(dst, &address, sizeof(address));
		return NULL;
	case SETTING_HASH:
		if (hash_parse(text, &hash))
			return "must be a hash: 0x and 64 hex digits";
		if (dst)
			memcpy(dst, &hash, sizeof(hash));
		return NULL;
	case SETTING_AMOUNT:
		if (amount_parse(text, strlen(text), &amount))
			return "must be a decimal number of base units, below 2^127";
		if (dst)
			memcpy(dst, &amount, sizeof(amount));
		return NULL;
	}
	return "has an unknown type";
}

static const char *value_check(const struct setting *s, const char *text, char *reason, size_t reason_size)
{
	return value_store(s, text, NULL, reason, reason_size);
}

/* ---- the file ---- */

static enum err file_read(const char *path, char **ret_text, size_t *ret_len, struct config_why *why)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return why_set(why, ERR_IO, "%s: %s", path, strerror(errno));
	char *text = xmalloc(CONFIG_FILE_MAX + 2);
	size_t len = 0;
	ssize_t n;
	while (len <= CONFIG_FILE_MAX && (n = read(fd, text + len, CONFIG_FILE_MAX + 1 - len)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			enum err e = why_set(why, ERR_IO, "%s: %s", path, strerror(errno));
			close(fd);
			explicit_bzero(text, len);
			free(text);
			return e;
		}
		len += (size_t)n;
	}
	close(fd);
	text[len] = '\0';
	*ret_text = text;
	*ret_len = len;
	return ERR_OK;
}

static char *trim(char *s)
{
	while (isspace((unsigned char)*s))
		s++;
	size_t len = strlen(s);
	while (len > 0 && isspace((unsigned char)s[len - 1]))
		s[--len] = '\0';
	return s;
}

static enum err line_take(const struct setting *table, size_t count, struct choice *chosen, const char *path, int number,
			  char *line, struct config_why *why)
{
	line = trim(line);
	if (*line == '\0' || *line == '#')
		return ERR_OK;
	char *equals = strchr(line, '='), reason[96];
	if (!equals)
		return why_set(why, ERR_BAD_FIELD, "%s:%d: expected `name = value`", path, number);
	*equals = '\0';
	const char *name = trim(line);
	char *value = trim(equals + 1);
	for (size_t i = 0; i < count; i++) {
		if (strcmp(table[i].name, name) != 0)
			continue;
		if (chosen[i].line)
			return why_set(why, ERR_BAD_FIELD, "%s:%d: %s: already set in line %d", path, number, name, chosen[i].line);
		const char *bad = value_check(&table[i], value, reason, sizeof(reason));
		if (bad)
			return why_set(why, ERR_BAD_FIELD, "%s:%d: %s: %s", path, number, name, bad);
		text_free(chosen[i].text);
		chosen[i] = (struct choice){ .text = xstrdup(value), .line = number };
		return ERR_OK;
	}
	return why_set(why, ERR_UNKNOWN_FIELD, "%s:%d: %.64s: unknown setting", path, number, name);
}

static enum err choose_from_file(const struct setting *table, size_t count, struct choice *chosen, const char *path,
				 struct config_why *why)
{
	char *text = NULL;
	size_t len = 0;
	enum err e = file_read(path, &text, &len, why);
	if (e)
		return e;
	if (len > CONFIG_FILE_MAX)
		e = why_set(why, ERR_LIMIT, "%s: longer than %u bytes", path, CONFIG_FILE_MAX);
	else if (strlen(text) != len)
		e = why_set(why, ERR_BAD_FIELD, "%s: contains a NUL byte", path);
	char *rest = text;
	for (int number = 1; !e && rest; number++) {
		char *line = strsep(&rest, "\n");
		e = line_take(table, count, chosen, path, number, line, why);
	}
	explicit_bzero(text, len);
	free(text);
	return e;
}

/* ---- the environment ---- */

/* Does `name` (up to '=') spell OPGATE_<NAME> of this setting? */
static bool env_matches(const char *name, size_t len, const char *setting)
{
	if (strlen(setting) != len)
		return false;
	for (size_t i = 0; i < len; i++) {
		char want = (char)toupper((unsigned char)setting[i]);
		if (want == '-' || want == '.')
			want = '_';
		if (name[i] != want)
			return false;
	}
	return true;
}

static enum err choose_from_env(const struct setting *table, size_t count, struct choice *chosen, struct config_why *why)
{
	static const size_t prefix = sizeof(ENV_PREFIX) - 1;
	char reason[96];
	for (char **p = environ; p && *p; p++) {
		const char *equals = strchr(*p, '=');
		if (strncmp(*p, ENV_PREFIX, prefix) != 0 || !equals)
			continue;
		const char *name = *p + prefix;
		size_t len = (size_t)(equals - name), i = 0;
		/* Of the scripts and the tests, which run beside the programs. */
		if ((len == 3 && strncmp(name, "VAR", 3) == 0) || strncmp(name, "TEST_", 5) == 0)
			continue;
		while (i < count && !env_matches(name, len, table[i].name))
			i++;
		if (i == count)
			return why_set(why, ERR_UNKNOWN_FIELD, "environment: %.*s: unknown setting",
				       (int)(len > 64 ? 64 : len) + (int)prefix, *p);
		const char *bad = value_check(&table[i], equals + 1, reason, sizeof(reason));
		if (bad)
			return why_set(why, ERR_BAD_FIELD, "environment: %.*s: %s", (int)(len + prefix), *p, bad);
		text_free(chosen[i].text);
		chosen[i].text = xstrdup(equals + 1);
	}
	return ERR_OK;
}

/* ---- the whole ---- */

enum err config_load(const struct setting *table, size_t count, const char *path, void *out, struct config_why *why)
{
	struct config_why ignored;
	char reason[96];
	if (!why)
		why = &ignored;
	struct choice *chosen = xcalloc(count, sizeof(*chosen));
	enum err e = path ? choose_from_file(table, count, chosen, path, why) : ERR_OK;
	if (!e)
		e = choose_from_env(table, count, chosen, why);
	for (size_t i = 0; !e && i < count; i++) {
		if (chosen[i].text)
			continue;
		if (!table[i].default_text) {
			e = why_set(why, ERR_BAD_FIELD, "%s: is required; set it in the file or the environment", table[i].name);
			break;
		}
		const char *bad = value_check(&table[i], table[i].default_text, reason, sizeof(reason));
		if (bad)
			e = why_set(why, ERR_BAD_FIELD, "%s: its default %s", table[i].name, bad);
		chosen[i].text = xstrdup(table[i].default_text);
	}
	/* Everything was checked, so storing cannot fail and a refused configuration has written nothing. */
	for (size_t i = 0; !e && i < count; i++)
		if (value_store(&table[i], chosen[i].text, (char *)out + table[i].offset, reason, sizeof(reason)))
			panic("config: a checked value was refused");
	for (size_t i = 0; i < count; i++)
		text_free(chosen[i].text);
	free(chosen);
	return e;
}

static void value_print(const struct setting *s, const void *value, FILE *out)
{
	switch (s->type) {
	case SETTING_STR: fputs(*(char *const *)value ? *(char *const *)value : "", out); break;
	case SETTING_INT: fprintf(out, "%" PRId64, *(const int64_t *)value); break;
	case SETTING_BOOL: fputs(*(const bool *)value ? "true" : "false", out); break;
	case SETTING_ADDRESS: fputs(address_format(value).s, out); break;
	case SETTING_HASH: fputs(hash_format(value).s, out); break;
	case SETTING_AMOUNT: fputs(amount_format(*(const struct amount *)value).s, out); break;
	}
}

void config_print(const struct setting *table, size_t count, const void *values, FILE *out)
{
	for (size_t i = 0; i < count; i++) {
		fprintf(out, "%s = ", table[i].name);
		if (table[i].secret)
			fputs("***", out);
		else
			value_print(&table[i], (const char *)values + table[i].offset, out);
		fputc('\n', out);
	}
}

void config_print_markdown(const struct setting *table, size_t count, FILE *out)
{
	static const char *const types[] = { "text", "integer", "boolean", "address", "hash", "amount" };
	fputs("| name | type | default | meaning |\n|---|---|---|---|\n", out);
	for (size_t i = 0; i < count; i++) {
		const struct setting *s = &table[i];
		fprintf(out, "| `%s` | %s", s->name, types[s->type]);
		if (s->type == SETTING_INT && (s->min != 0 || s->max != 0))
			fprintf(out, ", %" PRId64 " to %" PRId64, s->min, s->max);
		fputs(s->secret ? ", secret | " : " | ", out);
		if (!s->default_text)
			fputs("required", out);
		else if (*s->default_text)
			fprintf(out, "`%s`", s->default_text);
		else
			fputs("empty", out);
		fputs(" | ", out);
		for (const char *p = s->doc ? s->doc : ""; *p; p++) {
			if (*p == '|')
				fputc('\\', out);
			fputc(*p, out);
		}
		fputs(" |\n", out);
	}
}

void config_free(const struct setting *table, size_t count, void *values)
{
	for (size_t i = 0; i < count; i++) {
		if (table[i].type != SETTING_STR)
			continue;
		char **slot = (char **)((char *)values + table[i].offset);
		text_free(*slot);
		*slot = NULL;
	}
}
