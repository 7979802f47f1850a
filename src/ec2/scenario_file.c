/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/xalloc.h"
#include "ec2/scenario_internal.h"
#include "yaml/fields.h"
#include "yaml/tree.h"

#define DAY_MS (24 * 3600 * INT64_C(1000))
#define YEAR_MS (365 * DAY_MS)
#define BASES_MAX 4 /* scenarios that a scenario is built on */

/* What AWS does whoever asks: EC2 User Guide, "Terminate your instance" (shown for about an hour) and "Spot Instance interruption notices" (two minutes);
   EC2 API Reference, "Ensuring idempotency" (tokens: 24 hours at least). */
static const struct {
	enum delay delay;
	double ms;
} defaults[] = {
    {DELAY_TERMINATED_SHOWN, 3600e3},
    {DELAY_SPOT_NOTICE, 120e3},
    {DELAY_TOKEN, 24 * 3600e3},
};

static int load(
    const char *name, double speed, int depth, struct scenario **ret, struct err *err);

/* ---- distributions ---- */

struct pair {
	int64_t a, b;
};

/* clang-format off */
#define AT(type, member) offsetof(struct type, member)

static const struct field lognormal_fields[] = {
	{ "median", field_duration, AT(pair, a), 0, YEAR_MS, .required = true },
	{ "p90",    field_duration, AT(pair, b), 0, YEAR_MS, .required = true },
	{ NULL },
};
/* clang-format on */

static int
parse_uniform(const struct place *at, const struct tree *list, struct distribution *d,
    struct err *err)
{
	const struct field bound = {.name = "uniform", .max = YEAR_MS};
	int64_t from, to;

	if (list->kind != TREE_LIST || list->n != 2)
		return place_err(
		    err, at, list, "expected two durations, as in [5s, 30s]");
	if (field_duration(at, &bound, list->first, &from, err) < 0 ||
	    field_duration(at, &bound, list->first->next, &to, err) < 0)
		return -1;
	if (from > to)
		return place_err(err, at, list, "the first is longer than the second");
	*d = (struct distribution){DISTRIBUTION_UNIFORM, (double)from, (double)to};
	return 0;
}

static int
parse_lognormal(
    const struct place *at, const struct tree *t, struct distribution *d, struct err *err)
{
	struct pair p = {0};

	if (yaml_fields_parse(at, t, lognormal_fields, &p, err) < 0)
		return -1;
	if (p.a == 0 || p.b < p.a)
		return place_err(err, at, t,
		    "expected a median of more than nothing, and a p90 of at least that");
	*d = (struct distribution){DISTRIBUTION_LOGNORMAL, (double)p.a, (double)p.b};
	return 0;
}

static int
field_distribution(const struct place *at, const struct field *f, const struct tree *t,
    void *to, struct err *err)
{
	const struct field fixed = {.name = f ? f->name : "", .max = YEAR_MS};
	struct place uniform = {.file = at->file, .up = at, .key = "uniform"};
	int64_t ms;

	if (t->kind == TREE_MAP && t->n == 1 && strcmp(t->first->key, "uniform") == 0)
		return parse_uniform(&uniform, t->first, to, err);
	if (t->kind == TREE_MAP)
		return parse_lognormal(at, t, to, err);
	if (field_duration(at, &fixed, t, &ms, err) < 0)
		return err_hint(err, "or {uniform: [5s, 30s]}, or {median: 5s, p90: 8s}");
	*(struct distribution *)to = (struct distribution){.a = (double)ms};
	return 0;
}

static int
field_delays(const struct place *at, const struct field *f, const struct tree *t,
    void *to, struct err *err)
{
	struct field fields[DELAY_MAX + 1] = {{NULL}};

	for (int i = 0; i < DELAY_MAX; i++)
		fields[i] = (struct field){.name = delay_names[i],
		    .parse = field_distribution,
		    .offset = (size_t)i * sizeof(struct distribution)};
	return yaml_fields_parse(at, t, fields, to, err);
}

