/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any call of a Query or JSON service by our own client, for tests and for a look:
 *
 *   awscall [--endpoint URL] [--region R] [--profile P] [--service S] [--version V] [--speed X] [--once] [--filtered]
 *           [--timeout-ms N] [--deadline-ms N] [--repeat N] [--attempts N]
 *           ACTION [NAME=VALUE...]
 *   awscall [...] --json TARGET BODY
 *
 * prints the reply, elements indented, or its error on stderr; --repeat makes the call so many times at once, prints
 * the last reply or the first error, and says on stderr how many went well, how many attempts that took and how many of them were throttled.
 * Exit status: 0, 1 where a call failed, 2 for wrong usage.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aws/client.h"
#include "aws/credentials.h"
#include "aws/xml.h"
#include "base/clock.h"
#include "base/log.h"
#include "net/fetch.h"
#include "net/loop.h"

struct run {
	struct loop *loop;
	int left, good, failed, repeat;
};

static void
print_xml(const struct xml *x, int depth)
{
	printf("%*s%s", depth * 2, "", x->name);
	if (x->text[0])
		printf(" %s", x->text);
	puts("");
	for (const struct xml *c = x->child; c; c = c->next)
		print_xml(c, depth + 1);
}

static void
one_ended(struct run *r, const struct aws_error *aws, const struct err *err)
{
	if (err && r->failed++ == 0)
		fprintf(stderr, "%s: %s%s%s%s\n", err_info[err->code].name, err->msg,
		    err->hint[0] ? "; " : "", err->hint,
		    aws->maybe_done ? " (may have been done)" : "");
	r->good += !err;
	if (--r->left == 0)
		loop_stop(r->loop);
}

static void
on_query(void *arg, const struct xml *reply, const struct aws_error *aws,
    const struct err *err)
{
	struct run *r = arg;

	if (reply && r->left == 1)
		print_xml(reply, 0);
	one_ended(r, aws, err);
}

static void
on_json(void *arg, const char *body, const struct aws_error *aws, const struct err *err)
{
	struct run *r = arg;

	if (body && r->left == 1)
		puts(body);
	one_ended(r, aws, err);
}

struct arguments {
	struct aws_client_options client;
	struct aws_call_options call;
	const char *profile, *target;
	int repeat;
	char **rest; /* ACTION NAME=VALUE..., or BODY */
};

enum {
	OPT_ENDPOINT = 'a',
	OPT_REGION,
	OPT_PROFILE,
	OPT_SERVICE,
	OPT_VERSION,
	OPT_SPEED,
	OPT_ONCE,
	OPT_FILTERED,
	OPT_TIMEOUT,
	OPT_DEADLINE,
	OPT_REPEAT,
	OPT_ATTEMPTS,
	OPT_JSON,
};

static const struct option long_options[] = {
    {"endpoint", required_argument, NULL, OPT_ENDPOINT},
    {"region", required_argument, NULL, OPT_REGION},
    {"profile", required_argument, NULL, OPT_PROFILE},
    {"service", required_argument, NULL, OPT_SERVICE},
    {"version", required_argument, NULL, OPT_VERSION},
    {"speed", required_argument, NULL, OPT_SPEED},
    {"once", no_argument, NULL, OPT_ONCE},
    {"filtered", no_argument, NULL, OPT_FILTERED},
    {"timeout-ms", required_argument, NULL, OPT_TIMEOUT},
    {"deadline-ms", required_argument, NULL, OPT_DEADLINE},
    {"repeat", required_argument, NULL, OPT_REPEAT},
    {"attempts", required_argument, NULL, OPT_ATTEMPTS},
    {"json", required_argument, NULL, OPT_JSON},
    {0},
};

