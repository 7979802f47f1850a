/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROVIDER_EC2_DISK_H
#define PROVIDER_EC2_DISK_H

/*
 * Disks are EBS volumes, snapshots are EBS snapshots: found again by the tag hearth:disk, whose value is core's token.
 * What the files share:
 *
 *   disk.c         make, snapshot, remove; what is believed of each
 *   disk_look.c    the paged DescribeVolumes and DescribeSnapshots for all of them
 *   disk_zone.c    in which zone a new one is made
 *   disk_bond.c    into a machine and out of it
 *   disk_script.c  what is run in the machine for that
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/list.h"
#include "provider/ec2/internal.h"

struct buf;
struct xml;

#define EC2_ZONE_MAX 32
#define EC2_DEVICE_MAX 16
#define EC2_DISK_SLOW_MS 60000 /* between looks while nothing is under way */
#define EC2_DISK_FAST_MS 500   /* while somebody waits for an attachment */

/* What EC2 has of it, as far as it is believed: moves forward only.
 *
 *   ASKED ─▶ MADE ─▶ THERE ─▶ GOING ─▶ gone, and freed
 *   UNKNOWN: named by core and not seen by us, or the answer of its call was lost       any ─▶ ERROR ─▶ GOING
 */
enum ec2_disk_state {
	EC2_DISK_UNKNOWN, /* waits for a look that shows it, or for the time when it would have */
	EC2_DISK_ASKED, /* waits for what makes it: its zone, the call, a pause before the next try */
	EC2_DISK_MADE,	/* creating, pending */
	EC2_DISK_THERE, /* available, in-use, completed */
	EC2_DISK_ERROR,
	EC2_DISK_GOING, /* its removal was accepted; waits for a look that does not show it */
	EC2_DISK_STATE_MAX,
};

/* EC2's words for an attachment. */
enum ec2_tie {
	EC2_TIE_NONE,
	EC2_TIE_ATTACHING,
	EC2_TIE_ATTACHED,
	EC2_TIE_DETACHING,
	EC2_TIE_BUSY,
};

struct ec2_disk {
	struct ec2 *e;
	char token[EC2_TOKEN_MAX]; /* key in e->disks */
	char ref[EC2_REF_MAX];	   /* "" not known yet */
	enum ec2_disk_state state;
	bool snapshot;
	bool ending; /* core wants it gone */
	bool told;   /* core knows its state */
	int64_t born_ms;
	int64_t
	    asked_ms; /* when a call that may have made it was last answered, or not */
	int asks;     /* such calls */
	bool lost;    /* the answer of one of them was */
	int calls;    /* AttachVolume and DetachVolume that are not answered yet */
	int missed_looks;
	int64_t absent_ms; /* since when it is not listed; 0: it is */
	uint64_t seen_look;
	uint64_t
	    end_look; /* the last look that had begun when its removal was accepted */
	int64_t end_sent_ms;
	int64_t created_at; /* wall ms; 0: not known */

	/* to make it */
	int64_t size_gib;
	char source[EC2_REF_MAX]; /* snapshot, or the volume of a snapshot; "": none */
	int rate;		  /* MiB/s; 0: not asked for */
	struct timer again;

	/* a volume's */
	char zone[EC2_ZONE_MAX];
	char instance[EC2_REF_MAX]; /* that it is attached to, as last seen */
	char device[EC2_DEVICE_MAX];
	enum ec2_tie tie;
	struct ec2_bond *bond; /* owned; NULL: nothing is under way */

	struct list makes, removes; /* answers */
};

/* ---- disk.c ---- */

void ec2_disk_make(
    struct provider *p, const struct disk_spec *spec, provider_launch_fn done, void *arg);
void ec2_disk_snapshot(struct provider *p, const char *token, const char *disk_ref,
    provider_launch_fn done, void *arg);
void ec2_disk_remove(struct provider *p, const char *token, const char *ref,
    provider_done_fn done, void *arg);

