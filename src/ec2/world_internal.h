/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EC2_WORLD_INTERNAL_H
#define EC2_WORLD_INTERNAL_H

/* What world.c, object.c and rows.c share. */

#include "ec2/world.h"

/* An object whose row is to go. */
struct removed {
	struct list link; /* world.removed */
	uint64_t seq;
};

/* As world_region(), but a new one is empty. */
struct region *world_region_bare(struct world *w, const char *name);

/* An object as it was: linked into its region, nothing else. */
struct object *object_restore(
    struct region *r, const struct kind *k, const char *id, uint64_t seq);

/* Frees it; its row stays. */
void object_free(struct object *o);

/* Sets its timer by due_at. */
void object_resume(struct object *o);

#endif
