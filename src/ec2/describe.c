/* SPDX-License-Identifier: Apache-2.0 */
#include "ec2/describe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "ec2/request.h"
#include "ec2/world.h"

#define UNPAGED_MAX 20000 /* what a reply holds at most, asked for or not */
#define FILTERS_MAX 200	  /* EC2 API Reference: values of all filters together */

/* ---- patterns ---- */

/* Backtracks to the last '*' alone, so the time is at most the product of the lengths. */
bool
pattern_match(const char *p, const char *s)
{
	const char *star = NULL, *from = NULL;

	for (;;) {
		if (*p == '*') {
			star = ++p;
			from = s;
		} else if (*s && (*p == '?' || (*p == '\\' && p[1] && p[1] == *s) ||
				     (*p != '\\' && *p == *s))) {
			p += *p == '\\' ? 2 : 1;
			s++;
		} else if (!*s && !*p) {
			return true;
		} else if (star && *from) {
			p = star;
			s = ++from;
		} else {
			return false;
		}
	}
}

/* ---- filters ---- */

struct filter_use {
	const struct filter *filter; /* NULL: of tags */
	const char *tag; /* key of tag:KEY; NULL with "tag-key", "tag-value" */
	bool tag_key;
	const char **values; /* owned; ends with NULL */
};

struct filters {
	struct filter_use *v; /* owned */
	int n;
};

struct offer {
	const char *const *patterns;
	bool matched;
};

void
offer(struct offer *v, const char *value)
{
	for (int i = 0; value && !v->matched && v->patterns[i]; i++)
		v->matched = pattern_match(v->patterns[i], value);
}

void
offer_int(struct offer *v, long long value)
{
	char s[24];

	(void)snprintf(s, sizeof(s), "%lld", value);
	offer(v, s);
}

void
offer_bool(struct offer *v, bool value)
{
	offer(v, value ? "true" : "false");
}

void
offer_time(struct offer *v, long long wall_ms)
{
	char s[REPLY_TIME_MAX];

	if (wall_ms == 0)
		return;
	reply_time_text(wall_ms, s);
	offer(v, s);
}

static void
offer_tags(const struct filter_use *f, const struct object *o, struct offer *v)
{
	if (f->tag) {
		offer(v, object_tag(o, f->tag));
		return;
	}
	for (int i = 0; i < o->n_tags; i++)
		offer(v, f->tag_key ? o->tags[i].key : o->tags[i].value);
}

bool
filters_match(const struct filters *f, const void *o)
{
	for (int i = 0; i < f->n; i++) {
		struct offer v = {f->v[i].values, false};

		if (f->v[i].filter)
			f->v[i].filter->offer(o, &v);
		else
			offer_tags(&f->v[i], o, &v);
		if (!v.matched)
			return false;
	}
	return true;
}

void
filters_free(struct filters *f)
{
	if (!f)
		return;
	for (int i = 0; i < f->n; i++)
		free(f->v[i].values);
	free(f->v);
	free(f);
}

static bool
filter_named(
    struct filter_use *use, const struct filter *table, bool tagged, const char *name)
{
	for (; table && table->name; table++)
		if (strcmp(table->name, name) == 0) {
			use->filter = table;
			return true;
		}
	if (!tagged)
		return false;
	use->tag_key = strcmp(name, "tag-key") == 0;
	if (strncmp(name, "tag:", 4) == 0)
		use->tag = name + 4;
	return use->tag || use->tag_key || strcmp(name, "tag-value") == 0;
}

struct filters *
filters_read(struct request *q, const struct filter *table, bool tagged)
{
	int n = request_count(q, "Filter"), values, all = 0;
	struct filters *f = xnew(struct filters);

	f->v = xcalloc((size_t)n + 1, sizeof(*f->v));
	for (int i = 1; i <= n; i++) {
		const char *name = request_need(q, "Filter.%d.Name", i);
		struct filter_use *use = &f->v[f->n++];

		use->values = request_list(q, &values, "Filter.%d.Value", i);
		all += values;
		if (*name && !filter_named(use, table, tagged, name))
			request_fail(q, "InvalidParameterValue",
			    "The filter '%.100s' is invalid", name);
		if (values == 0)
			request_fail(q, "InvalidParameterValue",
			    "The filter '%.100s' must have at least one value", name);
	}
	if (all > FILTERS_MAX)
		request_fail(q, "FilterLimitExceeded",
		    "The maximum number of filter values specified on a single call is "
		    "%d",
		    FILTERS_MAX);
	return f;
}

/* ---- pages of a table ---- */

static int64_t
read_max_results(struct request *q, int page_min, int page_max)
{
	return request_int(q, 0, page_min, page_max, "MaxResults");
}

static int
bad_token(struct request *q)
{
	return request_fail(
	    q, "InvalidNextToken", "The token provided in NextToken is not valid");
}

void
page_read(struct request *q, struct page *p, int page_min, int page_max)
{
	const char *token = request_text(q, "NextToken");
	char *end;

	*p = (struct page){.max = (int)read_max_results(q, page_min, page_max)};
	if (!token)
		return;
	if (strncmp(token, "row-", 4) != 0 || strlen(token) > 12) {
		bad_token(q);
		return;
	}
	p->from = (int)strtol(token + 4, &end, 10);
	if (*end || p->from < 0)
		bad_token(q);
}

bool
page_holds(struct page *p, int i)
{
	if (i < p->from)
		return false;
	if (p->max == 0 || i < p->from + p->max)
		return true;
	if (!p->next_token[0])
		(void)snprintf(p->next_token, sizeof(p->next_token), "row-%d", i);
	return false;
}