static int
take_option(struct arguments *a, int opt)
{
	switch (opt) {
	case OPT_ENDPOINT:
		a->client.endpoint = optarg;
		return 0;
	case OPT_REGION:
		a->client.region = optarg;
		return 0;
	case OPT_PROFILE:
		a->profile = optarg;
		return 0;
	case OPT_SERVICE:
		a->client.service = optarg;
		return 0;
	case OPT_VERSION:
		a->client.api_version = optarg;
		return 0;
	case OPT_SPEED:
		a->client.bucket_speed = strtod(optarg, NULL);
		return 0;
	case OPT_ONCE:
		a->call.repeatable = false;
		return 0;
	case OPT_FILTERED:
		a->call.filtered = true;
		return 0;
	case OPT_TIMEOUT:
		a->call.timeout_ms = (int)strtol(optarg, NULL, 10);
		return 0;
	case OPT_DEADLINE:
		a->call.deadline_ms = strtoll(optarg, NULL, 10);
		return 0;
	case OPT_REPEAT:
		a->repeat = (int)strtol(optarg, NULL, 10);
		return 0;
	case OPT_ATTEMPTS:
		a->client.attempts_max = (int)strtol(optarg, NULL, 10);
		return 0;
	case OPT_JSON:
		a->target = optarg;
		return 0;
	default:
		return -1;
	}
}

static int
take_arguments(struct arguments *a, int argc, char **argv)
{
	int opt;

	a->client.service = "ec2";
	a->client.api_version = "2016-11-15";
	a->call.repeatable = true;
	a->repeat = 1;
	while ((opt = getopt_long(argc, argv, "", long_options, NULL)) >= 0)
		if (take_option(a, opt) < 0)
			return -1;
	a->rest = argv + optind;
	for (int i = optind + 1; i < argc; i++)
		if (!strchr(argv[i], '='))
			return -1;
	return optind < argc && a->repeat > 0 ? 0 : -1;
}

static void
start_one(struct aws_client *c, const struct arguments *a, struct run *r)
{
	struct aws_form form = {0};

	if (a->target) {
		aws_json(c, a->target, a->rest[0], &a->call, on_json, r);
		return;
	}
	for (char **arg = a->rest + 1; *arg; arg++) {
		const char *eq = strchr(*arg, '=');

		aws_form_add(&form, eq + 1, "%.*s", (int)(eq - *arg), *arg);
	}
	aws_query(c, a->rest[0], &form, &a->call, on_query, r);
}

static int
call(struct arguments *a, struct loop *loop, struct fetcher *fetcher,
    struct credentials *keys)
{
	struct run r = {.loop = loop, .left = a->repeat, .repeat = a->repeat};
	struct aws_client *c;
	struct err err;

	a->client.clock = loop_clock(loop);
	a->client.fetcher = fetcher;
	a->client.credentials = keys;
	if (!a->client.region)
		a->client.region = credentials_region(keys);
	if (!a->client.endpoint)
		a->client.endpoint = credentials_endpoint_url(keys, a->client.service);
	if (aws_client_new(&a->client, &c, &err) < 0) {
		fprintf(
		    stderr, "%s: %s; %s\n", err_info[err.code].name, err.msg, err.hint);
		return 1;
	}
	for (int i = 0; i < a->repeat; i++)
		start_one(c, a, &r);
	loop_run(loop);
	if (a->repeat > 1)
		fprintf(stderr,
		    "%d of %d went well, %" PRIu64 " attempts, %" PRIu64 " throttled\n",
		    r.good, r.repeat, aws_client_calls(c, NULL), aws_client_throttled(c));
	aws_client_close(c);
	return r.good == r.repeat ? 0 : 1;
}

int
main(int argc, char **argv)
{
	struct arguments a = {.repeat = 0};
	struct clock *clock = clock_new_real();
	struct loop *loop = loop_new(clock);
	struct credentials_options opt = {.uv = loop_uv(loop), .clock = clock};
	struct credentials *keys;
	int rc = 2;

	log_init("awscall", LOG_LEVEL_WARN);
	if (take_arguments(&a, argc, argv) == 0) {
		opt.fetcher = fetcher_new(loop_uv(loop), 0);
		opt.profile = a.profile;
		opt.region = a.client.region;
		keys = credentials_new(&opt);
		fetcher_trust(opt.fetcher, credentials_ca_bundle(keys));
		rc = call(&a, loop, opt.fetcher, keys);
		credentials_free(keys);
		fetcher_close(opt.fetcher);
	} else {
		fprintf(stderr, "awscall: wrong usage; see the top of awscall.c\n");
	}
	loop_free(loop);
	clock_free(clock);
	return rc;
}
