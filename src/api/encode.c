/* SPDX-License-Identifier: Apache-2.0 */
#include "api/encode.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "api/put.h"
#include "model/reservation_disk.h"

static const char *
id_or_null(const struct id *id)
{
	return id_empty(id) ? NULL : id->s;
}

static void
positive_or_null(struct buf *b, const char *key, int64_t v)
{
	if (v > 0)
		put_int(b, key, v);
	else
		put_null(b, key);
}

static void
encode_strings(struct buf *b, const char *key, const char *const *s, int n)
{
	put_open(b, key, '[');
	for (int i = 0; i < n; i++)
		put_str(b, NULL, s[i]);
	put_close(b, ']');
}

static void
encode_disks(struct buf *b, const char *lines)
{
	struct reservation_disk d;
	char path[DISK_NAME_MAX + 8];

	put_open(b, "disks", '[');
	while (reservation_disk_next(&lines, &d)) {
		(void)snprintf(path, sizeof(path), "/disk/%s", d.name);
		put_open(b, NULL, '{');
		put_str(b, "name", d.name);
		put_str(b, "id", id_or_null(&d.disk));
		put_str(b, "state", attach_state_name(d.state));
		put_str(b, "path", path);
		put_str(b, "error", d.error[0] ? d.error : NULL);
		put_close(b, '}');
	}
	put_close(b, ']');
}

void
encode_reservation(struct buf *b, const struct reservation_view *v)
{
	const struct reservation *r = v->r;
	const struct machine *m = v->machine;

	put_open(b, NULL, '{');
	put_str(b, "id", r->id.s);
	put_str(b, "name", r->name);
	put_str(b, "user", r->user);
	put_str(b, "pool", r->pool);
	put_str(b, "state", reservation_state_name(r->state));
	put_str(b, "reason", end_reason_name(r->reason));
	put_str(b, "error", r->error);
	put_str(b, "path", path_name(r->path));
	put_str(b, "miss_reason", r->miss_reason);
	put_str(b, "notice", r->notice);
	put_str(b, "machine", id_or_null(&r->machine));
	put_str(b, "host", m ? m->address : NULL);
	positive_or_null(b, "port", m ? m->port : 0);
	put_str(b, "login", v->login);
	encode_strings(b, "certificates", v->certificates, v->n_certificates);
	put_str(b, "known_hosts", v->known_hosts);
	encode_disks(b, r->disks);
	positive_or_null(b, "queue_position", v->queue_position);
	put_time(b, "eta", v->eta_at);
	put_num(b, "cost_usd", v->cost_usd);
	put_time(b, "created_at", r->created_at);
	put_time(b, "ready_at", r->ready_at);
	put_time(b, "expires_at", r->expires_at);
	put_time(b, "ended_at", r->ended_at);
	put_close(b, '}');
}

/* A snapshot names the disk it is of, and has no name of its own. */
void
encode_disk(struct buf *b, const struct disk_view *v)
{
	const struct disk *d = v->d;
	bool snapshot = d->id.s[0] == 's';

	put_open(b, NULL, '{');
	put_str(b, "id", d->id.s);
	put_str(b, "name", d->name);
	put_str(b, "user", d->user);
	put_int(b, "size_bytes", d->size_bytes);
	put_str(b, "state", disk_state_name(d->state));
	if (snapshot) {
		put_str(b, "disk", id_or_null(&d->source));
		put_time(b, "expires_at", d->expires_at);
	} else {
		put_str(b, "attached_to", id_or_null(&d->holder));
		put_str(b, "from_snapshot", id_or_null(&d->source));
		put_open(b, "snapshots", '[');
		for (int i = 0; i < v->n_snapshots; i++)
			put_str(b, NULL, v->snapshots[i].s);
		put_close(b, ']');
	}
	put_time(b, "created_at", d->created_at);
	put_str(b, "error", d->error);
	put_close(b, '}');
}

void
encode_machine(struct buf *b, const struct machine_view *v)
{
	const struct machine *m = v->m;

	put_open(b, NULL, '{');
	put_str(b, "id", m->id.s);
	put_str(b, "pool", m->pool);
	put_str(b, "provider", m->provider);
	put_str(b, "provider_ref", m->provider_ref);
	put_str(b, "state", machine_state_name(m->state));
	put_str(b, "tier", tier_name(m->tier));
	put_str(b, "image", m->image);
	put_str(b, "image_version", m->image_version);
	put_str(b, "address", m->address);
	positive_or_null(b, "port", m->port);
	put_str(b, "reservation", id_or_null(&m->reservation));
	put_time(b, "created_at", m->created_at);
	put_time(b, "ready_at", m->ready_at);
	put_time(b, "last_seen_at", v->last_seen_at);
	put_str(b, "error", m->error);
	put_str(b, "output", m->output);
	put_close(b, '}');
}

void
encode_pool(struct buf *b, const struct pool_view *v)
{
	const struct pool *p = v->p;

	put_open(b, NULL, '{');
	put_str(b, "name", p->name);
	put_str(b, "provider", p->provider);
	put_str(b, "image", p->image);
	put_str(b, "image_version", v->image_version);
	if (v->image_percent >= 0)
		put_int(b, "image_percent", v->image_percent);
	else
		put_null(b, "image_percent");
	put_int(b, "running", p->running);
	put_int(b, "stopped", p->stopped);
	put_int(b, "hibernated", p->hibernated);
	put_int(b, "max", p->max);
	put_int(b, "ready", v->ready);
	put_int(b, "claimed", v->claimed);
	put_int(b, "launching", v->launching);
	put_int(b, "queued", v->queued);
	positive_or_null(b, "launch_ms", v->launch_ms);
	put_num(b, "usd_per_hour", v->usd_per_hour);
	put_time(b, "backoff_until", v->backoff_until_at);
	put_str(b, "last_error", v->last_error);
	put_close(b, '}');
}

