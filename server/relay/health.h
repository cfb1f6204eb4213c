/* What this process knows of each node right now: how many jobs run there and whether it keeps failing. In memory only;
 * wrong after a restart for a moment, which costs a retry and never money. One mutex, held for a few lines. */
#ifndef OPGATE_RELAY_HEALTH_H
#define OPGATE_RELAY_HEALTH_H

#include <stdbool.h>

#include "base/hex.h"

struct health;

struct health *health_new(void);
void health_free(struct health *h);
/* Takes a place on the node: false when it runs `capacity` jobs already or is ejected after repeated failures. */
bool health_acquire(struct health *h, const struct address *node, int64_t capacity);
/* Gives the place back; five failures in a row eject the node for a growing while (1 s … 30 s). */
void health_release(struct health *h, const struct address *node, bool failed);
int64_t health_running(struct health *h, const struct address *node);

#endif
