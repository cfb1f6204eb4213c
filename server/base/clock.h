/* Time. Deadlines use the monotonic clock; what is written down uses the wall clock. */
#ifndef OPGATE_BASE_CLOCK_H
#define OPGATE_BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

int64_t clock_mono_ms(void);
int64_t clock_wall_ms(void); /* ms since 1970 */

/* An absolute point on the monotonic clock, in ms. */
typedef int64_t deadline_ms;
deadline_ms deadline_in(int64_t ms);
int64_t deadline_left(deadline_ms d); /* ms, never negative */
bool deadline_passed(deadline_ms d);

struct time_str { char s[32]; };
struct time_str time_format_rfc3339(int64_t wall_ms); /* 2026-01-02T03:04:05.678Z */
/* RFC 3339 with Z or offset, optional fraction; returns false when malformed. */
bool time_parse_rfc3339(const char *s, int64_t *ret_wall_ms);

#endif
