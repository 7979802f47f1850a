/* SPDX-License-Identifier: Apache-2.0 */
#include "ec2/scenario.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "ec2/scenario_internal.h"
#include "ec2/world.h"

const char *const delay_names[DELAY_MAX] = {
    [DELAY_LAUNCH] = "launch",
    [DELAY_BOOT] = "boot",
    [DELAY_STOP] = "stop",
    [DELAY_START] = "start",
    [DELAY_START_BOOT] = "start_boot",
    [DELAY_HIBERNATE] = "hibernate",
    [DELAY_RESUME] = "resume",
    [DELAY_RESUME_BOOT] = "resume_boot",
    [DELAY_REBOOT] = "reboot",
    [DELAY_TERMINATE] = "terminate",
    [DELAY_TERMINATED_SHOWN] = "terminated_shown",
    [DELAY_STATUS_CHECK] = "status_check",
    [DELAY_SPOT_NOTICE] = "spot_notice",
    [DELAY_VOLUME_CREATE] = "volume_create",
    [DELAY_VOLUME_ATTACH] = "volume_attach",
    [DELAY_VOLUME_DETACH] = "volume_detach",
    [DELAY_VOLUME_DELETE] = "volume_delete",
    [DELAY_VOLUME_MODIFY] = "volume_modify",
    [DELAY_SNAPSHOT] = "snapshot",
    [DELAY_IMAGE] = "image",
    [DELAY_INTERFACE] = "interface",
    [DELAY_FILE_SYSTEM] = "file_system",
    [DELAY_ACCESS_POINT] = "access_point",
    [DELAY_MOUNT_TARGET] = "mount_target",
    [DELAY_EVENT] = "event",
    [DELAY_TOKEN] = "token",
};

const char *const fault_names[FAULT_MAX] = {
    [FAULT_THROTTLED] = "throttled",
    [FAULT_CAPACITY] = "capacity",
    [FAULT_UNAVAILABLE] = "unavailable",
    [FAULT_INTERNAL] = "internal",
    [FAULT_REPLY_LOST] = "reply_lost",
    [FAULT_INVISIBLE] = "invisible",
    [FAULT_STALE] = "stale",
    [FAULT_ADDRESS_MISSING] = "address_missing",
    [FAULT_DIES_PENDING] = "dies_pending",
    [FAULT_NO_SSHD] = "no_sshd",
    [FAULT_VOLUME_STUCK] = "volume_stuck",
    [FAULT_SPOT_INTERRUPTED] = "spot_interrupted",
};

/* ---- delays ---- */

/* Of the standard normal distribution; Box and Muller 1958. */
static double
normal(struct world *w)
{
	double u = 1 - world_random_unit(w), v = world_random_unit(w);

	return sqrt(-2 * log(u)) * cos(2 * M_PI * v);
}

static double
draw(struct world *w, const struct distribution *d)
{
	switch (d->kind) {
	case DISTRIBUTION_FIXED:
		return d->a;
	case DISTRIBUTION_UNIFORM:
		return d->a + (d->b - d->a) * world_random_unit(w);
	case DISTRIBUTION_LOGNORMAL:
		/* 1.2816: the ninth decile of the standard normal */
		return d->a > 0 ? d->a * exp(log(d->b / d->a) / 1.2815515655 * normal(w))
				: 0;
	}
	return 0;
}

static int64_t
scaled(const struct scenario *s, double ms)
{
	double real = ms / s->speed;

	return real > 1e15 ? (int64_t)1e15 : (int64_t)llround(real);
}

int64_t
scenario_delay(struct world *w, enum delay d)
{
	return scaled(w->scenario, draw(w, &w->scenario->delays[d]));
}

int64_t
scenario_call_delay(struct world *w, const char *action)
{
	struct scenario *s = w->scenario;

	for (int i = 0; i < s->n_calls; i++)
		if (strcmp(s->calls[i].action, action) == 0)
			return scaled(s, draw(w, &s->calls[i].delay));
	return 0;
}

/* ---- faults ---- */

static bool
applies(const char *wanted, const char *actual)
{
	return !wanted || (actual && strcmp(wanted, actual) == 0);
}

static bool
strikes(struct world *w, struct fault *f)
{
	if (f->count == 0 || f->seen++ < f->after)
		return false;
	if (f->probability < 1 && world_random_unit(w) >= f->probability)
		return false;
	if (f->count > 0)
		f->count--;
	return true;
}

const struct fault *
scenario_strike(struct world *w, enum fault_kind kind, const char *action,
    const char *type, const char *zone)
{
	struct scenario *s = w->scenario;

	for (int i = 0; i < s->n_faults; i++) {
		struct fault *f = &s->faults[i];

		if (f->kind == kind && applies(f->action, action) &&
		    applies(f->type, type) && applies(f->zone, zone) && strikes(w, f))
			return f;
	}
	return NULL;
}

int64_t
scenario_fault_ms(const struct world *w, const struct fault *f)
{
	return scaled(w->scenario, f->seconds * 1000);
}

/* ---- the rest ---- */

double
scenario_speed(const struct scenario *s)
{
	return s->speed;
}

uint64_t
scenario_seed(const struct scenario *s)
{
	return (uint64_t)s->seed;
}

bool
scenario_throttles(const struct scenario *s)
{
	return s->throttle;
}

void
scenario_free(struct scenario *s)
{
	if (!s)
		return;
	for (int i = 0; i < s->n_calls; i++)
		free(s->calls[i].action);
	for (int i = 0; i < s->n_faults; i++) {
		free(s->faults[i].action);
		free(s->faults[i].type);
		free(s->faults[i].zone);
		free(s->faults[i].reason);
	}
	free(s->calls);
	free(s->faults);
	free(s);
}
