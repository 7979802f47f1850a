/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/reserve.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/xalloc.h"
#include "cli/api.h"
#include "cli/files.h"
#include "cli/interrupt.h"
#include "cli/progress.h"
#include "cli/saved.h"
#include "cli/view.h"
#include "net/client.h"

#define UNDO_TIMEOUT_MS 300000

const char reserve_help[] =
    "  --pool P            from this pool ('default')\n"
    "  --hours H           for so long, as in 4 or 0.5\n"
    "  --name N            call it N; `ssh N.hearth` then reaches it\n"
    "  --key FILE.pub      for this public key; else one of ~/.ssh, else one is made\n"
    "  --github USER       for the public keys of this user of GitHub\n"
    "  --disk NAME[:SIZE]  with this disk, made if SIZE is given; may be repeated\n"
    "  --wait-disk         wait until the disks are attached, also for one that another\n"
    "                      reservation has\n"
    "  --require-disk      wait for the disks, and fail if one cannot be attached\n"
    "  --snapshot-disks    take a snapshot of each disk when it is released\n"
    "  --count N           take N machines, or none\n"
    "  --idle DURATION     end it after so long without an ssh session, as in 30m\n"
    "  --request-id ID     asking again with the same ID gives the same reservation\n"
    "  --no-wait           a machine there is room for now, or exit status 4\n"
    "  --no-warm           launch a new machine, even if one is ready\n"
    "  --trace             print the timeline afterwards\n";

void
reserve_fini(struct reserve *r)
{
	free(r->state_dir);
	key_fini(&r->key);
	json_decref(r->reservations);
	r->state_dir = NULL;
	r->reservations = NULL;
}

static bool
in_state(const json_t *r, const char *state)
{
	return strcmp(view_str(r, "state"), state) == 0;
}

/* "NAME[:SIZE]" */
static int
add_disk(json_t *disks, const char *arg, struct err *err)
{
	const char *colon = strchr(arg, ':');
	AUTO_FREE char *name =
	    colon ? xstrndup(arg, (size_t)(colon - arg)) : xstrdup(arg);
	AUTO_JSON json_t *disk = json_object();
	int64_t size;

	if (api_set_str(disk, "name", name, "--disk", err) < 0)
		return -1;
	if (colon) {
		if (opts_size(colon + 1, &size, err) < 0)
			return err_wrap(err, "--disk");
		json_object_set_new(disk, "size_bytes", json_integer(size));
	}
	json_array_append_new(disks, TAKE(disk));
	return 0;
}

static int
add_disks(const struct reserve *r, json_t *body, struct err *err)
{
	json_t *disks;

	if (r->disks.n == 0)
		return 0;
	disks = json_array();
	json_object_set_new(body, "disks", disks);
	for (int i = 0; i < r->disks.n; i++)
		if (add_disk(disks, r->disks.s[i], err) < 0)
			return -1;
	return 0;
}

static int
add_key(const struct reserve *r, json_t *body, struct err *err)
{
	json_t *line;

	if (r->github)
		return api_set_str(body, "github", r->github, "--github", err);
	line = json_string(r->key.line);
	if (!line)
		return err_set(err, ERR_INVALID, "the public key is not UTF-8");
	json_object_set_new(body, "public_keys", json_pack("[o]", line));
	return 0;
}

/* The request's body holds what was asked for, and leaves every default to the daemon. */
static int
request_body(const struct reserve *r, json_t *body, struct err *err)
{
	const struct {
		const char *key;
		const char *value;
	} texts[] = {{"pool", r->pool}, {"name", r->name}, {"idle", r->idle},
	    {"request_id", r->request_id}};
	const struct {
		const char *key;
		bool value;
	} flags[] = {{"no_wait", r->no_wait}, {"no_warm", r->no_warm},
	    {"require_disk", r->require_disk}, {"wait_disk", r->wait_disk},
	    {"snapshot_disks", r->snapshot_disks}};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (texts[i].value && api_set_str(body, texts[i].key, texts[i].value,
					  texts[i].key, err) < 0)
			return -1;
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		if (flags[i].value)
			json_object_set_new(body, flags[i].key, json_true());
	if (r->hours > 0)
		json_object_set_new(body, "hours", json_real(r->hours));
	if (r->count > 0)
		json_object_set_new(body, "count", json_integer(r->count));
	return add_key(r, body, err) < 0 || add_disks(r, body, err) < 0 ? -1 : 0;
}

/* The state directory and the key are ready before the daemon is asked for anything. */
static int
prepare(struct reserve *r, struct err *err)
{
	if (r->count == 0)
		return err_set(err, ERR_INVALID, "--count: must be at least 1");
	if (r->key_file && r->github)
		return err_set(err, ERR_INVALID, "--key and --github exclude each other");
	if (files_state_dir(&r->state_dir, err) < 0)
		return -1;
	if (r->github)
		return 0;
	return r->key_file ? key_from_file(r->key_file, &r->key, err)
			   : key_default(r->state_dir, &r->key, err);
}

static int
ask(struct cli *cli, struct reserve *r, struct err *err)
{
	AUTO_JSON json_t *body = json_object();
	AUTO_JSON json_t *reply = NULL;

	if (request_body(r, body, err) < 0 ||
	    api_call(cli, "POST", "/v1/reservations", body, &reply, err) < 0)
		return -1;
	r->reservations = json_is_array(reply) ? TAKE(reply) : json_pack("[O]", reply);
	return 0;
}

