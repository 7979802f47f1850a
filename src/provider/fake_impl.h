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
	char *last_setup; /* owned; NULL: no command yet */
	char *gang;	  /* owned; NULL: none */
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

/* One call: its effect and its answer come when the timer fires. */
struct op {
	struct list link;  /* in fake.ops */
	struct fake *fake; /* borrowed */
	struct timer timer;
	enum fake_op kind;
	union {
		provider_launch_fn launch;
		provider_done_fn done;
		provider_setup_fn setup;
		provider_inventory_fn inventory;
		provider_attach_fn attach;
	} fn;
	void *arg;
	struct id token;    /* empty: none was given */
	char *text;	    /* owned: a reference, command, image or address */
	char *version;	    /* owned: the image's */
	int64_t number;	    /* seconds, or a timeout in ms */
	struct err failure; /* code set: fails so, and does nothing */
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

/* Begins a call, which on its time is run by its kind. The rest answer it and free it; when muted, at the close. */
struct op *fake_op_start(struct fake *f, enum fake_op kind, const char *token,
    const char *text, int64_t delay_ms, void *arg);
void fake_op_done(struct op *op, const struct err *err);
void fake_op_launched(struct op *op, const char *ref, const struct err *err);
void fake_op_attached(struct op *op, const char *warning, const struct err *err);
void fake_op_fail(struct op *op, const struct err *why);
void fake_op_refuse(struct op *op, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The world has changed by it: tells the test. */
void fake_effect(struct fake *f, enum fake_op op, const char *token);
extern const struct err fake_no_error;

/* ---- fake_disk.c ---- */

void fake_run_disk(struct op *op);
void fake_run_attach(struct op *op);
void fake_run_detach(struct op *op);

/* Members of provider_ops; see provider.h. */
void fake_disk_make(
    struct provider *p, const struct disk_spec *spec, provider_launch_fn done, void *arg);
void fake_disk_snapshot(struct provider *p, const char *token, const char *disk_ref,
    provider_launch_fn done, void *arg);
void fake_disk_remove(struct provider *p, const char *token, const char *ref,
    provider_done_fn done, void *arg);
void fake_disk_attach(struct provider *p, const struct attach_spec *spec,
    provider_attach_fn done, void *arg);
void fake_disk_detach(
    struct provider *p, const struct attach_spec *spec, provider_done_fn done, void *arg);

/* ---- fake.c, images ---- */

/* Reports the current version from the loop. */
void fake_report_image(struct fake *f, const char *image);

#endif
