/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_TESTPOINT_H
#define BASE_TESTPOINT_H

/* Places where a test build can be made to die or to take another road: HEARTH_TESTPOINT names
   some, with commas. In the programs that are installed these are nothing: hearthd-test and
   hearth-launcher-test have them. */

#ifdef HEARTH_TESTPOINTS
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static inline int
testpoint_is(const char *name)
{
	const char *v = getenv("HEARTH_TESTPOINT");
	size_t n = strlen(name);

	for (; v && *v; v += strspn(v, ",")) {
		if (strncmp(v, name, n) == 0 && (v[n] == ',' || v[n] == '\0'))
			return 1;
		v += strcspn(v, ",");
	}
	return 0;
}

static inline void
testpoint(const char *name)
{
	if (testpoint_is(name)) {
		kill(getpid(), SIGKILL);
		_exit(1); /* PID 1 of a namespace is deaf to its own signals */
	}
}
#else
#define testpoint_is(name) 0
#define testpoint(name) ((void)0)
#endif

#endif
