/* SPDX-License-Identifier: Apache-2.0 */

/* Where a machine is tried: place i of a pool is one of its types in one of its zones, all zones of the first type first. */

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/xalloc.h"
#include "provider/ec2/internal.h"

#define COOL_MS 180000 /* what had no capacity is not asked for again */

struct cooled {
	int64_t until_ms;
	char key[];
};

static int
zones_of(const struct ec2_options *o)
{
	return o->zones.n ? o->zones.n : o->subnets.n ? o->subnets.n : 1;
}

const char *
ec2_place_type(const struct ec2_options *o, int place)
{
	int t = place / zones_of(o);

	return t < o->instance_types.n ? o->instance_types.words[t] : NULL;
}

const char *
ec2_place_zone(const struct ec2_options *o, int place)
{
	const struct ec2_list *l = o->zones.n ? &o->zones : &o->subnets;

	return l->n ? l->words[place % zones_of(o)] : NULL;
}

void
ec2_place_key(const struct ec2_machine *m, int place, struct buf *b)
{
	const char *zone = ec2_place_zone(&m->opt, place);

	buf_fmt(b, "%s %s%s", ec2_place_type(&m->opt, place), zone ? zone : "-",
	    m->opt.spot ? " spot" : "");
}

static bool
is_cooled(const struct ec2_machine *m, int place)
{
	AUTO_BUF struct buf key = BUF_INIT(0);
	const struct cooled *c;

	ec2_place_key(m, place, &key);
	c = map_get(&m->e->cooled, key.data);
	return c && c->until_ms > clock_now_ms(m->e->env.clock);
}

void
ec2_place_cool(const struct ec2_machine *m)
{
	AUTO_BUF struct buf key = BUF_INIT(0);
	struct cooled *c;

	ec2_place_key(m, m->place, &key);
	c = map_get(&m->e->cooled, key.data);
	if (!c) {
		c = xmalloc(sizeof(*c) + key.len + 1);
		memcpy(c->key, key.data, key.len + 1);
		map_put(&m->e->cooled, c->key, c);
	}
	c->until_ms = clock_now_ms(m->e->env.clock) + COOL_MS;
}

void
ec2_cooled_free(struct ec2 *e)
{
	struct cooled *c;
	size_t at = 0;

	while ((c = map_next(&e->cooled, &at)))
		free(c);
	map_fini(&e->cooled);
}

int
ec2_place_next(const struct ec2_machine *m, int from)
{
	for (int i = from; ec2_place_type(&m->opt, i); i++)
		if (!is_cooled(m, i))
			return i;
	return -1;
}
