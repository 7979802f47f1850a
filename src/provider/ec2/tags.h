/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROVIDER_EC2_TAGS_H
#define PROVIDER_EC2_TAGS_H

/*
 * Which machine an instance is. One RunInstances makes many instances with the same tags, so the tags hold the
 * tokens of all of them, in order, and the instance's launch index says which is its own. A tag's value has at most
 * 256 characters and a resource 50 tags (EC2 User Guide, "Tag restrictions").
 */

#include "base/id.h"

struct buf;

#define TAG_OWNER "hearth:owner"
#define TAG_POOL "hearth:pool"
#define TAG_LEASE "hearth:lease" /* when the machine ends itself: seconds since 1970 */
#define TAG_OPTIONS                                                                      \
	"hearth:options" /* of the pool, those that matter for a machine that is found: "name=value ..." */
#define TAG_TOKENS "hearth:tokens-"
#define TAG_DISK "hearth:disk" /* of a volume or a snapshot: core's token of it */

#define TAGS_PER_VALUE 19
#define TAGS_VALUES_MAX 14 /* of 50 tags; each of the instances bears them all */
#define TAGS_TOKENS_MAX (TAGS_PER_VALUE * TAGS_VALUES_MAX)

/* The value of the tag hearth:tokens-K for these n tokens: those from K * 19 on, without the "m-" that all have. */
void tags_pack(const struct id *tokens, int n, int k, struct buf *out);

/* The token at place `index` (0 to 18) of such a value. Returns -1 where the value has none there or is none of
   ours. */
int tags_unpack(const char *value, int index, struct id *ret);

/* K of a tag's key "hearth:tokens-K"; -1: another key. */
int tags_key(const char *key);

/* The client token of a launch of these machines at the place `salt` (type, zone, image): the same in every attempt. */
void tags_client_token(const struct id *tokens, int n, const char *salt, char out[65]);

#endif