/* ---- calls and faults ---- */

static int
field_calls(const struct place *at, const struct field *f, const struct tree *t, void *to,
    struct err *err)
{
	struct scenario *s = to;

	if (t->kind != TREE_MAP)
		return place_err(
		    err, at, t, "expected actions, as in {RunInstances: 1540ms}");
	for (const struct tree *c = t->first; c; c = c->next) {
		struct place here = {.file = at->file, .up = at, .key = c->key};
		struct distribution d;

		if (field_distribution(&here, NULL, c, &d, err) < 0)
			return -1;
		s->calls =
		    xrealloc(s->calls, (size_t)(s->n_calls + 1) * sizeof(*s->calls));
		s->calls[s->n_calls++] = (struct call_delay){xstrdup(c->key), d};
	}
	return 0;
}

static int
field_fault_kind(const struct place *at, const struct field *f, const struct tree *t,
    void *to, struct err *err)
{
	AUTO_BUF struct buf names = BUF_INIT(300);

	for (int i = 0; i < FAULT_MAX; i++) {
		if (t->kind == TREE_SCALAR && strcmp(t->text, fault_names[i]) == 0) {
			*(enum fault_kind *)to = (enum fault_kind)i;
			return 0;
		}
		buf_fmt(&names, "%s%s", i ? ", " : "", fault_names[i]);
	}
	return place_err(err, at, t, "expected one of %s", names.data);
}

struct fault_entry {
	struct fault f;
	int64_t for_ms;
};

/* clang-format off */
static const struct field fault_fields[] = {
	{ "fault",       field_fault_kind, AT(fault_entry, f.kind), .required = true },
	{ "action",      field_string,     AT(fault_entry, f.action) },
	{ "type",        field_string,     AT(fault_entry, f.type) },
	{ "zone",        field_string,     AT(fault_entry, f.zone) },
	{ "reason",      field_string,     AT(fault_entry, f.reason) },
	{ "probability", field_share,      AT(fault_entry, f.probability) },
	{ "count",       field_int64,      AT(fault_entry, f.count), 0, 1000000000 },
	{ "after",       field_int64,      AT(fault_entry, f.after), 0, 1000000000 },
	{ "for",         field_duration,   AT(fault_entry, for_ms), 0, YEAR_MS },
	{ NULL },
};
/* clang-format on */

static int
field_faults(const struct place *at, const struct field *f, const struct tree *t,
    void *to, struct err *err)
{
	struct scenario *s = to;

	if (t->kind != TREE_LIST)
		return place_err(err, at, t,
		    "expected a list, as in [{fault: throttled, probability: 0.1}]");
	for (const struct tree *c = t->first; c; c = c->next) {
		struct fault_entry e = {.f = {.probability = 1, .count = -1}};
		int rc = yaml_fields_parse(at, c, fault_fields, &e, err);

		e.f.seconds = (double)e.for_ms / 1000;
		s->faults =
		    xrealloc(s->faults, (size_t)(s->n_faults + 1) * sizeof(*s->faults));
		s->faults[s->n_faults++] = e.f; /* freed with it, also when rc is -1 */
		if (rc < 0)
			return -1;
	}
	return 0;
}

static int
field_nothing(const struct place *at, const struct field *f, const struct tree *t,
    void *to, struct err *err)
{
	return 0; /* `base` was read first */
}

/* clang-format off */
static const struct field top_fields[] = {
	{ "base",     field_nothing, 0 },
	{ "seed",     field_int64,   AT(scenario, seed), 0, INT64_MAX },
	{ "throttle", field_bool,    AT(scenario, throttle) },
	{ "delays",   field_delays,  AT(scenario, delays) },
	{ "calls",    field_calls,   0 },
	{ "faults",   field_faults,  0 },
	{ NULL },
};
/* clang-format on */

/* ---- files ---- */

