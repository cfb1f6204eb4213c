/* Threads by name, for those who look at them (top -H, perf, a debugger), and waiting that no change of the wall clock stretches. */
#ifndef OPGATE_BASE_THREAD_H
#define OPGATE_BASE_THREAD_H

#include <pthread.h>
#include <stdint.h>
#include <time.h>

/* Of the calling thread; the first 15 bytes count. */
void thread_name(const char *name);

/* Timed waits on it end at a point of the monotonic clock. */
void cond_init_mono(pthread_cond_t *cond);
/* Such a point, from now. */
struct timespec cond_until(int64_t ms);

#endif
