/* Threads by name, for those who look at them (top -H, perf, a debugger). */
#ifndef OPGATE_BASE_THREAD_H
#define OPGATE_BASE_THREAD_H

/* Of the calling thread; the first 15 bytes count. */
void thread_name(const char *name);

#endif
