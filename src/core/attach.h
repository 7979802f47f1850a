/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_ATTACH_H
#define CORE_ATTACH_H

/*
 * The disks of a reservation. Each has a plan of its own beside the reservation's, so that nobody waits for a
 * disk who did not ask to. Who has a disk stands in the disk's own row, before the provider is asked;
 * docs/states.md draws it.
 */

#include "base/list.h"
#include "core/core.h"
#include "model/reservation_disk.h"

struct cattach;
struct cdisk;
struct cpool;
struct plan;
struct plan_run;
struct creservation;

/* What is asked for, checked: the disks that are there are the caller's, free or waited for, and at this provider; the others
   have a size. Changes nothing. */
int attach_check(struct core *c, const struct core_caller *who, struct cpool *pool,
    const struct reserve_request *req, struct err *err) ERR_CHECK;

/* Makes the disks that are to be made, and begins. After attach_check(), before the reservation's first row is written. */
void attach_begin(struct creservation *r, const struct reserve_disk *disks, int n,
    const struct reserve_request *req);

/* One at a time: begins the next one. False: none is left that is not there yet. */
bool attach_next(struct creservation *r);

/* The reservation was loaded from the store: again what was under way; later, once the provider's inventory is in. */
void attach_restore(struct creservation *r);

/* The reservation has its machine, durably. Idempotent. */
void attach_machine(struct creservation *r);

/* Another machine will take its machine's place: what was attached there is detached, and begins again. */
void attach_swap(struct creservation *r);

/* The reservation has ended: disks are given back. True: some of them are still being detached, and its machine is
   to be ended only afterwards; attach.c does it then. */
bool attach_release(struct creservation *r);

/* It never was: disks made for it are removed. Then everything is freed. */
void attach_discard(struct creservation *r);
void attach_free(struct creservation *r);

/* Whether every disk is where it will stay, or has failed. */
bool attach_settled(const struct creservation *r);

/* The disk's state has changed: for those who wait for it, and for the one that has it. */
void attach_disk_moved(struct cdisk *d);

/* It leaves memory. */
void attach_disk_freed(struct cdisk *d);

/* At the start, with the provider's inventory in: a disk whose holder is no more is given back. */
void attach_adopt(struct cdisk *d);

const struct plan *attach_plan(void);
bool attach_plan_has(const char *step);

/* Calls `fn` for each run of the reservation's disks. */
void attach_each_run(
    const struct creservation *r, void (*fn)(struct plan_run *run, void *arg), void *arg);

#endif
