/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_RESERVE_BODY_H
#define API_RESERVE_BODY_H

/* What POST /v1/reservations and POST …/certificates may say. */

#include <stdbool.h>
#include <stdint.h>

#include "core/core.h"
#include "model/reservation_disk.h"
#include "ssh/pubkey.h"

struct json_t;

struct keys {
	struct ssh_pubkey key[CORE_KEYS_MAX];
	int n;
};

#define AUTO_KEYS __attribute__((cleanup(keys_fini)))

/* Also for a zeroed struct, and after a failure. */
void keys_fini(struct keys *keys);

struct reserve_body {
	const char *pool, *name, *github, *request_id; /* borrowed from the JSON */
	int64_t hold_ms, idle_ms;
	int64_t count; /* -1: not given */
	const struct json_t *public_keys, *disks;
	struct reserve_disk disk[RESERVATION_DISKS_MAX];
	int n_disks;
	bool no_wait, no_warm, require_disk, wait_disk, snapshot_disks;
};

/* Fills *r, and *keys with what `public_keys` holds: one at least, or none and r->github is set. */
int reserve_body_read(const struct json_t *body, struct reserve_body *r,
    struct keys *keys, struct err *err) ERR_CHECK;

/* The body of POST …/certificates: keys, or none. */
int certify_body_read(
    const struct json_t *body, struct keys *keys, struct err *err) ERR_CHECK;

/* The body of PATCH /v1/reservations/{id}. */
int extend_body_read(
    const struct json_t *body, int64_t *ret_ms, struct err *err) ERR_CHECK;

#endif