static int
ended(const json_t *r, struct err *err)
{
	const char *why = view_str(r, "error");
	const char *reason = view_str(r, "reason");
	bool no_capacity = strncmp(why, "no capacity: ", 13) == 0;

	if (!why[0])
		why = view_str(r, "miss_reason");
	err_set(err, no_capacity ? ERR_NO_CAPACITY : ERR_INTERNAL,
	    "reservation '%s' ended before it was ready: %s%s%s", view_str(r, "name"),
	    reason[0] ? reason : "no reason given", why[0] ? ": " : "", why);
	return err_hint(err, "see 'hearth why %s'", view_str(r, "id"));
}

/* One look at it, that takes until something changes or `wait` seconds. */
static int
look(struct cli *cli, json_t **r, int wait, struct err *err)
{
	AUTO_FREE char *tail = xasprintf("?wait=%d", wait);
	AUTO_FREE char *path = api_path("reservations", view_str(*r, "id"), tail);
	int64_t began = clock_real_now_ms();
	json_t *now;

	if (api_call_patient(cli, "GET", path, (wait + 30) * 1000, &now, err) < 0)
		return -1;
	json_decref(*r);
	*r = now;
	if (clock_real_now_ms() - began < 50 && !in_state(now, "active") &&
	    !in_state(now, "ended"))
		(void)interrupt_sleep(100);
	return 0;
}

int
reserve_wait_active(struct cli *cli, json_t **r, struct err *err)
{
	struct progress p;
	int ret = 0;

	progress_begin(&p);
	while (ret == 0 && !in_state(*r, "active") && !in_state(*r, "ended")) {
		progress_show(&p, *r);
		ret = look(cli, r, p.on ? 1 : 30, err);
	}
	progress_end(&p);
	return ret;
}

static bool
disks_pending(const json_t *r)
{
	size_t i;
	json_t *d;

	json_array_foreach (json_object_get(r, "disks"), i, d)
		if (!in_state(d, "attached") && !in_state(d, "failed") &&
		    !view_str(d, "error")[0])
			return true;
	return false;
}

static int
wait_disks(struct cli *cli, json_t **r, struct err *err)
{

	while (in_state(*r, "active") && disks_pending(*r)) {
		if (!interrupt_sleep(200))
			return err_set(err, ERR_CANCELLED, "interrupted");
		if (look(cli, r, 0, err) < 0)
			return -1;
	}
	return 0;
}

/* All active, and their files written. An ended one in the daemon's first answer is what
   --request-id finds again: it is shown as it is. */
static int
finish(struct cli *cli, struct reserve *r, struct err *err)
{
	size_t i;
	json_t *item;

	json_array_foreach (r->reservations, i, item) {
		json_t *now = json_incref(item);
		bool was_ended = in_state(now, "ended");
		int ret = was_ended ? 0 : reserve_wait_active(cli, &now, err);

		if (ret == 0 && (r->wait_disk || r->require_disk))
			ret = wait_disks(cli, &now, err);
		if (ret == 0 && interrupt_signal())
			ret = err_set(err, ERR_CANCELLED, "interrupted");
		if (ret == 0 && !was_ended && in_state(now, "ended"))
			ret = ended(now, err);
		if (ret == 0 && !was_ended)
			ret = saved_write(
			    r->state_dir, now, &r->key, cli->socket_path, err);
		json_array_set_new(r->reservations, i, now);
		if (ret < 0)
			return -1;
	}
	return 0;
}

int
reserve_end(struct cli *cli, const char *ref, bool wait, json_t **ret, struct err *err)
{
	AUTO_FREE char *path = api_path("reservations", ref, wait ? "" : "?wait=0");
	AUTO_JSON json_t *now = NULL;

	if (api_call_patient(cli, "DELETE", path, UNDO_TIMEOUT_MS, &now, err) < 0)
		return -1;
	/* the daemon answers when it is over; this is for one that answers sooner */
	while (wait && json_is_object(now) && view_str(now, "id")[0] &&
	       !in_state(now, "ended")) {
		if (!interrupt_sleep(50))
			return err_set(err, ERR_CANCELLED, "interrupted");
		if (look(cli, &now, 0, err) < 0)
			return -1;
	}
	if (ret)
		*ret = TAKE(now);
	return 0;
}

/* Gives everything back. `err` stays what it is, unless that fails too. */
static void
give_back(struct cli *cli, struct reserve *r, struct err *err)
{
	struct err why;
	bool failed = false;
	size_t i;
	json_t *item;

	interrupt_clear();
	json_array_foreach (r->reservations, i, item) {
		const char *id = view_str(item, "id");

		if (in_state(item, "ended"))
			continue;
		if (reserve_end(cli, id, true, NULL, &why) < 0) {
			failed = true;
			err_hint(err,
			    "it could not be cancelled: %.80s: see 'hearth show %s'",
			    why.msg, id);
		}
		saved_remove(r->state_dir, id);
	}
	if (!failed && err->code == ERR_CANCELLED)
		err_hint(err, "nothing is reserved");
}

int
reserve_get(struct cli *cli, struct reserve *r, struct err *err)
{
	if (prepare(r, err) < 0)
		return -1;
	interrupt_begin(api_client(cli));
	if (ask(cli, r, err) < 0)
		return -1;
	if (finish(cli, r, err) == 0)
		return 0;
	if (!client_unreachable(api_client(cli)))
		give_back(cli, r, err);
	else
		err_hint(err, "what was asked for stays reserved: see 'hearth list' when "
			      "hearthd is back");
	return -1;
}
