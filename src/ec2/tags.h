/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EC2_TAGS_H
#define EC2_TAGS_H

/* Tags: EC2's rules for them, in requests and replies. */

struct object;
struct request;

#define TAGS_MAX 50 /* of one object */

/* Records a failure when EC2 would not take it. */
void tag_check(struct request *q, const char *key, const char *value);

/* The tags of TagSpecification.N. check: reads them all; `types` (ends with NULL) are the resource types that the action takes,
   others are InvalidParameterValue. Once, before request_ready(). request_tag(): puts those for the object's own type on it,
   after request_ready(). */
void request_check_tags(struct request *q, const char *const *types);
void request_tag(struct request *q, struct object *o);

/* <tagSet>, where it has any. */
void reply_tags(struct request *q, const struct object *o);

#endif
