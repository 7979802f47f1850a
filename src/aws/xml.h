/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AWS_XML_H
#define AWS_XML_H

/*
 * Replies of the Query APIs, as a tree of elements: expat, without namespaces (real EC2 sends error replies
 * without one), without entities of the document's own, bounded in bytes, depth and number of elements.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define XML_BYTES_MAX (16u << 20)
#define XML_DEPTH_MAX 32
#define XML_ELEMENTS_MAX 500000

struct xml {
	const char *name; /* local name */
	const char *text; /* of a leaf; "" else */
	struct xml *child, *next, *parent;
};

/* *ret is owned by the caller: xml_free() of the root frees all. ERR_TOO_LARGE beyond a bound; ERR_INVALID: not
   XML, or with a DOCTYPE. */
int xml_parse(const char *data, size_t n, struct xml **ret, struct err *err) ERR_CHECK;
void xml_free(struct xml *root);

/* The first child of that name, or NULL; NULL of NULL is NULL. */
const struct xml *xml_child(const struct xml *x, const char *name);

/* By a path of names, "instancesSet/item/instanceId"; NULL where there is none. */
const struct xml *xml_find(const struct xml *x, const char *path);

/* Its text; "" where there is none. */
const char *xml_text(const struct xml *x, const char *path);
int64_t xml_int(const struct xml *x, const char *path, int64_t otherwise);

#endif