static struct scenario *
scenario_new(void)
{
	struct scenario *s = xnew(struct scenario);

	s->throttle = true;
	s->seed = 1;
	for (size_t i = 0; i < sizeof(defaults) / sizeof(defaults[0]); i++)
		s->delays[defaults[i].delay].a = defaults[i].ms;
	return s;
}

static int
make_base(const struct place *at, const struct tree *top, double speed, int depth,
    struct scenario **ret, struct err *err)
{
	struct place here = {.file = at->file, .up = at, .key = "base"};
	const struct tree *t = top->first;

	while (t && strcmp(t->key, "base") != 0)
		t = t->next;
	if (!t) {
		*ret = scenario_new();
		return 0;
	}
	if (t->kind != TREE_SCALAR)
		return place_err(err, &here, t, "expected a scenario's name or path");
	if (depth >= BASES_MAX)
		return place_err(err, &here, t, "too many scenarios on each other");
	return load(t->text, speed, depth + 1, ret, err);
}

static int
parse(const char *file, const char *text, size_t n, double speed, int depth,
    struct scenario **ret, struct err *err)
{
	struct place at = {.file = file};
	struct scenario *s = NULL;
	struct tree *tree = NULL;
	int rc = -1;

	if (tree_parse(file, text, n, &tree, err) < 0)
		return -1;
	if (make_base(&at, tree, speed, depth, &s, err) == 0)
		rc = yaml_fields_parse(&at, tree, top_fields, s, err);
	tree_free(tree);
	if (rc < 0 || !s) {
		scenario_free(s);
		return -1;
	}
	s->speed = speed;
	*ret = s;
	return 0;
}

int
scenario_parse(const char *file, const char *text, size_t n, double speed,
    struct scenario **ret, struct err *err)
{
	return parse(file, text, n, speed, 0, ret, err);
}

static int
read_file(const char *path, int fd, double speed, int depth, struct scenario **ret,
    struct err *err)
{
	AUTO_BUF struct buf text = BUF_INIT(TREE_TEXT_MAX);
	char chunk[4096];
	ssize_t n;

	while ((n = read(fd, chunk, sizeof(chunk))) > 0) {
		buf_add(&text, chunk, (size_t)n);
		if (text.overflow)
			return err_set(err, ERR_INVALID,
			    "%s: larger than 1 MiB: expected a scenario", path);
	}
	if (n < 0)
		return err_errno(err, errno, "scenario %s: cannot be read", path);
	return parse(path, text.data ?: "", text.len, speed, depth, ret, err);
}

/* Where shipped ones lie: beside the program in a build tree, below the prefix else. */
static int
open_shipped(const char *name)
{
	char exe[4096];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	char *slash;
	int fd = -1;

	if (n > 0) {
		AUTO_FREE char *path = NULL;

		exe[n] = '\0';
		slash = strrchr(exe, '/');
		*slash = '\0';
		path = xasprintf("%s/scenarios/%s.yaml", exe, name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
	}
	if (fd < 0) {
		AUTO_FREE char *path =
		    xasprintf(HEARTH_DATADIR "/hearth-ec2/scenarios/%s.yaml", name);

		fd = open(path, O_RDONLY | O_CLOEXEC);
	}
	return fd;
}

static int
load(const char *name, double speed, int depth, struct scenario **ret, struct err *err)
{
	AUTO_CLOSE int fd =
	    strchr(name, '/') ? open(name, O_RDONLY | O_CLOEXEC) : open_shipped(name);

	if (fd < 0 && !strchr(name, '/')) {
		err_set(err, ERR_INVALID, "there is no scenario '%.100s'", name);
		return err_hint(err, "expected instant, aws, aws-fine, or the path of a "
				     "file, with a '/' in it");
	}
	if (fd < 0)
		return err_errno(err, errno, "scenario %s: cannot be opened", name);
	return read_file(name, fd, speed, depth, ret, err);
}

int
scenario_load(const char *name, double speed, struct scenario **ret, struct err *err)
{
	return load(name, speed, 0, ret, err);
}
