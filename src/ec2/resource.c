/* SPDX-License-Identifier: Apache-2.0 */
#include "ec2/resource.h"

#include <string.h>

#include "ec2/reply.h"
#include "ec2/request.h"

bool
resource_named(struct request *q, const char *param, const char *value)
{
	int n = request_count(q, "%s", param);

	for (int i = 1; i <= n; i++) {
		const char *s = request_text(q, "%s.%d", param, i);

		if (s && value && strcmp(s, value) == 0)
			return true;
	}
	return n == 0;
}

bool
resource_owned(struct request *q, const char *param, const char *owner, const char *alias)
{
	int n = request_count(q, "%s", param);

	for (int i = 1; i <= n; i++) {
		const char *s = request_text(q, "%s.%d", param, i) ?: "";

		if (strcmp(s, owner) == 0 || (alias && strcmp(s, alias) == 0) ||
		    (strcmp(s, "self") == 0 && strcmp(owner, q->world->account) == 0))
			return true;
	}
	return n == 0;
}
