/* SPDX-License-Identifier: Apache-2.0 */
#include "api/encode.h"

#include <stddef.h>
#include <string.h>

#include "api/json_out.h"

static const char *
id_or_null(const struct id *id)
{
	return id_empty(id) ? NULL : id->s;
}

static void
positive_or_null(struct buf *b, const char *key, int64_t v)
{
	if (v > 0)
		json_int(b, key, v);
	else
		json_null(b, key);
}

static void
encode_strings(struct buf *b, const char *key, const char *const *s, int n)
{
	json_open(b, key, '[');
	for (int i = 0; i < n; i++)
		json_str(b, NULL, s[i]);
	json_close(b, ']');
}

void
encode_reservation(struct buf *b, const struct reservation_view *v)
{
	const struct reservation *r = v->r;
	const struct machine *m = v->machine;

	json_open(b, NULL, '{');
	json_str(b, "id", r->id.s);
	json_str(b, "name", r->name);
	json_str(b, "user", r->user);
	json_str(b, "pool", r->pool);
	json_str(b, "state", reservation_state_name(r->state));
	json_str(b, "reason", end_reason_name(r->reason));
	json_str(b, "error", r->error);
	json_str(b, "path", path_name(r->path));
	json_str(b, "miss_reason", r->miss_reason);
	json_str(b, "machine", id_or_null(&r->machine));
	json_str(b, "host", m ? m->address : NULL);
	positive_or_null(b, "port", m ? m->port : 0);
	json_str(b, "login", v->login);
	encode_strings(b, "certificates", v->certificates, v->n_certificates);
	json_str(b, "known_hosts", v->known_hosts);
	json_open(b, "disks", '[');
	json_close(b, ']');
	positive_or_null(b, "queue_position", v->queue_position);
	json_time(b, "eta", v->eta_at);
	json_num(b, "cost_usd", v->cost_usd);
	json_time(b, "created_at", r->created_at);
	json_time(b, "ready_at", r->ready_at);
	json_time(b, "expires_at", r->expires_at);
	json_time(b, "ended_at", r->ended_at);
	json_close(b, '}');
}

void
encode_machine(struct buf *b, const struct machine_view *v)
{
	const struct machine *m = v->m;

	json_open(b, NULL, '{');
	json_str(b, "id", m->id.s);
	json_str(b, "pool", m->pool);
	json_str(b, "provider", m->provider);
	json_str(b, "provider_ref", m->provider_ref);
	json_str(b, "state", machine_state_name(m->state));
	json_str(b, "tier", tier_name(m->tier));
	json_str(b, "image", m->image);
	json_str(b, "image_version", m->image_version);
	json_str(b, "address", m->address);
	positive_or_null(b, "port", m->port);
	json_str(b, "reservation", id_or_null(&m->reservation));
	json_time(b, "created_at", m->created_at);
	json_time(b, "ready_at", m->ready_at);
	json_time(b, "last_seen_at", v->last_seen_at);
	json_str(b, "error", m->error);
	json_str(b, "output", m->output);
	json_close(b, '}');
}

void
encode_pool(struct buf *b, const struct pool_view *v)
{
	const struct pool *p = v->p;

	json_open(b, NULL, '{');
	json_str(b, "name", p->name);
	json_str(b, "provider", p->provider);
	json_str(b, "image", p->image);
	json_str(b, "image_version", v->image_version);
	if (v->image_percent >= 0)
		json_int(b, "image_percent", v->image_percent);
	else
		json_null(b, "image_percent");
	json_int(b, "running", p->running);
	json_int(b, "stopped", p->stopped);
	json_int(b, "hibernated", p->hibernated);
	json_int(b, "max", p->max);
	json_int(b, "ready", v->ready);
	json_int(b, "claimed", v->claimed);
	json_int(b, "launching", v->launching);
	json_int(b, "queued", v->queued);
	positive_or_null(b, "launch_ms", v->launch_ms);
	json_num(b, "usd_per_hour", v->usd_per_hour);
	json_time(b, "backoff_until", v->backoff_until_at);
	json_str(b, "last_error", v->last_error);
	json_close(b, '}');
}

