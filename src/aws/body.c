/* SPDX-License-Identifier: Apache-2.0 */
#include "aws/body.h"

#include <jansson.h>
#include <stddef.h>

struct aws_body *
aws_body_parse(const char *text)
{
	json_t *root = json_loads(text, 0, NULL);

	if (json_is_object(root))
		return (struct aws_body *)root;
	json_decref(root);
	return NULL;
}

void
aws_body_free(struct aws_body *b)
{
	json_decref((json_t *)b);
}

int
aws_body_count(const struct aws_body *b, const char *list)
{
	return (int)json_array_size(json_object_get((const json_t *)b, list));
}

const char *
aws_body_text(const struct aws_body *b, const char *list, int i, const char *member)
{
	const json_t *o = (const json_t *)b;
	const char *s;

	if (list)
		o = json_array_get(json_object_get(o, list), (size_t)i);
	s = json_string_value(json_object_get(o, member));
	return s ? s : "";
}
