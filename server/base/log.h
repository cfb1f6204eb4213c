/* JSON lines on stderr: one object a line, never bodies, tokens or keys. Only handlers/, node/ and main log. */
#ifndef OPGATE_BASE_LOG_H
#define OPGATE_BASE_LOG_H

#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

struct log_field {
	const char *key;
	const char *str; /* NULL: the number below */
	int64_t num;
};
static inline struct log_field log_field_str(const char *key, const char *value)
{
	return (struct log_field){ .key = key, .str = value ? value : "" };
}
#define L_STR(k, v) log_field_str(k, v) /* a NULL value is logged as "" */
#define L_INT(k, v) ((struct log_field){ .key = (k), .num = (int64_t)(v) })

void log_set_level(enum log_level min);
/* The request id added to every line of this thread; NULL clears. The pointer is borrowed. */
void log_set_request(const char *id);
void log_fields(enum log_level level, const char *event, const struct log_field *fields, size_t count);

#define LOG_EVENT(level, event, ...) \
	log_fields(level, event, (const struct log_field[]){ __VA_ARGS__ }, \
		   sizeof((const struct log_field[]){ __VA_ARGS__ }) / sizeof(struct log_field))

#endif
