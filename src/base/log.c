/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *const level_names[] = {"error", "warn", "info", "debug"};
static enum log_level max_level = LOG_LEVEL_INFO;
static const char *prog = "hearth";
static int under_journal;

void
log_init(const char *program, enum log_level level)
{
	prog = program;
	max_level = level;
	under_journal = getenv("JOURNAL_STREAM") != NULL;
}

static void
log_v(enum log_level level, const char *fmt, va_list ap)
{
	char msg[1024], line[1200], when[40] = "";
	int n;

	if (level > max_level)
		return;
	(void)vsnprintf(msg, sizeof(msg), fmt, ap);
	for (char *p = msg; *p; p++) /* outside text must not forge lines */
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = ' ';
	if (!under_journal) {
		struct timespec ts;
		struct tm tm;
		char sec[24];

		clock_gettime(CLOCK_REALTIME, &ts);
		gmtime_r(&ts.tv_sec, &tm);
		strftime(sec, sizeof(sec), "%Y-%m-%dT%H:%M:%S", &tm);
		(void)snprintf(
		    when, sizeof(when), "%s.%03ldZ ", sec, ts.tv_nsec / 1000000);
	}
	n = snprintf(
	    line, sizeof(line), "%s%s: %s: %s\n", when, prog, level_names[level], msg);
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return; /* nowhere left to say it */
}

#define LOG_FN(name, level)                                                              \
	void name(const char *fmt, ...)                                                  \
	{                                                                                \
		va_list ap;                                                              \
		va_start(ap, fmt);                                                       \
		log_v(level, fmt, ap);                                                   \
		va_end(ap);                                                              \
	}

LOG_FN(log_error, LOG_LEVEL_ERROR)
LOG_FN(log_warn, LOG_LEVEL_WARN)
LOG_FN(log_info, LOG_LEVEL_INFO)
LOG_FN(log_debug, LOG_LEVEL_DEBUG)
