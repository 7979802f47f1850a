/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EC2_DESCRIBE_H
#define EC2_DESCRIBE_H

/*
 * What all Describe* actions have in common: lists of ids, filters, pages. A page costs what it holds, not what
 * came before it: the token names the object it begins at.
 */

#include <stdbool.h>

struct filters;
struct kind;
struct object;
struct request;

/* ---- filters ---- */

/* Collects what a thing has under a filter's name; matches as it is told. */
struct offer;
void offer(struct offer *v, const char *value); /* NULL is no value */
void offer_int(struct offer *v, long long value);
void offer_bool(struct offer *v, bool value);
void offer_time(struct offer *v, long long wall_ms);

struct filter {
	const char *name; /* "instance-state-name" */

	/* Offers every value that `o` has for it. */
	void (*offer)(const void *o, struct offer *v);
};

/* Reads Filter.N.Name and Filter.N.Value.M; wildcards * and ?, \ before one takes it as it is. Names that the table
   (ends with NULL) does not hold are InvalidParameterValue. `tagged`: things are struct object, and tag:KEY, tag-key and
   tag-value are filters of theirs. Never NULL; freed with the request. */
struct filters *filters_read(struct request *q, const struct filter *table, bool tagged);
bool filters_match(const struct filters *f, const void *o);
void filters_free(struct filters *f);

/* '*' and '?' as AWS takes them. */
bool pattern_match(const char *pattern, const char *value);

/* ---- describing a kind ---- */

struct describe {
	const struct kind *kind;
	const char *ids;	      /* "InstanceId"; NULL: takes no ids */
	const struct filter *filters; /* ends with a NULL name */
	const char *set;	      /* "volumeSet" */
	void (*write)(struct request *q, const struct object *o); /* inside of <item> */

	/* Whether it is shown at all; NULL: yes. One that is asked for by its id and not shown is NotFound. */
	bool (*shown)(struct request *q, const struct object *o);

	/* Whether it belongs to what is described; NULL: yes. One that is asked for by its id and does not is left out. */
	bool (*only)(struct request *q, const struct object *o);
	int page_min; /* of MaxResults; 0: 5 */
	int page_max; /* 0: 1000 */
};

/* All of a simple Describe: parameters, request_ready(), the set, nextToken. Other parameters are read before it. */
void describe(struct request *q, const struct describe *d);

/* The parts of it. select: reads MaxResults, NextToken, ids and filters, asks request_ready(), and gives what is on this page, in
   order of creation; false: failed. next_token: "" at the end. Owned array. */
struct selection {
	const struct object **v;
	int n;
	char next_token[256];
};
bool describe_select(struct request *q, const struct describe *d, struct selection *ret);
void selection_fini(struct selection *s);

/* Pages over a static table of `n` rows: reads MaxResults and NextToken (before request_ready()) ... */
struct page {
	int from, max;
	char next_token[64];
};
void page_read(struct request *q, struct page *p, int page_min, int page_max);

/* ... and says, for the matching row number i (0, 1, ...), whether it is on this page. */
bool page_holds(struct page *p, int i);

#endif
