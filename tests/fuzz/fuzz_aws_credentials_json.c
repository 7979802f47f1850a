/* SPDX-License-Identifier: Apache-2.0 */
/* What a metadata service, a container's agent or a program prints is a key whose every part may go into a header, or
   is refused with one line that quotes none of it. */
#include <assert.h>
#include <string.h>

#include "aws/credentials_internal.h"
#include "fuzz.h"

static void
parse(enum credentials_json kind, const char *data, size_t n)
{
	struct owned_key key = {0};
	struct err err = {0};

	if (credentials_key_from_json(data, n, kind, "w", &key, &err) < 0) {
		assert(
		    !key.access_key_id && !key.secret_access_key && !key.session_token);
		assert(err.code == ERR_INVALID || err.code == ERR_NOT_PERMITTED);
		assert(strncmp(err.msg, "w: ", 3) == 0 && !strchr(err.msg, '\n'));
		return;
	}
	assert(credentials_key_is_header(key.access_key_id));
	assert(credentials_key_is_header(key.secret_access_key));
	assert(!key.session_token || credentials_key_is_header(key.session_token));
	assert(kind == CREDENTIALS_JSON_PROCESS || key.expires_at != 0);
	credentials_key_fini(&key);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	parse(CREDENTIALS_JSON_PROCESS, (const char *)data, n);
	parse(CREDENTIALS_JSON_METADATA, (const char *)data, n);
	return 0;
}
