/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* clang-format off */
const struct err_info err_info[ERR_CODE_MAX] = {
	/*                      API name         HTTP exit retryable */
	[ERR_NONE]          = { "none",          200, 0, false },
	[ERR_INVALID]       = { "invalid",       400, 2, false },
	[ERR_NOT_PERMITTED] = { "not_permitted", 403, 6, false },
	[ERR_NOT_FOUND]     = { "not_found",     404, 3, false },
	[ERR_CONFLICT]      = { "conflict",      409, 1, false },
	[ERR_TOO_LARGE]     = { "too_large",     413, 2, false },
	[ERR_NO_CAPACITY]   = { "no_capacity",   409, 4, true },
	[ERR_RATE_LIMITED]  = { "rate_limited",  429, 1, true },
	[ERR_UNAVAILABLE]   = { "unavailable",   503, 1, true },
	[ERR_CANCELLED]     = { "cancelled",     409, 1, false },
	[ERR_INTERNAL]      = { "internal",      500, 1, false },
};
/* clang-format on */

int
err_setv(struct err *err, enum err_code code, const char *fmt, va_list ap)
{
	err->code = code;
	err->hint[0] = '\0';
	(void)vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	return -1;
}

int
err_set(struct err *err, enum err_code code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	err_setv(err, code, fmt, ap);
	va_end(ap);
	return -1;
}

static enum err_code
code_of_errno(int e)
{
	switch (e) {
	case ENOSPC:
	case EDQUOT:
	case EMFILE:
	case ENFILE:
	case ENOMEM:
		return ERR_UNAVAILABLE;
	case EACCES:
	case EPERM:
		return ERR_NOT_PERMITTED;
	case ENOENT:
		return ERR_NOT_FOUND;
	default:
		return ERR_INTERNAL;
	}
}

int
err_errno(struct err *err, int errno_value, const char *fmt, ...)
{
	char what[256];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	return err_set(err, code_of_errno(errno_value), "%s: %s", what,
	    strerrordesc_np(errno_value) ?: "unknown error");
}

int
err_wrap(struct err *err, const char *fmt, ...)
{
	char msg[sizeof(err->msg)];
	size_t n;
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	n = strlen(msg);
	(void)snprintf(msg + n, sizeof(msg) - n, ": %s", err->msg);
	memcpy(err->msg, msg, sizeof(msg));
	return -1;
}

int
err_hint(struct err *err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(err->hint, sizeof(err->hint), fmt, ap);
	va_end(ap);
	return -1;
}

enum err_code
err_code_from_name(const char *name)
{
	for (int i = 0; i < ERR_CODE_MAX; i++)
		if (strcmp(err_info[i].name, name) == 0)
			return (enum err_code)i;
	return ERR_INTERNAL;
}
