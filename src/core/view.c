/* SPDX-License-Identifier: Apache-2.0 */
#include "core/core_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "ssh/ca.h"
#include "ssh/pubkey.h"

#define ENDS_KEPT_MS 1000

void
certs_free(struct certs **cs)
{
	if (!*cs)
		return;
	for (int i = 0; i < (*cs)->n; i++)
		free((*cs)->lines[i]);
	free(*cs);
	*cs = NULL;
}

static int
sign(struct creservation *r, struct certs *cs, const struct ssh_pubkey *key,
    struct err *err)
{
	struct core *c = r->core;
	const char *principal = cs->machine.s;
	char key_id[128];
	struct ssh_cert_spec spec = {
	    .kind = SSH_CERT_USER,
	    .serial = r->r.serial,
	    .key_id = key_id,
	    .principals = &principal,
	    .principals_n = 1,
	    .valid_after = (uint64_t)(clock_wall_ms(c->clock) / 1000 - BACKDATE_S),
	    .valid_before = (uint64_t)((cs->expires_at + 999) / 1000),
	    .permit = SSH_PERMIT_PTY | SSH_PERMIT_PORT_FORWARDING |
		      SSH_PERMIT_AGENT_FORWARDING | SSH_PERMIT_USER_RC,
	};

	(void)snprintf(key_id, sizeof(key_id), "%s %.64s", r->r.id.s, r->r.user);
	if (ssh_ca_sign(c->opt.user_ca, key, &spec, &cs->lines[cs->n], err) < 0)
		return -1;
	cs->n++;
	return 0;
}

int
certs_make_for(struct creservation *r, struct id machine, int64_t expires_at,
    const struct ssh_pubkey *keys, int n, struct certs **ret, struct err *err)
{
	struct certs *cs = xnew(struct certs);
	const char *line = r->r.public_keys;

	cs->machine = machine;
	cs->expires_at = expires_at;
	for (int i = 0; i < n; i++)
		if (sign(r, cs, &keys[i], err) < 0)
			goto fail;
	while (n == 0 && line && *line && cs->n < CORE_KEYS_MAX) {
		size_t len = strcspn(line, "\n");
		AUTO_PUBKEY struct ssh_pubkey key = {0};

		if (ssh_pubkey_parse(line, len, &key, err) < 0 ||
		    sign(r, cs, &key, err) < 0)
			goto fail;
		line += len + (line[len] == '\n');
	}
	*ret = cs;
	return 0;
fail:
	certs_free(&cs);
	return -1;
}

int
certs_make(struct creservation *r, const struct ssh_pubkey *keys, int n,
    struct certs **ret, struct err *err)
{
	return certs_make_for(r, r->machine ? r->machine->m.id : r->r.machine,
	    r->r.expires_at, keys, n, ret, err);
}

/* When the machines in use come to their end, sorted; made anew at most once a second. */
static void
refresh_ends(struct cpool *p)
{
	int64_t now = clock_now_ms(p->core->clock);
	struct creservation *o;

	if (p->ends && now - p->ends_ms < ENDS_KEPT_MS)
		return;
	free(p->ends);
	p->ends = xcalloc((size_t)p->n_claimed + 1, sizeof(*p->ends));
	p->n_ends = 0;
	p->ends_ms = now;
	list_for_each (o, &p->served, in_pool)
		if (p->n_ends < p->n_claimed)
			p->ends[p->n_ends++] = o->r.expires_at;
	qsort(p->ends, (size_t)p->n_ends, sizeof(*p->ends), clock_by_time);
}

/* A launch going on: its start plus what launches take. In line: when enough of the machines in use have
   come to their end, and those who follow them have had their time, too; anything sooner is luck. */
static int64_t
estimate(const struct creservation *r)
{
	struct cpool *p = r->pool;
	int64_t launch = pool_launch_ms(p), now = clock_wall_ms(r->core->clock), at,
		turns;

	if (launch <= 0)
		launch = 1000;
	if (r->r.state == RESERVATION_PREPARING) {
		at = launch + (!r->launching ? now
				  : r->launching->m.state == MACHINE_LAUNCHING
				      ? r->launching->m.created_at
				      : r->r.created_at);
		return at > now ? at : now;
	}
	if (r->position <= 0)
		return 0;
	refresh_ends(p);
	if (p->n_ends == 0)
		return 0;
	turns = (r->position - 1) / p->n_ends;
	at = p->ends[(r->position - 1) % p->n_ends] + launch +
	     turns * (r->core->opt.default_hold_ms + launch);
	return at > now ? at : now + launch;
}

struct reservation_view
view_of_row(const struct reservation *row)
{
	int64_t from = row->ready_at, to = row->ended_at;

	return (struct reservation_view){
	    .r = row,
	    .login = "dev",
	    .cost_usd = from && to > from
			    ? row->usd_per_hour * (double)(to - from) / 3600000.0
			    : 0,
	};
}

struct reservation_view
view_of(struct creservation *r, const struct certs *certs)
{
	struct reservation_view v = view_of_row(&r->r);
	int64_t now = clock_wall_ms(r->core->clock);

	v.login = r->pool->p.login ? r->pool->p.login : r->core->opt.login;
	if (certs) {
		v.certificates = (const char *const *)certs->lines;
		v.n_certificates = certs->n;
	}
	if (r->machine) {
		v.machine = &r->machine->m;
		free(r->known_hosts);
		r->known_hosts =
		    ssh_ca_known_hosts_line(r->core->opt.host_ca, r->machine->m.id.s);
		v.known_hosts = r->known_hosts;
	}
	if (r->r.state == RESERVATION_QUEUED)
		v.queue_position = r->position;
	if (r->r.state == RESERVATION_QUEUED || r->r.state == RESERVATION_PREPARING)
		v.eta_at = estimate(r);
	if (r->r.state == RESERVATION_ACTIVE)
		v.cost_usd =
		    r->r.usd_per_hour * (double)(now - r->r.ready_at) / 3600000.0;
	return v;
}
