/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EC2_WORLD_H
#define EC2_WORLD_H

/*
 * Everything there is: regions that share nothing, and in each the objects of every kind, in the order of their
 * creation. An object is a struct that begins with `struct object`; its kind's table says which members are its lasting state, and
 * that table alone saves, loads and frees it. Whoever changes a member calls object_changed(); all that changed in
 * one round of the loop is one transaction of SQLite, committed before any reply of that round goes out. What takes time on AWS is
 * object_after(): it outlives a restart.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/list.h"
#include "base/map.h"

struct backend;
struct clock;
struct config;
struct instance;
struct loop;
struct object;
struct region;
struct request;
struct region_info;
struct rows;
struct scenario;

/* ---- kinds ---- */

enum attr_type {
	ATTR_TEXT, /* char *, owned; NULL: none */
	ATTR_INT,  /* int64_t */
	ATTR_BOOL, /* bool */
	ATTR_LIST, /* struct texts */
	ATTR_JSON, /* struct json_t *, owned; NULL: none */
};

struct attr {
	const char *name; /* in the row: never changes its meaning */
	enum attr_type type;
	size_t offset;
};
#define ATTR(kind, type, member)                                                         \
	{                                                                                \
#member, type, offsetof(struct kind, member)                             \
	}

struct texts {
	char **v; /* owned, as the strings */
	int n;
};
void texts_add(struct texts *t, const char *s);
bool texts_have(const struct texts *t, const char *s);
bool texts_remove(struct texts *t, const char *s);
void texts_clear(struct texts *t);

struct kind {
	const char *name;     /* also in rows */
	const char *resource; /* type in tags: "instance"; NULL: takes no tags */
	const char *prefix;   /* of ids: "i-" */
	const char
	    *error; /* of errors: "InvalidInstanceID" + ".NotFound", ".Malformed" */
	const char *malformed; /* code, where AWS has another than that; else NULL */
	const char *
	    what; /* in messages: "The instance ID '%s' does not exist" has "instance ID" */
	size_t size;
	const struct attr *attrs; /* ends with a NULL name */

	/* All NULL where there is nothing to do. */
	void (*init)(
	    struct object *o);	       /* made or loaded: what zeroes are not right for */
	void (*due)(struct object *o); /* the time of object_after() has come */
	void (*loaded)(
	    struct object *o); /* all objects of all kinds are there: link up */
	void (*resumed)(struct object *o); /* all are linked up: go on */
	void (*fini)(struct object *o);	   /* what attrs do not know */
};

/* Every kind, in kinds.c; ends with NULL. */
extern const struct kind *const kinds[];

/* ---- objects ---- */

struct tag {
	char *key, *value; /* owned */
};

struct object {
	const struct kind *kind;
	struct region *region;
	char *id;	  /* owned */
	struct list link; /* region's, of its kind */
	struct list changed;
	uint64_t seq; /* order of creation, in all regions */
	int64_t created_at;
	int64_t visible_at; /* wall ms: until then a describe does not find it */
	int64_t due_at;	    /* wall ms; 0: nothing is under way */
	struct timer timer;
	struct tag *tags; /* owned */
	int n_tags;
};

/* A new one, with a fresh id of its kind, or `id` (copied) where that is not NULL. Zeroed otherwise. */
void *object_new(struct region *r, const struct kind *k, const char *id);
void object_changed(struct object *o);

/* Its row and its memory go. Nothing may point to it any more. */
void object_remove(struct object *o);

/* kind->due() runs `delay_ms` from now (already divided by the speed), also after a restart; replaces an
   earlier time. */
void object_after(struct object *o, int64_t delay_ms);
void object_after_off(struct object *o);

const char *object_tag(const struct object *o, const char *key); /* NULL: none */
void object_set_tag(struct object *o, const char *key, const char *value);
void object_remove_tag(struct object *o, const char *key);

/* ---- regions ---- */

struct region {
	struct world *world;
	const struct region_info *info;
	const char *name;
	struct map objects;
	struct list *by_kind; /* of objects, one for each of kinds[] */
	struct map throttles; /* by action */
	uint64_t calls;
};

/* NULL: there is no such region. Made, with its default VPC and so on, when first asked for. */
struct region *world_region(struct world *w, const char *name);
struct region *world_region_next(struct world *w, size_t *at);

/* NULL: there is none, or it is of another kind. */
void *region_find(struct region *r, const struct kind *k, const char *id);
struct list *region_objects(struct region *r, const struct kind *k);
#define region_for_each(pos, region, kind)                                               \
	list_for_each (pos, region_objects(region, kind), o.link)

/* Those of an action's parameter: NULL with "….Malformed" or "….NotFound" as failure. */
void *request_object(struct request *q, const struct kind *k, const char *id);

/* All of a list of ids ("InstanceId"), each once; all or nothing: NULL and *ret_n 0 after a failure. Owned array, ends with NULL. The
   list must not be empty. */
void **request_objects(
    struct request *q, const struct kind *k, const char *param, int *ret_n);

/* ---- the world ---- */

struct world {
	struct clock *clock; /* borrowed, as the next five */
	struct loop *loop;   /* NULL in tests */
	struct scenario *scenario;
	struct backend *backend; /* set once it is there: before world_resume() */
	const struct config *config;
	const char *account; /* twelve digits */
	struct rows *rows;   /* owned */
	struct map regions;
	struct list changed, removed; /* since the last commit */
	struct list making;	      /* keys, in threads: act_keys.c */
	uint64_t seq;
	uint64_t random; /* of scenario draws: repeatable */
	uint64_t ids;	 /* of new ids: not */

	/* An instance's state has moved, or it will be interrupted; may be NULL. */
	void (*on_state)(struct instance *i);
	void (*on_spot_notice)(struct instance *i);

	/* Something is to be committed; may be NULL. */
	void (*on_change)(void *arg);
	void *on_change_arg;
};

struct world_options {
	struct clock *clock;
	struct loop *loop;
	struct scenario *scenario;
	const char *account;
	const char *path; /* of the database; NULL: in memory */
};

/* Loads what is there. Then: set the backend, world_resume(). */
int world_open(
    const struct world_options *opt, struct world **ret, struct err *err) ERR_CHECK;

/* Links everything up, adopts machines, sets timers again. */
void world_resume(struct world *w);
void world_close(struct world *w);

int64_t world_now(const struct world *w); /* wall ms */

/* Reproducible by the scenario's seed. */
uint64_t world_random(struct world *w);
double world_random_unit(struct world *w); /* [0, 1) */

/* Not reproducible: for ids and the like. */
uint64_t world_random_id(struct world *w);

/* `prefix` and 17 hex digits, unused in the region. */
void world_new_id(struct region *r, const char *prefix, char ret[32]);

/* Commits what has changed. */
int world_commit(struct world *w, struct err *err) ERR_CHECK;

#endif