/* The disk of that token, else the one of that ref; NULL: not known. */
struct ec2_disk *ec2_disk_find(const struct ec2 *e, const char *token, const char *ref);

/* Takes in what a reply shows: one of a volumeSet or a snapshotSet. False: it is not one of ours, or a second one of the
   same token. */
bool ec2_disk_observe(struct ec2 *e, const struct xml *item, bool snapshot);

/* One that a complete look did not show. May free it. */
void ec2_disk_missed(struct ec2_disk *d);

struct sighting ec2_disk_sighting(const struct ec2_disk *d);

/* Whether a look at it is due within a second or so. */
bool ec2_disk_restless(const struct ec2_disk *d);

/* Whether a volume of this id is a disk that we know. */
bool ec2_disk_is(const struct ec2 *e, const char *ref);

/* Whether the tags of something that a reply shows name a disk of ours. */
bool ec2_disk_tagged(const struct xml *item);

/* At the close, after all answers were given and all calls ended. */
void ec2_disks_close(struct ec2 *e);

/* ---- disk_look.c ---- */

/* A look within so many ms at the latest. */
void ec2_disk_look_within(struct ec2 *e, int64_t ms);

/* Looks at all there is, then calls `then`; err: it could not be seen. */
void ec2_disks_list(struct ec2 *e, ec2_disks_fn then);

/* Appends the sightings of disks, and of what bears a disk's token for the second time, to `all`, which has room for
   ec2_disks_count(). Returns how many. */
int ec2_disks_count(const struct ec2 *e);
int ec2_disks_sightings(const struct ec2 *e, struct sighting *all);

/* ---- disk_zone.c ---- */

/* In which zone a disk for a pool with these options is made: the pool's first zone, that of its first subnet, that of most
   machines, the region's first. `done` is called later, unless the provider closes; zone is NULL with err. Looks up the
   disk by its token. */
typedef void (*ec2_zone_fn)(
    struct ec2 *e, const char *token, const char *zone, const struct err *err);
void ec2_disk_zone(
    struct ec2 *e, const char *token, const struct ec2_options *opt, ec2_zone_fn done);

/* At the close: questions that nobody will answer. */
void ec2_disk_zone_close(struct ec2 *e);

/* ---- disk_bond.c ---- */

void ec2_disk_attach(struct provider *p, const struct attach_spec *spec,
    provider_attach_fn done, void *arg);
void ec2_disk_detach(
    struct provider *p, const struct attach_spec *spec, provider_done_fn done, void *arg);

/* A look has shown its disk, or (seen: false) not. May free it. */
void ec2_bond_looked(struct ec2_bond *b, bool seen);

/* Ends what is under way; its answers are given with err (ERR_NONE is fine for a detach). */
void ec2_bond_end(struct ec2_bond *b, const struct err *err);

/* Ends a disk's way in, if it is on one: ERR_UNAVAILABLE. */
void ec2_bond_cancel(struct ec2_disk *d, const char *why);

/* Takes a disk that is to be removed out of whatever machine it is in; nobody waits. */
void ec2_bond_release(struct ec2_disk *d);

/* Whether it waits for a look. */
bool ec2_bond_waits(const struct ec2_bond *b);

/* ---- disk_script.c ---- */

/* A script for `sh -s` that makes the volume appear at /disk/NAME, writable for `login`; or makes it go. The last line of
   what it says is "hearth: ok", "hearth: warning: ..." or "hearth: error: ...". ERR_INVALID: a volume id, device, name or login
   that is none. */
int ec2_script_mount(const char *ref, const char *device, const char *name,
    const char *login, struct buf *out, struct err *err) ERR_CHECK;
int ec2_script_unmount(
    const char *ref, const char *name, struct buf *out, struct err *err) ERR_CHECK;

/* What such a script has said: ERR_NONE with the warning or "", or err. */
void ec2_script_verdict(int exit_code, const char *output, const struct err *why,
    char ret_warning[256], struct err *err);

#endif
