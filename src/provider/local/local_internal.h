/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROVIDER_LOCAL_LOCAL_INTERNAL_H
#define PROVIDER_LOCAL_LOCAL_INTERNAL_H

/* What the files of the local provider share: local.c has the machines, images.c the images, jobs.c what
   runs beside them (setup commands, first contact), disks.c the disks. */

#include <stdbool.h>
#include <stddef.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/map.h"
#include "launcher/protocol.h"
#include "provider/provider.h"

struct launcher_client;

struct local {
	struct provider p;
	struct provider_env env;
	struct launcher_client *launcher;
	/* Lanes of their own: no machine waits for a disk, and none to be attached for one to be copied. */
	struct launcher_client *disk_makes, *disk_moves;
	char *runtime;	     /* owned */
	struct map machines; /* token → struct lmachine */
	struct list images;
	struct list later;    /* struct pending: answers of what was never asked */
	struct list jobs;     /* setups and contacts under way */
	struct list launches; /* under way: struct pending */
	struct list kills;    /* that wait for a launch's end: struct pending */
	struct list making;   /* disks and snapshots, likewise */
	struct list removals; /* that wait for a making's end */
	uint8_t *slots;	      /* owned: used or not; [0] is never used */
	uint32_t n_slots, next_slot;
	bool closing;
};

/* A call under way whose answer is one `done`, `launched` or `attached`. */
struct pending {
	struct local *l;
	struct list in_local; /* launches, kills, making or removals */
	char id[LAUNCHER_ID_MAX];
	provider_done_fn done;
	provider_launch_fn launched;
	provider_attach_fn attached;
	void *arg;
	struct err err;
	const char *warning;  /* of `attached`: borrowed for the answer */
	struct list in_later; /* answers that wait for the loop */
	struct timer timer;
};

struct pending *local_pending_new(
    struct local *l, const char *id, provider_done_fn done, void *arg);

/* Answers with p->err, and frees. `arg` is the pending: fits a timer. */
void local_answer(void *arg);

/* For what fails before anything was asked: the answer still comes from the loop. */
void local_answer_later(struct pending *p);

/* Copies a string into a field of a request; ERR_INVALID, naming `what`, if it does not fit. */
int local_copy_field(
    char *to, size_t size, const char *from, const char *what, struct err *err) ERR_CHECK;

/* The path of a machine's control socket. */
int local_control_path(
    struct local *l, const char *id, char *out, size_t size, struct err *err) ERR_CHECK;

/* Members of provider_ops; see provider.h. The _close ones end what is under way. */
void local_image(struct provider *pr, const char *name);
void local_image_build(
    struct provider *pr, const char *name, provider_done_fn done, void *arg);
void local_image_remove(struct provider *pr, const char *name, const char *version,
    provider_done_fn done, void *arg);
void local_images_close(struct local *l);
void local_setup(struct provider *pr, const char *token, const char *ref,
    const char *command, int64_t timeout_ms, provider_setup_fn done, void *arg);
void local_contact(struct provider *pr, const char *token, const char *address, int port,
    provider_done_fn done, void *arg);
void local_home_make(struct provider *pr, uint32_t uid, const char *options,
    provider_launch_fn done, void *arg);
void local_home_attach(struct provider *pr, const char *token, const char *ref,
    const char *home_ref, provider_done_fn done, void *arg);
void local_jobs_close(struct local *l);
void local_disk_make(struct provider *pr, const struct disk_spec *spec,
    provider_launch_fn done, void *arg);
void local_disk_snapshot(struct provider *pr, const char *token, const char *disk_ref,
    provider_launch_fn done, void *arg);
void local_disk_remove(struct provider *pr, const char *token, const char *ref,
    provider_done_fn done, void *arg);
void local_disk_attach(struct provider *pr, const struct attach_spec *spec,
    provider_attach_fn done, void *arg);
void local_disk_detach(struct provider *pr, const struct attach_spec *spec,
    provider_done_fn done, void *arg);
void local_disks_close(struct local *l);

/* What a launcher's reply says of a disk or snapshot. */
struct sighting local_disk_sighting(const struct launcher_reply *r);

#endif