void
encode_image(struct buf *b, const struct image_view *v)
{
	put_open(b, NULL, '{');
	put_str(b, "name", v->name);
	put_str(b, "provider", v->provider);
	put_str(b, "version", v->version);
	if (v->percent >= 0)
		put_int(b, "percent", v->percent);
	else
		put_null(b, "percent");
	put_int(b, "machines", v->machines);
	put_str(b, "error", v->error);
	put_close(b, '}');
}

static void
encode_trace_step(struct buf *b, const struct trace_step *t)
{
	const struct step *s = t->step;

	put_open(b, NULL, '{');
	put_str(b, "name", t->name);
	put_time(b, "started_at", s->started_at);
	put_time(b, "ended_at", s->ended_at);
	encode_strings(b, "waits_for", t->waits_for, t->n_waits);
	put_int(b, "resolution_ms", s->resolution_ms);
	put_str(b, "resource", s->resource);
	put_int(b, "attempt", s->attempt);
	put_str(b, "error", s->error);
	put_bool(b, "critical", t->critical);
	put_close(b, '}');
}

void
encode_trace(struct buf *b, const struct trace *t)
{
	put_open(b, NULL, '{');
	put_str(b, "reservation", t->r->id.s);
	put_str(b, "path", path_name(t->r->path));
	put_int(b, "total_ms", t->total_ms);
	put_int(b, "longest_chain_ms", t->longest_chain_ms);
	put_int(b, "one_at_a_time_ms", t->one_at_a_time_ms);
	put_int(b, "saved_ms", t->saved_ms);
	put_open(b, "steps", '[');
	for (int i = 0; i < t->n; i++)
		encode_trace_step(b, &t->steps[i]);
	put_close(b, ']');
	put_close(b, '}');
}

void
encode_why(struct buf *b, const struct trace *t)
{
	bool slowest = t->slowest >= 0 && t->slowest < t->n;

	put_open(b, NULL, '{');
	put_str(b, "reservation", t->r->id.s);
	put_str(b, "path", path_name(t->r->path));
	put_str(b, "miss_reason", t->r->miss_reason);
	put_str(b, "summary", t->summary);
	put_open(b, "critical_path", '[');
	for (int i = 0; i < t->n; i++)
		if (t->steps[i].critical)
			put_str(b, NULL, t->steps[i].name);
	put_close(b, ']');
	put_str(b, "slowest_step", slowest ? t->steps[t->slowest].name : NULL);
	put_num(b, "cost_usd", t->cost_usd);
	put_close(b, '}');
}

static void
encode_audit_items(struct buf *b, const char *key, const struct audit_item *items, int n)
{
	put_open(b, key, '[');
	for (int i = 0; i < n; i++) {
		put_open(b, NULL, '{');
		put_str(b, "provider", items[i].provider);
		put_str(b, "machine", items[i].token);
		put_str(b, "provider_ref", items[i].ref);
		put_str(b, "what", items[i].what);
		put_bool(b, "repaired", items[i].repaired);
		put_close(b, '}');
	}
	put_close(b, ']');
}

void
encode_audit(struct buf *b, const struct audit *a)
{
	put_open(b, NULL, '{');
	put_bool(b, "ok", a->ok);
	encode_audit_items(b, "provider_only", a->provider_only, a->n_provider_only);
	encode_audit_items(b, "ledger_only", a->ledger_only, a->n_ledger_only);
	put_int(b, "open_steps", a->open_steps);
	put_close(b, '}');
}

void
encode_event(struct buf *b, const struct event *e)
{
	put_open(b, NULL, '{');
	put_int(b, "seq", e->seq);
	put_time(b, "at", e->at);
	put_str(b, "kind", e->kind);
	put_str(b, "id", id_or_null(&e->id));
	put_str(b, "name", e->name);
	put_str(b, "state", e->state);
	if (strcmp(e->kind, "machine") == 0)
		put_str(b, "reservation", id_or_null(&e->other));
	else if (strcmp(e->kind, "reservation") == 0)
		put_str(b, "machine", id_or_null(&e->other));
	put_str(b, "detail", e->detail);
	put_close(b, '}');
}

/* A message is one line, whatever of a request it quotes. */
static void
put_line(struct buf *b, const char *key, const char *text)
{
	char line[sizeof(((struct err *)0)->msg)];
	size_t n = strnlen(text, sizeof(line) - 1);

	for (size_t i = 0; i < n; i++)
		line[i] =
		    (unsigned char)text[i] < 0x20 || text[i] == 0x7f ? ' ' : text[i];
	line[n] = '\0';
	put_str(b, key, line);
}

void
encode_error(struct buf *b, const struct err *err)
{
	put_open(b, NULL, '{');
	put_open(b, "error", '{');
	put_str(b, "code", err_info[err->code].name);
	put_line(b, "message", err->msg);
	put_line(b, "hint", err->hint);
	put_close(b, '}');
	put_close(b, '}');
}
