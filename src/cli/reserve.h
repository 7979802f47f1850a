/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_RESERVE_H
#define CLI_RESERVE_H

/*
 * A reservation from the request to the files ssh uses: what `reserve` and `run` share. Once the daemon
 * has said yes, every way out but success gives the reservations back: a signal, a file that cannot be
 * written, one of several that fails.
 */

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "cli/cli.h"
#include "cli/keys.h"
#include "cli/opts.h"

struct reserve {
	const char *pool; /* borrowed from argv, like the others; NULL: not given */
	const char *name;
	const char *key_file;
	const char *github;
	const char *idle;
	const char *request_id;
	double hours;  /* 0: not given */
	int64_t count; /* -1: not given */
	struct strings disks;
	bool wait_disk;
	bool require_disk;
	bool snapshot_disks;
	bool no_wait;
	bool no_warm;
	bool trace;

	char *state_dir; /* owned, like what follows */
	struct key key;
	json_t *reservations; /* an array, also of one */
};

#define RESERVE_INIT ((struct reserve){.count = -1})

/* The rows of an options' table. */
/* clang-format off */
#define RESERVE_OPTIONS(r) \
	{"pool", OPT_STRING, &(r).pool}, \
	{"hours", OPT_HOURS, &(r).hours}, \
	{"name", OPT_STRING, &(r).name}, \
	{"key", OPT_STRING, &(r).key_file}, \
	{"github", OPT_STRING, &(r).github}, \
	{"disk", OPT_STRINGS, &(r).disks}, \
	{"wait-disk", OPT_FLAG, &(r).wait_disk}, \
	{"require-disk", OPT_FLAG, &(r).require_disk}, \
	{"snapshot-disks", OPT_FLAG, &(r).snapshot_disks}, \
	{"count", OPT_COUNT, &(r).count}, \
	{"idle", OPT_DURATION, &(r).idle}, \
	{"request-id", OPT_STRING, &(r).request_id}, \
	{"no-wait", OPT_FLAG, &(r).no_wait}, \
	{"no-warm", OPT_FLAG, &(r).no_warm}, \
	{"trace", OPT_FLAG, &(r).trace}
/* clang-format on */

extern const char reserve_help[];

/* Reserves, waits until all are active (with a line of progress on a terminal), and writes the files.
   When a signal ended it: ERR_CANCELLED, and interrupt_signal() says which. Signals stay caught. */
int reserve_get(struct cli *cli, struct reserve *r, struct err *err) ERR_CHECK;
void reserve_fini(struct reserve *r);

/* Waits until reservation *r (replaced by its newest form) is active or has ended. */
int reserve_wait_active(struct cli *cli, json_t **r, struct err *err) ERR_CHECK;

/* Ends it and waits until all is undone. */
int reserve_end(
    struct cli *cli, const char *ref, bool wait, json_t **ret, struct err *err) ERR_CHECK;

#endif