void
encode_image(struct buf *b, const struct image_view *v)
{
	json_open(b, NULL, '{');
	json_str(b, "name", v->name);
	json_str(b, "provider", v->provider);
	json_str(b, "version", v->version);
	if (v->percent >= 0)
		json_int(b, "percent", v->percent);
	else
		json_null(b, "percent");
	json_int(b, "machines", v->machines);
	json_str(b, "error", v->error);
	json_close(b, '}');
}

static void
encode_trace_step(struct buf *b, const struct trace_step *t)
{
	const struct step *s = t->step;

	json_open(b, NULL, '{');
	json_str(b, "name", s->name);
	json_time(b, "started_at", s->started_at);
	json_time(b, "ended_at", s->ended_at);
	encode_strings(b, "waits_for", t->waits_for, t->n_waits);
	json_int(b, "resolution_ms", s->resolution_ms);
	json_str(b, "resource", s->resource);
	json_int(b, "attempt", s->attempt);
	json_str(b, "error", s->error);
	json_bool(b, "critical", t->critical);
	json_close(b, '}');
}

void
encode_trace(struct buf *b, const struct trace *t)
{
	json_open(b, NULL, '{');
	json_str(b, "reservation", t->r->id.s);
	json_str(b, "path", path_name(t->r->path));
	json_int(b, "total_ms", t->total_ms);
	json_int(b, "longest_chain_ms", t->longest_chain_ms);
	json_int(b, "one_at_a_time_ms", t->one_at_a_time_ms);
	json_int(b, "saved_ms", t->saved_ms);
	json_open(b, "steps", '[');
	for (int i = 0; i < t->n; i++)
		encode_trace_step(b, &t->steps[i]);
	json_close(b, ']');
	json_close(b, '}');
}

void
encode_why(struct buf *b, const struct trace *t)
{
	bool slowest = t->slowest >= 0 && t->slowest < t->n;

	json_open(b, NULL, '{');
	json_str(b, "reservation", t->r->id.s);
	json_str(b, "path", path_name(t->r->path));
	json_str(b, "miss_reason", t->r->miss_reason);
	json_str(b, "summary", t->summary);
	json_open(b, "critical_path", '[');
	for (int i = 0; i < t->n; i++)
		if (t->steps[i].critical)
			json_str(b, NULL, t->steps[i].step->name);
	json_close(b, ']');
	json_str(b, "slowest_step", slowest ? t->steps[t->slowest].step->name : NULL);
	json_num(b, "cost_usd", t->cost_usd);
	json_close(b, '}');
}

static void
encode_audit_items(struct buf *b, const char *key, const struct audit_item *items, int n)
{
	json_open(b, key, '[');
	for (int i = 0; i < n; i++) {
		json_open(b, NULL, '{');
		json_str(b, "provider", items[i].provider);
		json_str(b, "machine", items[i].token);
		json_str(b, "provider_ref", items[i].ref);
		json_str(b, "what", items[i].what);
		json_bool(b, "repaired", items[i].repaired);
		json_close(b, '}');
	}
	json_close(b, ']');
}

void
encode_audit(struct buf *b, const struct audit *a)
{
	json_open(b, NULL, '{');
	json_bool(b, "ok", a->ok);
	encode_audit_items(b, "provider_only", a->provider_only, a->n_provider_only);
	encode_audit_items(b, "ledger_only", a->ledger_only, a->n_ledger_only);
	json_int(b, "open_steps", a->open_steps);
	json_close(b, '}');
}

void
encode_event(struct buf *b, const struct event *e)
{
	json_open(b, NULL, '{');
	json_int(b, "seq", e->seq);
	json_time(b, "at", e->at);
	json_str(b, "kind", e->kind);
	json_str(b, "id", id_or_null(&e->id));
	json_str(b, "name", e->name);
	json_str(b, "state", e->state);
	if (strcmp(e->kind, "machine") == 0)
		json_str(b, "reservation", id_or_null(&e->other));
	else if (strcmp(e->kind, "reservation") == 0)
		json_str(b, "machine", id_or_null(&e->other));
	json_str(b, "detail", e->detail);
	json_close(b, '}');
}

void
encode_error(struct buf *b, const struct err *err)
{
	json_open(b, NULL, '{');
	json_open(b, "error", '{');
	json_str(b, "code", err_info[err->code].name);
	json_str(b, "message", err->msg);
	json_str(b, "hint", err->hint);
	json_close(b, '}');
	json_close(b, '}');
}