/* ---- pages of objects ---- */

/* The token is the object that the next page begins at, by its place in the order of creation and by its id, and a digest that
   binds it to the question. */
#define TOKEN_DIGEST 16

static void
query_digest(const struct request *q, char out[TOKEN_DIGEST + 1])
{
	char digest[REQUEST_DIGEST_MAX];

	request_digest(q, digest);
	memcpy(out, digest, TOKEN_DIGEST);
	out[TOKEN_DIGEST] = '\0';
}

static void
make_token(struct request *q, const struct object *o, char *ret, size_t size)
{
	char digest[TOKEN_DIGEST + 1];

	query_digest(q, digest);
	(void)snprintf(
	    ret, size, "%s-%llx-%s", digest, (unsigned long long)o->seq, o->id);
}

/* Where the page begins; the object may be gone meanwhile. */
static struct list *
find_start(struct request *q, const struct describe *d, const char *token)
{
	struct list *all = region_objects(q->region, d->kind);
	char digest[TOKEN_DIGEST + 1], *end;
	struct object *o;
	unsigned long long seq;

	if (!token)
		return all->next;
	query_digest(q, digest);
	if (strlen(token) < TOKEN_DIGEST + 2 ||
	    strncmp(token, digest, TOKEN_DIGEST) != 0 || token[TOKEN_DIGEST] != '-') {
		bad_token(q);
		return all;
	}
	seq = strtoull(token + TOKEN_DIGEST + 1, &end, 16);
	if (*end != '-') {
		bad_token(q);
		return all;
	}
	o = region_find(q->region, d->kind, end + 1);
	if (o && o->seq == seq)
		return &o->link;
	list_for_each (o, all, link)
		if (o->seq >= seq)
			return &o->link;
	return all;
}

static bool
shown(struct request *q, const struct describe *d, const struct object *o)
{
	return o->visible_at <= world_now(q->world) && (!d->shown || d->shown(q, o));
}

static bool
matches(struct request *q, const struct describe *d, const struct filters *f,
    const struct object *o)
{
	return (!d->only || d->only(q, o)) && filters_match(f, o);
}

static void
keep(struct selection *s, const struct object *o)
{
	if ((s->n & (s->n - 1)) == 0)
		s->v = xrealloc(s->v, (size_t)(s->n ? s->n * 2 : 1) * sizeof(*s->v));
	s->v[s->n++] = o;
}

static void
select_page(struct request *q, const struct describe *d, const struct filters *f,
    const char *token, int max, struct selection *ret)
{
	struct list *all = region_objects(q->region, d->kind);
	struct list *at = find_start(q, d, token);

	for (; at != all && !request_failed(q); at = at->next) {
		const struct object *o = list_entry(at, struct object, link);

		if (!shown(q, d, o) || !matches(q, d, f, o))
			continue;
		if (ret->n == max) {
			make_token(q, o, ret->next_token, sizeof(ret->next_token));
			return;
		}
		keep(ret, o);
	}
}

static int
by_seq(const void *a, const void *b)
{
	const struct object *x = *(const struct object *const *)a;
	const struct object *y = *(const struct object *const *)b;

	return (x->seq > y->seq) - (x->seq < y->seq);
}

static void
select_ids(struct request *q, const struct describe *d, const struct filters *f,
    struct selection *ret)
{
	AUTO_FREE void **v = NULL;
	char code[96];
	int n;

	v = request_objects(q, d->kind, d->ids, &n);
	for (int i = 0; i < n && !request_failed(q); i++) {
		const struct object *o = v[i];

		if (!shown(q, d, o)) {
			(void)snprintf(code, sizeof(code), "%s.NotFound", d->kind->error);
			request_fail(
			    q, code, "The %s '%s' does not exist", d->kind->what, o->id);
		} else if (matches(q, d, f, o)) {
			keep(ret, o);
		}
	}
	if (ret->n > 1)
		qsort(ret->v, (size_t)ret->n, sizeof(*ret->v), by_seq);
}

bool
describe_select(struct request *q, const struct describe *d, struct selection *ret)
{
	struct filters *f = filters_read(q, d->filters, d->kind->resource != NULL);
	int max = (int)read_max_results(q, d->page_min ?: 5, d->page_max ?: 1000);
	const char *token = request_text(q, "NextToken");
	bool by_id = d->ids && request_count(q, "%s", d->ids) > 0;

	*ret = (struct selection){0};
	if (by_id && max)
		request_fail(q, "InvalidParameterCombination",
		    "The parameter %s cannot be used with the parameter maxResults",
		    d->ids);
	if (by_id)
		request_ignore(q, "%s", d->ids);
	if (request_ready(q)) {
		if (by_id)
			select_ids(q, d, f, ret);
		else
			select_page(q, d, f, token, max ?: UNPAGED_MAX, ret);
	}
	filters_free(f);
	if (!request_failed(q))
		return true;
	selection_fini(ret);
	return false;
}

void
selection_fini(struct selection *s)
{
	free(s->v);
	*s = (struct selection){0};
}

void
describe(struct request *q, const struct describe *d)
{
	struct selection s;

	if (!describe_select(q, d, &s))
		return;
	reply_open(&q->reply, d->set);
	for (int i = 0; i < s.n; i++) {
		reply_open(&q->reply, "item");
		d->write(q, s.v[i]);
		reply_close(&q->reply);
	}
	reply_close(&q->reply);
	if (s.next_token[0])
		reply_text(&q->reply, "nextToken", s.next_token);
	selection_fini(&s);
}
