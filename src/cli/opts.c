/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/opts.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

#define HOURS_MAX 1e6
#define COUNT_MAX 1000000

int
opts_decimal(const char *s, double *ret, struct err *err)
{
	size_t whole = strspn(s, "0123456789");
	size_t part = s[whole] == '.' ? strspn(s + whole + 1, "0123456789") : 0;
	size_t used = whole + (s[whole] == '.' ? 1 + part : 0);

	if (whole + part == 0 || s[used] != '\0' || used > 32)
		return err_set(
		    err, ERR_INVALID, "'%.40s' is not a number like 2 or 0.5", s);
	*ret = strtod(s, NULL);
	return 0;
}

static int
whole_number(const char *s, size_t digits, int64_t max, int64_t *ret)
{
	int64_t v = 0;

	if (digits == 0 || digits > 18)
		return -1;
	for (size_t i = 0; i < digits; i++)
		v = v * 10 + (s[i] - '0');
	if (v > max)
		return -1;
	*ret = v;
	return 0;
}

/* A whole number and one of the units, times the unit's factor. */
static int
with_unit(const char *s, const char *const *units, const int64_t *factors, int64_t *ret)
{
	size_t digits = strspn(s, "0123456789");

	for (int i = 0; units[i]; i++)
		if (strcmp(s + digits, units[i]) == 0) {
			if (whole_number(s, digits, INT64_MAX / factors[i], ret) < 0)
				return -1;
			*ret *= factors[i];
			return 0;
		}
	return -1;
}

int
opts_size(const char *s, int64_t *ret, struct err *err)
{
	static const char *const units[] = {"", "K", "M", "G", "T", NULL};
	static const int64_t factors[] = {1, 1 << 10, 1 << 20, 1 << 30, INT64_C(1) << 40};
	int64_t v;

	if (with_unit(s, units, factors, &v) < 0 || v <= 0)
		return err_set(
		    err, ERR_INVALID, "'%.40s' is not a size like 512M or 20G", s);
	*ret = v;
	return 0;
}

int
opts_duration(const char *s, int64_t *ret_ms, struct err *err)
{
	static const char *const units[] = {"ms", "s", "m", "h", "d", NULL};
	static const int64_t factors[] = {1, 1000, 60000, 3600000, 86400000};
	int64_t v;

	if (with_unit(s, units, factors, &v) < 0 || v <= 0)
		return err_set(
		    err, ERR_INVALID, "'%.40s' is not a duration like 30m or 2h", s);
	*ret_ms = v;
	return 0;
}

int
opts_ref(const char *what, const char *s, struct err *err)
{
	size_t n = strnlen(s, 64);

	if (n == 0)
		return err_set(err, ERR_INVALID, "the name of the %s is empty", what);
	for (size_t i = 0; i < n; i++)
		if (!isascii(s[i]) ||
		    (!isalnum((unsigned char)s[i]) && !strchr("._-", s[i])))
			return err_set(err, ERR_INVALID,
			    "'%.70s' cannot be a %s: names are letters, digits, '.', '_' "
			    "and '-'",
			    s, what);
	if (n > 63 || strstr(s, ".."))
		return err_set(err, ERR_INVALID,
		    "'%.70s' cannot be a %s: names have at most 63 characters and no "
		    "'..'",
		    s, what);
	return 0;
}

static int
set_hours(const struct opt *o, const char *v, struct err *err)
{
	double h = 0;

	if (opts_decimal(v, &h, err) < 0)
		return -1;
	if (h <= 0 || h > HOURS_MAX)
		return err_set(
		    err, ERR_INVALID, "must be above 0 and at most %.0f", HOURS_MAX);
	*(double *)o->to = h;
	return 0;
}

static int
set_strings(const struct opt *o, const char *v, struct err *err)
{
	struct strings *list = o->to;

	if (list->n == OPT_STRINGS_MAX)
		return err_set(
		    err, ERR_INVALID, "given more than %d times", OPT_STRINGS_MAX);
	list->s[list->n++] = v;
	return 0;
}

