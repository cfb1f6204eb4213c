/* See fault.h. No locks: one count, and the choice is made before the first pass. */
#include "base/fault.h"

#ifdef OPGATE_FAULTS
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

static const char *const NAMES[] = {
#define X(name) #name,
	FAULT_TABLE(X)
#undef X
};
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int chosen = -1;
static atomic_int left;

static void choose(void)
{
	const char *text = getenv("OPGATE_TEST_FAULT");
	size_t name = text ? strcspn(text, ":") : 0;
	int count = 0;

	if (!text)
		return;
	for (const char *p = text[name] ? text + name + 1 : ""; *p >= '0' && *p <= '9' && count < 1000000; p++)
		count = count * 10 + (*p - '0');
	for (int i = 0; i < FAULT_COUNT; i++)
		if (strlen(NAMES[i]) == name && !strncmp(NAMES[i], text, name))
			chosen = i;
	if (chosen < 0 || count < 1)
		panic("OPGATE_TEST_FAULT: must be name:count, the name one of base/fault.h");
	atomic_store(&left, count);
}

void fault_pass(enum fault f)
{
	char line[128];
	int n;

	pthread_once(&once, choose);
	if ((int)f != chosen || atomic_fetch_sub(&left, 1) != 1)
		return;
	n = snprintf(line, sizeof(line), "{\"event\":\"fault\",\"point\":\"%s\"}\n", NAMES[f]);
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return;
	kill(getpid(), SIGKILL);
	pause(); /* this thread does nothing more */
}
#else
typedef int fault_nothing; /* a file must hold something */
#endif
