/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

/*
 * Errors are values: every function that can fail takes a caller-owned `struct err *` last, never
 * NULL, and returns 0 or -1. A message reads "what failed: why"; each layer may put what it was
 * doing in front of it with err_wrap(). Only the place that handles an error logs it.
 */

#include <stdarg.h>
#include <stdbool.h>

enum err_code {
	ERR_NONE,
	ERR_INVALID, /* the caller's input is wrong */
	ERR_NOT_PERMITTED,
	ERR_NOT_FOUND,
	ERR_CONFLICT, /* the state has moved on: a guard failed, a name is taken */
	ERR_TOO_LARGE,
	ERR_NO_CAPACITY,
	ERR_RATE_LIMITED,
	ERR_UNAVAILABLE, /* something we depend on does not answer; may work later */
	ERR_CANCELLED,
	ERR_INTERNAL, /* the world broke an assumption: an I/O error, a corrupt file */
	ERR_CODE_MAX,
};

struct err {
	enum err_code code;
	char msg[384];
	char hint[192]; /* what to do about it; may be empty */
};

/* The only place that maps a code to its name in the API, its HTTP status and the exit code of the
   command line (CLI manual, EXIT STATUS). */
extern const struct err_info {
	const char *name;
	int http_status;
	int exit_code;
	bool retryable;
} err_info[ERR_CODE_MAX];

#define ERR_CHECK __attribute__((warn_unused_result))

/* Both return -1, so that a failing function can end in `return err_set(...)`. Messages that do not
   fit are cut. err_set clears the hint. */
int err_set(struct err *err, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
int err_setv(struct err *err, enum err_code code, const char *fmt, va_list ap)
    __attribute__((format(printf, 3, 0)));

/* As err_set, with ": strerror(errno_value)" at the end. ENOSPC, EDQUOT, EMFILE, ENFILE and ENOMEM
   become ERR_UNAVAILABLE, EACCES and EPERM ERR_NOT_PERMITTED, ENOENT ERR_NOT_FOUND, everything else
   ERR_INTERNAL. */
int err_errno(struct err *err, int errno_value, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "fmt: " in front of the message; keeps code and hint. */
int err_wrap(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Sets the hint; returns -1. */
int err_hint(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The code whose API name is `name`; ERR_INTERNAL for a name unknown to us. */
enum err_code err_code_from_name(const char *name);

#endif