static int
set_value(const struct opt *o, const char *v, struct err *err)
{
	int64_t ms;

	if (v[0] == '\0')
		return err_set(err, ERR_INVALID, "its value is empty");
	switch (o->kind) {
	case OPT_FLAG:
		break;
	case OPT_STRING:
		*(const char **)o->to = v;
		break;
	case OPT_STRINGS:
		return set_strings(o, v, err);
	case OPT_HOURS:
		return set_hours(o, v, err);
	case OPT_USD:
		return opts_decimal(v, o->to, err);
	case OPT_COUNT:
		if (strspn(v, "0123456789") != strlen(v) ||
		    whole_number(v, strlen(v), COUNT_MAX, o->to) < 0)
			return err_set(err, ERR_INVALID,
			    "'%.40s' is not a whole number from 0 to %d", v, COUNT_MAX);
		break;
	case OPT_DURATION:
		if (opts_duration(v, &ms, err) < 0)
			return -1;
		*(const char **)o->to = v;
		break;
	case OPT_SIZE:
		return opts_size(v, o->to, err);
	}
	return 0;
}

static const struct opt *
find(const struct opt *table, const char *name, size_t n)
{
	for (; table && table->name; table++)
		if (strlen(table->name) == n && strncmp(table->name, name, n) == 0)
			return table;
	return NULL;
}

/* argv[i] is an option: reads it. *i moves on over a value of its own. */
static int
read_option(struct cli *cli, const struct opt *table, int argc, char **argv, int *i,
    struct err *err)
{
	const struct opt globals[] = {
	    {"socket", OPT_STRING, &cli->socket_path},
	    {"json", OPT_FLAG, &cli->json},
	    {"help", OPT_FLAG, &cli->help},
	    {"version", OPT_FLAG, &cli->version},
	    {NULL},
	};
	const char *name = strcmp(argv[*i], "-h") == 0 ? "help" : argv[*i] + 2;
	size_t n = strcspn(name, "=");
	const char *value = name[n] == '=' ? name + n + 1 : NULL;
	const struct opt *o;

	if (strcmp(argv[*i], "-h") != 0 && strncmp(argv[*i], "--", 2) != 0)
		return err_set(err, ERR_INVALID, "unknown option '%.60s'", argv[*i]);
	o = find(table, name, n) ?: find(globals, name, n);
	if (!o)
		return err_set(err, ERR_INVALID, "unknown option '--%.*s'",
		    (int)(n < 60 ? n : 60), name);
	if (o->kind == OPT_FLAG) {
		if (value)
			return err_set(err, ERR_INVALID, "--%s takes no value", o->name);
		*(bool *)o->to = true;
		cli->help |= cli->version;
		return 0;
	}
	if (!value) {
		if (*i + 1 >= argc)
			return err_set(err, ERR_INVALID, "--%s needs a value", o->name);
		value = argv[++*i];
	}
	if (set_value(o, value, err) < 0)
		return err_wrap(err, "--%s", o->name);
	return 0;
}

int
opts_parse(struct cli *cli, const struct opt *table, int argc, char **argv, int min,
    int max, bool rest_ok, struct args *ret, struct err *err)
{
	struct args args = {.operand = argv};
	int i;

	for (i = 0; i < argc && strcmp(argv[i], "--") != 0; i++) {
		if (argv[i][0] != '-' || argv[i][1] == '\0')
			argv[args.n++] = argv[i];
		else if (read_option(cli, table, argc, argv, &i, err) < 0)
			return -1;
	}
	if (i < argc && rest_ok)
		args.rest = argv + i + 1;
	else
		for (i++; i < argc; i++)
			argv[args.n++] = argv[i];
	*ret = args;
	if (cli->help)
		return 0;
	if (args.n < min)
		return err_set(err, ERR_INVALID, "too few arguments");
	if (max >= 0 && args.n > max)
		return err_set(
		    err, ERR_INVALID, "too many arguments: '%.60s'", args.operand[max]);
	return 0;
}
