/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_OPTS_H
#define CLI_OPTS_H

/*
 * Options by table. getopt_long(3) takes any unambiguous abbreviation, so that a new option can break
 * an old script: here a name is the whole name. `--x v` and `--x=v`; options and operands mix freely
 * up to `--`. Values are checked as they are read.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct cli;

enum opt_kind {
	OPT_FLAG,     /* bool */
	OPT_STRING,   /* const char *, not empty */
	OPT_STRINGS,  /* struct strings: may be given several times */
	OPT_HOURS,    /* double, above 0 */
	OPT_COUNT,    /* int64_t, 0 to 1,000,000 */
	OPT_DURATION, /* const char *, as in "30m" */
	OPT_SIZE,     /* int64_t bytes, from "20G" */
	OPT_USD,      /* double, 0 or more */
};

struct opt {
	const char *name; /* without the dashes; NULL ends the table */
	enum opt_kind kind;
	void *to;
};

#define OPT_STRINGS_MAX 64

struct strings {
	const char *s[OPT_STRINGS_MAX]; /* borrowed from argv */
	int n;
};

struct args {
	char **operand; /* borrowed from argv */
	int n;
	char **rest; /* what follows `--`, NULL-terminated; NULL without one */
};

/* Reads options of `table` and the global ones (--socket, --json, --help) into their places and moves
   the operands to the front of argv. Wants `min` to `max` operands (max -1: any number); with
   `rest_ok` false what follows `--` are operands too. Failures are ERR_INVALID. With --help given it
   returns 0 and leaves the rest unchecked. */
int opts_parse(struct cli *cli, const struct opt *table, int argc, char **argv, int min,
    int max, bool rest_ok, struct args *ret, struct err *err) ERR_CHECK;

/* A plain decimal, as in "1.5": no sign, no exponent. */
int opts_decimal(const char *s, double *ret, struct err *err) ERR_CHECK;

/* "512M", "20G", "1T", or bytes. */
int opts_size(const char *s, int64_t *ret, struct err *err) ERR_CHECK;

/* "50ms", "90s", "30m", "2h", "1d", above 0. */
int opts_duration(const char *s, int64_t *ret_ms, struct err *err) ERR_CHECK;

/* A name, an id or the beginning of one, before it goes into a request. */
int opts_ref(const char *what, const char *s, struct err *err) ERR_CHECK;

#endif
