/* See thread.h. */
#include "base/thread.h"

#include <pthread.h>
#include <stdio.h>

void thread_name(const char *name)
{
	char first[16];

	snprintf(first, sizeof(first), "%.15s", name);
	pthread_setname_np(pthread_self(), first);
}
