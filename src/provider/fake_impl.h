/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROVIDER_FAKE_IMPL_H
#define PROVIDER_FAKE_IMPL_H

/* The inside of the fake provider, for its own files: fake.c has the operations, fake_machine.c what
   machines do by themselves, fake_control.c what tests do to them, fake_world.c what exists. */

#include "base/clock.h"
#include "base/list.h"
#include "base/map.h"
#include "provider/fake.h"
#include "provider/fake_world.h"

#define FAKE_PORT 22
#define FAKE_REF_MAX (ID_MAX + 8) /* "fake-TOKEN" */

struct machine_sim {
	struct fake_record *rec; /* the world's; its token is the key in `machines` */
	struct fake *fake;	 /* borrowed */
	struct timer timer;
	int sessions;
	bool seen_ready;
};

struct planned_failure {
	struct planned_failure *next;
	enum fake_op op;
	struct err err;
};

struct fake {
	struct provider base;
	struct provider_env env;
	struct fake_options opt;
	struct fake_world *world;
	struct map machines; /* of struct machine_sim, owned */
	struct list ops;
	struct list home_ops; /* of fake_home.c */
	struct planned_failure *failures;
	int calls[FAKE_OP_MAX];
	int count; /* machines */
	int launches_failed;
	uint64_t rng;
	int64_t strays;
	bool muted;
	fake_effect_fn on_effect;
	void *on_effect_arg;
	char stray_ref[FAKE_REF_MAX];
	char *last_keys; /* owned */
};

static inline struct fake *
fake_of(const struct provider *p)
{
	return (struct fake *)p;
}

/* ---- fake_machine.c ---- */

/* True as often as the probability says. */
bool fake_happens(struct fake *f, double probability);
int64_t fake_launch_time(struct fake *f);

/* A disk or snapshot, by its token. */
bool fake_is_disk(const struct fake_record *r);

/* NULL where there is none; the second by its token, or by its reference where it bears none. */
struct machine_sim *fake_find(const struct fake *f, const char *token);
struct machine_sim *fake_find_by(
    const struct fake *f, const char *token, const char *ref);

struct sighting_text {
	char ref[FAKE_REF_MAX];
	char address[32];
};

/* How it looks now; the strings are in `text` and in the machine. */
struct sighting fake_look(const struct machine_sim *m, struct sighting_text *text);
void fake_sight(const struct machine_sim *m);
void fake_sight_gone(struct fake *f, const char *token, const char *ref, const char *why);

/* Exists from here on; NULL when the disk is full. */
struct machine_sim *fake_machine_add(struct fake *f, const char *token,
    const char *version, int64_t ready_ms, int64_t lease_ms, struct err *err);

/* Watches a record found when the world was opened. What ended meanwhile is gone, and there was nobody to
   tell. */
void fake_machine_adopt(struct fake *f, struct fake_record *r);

/* Sets its timer to what comes next; to be called when the record was changed. */
void fake_machine_plan(struct machine_sim *m);

/* The machine and its record are no more; the second also sights it GONE. */
void fake_machine_drop(struct machine_sim *m);
void fake_machine_gone(struct machine_sim *m, const char *why);

/* ---- fake_home.c ---- */

/* Members of provider_ops; see provider.h. The last one answers what is under way with ERR_CANCELLED. */
void fake_home_make(struct provider *p, uint32_t uid, const char *options,
    provider_launch_fn done, void *arg);
void fake_home_attach(struct provider *p, const char *token, const char *ref,
    const char *home_ref, provider_done_fn done, void *arg);
void fake_homes_close(struct fake *f);

/* ---- fake.c ---- */

/* What fake_fail_next() planned for this operation; *ret stays as it is where there is nothing. */
void fake_take_failure(struct fake *f, enum fake_op kind, struct err *ret);

/* Reports the current version from the loop. */
void fake_report_image(struct fake *f, const char *image);

#endif
